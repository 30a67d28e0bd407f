/** The memory calls against a model that knows pages only: what is mapped with which rights, and what is written there. */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { EFAULT, EINVAL, ENOMEM } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import { H } from "../state.ts";
import { madvise } from "./advise.ts";
import { remapErrors } from "./model.testing.ts";
import { mremap } from "./remap.ts";
import { type SpaceOptions, TestSpace } from "./space.testing.ts";

const PAGE = 4096;
/** Page number of the first page, on a window's border; three windows to work in, three more that moves may reach, and a heap behind them. */
const BASE = 0x4000_0000 / PAGE;
const PAGES = 3 * 512;
const HEAP = BASE + 7 * 512 + 100;
const HEAP_PAGES = 700;
const PRIVATE = M.MAP_PRIVATE | M.MAP_ANONYMOUS | M.MAP_FIXED;

interface ModelPage {
  prot: number;
  reserved: boolean;
  tag: number;
}

type Step =
  | { op: "mmap"; at: number; count: number; prot: number; flags: number }
  | { op: "munmap"; at: number; count: number }
  | { op: "mprotect"; at: number; count: number; prot: number }
  | { op: "move"; at: number; count: number; grown: number; to: number }
  | { op: "resize"; at: number; count: number; grown: number }
  | { op: "discard" | "populate"; at: number; count: number }
  | { op: "brk"; at: number }
  | { op: "write"; at: number; count: number }
  | { op: "read" };

const at = fc.oneof(fc.constantFrom(0, 512, 1024), fc.nat(PAGES - 1));
const count = fc.oneof(fc.constantFrom(1, 512, 1024, PAGES), fc.integer({ min: 1, max: 700 }));
const prot = fc.constantFrom(0, 1, 3, 3, 5, 7);
const flags = fc.constantFrom(0, 0, M.MAP_NORESERVE, M.MAP_POPULATE);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("mmap" as const), at, count, prot, flags }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("munmap" as const), at, count }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("mprotect" as const), at, count, prot }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("move" as const), at, count, grown: fc.constantFrom(0, 0, 1, 512, -1), to: at }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("resize" as const), at, count, grown: fc.integer({ min: -300, max: 300 }) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("discard" as const, "populate" as const), at, count }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("brk" as const), at: fc.nat(HEAP_PAGES) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("write" as const), at, count: fc.integer({ min: 1, max: 600 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("read" as const) }) },
);

class Model {
  readonly pages = new Map<number, ModelPage>();
  private readonly t: TestSpace;
  private tag = 1;
  private heapEnd = HEAP;

  constructor(t: TestSpace) {
    this.t = t;
    t.state.setU64(H.brkStart, HEAP * PAGE);
    t.state.setU64(H.brkEnd, HEAP * PAGE);
  }

  private range(from: number, length: number): (ModelPage | undefined)[] {
    return Array.from({ length: Math.max(0, length) }, (_, i) => this.pages.get(from + i));
  }

  run(s: Step): void {
    const { t, pages } = this;
    const from = "at" in s ? BASE + s.at : BASE;
    const length = "count" in s ? Math.min(s.count, BASE + PAGES - from) : 0;
    switch (s.op) {
      case "mmap":
        expect(t.space.mmap(from * PAGE, length * PAGE, s.prot, PRIVATE | s.flags, -1, 0, null)).toBe(from * PAGE);
        for (let i = 0; i < length; i++) pages.set(from + i, { prot: s.prot, reserved: (s.flags & M.MAP_NORESERVE) === 0, tag: 0 });
        break;
      case "munmap":
        expect(t.space.munmap(from * PAGE, length * PAGE)).toBe(0);
        for (let i = 0; i < length; i++) pages.delete(from + i);
        break;
      case "mprotect": {
        const hole = this.range(from, length).indexOf(undefined);
        expect(t.space.mprotect(from * PAGE, length * PAGE, s.prot)).toBe(hole < 0 ? 0 : -ENOMEM);
        for (let i = 0; i < (hole < 0 ? length : hole); i++) pages.get(from + i)!.prot = s.prot;
        break;
      }
      case "move":
        this.move(from, length, Math.max(1, length + s.grown), BASE + s.to);
        break;
      case "resize":
        this.resize(from, length, Math.max(1, length + s.grown));
        break;
      case "discard": {
        const whole = this.range(from, length).every((p) => p);
        expect(madvise(t.space, from * PAGE, length * PAGE, M.MADV_DONTNEED)).toBe(whole ? 0 : -ENOMEM);
        for (const p of this.range(from, length)) if (p) p.tag = 0;
        break;
      }
      case "populate": {
        const range = this.range(from, length);
        const result = madvise(t.space, from * PAGE, length * PAGE, M.MADV_POPULATE_WRITE);
        expect(result).toBe(this.populated(range));
        break;
      }
      case "brk": {
        const end = HEAP + s.at;
        expect(t.space.brk(end * PAGE)).toBe(end * PAGE);
        for (let p = end; p < this.heapEnd; p++) pages.delete(p);
        for (let p = this.heapEnd; p < end; p++) pages.set(p, { prot: 3, reserved: true, tag: 0 });
        this.heapEnd = end;
        if (end > HEAP) this.write(HEAP, end - HEAP);
        break;
      }
      case "write":
        this.write(from, length);
        break;
      case "read":
        this.compare();
        break;
    }
  }

