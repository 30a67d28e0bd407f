import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createGateArea, openGate } from "../../host/gate.ts";
import { H, State } from "../state.ts";
import { KIND, type Mapping, Mappings, NAME, VF } from "./mappings.ts";

const PAGE = 4096;
const gate = openGate(createGateArea(), 0);
const state = State.create(gate.sys);

function table(): Mappings {
  state.i32[H.mappingCount] = 0;
  return new Mappings(state);
}

function row(start: number, end: number, more: Partial<Mapping> = {}): Mapping {
  return {
    start: start * PAGE,
    end: end * PAGE,
    prot: 3,
    flags: VF.MAYWRITE,
    kind: KIND.ANON,
    file: 0,
    offset: 0,
    gpa: 0,
    validEnd: 0,
    name: NAME.NONE,
    ...more,
  };
}

function rows(m: Mappings): Mapping[] {
  return Array.from({ length: m.count }, (_, i) => m.get(i));
}

describe("Mappings", () => {
  it("should keep rows of every field, with addresses above 4 GiB", () => {
    const m = table();
    const one: Mapping = {
      start: 0x7f12_3456_7000,
      end: 0x7f12_3456_9000,
      prot: 5,
      flags: 0x7f,
      kind: KIND.COPY,
      file: 4096,
      offset: 2 ** 52,
      gpa: 2 ** 50 + PAGE,
      validEnd: 0x7f12_3456_8000,
      name: NAME.STACK,
    };
    m.insert(one);
    expect(rows(m)).toEqual([one]);
    expect(m.at(one.start)).toEqual(one);
    expect(m.at(one.end - 1)).toEqual(one);
    expect(m.at(one.end)).toBeNull();
    expect(m.at(one.start - 1)).toBeNull();
  });

  it("should join equal neighbours on both sides", () => {
    const m = table();
    m.insert(row(1, 2));
    m.insert(row(3, 4));
    m.insert(row(2, 3));
    expect(rows(m)).toEqual([row(1, 4)]);
  });

  it.each<[string, Partial<Mapping>]>([
    ["rights", { prot: 1 }],
    ["flags", { flags: 0 }],
    ["kind", { kind: KIND.COPY, offset: PAGE }],
    ["name", { name: NAME.HEAP }],
    ["file", { file: 1 }],
  ])("should not join neighbours of different %s", (_what, more) => {
    const m = table();
    m.insert(row(1, 2));
    m.insert(row(2, 3, more));
    expect(m.count).toBe(2);
  });

  it("should join file mappings only where the file goes on", () => {
    const m = table();
    const arena = (start: number, end: number, offset: number, gpa: number): Mapping =>
      row(start, end, { kind: KIND.ARENA, file: 1, offset: offset * PAGE, gpa: gpa * PAGE });
    m.insert(arena(10, 12, 5, 100));
    m.insert(arena(12, 13, 7, 102));
    expect(rows(m)).toEqual([arena(10, 13, 5, 100)]);
    m.insert(arena(13, 14, 9, 103));
    expect(m.count).toBe(2);
    m.insert(arena(9, 10, 4, 90));
    expect(m.count).toBe(3);
  });

  it("should give the parts of a split file mapping their own offset and memory", () => {
    const m = table();
    m.insert(row(10, 20, { kind: KIND.ARENA, file: 2, offset: PAGE, gpa: 50 * PAGE }));
    m.splitAt(14 * PAGE);
    expect(rows(m)).toEqual([
      row(10, 14, { kind: KIND.ARENA, file: 2, offset: PAGE, gpa: 50 * PAGE }),
      row(14, 20, { kind: KIND.ARENA, file: 2, offset: 5 * PAGE, gpa: 54 * PAGE }),
    ]);
    m.joinAround(14 * PAGE, 14 * PAGE);
    expect(m.count).toBe(1);
  });

  it("should never join pages of the LWK", () => {
    const m = table();
    m.insert(row(1, 2, { kind: KIND.BOOT }));
    m.insert(row(2, 3, { kind: KIND.BOOT }));
    expect(m.count).toBe(2);
  });

  it("should find the highest gap, aligned, between floor and ceiling", () => {
    const m = table();
    m.insert(row(10, 20));
    m.insert(row(30, 40));
    expect(m.gap(5 * PAGE, PAGE, 40 * PAGE, PAGE)).toBe(25 * PAGE);
    expect(m.gap(10 * PAGE, PAGE, 40 * PAGE, PAGE)).toBe(20 * PAGE);
    expect(m.gap(11 * PAGE, PAGE, 40 * PAGE, PAGE)).toBe(-1);
    expect(m.gap(9 * PAGE, PAGE, 20 * PAGE, PAGE)).toBe(PAGE);
    expect(m.gap(4 * PAGE, PAGE, 40 * PAGE, 8 * PAGE)).toBe(24 * PAGE);
    expect(m.gap(PAGE, PAGE, 100 * PAGE, PAGE)).toBe(99 * PAGE);
    expect(m.gap(PAGE, 10 * PAGE, 15 * PAGE, PAGE)).toBe(-1);
  });

  it("should agree with a map of pages, whatever is inserted, removed and split", () => {
    const operation = fc.record({
      op: fc.constantFrom("insert", "remove", "split", "gap"),
      at: fc.integer({ min: 1, max: 60 }),
      count: fc.integer({ min: 1, max: 12 }),
      prot: fc.constantFrom(0, 1, 3),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const m = table();
        const model: (number | undefined)[] = [];
        for (const { op, at, count, prot } of operations) {
          const free = Array.from({ length: count }, (_, i) => model[at + i]).every((p) => p === undefined);
          expect(m.free(at * PAGE, (at + count) * PAGE)).toBe(free);
          if (op === "insert" && free) {
            m.insert(row(at, at + count, { prot }));
            for (let i = 0; i < count; i++) model[at + i] = prot;
          } else if (op === "remove") {
            m.splitAt(at * PAGE);
            m.splitAt((at + count) * PAGE);
            const from = m.find(at * PAGE);
            m.remove(from, m.find((at + count) * PAGE));
            for (let i = 0; i < count; i++) model[at + i] = undefined;
          } else if (op === "split") {
            m.splitAt(at * PAGE);
            m.joinAround((at - 1) * PAGE, (at + 1) * PAGE);
          } else if (op === "gap") {
            let best = -1;
            for (let start = 80 - count; start >= 1 && best < 0; start--)
              if (Array.from({ length: count }, (_, i) => model[start + i]).every((p) => p === undefined)) best = start * PAGE;
            expect(m.gap(count * PAGE, PAGE, 80 * PAGE, PAGE)).toBe(best);
          }
          // Rows are sorted, do not overlap, say what the model says, and equal neighbours are one row.
          const seen: (number | undefined)[] = [];
          let last: Mapping | null = null;
          for (const r of rows(m)) {
            if (r.end <= r.start || (last && (r.start < last.end || (r.start === last.end && r.prot === last.prot))))
              expect.fail(`rows ${JSON.stringify(last)} and ${JSON.stringify(r)}`);
            for (let page = r.start / PAGE; page < r.end / PAGE; page++) seen[page] = r.prot;
            last = r;
          }
          for (let page = 0; page < 80; page++) if (seen[page] !== model[page]) expect(seen[page], `page ${page}`).toBe(model[page]);
        }
      }),
      { numRuns: 40 },
    );
  });
});
