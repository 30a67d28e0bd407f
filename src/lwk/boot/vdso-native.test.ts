/**
 * The vDSO run natively: its pages laid out in this process as the LWK lays them out in a virtual node, its functions called as C
 * would call them, compared with the kernel's own clocks.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { NR } from "../../abi/nr.ts";
import { createGateArea, openGate, viewMemory, wakeIndex } from "../../host/gate.ts";
import { mapAnonymous } from "../../host/memory.ts";
import { clockPage, initialClock, readClock, refreshClock, sampleClocks } from "../clock.ts";
import { RODATA_OFFSET } from "./elf-image.ts";
import { BOOT_AREA_SIZE, THREAD_CPU, THREAD_NODE, THREAD_PAGE, VDSO_PAGE, VVAR_MODE, VVAR_MULT, VVAR_PAGE, VVAR_TIMEZONE, VVAR_TSC_BASE } from "./layout.ts";
import { VDSO_TEXT_OFFSET, vdsoImage } from "./vdso.ts";
import { type VdsoFunction, vdsoProgram } from "./vdso-code.ts";

const RWX = 7;
const gates = createGateArea();
const { sys, readTsc } = openGate(gates, 0);

// The code of gate slot 1 becomes: mov %rdi,%rax; mov %rsi,%rdi; mov %rdx,%rsi; mov %rcx,%rdx; jmp *%rax.
const slotSize = wakeIndex(1) * 4;
sys(NR.mprotect, gates, 4096, RWX);
const thunk = [0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0xff, 0xe0];
new Uint8Array(viewMemory(gates + slotSize, slotSize)).set(thunk);
const call = openGate(gates, 1).wait;

const area = mapAnonymous(sys, BOOT_AREA_SIZE, RWX, 0x22); // MAP_PRIVATE | MAP_ANONYMOUS
const memory = viewMemory(area, BOOT_AREA_SIZE);
const view = new DataView(memory);
const page = clockPage(memory, VVAR_PAGE);
new Uint8Array(memory).set(vdsoImage(), VDSO_PAGE);

/** Calls a function of the vDSO; pointers are addresses. Labels are the ELF symbols' addresses: vdso.test.ts checks that. */
const labels = vdsoProgram(VDSO_TEXT_OFFSET, RODATA_OFFSET).labels;
function vdso(name: VdsoFunction, a = 0, b = 0, c = 0): number {
  return call(area + VDSO_PAGE + VDSO_TEXT_OFFSET + (labels.get(name) ?? Number.NaN), a, b, c);
}

/** Two results for the functions to write, in a page that the LWK leaves empty. */
const A = 0x7000;
const B = 0x7100;
const seconds = (at: number): bigint => view.getBigInt64(at, true);
const rest = (at: number): bigint => view.getBigInt64(at + 8, true);
const spoil = (): void => void new Uint8Array(memory, A, 0x200).fill(0xee);

function kernelNs(id: number): bigint {
  sys(NR.clock_gettime, id, area + A);
  return seconds(A) * 1_000_000_000n + rest(A);
}
function vdsoNs(id: number): bigint {
  spoil();
  expect(vdso("clock_gettime", id, area + A)).toBe(0);
  expect(rest(A)).toBeGreaterThanOrEqual(0n);
  expect(rest(A)).toBeLessThan(1_000_000_000n);
  return seconds(A) * 1_000_000_000n + rest(A);
}
const sample = () => sampleClocks(readTsc, kernelNs, 20);

/** The vDSO's answer lies between two of the kernel's, with a margin; the quickest of a few looks, because a thread may lose its CPU. */
function disagreement(id: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 20; i++) {
    const before = kernelNs(id);
    const mine = vdsoNs(id);
    const after = kernelNs(id);
    best = Math.min(best, Math.max(0, Number(before - mine), Number(mine - after)));
  }
  return best;
}

let khz = 0;
beforeAll(() => {
  const start = sample().raw;
  const until = kernelNs(1) + 300_000_000n;
  while (kernelNs(1) < until);
  const end = sample().raw;
  khz = (Number(end.tsc - start.tsc) / Number(end.ns - start.ns)) * 1e6;
  new Uint8Array(memory, A, 208).fill(0);
  sys(NR.adjtimex, area + A);
  const timex = new Uint8Array(memory.slice(A, A + 208));
  initialClock(page, { tscKhz: khz, timex, usable: true }, sample());
});