  /** Linux stops at the first part that may not be written (EINVAL) and goes over holes (ENOMEM). */
  private populated(range: readonly (ModelPage | undefined)[]): number {
    let result = 0;
    for (const p of range) {
      if (!p) result = -ENOMEM;
      else if (!(p.prot & M.PROT_WRITE)) return -EINVAL;
    }
    return result;
  }

  private move(from: number, length: number, grown: number, to: number): void {
    const { t, pages } = this;
    const result = mremap(t.space, from * PAGE, length * PAGE, grown * PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, to * PAGE);
    if (to < from + length && from < to + grown) {
      expect(result).toBe(-EINVAL);
      return;
    }
    const source = this.range(from, length);
    const expected = remapErrors(source);
    if (expected === "error" || (expected === "either" && result < 0)) {
      expect(result).toBe(-EFAULT);
      return;
    }
    expect(result).toBe(to * PAGE);
    for (let i = 0; i < grown; i++) pages.delete(to + i);
    for (let i = 0; i < length; i++) pages.delete(from + i);
    for (let i = 0; i < grown; i++) pages.set(to + i, i < length ? source[i]! : { ...source[0]!, tag: 0 });
  }

  private resize(from: number, length: number, grown: number): void {
    const { t, pages } = this;
    const result = mremap(t.space, from * PAGE, length * PAGE, grown * PAGE, 0, 0);
    const source = this.range(from, length);
    const expected = remapErrors(source);
    if (expected === "error" || (expected === "either" && result === -EFAULT)) {
      expect(result).toBe(-EFAULT);
      return;
    }
    if (this.range(from + length, grown - length).some((p) => p)) {
      expect(result).toBe(-ENOMEM);
      return;
    }
    expect(result).toBe(from * PAGE);
    for (let i = grown; i < length; i++) pages.delete(from + i);
    for (let i = length; i < grown; i++) pages.set(from + i, { ...source[0]!, tag: 0 });
  }

  /** Marks pages at both ends, as ring 3 would: only where it may write. */
  private write(from: number, length: number): void {
    for (let i = 0; i < length; i++) {
      const p = this.pages.get(from + i);
      const va = (from + i) * PAGE;
      if (p && p.prot & M.PROT_WRITE) {
        const tag = this.tag++;
        this.t.window.setU32(va, tag);
        this.t.window.setU32(va + PAGE - 4, tag);
        p.tag = tag;
      } else if (this.t.window.locate(va, true) >= 0) expect.fail(`page ${from + i - BASE} may be written`);
    }
  }

  /** What the LWK reads for ring 3, page by page; PROT_NONE pages keep what is in them. */
  compare(): void {
    const { window, space, memory } = this.t;
    for (let page = BASE; page < HEAP + HEAP_PAGES; page++) {
      const p = this.pages.get(page);
      const va = page * PAGE;
      if (p?.prot) {
        const seen = [window.u32(va), window.u32(va + PAGE - 4)];
        if (seen[0] !== p.tag || seen[1] !== p.tag) expect(seen, `page ${page - BASE}`).toEqual([p.tag, p.tag]);
        continue;
      }
      if (window.locate(va, false) >= 0) expect.fail(`page ${page - BASE} may be read`);
      const gpa = space.heldPage(va);
      const seen =
        gpa < 0 ? 0 : new DataView(memory.chunk(gpa).buffer, memory.chunk(gpa).byteOffset + memory.chunkOffset(gpa)).getUint32(0, true);
      if (seen !== (p?.tag ?? 0)) expect(seen, `hidden page ${page - BASE}`).toBe(p?.tag ?? 0);
    }
  }
}

const kinds: [string, SpaceOptions][] = [
  ["2M/2M", { hostHuge: true, guestHuge: true }],
  ["2M/4K", { hostHuge: true, guestHuge: false }],
  ["4K/2M", { hostHuge: false, guestHuge: true }],
  ["4K/4K", { hostHuge: false, guestHuge: false }],
];

describe.each(kinds)("the memory calls with pages %s", (_name, options) => {
  let t: TestSpace | null = null;
  afterAll(() => t?.close());

  it("should do what Linux does, keep what is written, and give every block back", () => {
    fc.assert(
      fc.property(fc.boolean(), fc.array(step, { minLength: 3, maxLength: 20 }), (full, steps) => {
        t ??= new TestSpace(options);
        const used = t;
        t = null; // not used again when the property fails
        const model = new Model(used);
        if (full) {
          model.run({ op: "mmap", at: 0, count: PAGES, prot: 3, flags: 0 });
          model.run({ op: "write", at: 0, count: PAGES });
        }
        for (const s of steps) model.run(s);
        used.checkBlocks();
        model.compare();
        expect(used.space.munmap(BASE * PAGE, (HEAP + HEAP_PAGES - BASE) * PAGE)).toBe(0);
        expect(used.blocksUsed).toBe(0);
        expect(used.space.mappings.count).toBe(0);
        used.checkBlocks();
        t = used;
      }),
      { numRuns: 25 },
    );
  });
});
