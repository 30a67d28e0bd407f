import { beforeEach, describe, expect, it } from "vitest";
import {
  COMPANION_WORDS,
  PageTables,
  PTE_ACCESSED,
  PTE_HELD,
  PTE_LARGE,
  PTE_NX_HIGH,
  PTE_PRESENT,
  PTE_USER,
  PTE_WRITE,
  WINDOW,
} from "./page-table.ts";

const PAGE = 4096;
const TABLES = 64;
const ROOT = 1;
const VA = 0x7f12_3460_0000;
const RW = PTE_PRESENT | PTE_USER | PTE_WRITE;

let words: Uint32Array;
let next: number;
let published: [number, number, number][];
let t: PageTables;

beforeEach(() => {
  words = new Uint32Array(TABLES * 1024);
  next = 2;
  published = [];
  t = new PageTables(
    { tables: words, seeTables: () => undefined },
    ROOT,
    (pages) => {
      next += pages;
      return next - pages;
    },
    (index, low, high) => void published.push([index, low, high]),
  );
});

describe("directoryEntry", () => {
  it("should make the levels on the way once, and tell every vCPU of a new top-level entry", () => {
    expect(t.directoryEntry(VA, false)).toBe(-1);
    expect(next).toBe(2);
    const entry = t.directoryEntry(VA, true);
    // Page 2: third level; pages 3 and 4: directory and its companion.
    expect(next).toBe(5);
    expect(entry).toBe(3 * 1024 + (Math.floor(VA / WINDOW) % 512) * 2);
    expect(published).toEqual([[Math.floor(VA / 2 ** 39), words[ROOT * 1024 + Math.floor(VA / 2 ** 39) * 2], 0]]);
    expect(t.directoryEntry(VA + WINDOW - 1, true)).toBe(entry);
    expect(t.directoryEntry(VA + WINDOW, true)).toBe(entry + 2);
    expect(next).toBe(5);
    t.directoryEntry(VA + 2 ** 30, true);
    expect(next).toBe(7);
    expect(published.length).toBe(1);
    t.directoryEntry(0, true);
    expect(next).toBe(10);
    expect(published.length).toBe(2);
  });

  it("should link with the rights that leave the last word to the leaf", () => {
    t.directoryEntry(VA, true);
    expect(words[ROOT * 1024 + Math.floor(VA / 2 ** 39) * 2]).toBe((2 << 12) | RW | PTE_ACCESSED);
  });
});

describe("tableOf", () => {
  it("should bind one table to a window for ever", () => {
    const entry = t.directoryEntry(VA, true);
    expect(t.tableOf(entry, false)).toBe(0);
    const table = t.tableOf(entry, true);
    expect(table).toBe(5);
    expect(words[entry + COMPANION_WORDS]).toBe(table);
    expect(t.tableOf(entry, false)).toBe(table);
    t.clear(entry);
    words.fill(0xffff_ffff, table * 1024, table * 1024 + 1024);
    expect(t.tableOf(entry, true)).toBe(table);
    expect(words.subarray(table * 1024, table * 1024 + 1024).every((w) => w === 0)).toBe(true);
    const other = t.directoryEntry(VA + WINDOW, true);
    expect(t.tableOf(other, true)).toBe(table + 1);
  });

  it("should split a 2M entry into 512 that mean the same", () => {
    const entry = t.directoryEntry(VA, true);
    const gpa = 0x12_3460_0000;
    t.setLeaf(entry, gpa, RW | PTE_HELD | PTE_LARGE, PTE_NX_HIGH);
    expect(t.tableOf(entry, false)).toBe(0);
    expect(t.tableOf(entry, true)).toBe(5);
    for (const page of [0, 1, 255, 511]) {
      expect(t.translate(VA + page * PAGE + 123)).toBe(true);
      expect(t.gpa).toBe(gpa + page * PAGE + 123);
      expect(t.flags & 0xfff).toBe(RW | PTE_HELD);
      expect(t.executable).toBe(false);
    }
  });

  it("should split a 2M entry without rights, which holds memory but is not present", () => {
    const entry = t.directoryEntry(VA, true);
    t.setLeaf(entry, 0x1_2000_0000, PTE_HELD | PTE_LARGE, PTE_NX_HIGH);
    expect(t.translate(VA)).toBe(false);
    const table = t.tableOf(entry, true);
    expect(words[table * 1024 + 7 * 2]).toBe(0x2000_7000 | PTE_HELD);
    expect(words[table * 1024 + 7 * 2 + 1]).toBe((PTE_NX_HIGH | 1) >>> 0);
    expect(t.translate(VA + 7 * PAGE)).toBe(false);
    expect(t.leaf(VA + 7 * PAGE)).toBe(table * 1024 + 7 * 2);
    expect(t.flags & PTE_HELD).toBe(PTE_HELD);
  });
});

describe("translate", () => {
  it("should walk to 2M entries, with addresses above 4 GiB and to the last byte", () => {
    const entry = t.directoryEntry(VA, true);
    const gpa = 2 ** 45 + 5 * WINDOW;
    t.setLeaf(entry, gpa, RW | PTE_LARGE, 0);
    expect(t.translate(VA + WINDOW - 1)).toBe(true);
    expect(t.gpa).toBe(gpa + WINDOW - 1);
    expect(t.executable).toBe(true);
    expect(t.translate(VA - 1)).toBe(false);
    expect(t.translate(VA + WINDOW)).toBe(false);
  });

  it("should walk to 4K entries and see their own rights", () => {
    const table = t.tableOf(t.directoryEntry(VA, true), true);
    t.setLeaf(table * 1024 + 6, 2 ** 33 + 0xffff_f000, PTE_PRESENT | PTE_USER, PTE_NX_HIGH);
    expect(t.translate(VA + 3 * PAGE + 0xfff)).toBe(true);
    expect(t.gpa).toBe(2 ** 33 + 0xffff_ffff);
    expect(t.flags & PTE_WRITE).toBe(0);
    expect(t.executable).toBe(false);
    expect(t.translate(VA + 4 * PAGE)).toBe(false);
    t.clear(table * 1024 + 6);
    expect(t.translate(VA + 3 * PAGE)).toBe(false);
  });

  it("should find nothing where no table is, and make none", () => {
    expect(t.translate(0)).toBe(false);
    expect(t.leaf(VA)).toBe(-1);
    expect(next).toBe(2);
  });
});
