import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BLOCK_SIZE, PAGE_SIZE } from "../../abi/mman.ts";
import { chooseLayout, chooseProgramBreak, type Layout, USER_END } from "./layout.ts";

const TIB = 2 ** 40;

/** What must hold whatever chance says. */
function check(layout: Layout, stackSize: number): void {
  for (const base of [layout.pieBase, layout.stackTop, layout.mmapBase, layout.lwkBase]) expect(base % BLOCK_SIZE).toBe(0);
  expect(layout.stackTop).toBeLessThan(USER_END);
  expect(layout.stackTop - layout.stackLimit).toBe(stackSize);
  expect(layout.mmapBase).toBeLessThanOrEqual(layout.stackLimit - BLOCK_SIZE);
  // ThreadSanitizer's shadow fits only when programs and mappings stay in these ranges.
  expect(layout.pieBase).toBeGreaterThanOrEqual(0x5500_0000_0000);
  expect(layout.pieBase + TIB / 1024).toBeLessThan(0x5680_0000_0000);
  expect(layout.mmapBase - TIB / 4).toBeGreaterThan(0x7e80_0000_0000 - TIB / 2);
  expect(layout.mmapBase).toBeGreaterThan(0x7e80_0000_0000);
  expect(layout.lwkBase).toBeGreaterThanOrEqual(USER_END);
  expect(layout.lwkBase + BLOCK_SIZE).toBeLessThanOrEqual(0x8000_0000_0000);
  expect(layout.vdso).toBe(layout.lwkBase + 0x3000);
  expect(layout.stackPointerOffset % 16).toBe(0);
  expect(layout.stackPointerOffset).toBeLessThan(8192);
}

describe("chooseLayout", () => {
  it("should give the same layout every time without randomness", () => {
    const layout = chooseLayout(null);
    expect(chooseLayout(null)).toEqual(layout);
    expect(layout.pieBase).toBe(0x5555_5540_0000);
    expect(layout.stackPointerOffset).toBe(0);
    expect(layout.brkRandomOffset).toBe(0);
    check(layout, 8 * 2 ** 20);
  });

  it("should keep every piece in its region for any random source", () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })), (stream) => {
        check(
          chooseLayout((bits) => Math.floor(stream.next().value * 2 ** bits)),
          8 * 2 ** 20,
        );
      }),
    );
    check(
      chooseLayout(() => 0),
      8 * 2 ** 20,
    );
    check(
      chooseLayout((bits) => 2 ** bits - 1),
      8 * 2 ** 20,
    );
  });

  it("should round odd stack sizes up to pages and cap unlimited ones", () => {
    const odd = chooseLayout(null, 100_000);
    expect(odd.stackTop - odd.stackLimit).toBe(Math.ceil(100_000 / PAGE_SIZE) * PAGE_SIZE);
    const unlimited = chooseLayout(null, Number.MAX_SAFE_INTEGER);
    expect(unlimited.stackTop - unlimited.stackLimit).toBeLessThan(USER_END / 5);
    expect(unlimited.mmapBase).toBeGreaterThan(unlimited.pieBase + TIB);
  });
});

describe("chooseProgramBreak", () => {
  it("should start at the page behind bss without randomness", () => {
    expect(chooseProgramBreak(0x40_1001, chooseLayout(null))).toBe(0x40_2000);
    expect(chooseProgramBreak(0x40_2000, chooseLayout(null))).toBe(0x40_2000);
  });

  it("should start on a 2M border within 1 GiB behind bss with randomness", () => {
    const start = chooseProgramBreak(
      0x40_1001,
      chooseLayout((bits) => 2 ** bits - 1),
    );
    expect(start % BLOCK_SIZE).toBe(0);
    expect(start).toBeGreaterThan(0x40_1001);
    expect(start).toBeLessThanOrEqual(0x40_1001 + 2 ** 30 + BLOCK_SIZE);
  });
});