describe("vDSO, native", () => {
  test.each([
    [0, "REALTIME"],
    [1, "MONOTONIC"],
    [4, "MONOTONIC_RAW"],
    [7, "BOOTTIME"],
    [11, "TAI"],
  ])("should agree with the kernel on clock %d, %s", (id) => {
    expect(disagreement(id)).toBeLessThan(10_000);
  });

  test("should agree with process.hrtime", () => {
    const before = process.hrtime.bigint();
    const mine = vdsoNs(1);
    const after = process.hrtime.bigint();
    expect(mine).toBeGreaterThan(before - 10_000n);
    expect(mine).toBeLessThan(after + 10_000n);
  });

  test("should answer coarse clocks as fine ones, never behind the kernel's coarse", () => {
    for (const id of [5, 6]) {
      const coarse = kernelNs(id);
      expect(vdsoNs(id)).toBeGreaterThan(coarse - 10_000n);
    }
  });

  test("should compute what readClock computes", () => {
    for (const id of [0, 1, 4, 5, 6, 7, 11]) {
      const before = readClock(page, id, readTsc()) ?? -1n;
      const mine = vdsoNs(id);
      const after = readClock(page, id, readTsc()) ?? -1n;
      expect(mine).toBeGreaterThanOrEqual(before);
      expect(mine).toBeLessThanOrEqual(after);
      expect(before).toBeGreaterThan(0n);
    }
  });

  test("should ask the kernel for CPU time and unknown clocks, errors as the kernel's", () => {
    for (const id of [2, 3]) {
      const before = kernelNs(id);
      const mine = vdsoNs(id);
      expect(mine).toBeGreaterThanOrEqual(before);
      expect(mine).toBeLessThanOrEqual(kernelNs(id));
    }
    for (const id of [10, 12, 99, -1, 0x7fffffff]) expect(vdso("clock_gettime", id, area + A)).toBe(-22);
  });

  test("should carry seconds for any age of the base", () => {
    const base = page.u64[VVAR_TSC_BASE / 8];
    const mult = page.u64[VVAR_MULT / 8];
    const start = readClock(page, 1, base) ?? 0n;
    // The machine may have started a minute ago, so the TSC has no old values: a base ten seconds back, and a clock that runs faster.
    for (const factor of [0.01, 0.1, 0.15, 0.2, 0.37, 1, 8_640, 50_000]) {
      page.u64[VVAR_MULT / 8] = BigInt(Math.round(Number(mult) * factor));
      page.u64[VVAR_TSC_BASE / 8] = readTsc() - BigInt(Math.round(khz * 1e4));
      const before = readClock(page, 1, readTsc()) ?? 0n;
      const mine = vdsoNs(1);
      expect(mine).toBeGreaterThanOrEqual(before);
      expect(mine).toBeLessThanOrEqual(readClock(page, 1, readTsc()) ?? 0n);
      expect(Math.abs(Number(mine - start) / 1e10 / factor - 1)).toBeLessThan(0.01);
    }
    page.u64[VVAR_TSC_BASE / 8] = base;
    page.u64[VVAR_MULT / 8] = mult;
  });

  test("should stand still while the TSC is before the base", () => {
    const base = page.u64[VVAR_TSC_BASE / 8];
    page.u64[VVAR_TSC_BASE / 8] = readTsc() + BigInt(Math.round(khz * 1e6));
    const first = vdsoNs(1);
    expect(vdsoNs(1)).toBe(first);
    expect(first).toBe(readClock(page, 1, 0n));
    page.u64[VVAR_TSC_BASE / 8] = base;
  });

  test("should give gettimeofday and time, with and without pointers", () => {
    const before = kernelNs(0);
    spoil();
    expect(vdso("gettimeofday", area + A, area + B)).toBe(0);
    expect(rest(A)).toBeLessThan(1_000_000n);
    expect(seconds(B)).toBe(0n);
    const mine = seconds(A) * 1_000_000n + rest(A);
    expect(mine).toBeGreaterThanOrEqual((before - 10_000n) / 1000n);
    expect(mine).toBeLessThanOrEqual((kernelNs(0) + 10_000n) / 1000n);
    expect(vdso("gettimeofday")).toBe(0);
    spoil();
    expect(vdso("gettimeofday", area + A)).toBe(0);
    expect(vdso("gettimeofday", 0, area + B)).toBe(0);
    expect(seconds(B)).toBe(0n);

    spoil();
    const now = vdso("time", area + B);
    expect(Number(seconds(B))).toBe(now);
    expect(Math.abs(now - Number(kernelNs(0)) / 1e9)).toBeLessThanOrEqual(1);
    expect(vdso("time") - now).toBeLessThanOrEqual(1);
  });

  test("should hand out the time zone that the LWK wrote", () => {
    const zone = VVAR_TIMEZONE / 4;
    page.i32.set([-60, 1], zone);
    expect(vdso("gettimeofday", 0, area + B)).toBe(0);
    expect([view.getInt32(B, true), view.getInt32(B + 4, true)]).toEqual([-60, 1]);
    page.i32.set([0, 0], zone);
  });

  test("should take getcpu from the thread page", () => {
    view.setUint32(THREAD_PAGE + THREAD_CPU, 13, true);
    view.setUint32(THREAD_PAGE + THREAD_NODE, 2, true);
    spoil();
    expect(vdso("getcpu", area + A, area + B)).toBe(0);
    expect([view.getUint32(A, true), view.getUint32(B, true)]).toEqual([13, 2]);
    expect(view.getUint32(A + 4, true)).toBe(0xeeee_eeee);
    expect(vdso("getcpu")).toBe(0);
  });

  test("should say 1 ns for fine clocks and ask the kernel for the others", () => {
    for (const id of [0, 1, 4, 7, 11]) {
      spoil();
      expect(vdso("clock_getres", id, area + A)).toBe(0);
      expect([seconds(A), rest(A)]).toEqual([0n, 1n]);
      expect(vdso("clock_getres", id)).toBe(0);
    }
    for (const id of [2, 5, 6]) {
      sys(NR.clock_getres, id, area + B);
      expect(vdso("clock_getres", id, area + A)).toBe(0);
      expect([seconds(A), rest(A)]).toEqual([seconds(B), rest(B)]);
    }
    expect(rest(A)).toBeGreaterThanOrEqual(1_000_000n);
    for (const id of [10, 12, -1]) expect(vdso("clock_getres", id, area + A)).toBe(-22);
  });

  test.each([
    ["mode 0", VVAR_MODE / 4, 0],
    ["a stuck writer", 0, 1],
  ])("should make the real call with %s", (_, word, value) => {
    const base = page.u64[VVAR_TSC_BASE / 8];
    const kept = page.i32[word];
    page.u64[VVAR_TSC_BASE / 8] = 0n; // far off if it were used
    page.i32[word] = value;
    const before = kernelNs(1);
    const mine = vdsoNs(1);
    const after = kernelNs(1);
    expect(vdso("gettimeofday", area + A, area + B)).toBe(0);
    const micros = seconds(A) * 1_000_000n + rest(A);
    const now = vdso("time");
    const wall = kernelNs(0);
    page.i32[word] = kept;
    page.u64[VVAR_TSC_BASE / 8] = base;
    expect(mine).toBeGreaterThanOrEqual(before);
    expect(mine).toBeLessThanOrEqual(after);
    expect(Math.abs(Number(micros - wall / 1000n))).toBeLessThan(1_000_000);
    expect(Math.abs(now - Number(wall) / 1e9)).toBeLessThanOrEqual(1);
  });

  test("should stay monotonic and close over refreshes from the real host", () => {
    let last = 0n;
    const until = kernelNs(1) + 300_000_000n;
    let refreshes = 0;
    for (let i = 0; kernelNs(1) < until; i++) {
      if (i % 50 === 0 && refreshClock(page, sample(), readTsc) !== undefined) refreshes++;
      const now = vdsoNs(1);
      expect(now).toBeGreaterThanOrEqual(last);
      last = now;
    }
    expect(refreshes).toBeGreaterThan(10);
    expect(disagreement(1)).toBeLessThan(5_000);
  });
});
