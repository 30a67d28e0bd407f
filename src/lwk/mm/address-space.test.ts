import { readSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM, EOVERFLOW, EPERM } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import { NR } from "../../abi/nr.ts";
import { PTE_LARGE } from "../../vmm/page-table.ts";
import { H, OFFSET, S, SLOT } from "../state.ts";
import { FAULT, USER_END } from "./address-space.ts";
import { madvise, mincore, msync } from "./advise.ts";
import { KIND, NAME, VF } from "./mappings.ts";
import { mremap } from "./remap.ts";
import { TestSpace, temporaryFile } from "./space.testing.ts";

const PAGE = 4096;
const MIB = 2 ** 20;
const WINDOW = 2 * MIB;
const RW = 3;
const ANON = M.MAP_PRIVATE | M.MAP_ANONYMOUS;
const FIXED = ANON | M.MAP_FIXED;
const AT = 0x4000_0000;

let t: TestSpace;
const closers: { close(): void }[] = [];
const map = (address: number, length: number, prot = RW, flags = ANON): number => t.space.mmap(address, length, prot, flags, -1, 0, null);
const isLarge = (va: number): boolean => t.tables.translate(va) && (t.tables.flags & PTE_LARGE) !== 0;
const failure = (call: () => unknown): unknown => {
  try {
    return call();
  } catch (error) {
    return error;
  }
};

function file(bytes: Uint8Array): number {
  const made = temporaryFile(bytes);
  closers.push(made);
  return made.fd;
}

/** Bytes that tell their page: page number + 1. */
function pages(count: number): Uint8Array {
  const bytes = new Uint8Array(count * PAGE);
  for (let i = 0; i < count; i++) bytes.fill(i + 1, i * PAGE, (i + 1) * PAGE);
  return bytes;
}

beforeEach(() => {
  t = new TestSpace();
});
afterEach(() => {
  expect(t.space.munmap(0, USER_END)).toBe(0);
  expect(t.blocksUsed).toBe(0);
  t.checkBlocks();
  t.close();
  for (const closer of closers.splice(0)) closer.close();
});

describe("mmap", () => {
  it.each<[string, number, number, number, number, number, number]>([
    ["no length", AT, 0, RW, ANON, 0, -EINVAL],
    ["neither private nor shared", AT, PAGE, RW, M.MAP_ANONYMOUS, 0, -EINVAL],
    ["an offset inside a page", AT, PAGE, RW, ANON, 5, -EINVAL],
    ["more than there are addresses", 0, USER_END + PAGE, RW, ANON, 0, -ENOMEM],
    ["a length of 2^63", 0, 2 ** 63, RW, ANON, 0, -ENOMEM],
    ["a length of 2^64 - 1", 0, Number(2n ** 64n - 1n), RW, ANON, 0, -ENOMEM],
    ["a file offset of 2^63", 0, PAGE, RW, ANON, 2 ** 63, -EOVERFLOW],
    ["a fixed address inside a page", AT + 1, PAGE, RW, FIXED, 0, -EINVAL],
    ["a fixed address at the LWK's own pages", USER_END, PAGE, RW, FIXED, 0, -ENOMEM],
    ["a fixed range that ends there", USER_END - PAGE, 2 * PAGE, RW, FIXED, 0, -ENOMEM],
    ["a fixed address of 2^63", 2 ** 63, PAGE, RW, FIXED, 0, -ENOMEM],
  ])("should refuse %s", (_what, address, length, prot, flags, offset, error) => {
    expect(t.space.mmap(address, length, prot, flags, -1, offset, null)).toBe(error);
    expect(t.space.mappings.count).toBe(0);
  });

  it("should take a free hint, and go elsewhere when it is taken or cannot be", () => {
    expect(map(AT + 123, PAGE)).toBe(AT);
    const other = map(AT, PAGE);
    expect(other).not.toBe(AT);
    expect(map(USER_END - PAGE, 2 * PAGE)).toBeLessThan(USER_END - PAGE);
    expect(map(0x1000, PAGE)).toBeGreaterThan(0x1_0000);
    expect(map(2 ** 63, PAGE)).toBeGreaterThan(0x1_0000);
  });

  it("should leave the lowest addresses to root", () => {
    t.state.i32[H.euid] = 1000;
    expect(map(0, PAGE, RW, FIXED)).toBe(-EPERM);
    expect(map(0x1_0000, PAGE, RW, FIXED)).toBe(0x1_0000);
    t.state.i32[H.euid] = 0;
    expect(map(0, PAGE, RW, FIXED)).toBe(0);
    t.window.setU32(0, 5);
    expect(t.window.u32(0)).toBe(5);
  });

  it("should put large mappings on window borders, top down, and MAP_32BIT ones below 2 GiB", () => {
    const first = map(0, WINDOW + PAGE);
    expect(first % WINDOW).toBe(0);
    expect(map(0, PAGE)).toBeGreaterThan(first);
    expect(map(0, WINDOW)).toBeLessThan(first);
    expect(map(0, PAGE, RW, ANON | M.MAP_32BIT)).toBeLessThan(2 ** 31);
  });

  it("should not replace what is there with MAP_FIXED_NOREPLACE", () => {
    map(AT, 2 * PAGE);
    expect(map(AT + PAGE, 2 * PAGE, RW, ANON | M.MAP_FIXED_NOREPLACE)).toBe(-EEXIST);
    expect(map(AT + 2 * PAGE, PAGE, RW, ANON | M.MAP_FIXED_NOREPLACE)).toBe(AT + 2 * PAGE);
  });

  it("should back a terabyte of PROT_NONE or MAP_NORESERVE by nothing, page by page when touched", () => {
    map(AT, 2 ** 40, 0, FIXED | M.MAP_NORESERVE);
    map(2 ** 42, 2 ** 40, RW, FIXED | M.MAP_NORESERVE);
    expect(t.blocksUsed).toBe(0);
    t.window.setU32(2 ** 42 + 2 ** 39 + 5 * PAGE, 9);
    expect(t.blocksUsed).toBe(1);
    expect(t.space.mprotect(AT + 2 ** 30, 64 * 1024, RW)).toBe(0);
    t.window.setU32(AT + 2 ** 30, 9);
    expect(t.blocksUsed).toBe(2);
    expect(t.space.munmap(AT, 2 ** 40)).toBe(0);
    expect(t.space.munmap(2 ** 42, 2 ** 40)).toBe(0);
    expect(t.blocksUsed).toBe(0);
  });

  it("should fail with ENOMEM when memory is used up, and lose nothing by it", () => {
    const whole = map(AT, 40 * WINDOW, RW, FIXED | M.MAP_POPULATE);
    t.window.setU32(whole, 1234);
    expect(map(0, 30 * WINDOW, RW, ANON | M.MAP_POPULATE)).toBe(-ENOMEM);
    expect(t.blocksUsed).toBe(40);
    expect(map(0, 24 * WINDOW, RW, ANON | M.MAP_POPULATE)).toBeGreaterThan(0);
    expect(t.blocksUsed).toBe(64);
    expect(map(0, PAGE, RW, ANON | M.MAP_POPULATE)).toBe(-ENOMEM);
    expect(t.window.u32(whole)).toBe(1234);
    expect(t.space.munmap(whole, WINDOW)).toBe(0);
    const again = map(0, PAGE);
    expect(t.window.u32(again)).toBe(0);
  });

  it("should say that a page cannot be had when a lazy mapping finds no memory", () => {
    map(AT, 100 * WINDOW);
    for (let i = 0; i < 64; i++) t.window.setU32(AT + i * WINDOW, 1);
    expect(t.space.fault(AT + 64 * WINDOW, true, false)).toBe(FAULT.NOMEM);
    expect(t.window.locate(AT + 64 * WINDOW, true)).toBe(-1);
  });

  it("should tell KVM of every block that it hands out, once, and in the state's table", () => {
    map(AT, 40 * WINDOW, RW, FIXED | M.MAP_POPULATE);
    expect(t.slots.reduce((sum, slot) => sum + slot.bytes, 0)).toBe(t.state.i32[H.blocksMapped]! * WINDOW);
    expect(t.state.i32[H.slotCount]).toBe(t.slots.length + 1);
    for (const [i, slot] of t.slots.entries()) {
      const row = (OFFSET.slots >> 2) + (i + 1) * S.size;
      expect(slot.gpa).toBe(t.state.getU64(row + S.gpa));
      expect(slot.host).toBe(t.memory.hostAddress(slot.gpa));
      expect(slot.bytes).toBe(t.state.getU64(row + S.bytes));
      expect([SLOT.THP, SLOT.HUGETLB]).toContain(t.state.i32[row + S.kind]);
    }
  });
});

describe("large pages", () => {
  it("should map whole windows by one entry, and edges by 4K entries", () => {
    map(AT + PAGE, 2 * WINDOW, RW, FIXED);
    expect([isLarge(AT + PAGE), isLarge(AT + WINDOW), isLarge(AT + 2 * WINDOW)]).toEqual([false, true, false]);
    expect(t.blocksUsed).toBe(3);
  });

  it("should make one entry of a window once its last hole is filled with the same rights", () => {
    map(AT, WINDOW - PAGE, RW, FIXED);
    t.window.setU32(AT + 7 * PAGE, 77);
    expect(isLarge(AT)).toBe(false);
    map(AT + WINDOW - PAGE, PAGE, 1, FIXED);
    expect(isLarge(AT)).toBe(false);
    t.space.mprotect(AT + WINDOW - PAGE, PAGE, RW);
    expect(isLarge(AT)).toBe(true);
    expect(t.window.u32(AT + 7 * PAGE)).toBe(77);
    expect(t.blocksUsed).toBe(1);
  });

  it("should split an entry for mprotect of one page, and make it again when the rights are equal again", () => {
    map(AT, WINDOW, RW, FIXED);
    t.window.setU32(AT, 1);
    t.space.mprotect(AT + PAGE, PAGE, 1);
    expect(isLarge(AT)).toBe(false);
    expect(t.window.locate(AT + PAGE, true)).toBe(-1);
    expect(t.window.locate(AT + 2 * PAGE, true)).toBeGreaterThan(0);
    t.space.mprotect(AT + PAGE, PAGE, RW);
    expect(isLarge(AT)).toBe(true);
    expect(t.window.u32(AT)).toBe(1);
  });

  it("should use 4K entries only when told so", () => {
    const small = new TestSpace({ guestHuge: false });
    small.space.mmap(AT, WINDOW, RW, FIXED, -1, 0, null);
    expect(small.tables.translate(AT)).toBe(true);
    expect(small.tables.flags & PTE_LARGE).toBe(0);
    expect(small.state.i32[(OFFSET.slots >> 2) + S.size + S.kind]).not.toBe(SLOT.SMALL);
    small.close();
  });
});

describe("munmap, mprotect, brk", () => {
  it("should refuse what Linux refuses", () => {
    expect(t.space.munmap(AT + 1, PAGE)).toBe(-EINVAL);
    expect(t.space.munmap(AT, 0)).toBe(-EINVAL);
    expect(t.space.munmap(AT, 2 ** 63)).toBe(-EINVAL);
    expect(t.space.munmap(USER_END, PAGE)).toBe(-EINVAL);
    expect(t.space.mprotect(AT + 1, PAGE, 1)).toBe(-EINVAL);
    expect(t.space.mprotect(AT, PAGE, 8)).toBe(-EINVAL);
    expect(t.space.mprotect(AT, 0, 1)).toBe(0);
    expect(t.space.mprotect(AT, PAGE, 1)).toBe(-ENOMEM);
    expect(t.space.mprotect(AT, 2 ** 63, 1)).toBe(-ENOMEM);
    expect(t.space.munmap(AT, PAGE)).toBe(0);
  });

  it("should leave the LWK's own pages where they are", () => {
    t.space.addBootMapping(USER_END, USER_END + PAGE, 5, NAME.VDSO);
    expect(t.space.munmap(USER_END, PAGE)).toBe(-EINVAL);
    expect(t.space.mprotect(USER_END, PAGE, 7)).toBe(-ENOMEM);
    expect(map(USER_END, PAGE, RW, FIXED)).toBe(-ENOMEM);
    expect(mremap(t.space, USER_END, PAGE, 2 * PAGE, M.MREMAP_MAYMOVE, 0)).toBe(-EFAULT);
    expect(t.space.mappings.at(USER_END)?.kind).toBe(KIND.BOOT);
    expect(t.space.fault(USER_END, true, false)).not.toBe(FAULT.NONE);
    t.space.mappings.remove(0, t.space.mappings.count);
  });

  it("should keep what a page holds while nobody may touch it", () => {
    map(AT, 4 * PAGE, RW, FIXED);
    t.window.setU32(AT + PAGE, 5);
    t.space.mprotect(AT, 4 * PAGE, 0);
    expect(t.window.locate(AT + PAGE, false)).toBe(-1);
    expect(t.space.fault(AT + PAGE, false, false)).toBe(FAULT.ACCERR);
    t.space.mprotect(AT, 4 * PAGE, 1);
    expect(t.window.u32(AT + PAGE)).toBe(5);
    expect(t.space.fault(AT + PAGE, true, false)).toBe(FAULT.ACCERR);
    expect(t.space.fault(AT + PAGE, false, true)).toBe(FAULT.ACCERR);
    expect(t.space.fault(AT + 4 * PAGE, false, false)).toBe(FAULT.MAPERR);
  });

  it("should move the end of the heap, give zeros again, and stay when something is in the way", () => {
    t.state.setU64(H.brkStart, AT + 100);
    t.state.setU64(H.brkEnd, AT + 100);
    expect(t.space.brk(0)).toBe(AT + 100);
    expect(t.space.brk(AT + 5 * PAGE + 1)).toBe(AT + 5 * PAGE + 1);
    expect(t.space.mappings.at(AT + 5 * PAGE)?.name).toBe(NAME.HEAP);
    t.window.setU32(AT + 5 * PAGE, 1);
    expect(t.space.brk(AT + 5 * PAGE)).toBe(AT + 5 * PAGE);
    expect(t.window.locate(AT + 5 * PAGE, false)).toBe(-1);
    expect(t.space.brk(AT + 6 * PAGE)).toBe(AT + 6 * PAGE);
    expect(t.window.u32(AT + 5 * PAGE)).toBe(0);
    map(AT + 8 * PAGE, PAGE, RW, FIXED);
    expect(t.space.brk(AT + 9 * PAGE)).toBe(AT + 6 * PAGE);
    expect(t.space.brk(2 ** 63)).toBe(AT + 6 * PAGE);
    expect(t.space.brk(AT + 6 * PAGE + 1)).toBe(AT + 6 * PAGE + 1);
  });

  it("should tell all threads that remembered translations are void whenever a right goes", () => {
    map(AT, 4 * PAGE, RW, FIXED);
    const generation = (): number => t.state.i32[H.mappingGeneration]!;
    let last = generation();
    const changed = (action: () => unknown): boolean => {
      action();
      const before = last;
      last = generation();
      return last !== before;
    };
    expect(changed(() => t.space.mprotect(AT, PAGE, 1))).toBe(true);
    expect(changed(() => mremap(t.space, AT + PAGE, PAGE, PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, AT + 100 * PAGE))).toBe(true);
    expect(changed(() => t.space.munmap(AT, PAGE))).toBe(true);
    expect(changed(() => map(AT + 2 * PAGE, PAGE, RW, FIXED))).toBe(true);
  });
});

describe("mremap", () => {
  it("should refuse what Linux refuses", () => {
    map(AT, 4 * PAGE, RW, FIXED);
    const both = M.MREMAP_MAYMOVE | M.MREMAP_FIXED;
    expect(mremap(t.space, AT + 1, PAGE, PAGE, 0, 0)).toBe(-EINVAL);
    expect(mremap(t.space, AT, PAGE, 0, 0, 0)).toBe(-EINVAL);
    expect(mremap(t.space, AT, PAGE, 2 ** 63, M.MREMAP_MAYMOVE, 0)).toBe(-EINVAL);
    expect(mremap(t.space, AT, PAGE, PAGE, 8, 0)).toBe(-EINVAL);
    expect(mremap(t.space, AT, PAGE, PAGE, M.MREMAP_FIXED, AT + 8 * PAGE)).toBe(-EINVAL);
    expect(mremap(t.space, AT, 2 * PAGE, 2 * PAGE, both, AT + PAGE)).toBe(-EINVAL);
    expect(mremap(t.space, AT, PAGE, PAGE, both, USER_END)).toBe(-EINVAL);
    expect(mremap(t.space, AT, PAGE, 2 * PAGE, M.MREMAP_MAYMOVE | M.MREMAP_DONTUNMAP, 0)).toBe(-EINVAL);
    expect(mremap(t.space, AT, 5 * PAGE, 6 * PAGE, M.MREMAP_MAYMOVE, 0)).toBe(-EFAULT);
    expect(mremap(t.space, AT + 8 * PAGE, PAGE, PAGE, 0, 0)).toBe(-EFAULT);
    expect(mremap(t.space, AT, 0, PAGE, M.MREMAP_MAYMOVE, 0)).toBe(-EINVAL);
  });

  it("should keep both when a mapping moves beside itself", () => {
    map(AT + PAGE, PAGE, RW, FIXED);
    t.window.setU32(AT + PAGE, 7);
    expect(mremap(t.space, AT + PAGE, PAGE, PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, AT)).toBe(AT);
    expect(t.space.mappings.count).toBe(1);
    expect(t.window.u32(AT)).toBe(7);
    expect(mremap(t.space, AT, PAGE, PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, AT + PAGE)).toBe(AT + PAGE);
    expect(t.window.u32(AT + PAGE)).toBe(7);
    expect(t.space.mappings.count).toBe(1);
  });

  it.each([
    ["copy small moves of whole windows", 4, false],
    ["hand the blocks over in moves of 64 MiB and more", 33, true],
  ])("should %s, congruent modulo 2 MiB", (_what, windows, handed) => {
    map(AT, windows * WINDOW, RW, FIXED);
    map(AT + windows * WINDOW, PAGE, 1, FIXED);
    for (let i = 0; i < windows; i++) t.window.setU32(AT + i * WINDOW + 4, i + 1);
    const gpa = t.window.locate(AT + WINDOW, false);
    const moved = mremap(t.space, AT, windows * WINDOW, (windows + 2) * WINDOW, M.MREMAP_MAYMOVE, 0);
    expect(moved % WINDOW).toBe(0);
    expect(isLarge(moved)).toBe(true);
    expect(t.window.locate(moved + WINDOW, false) === gpa).toBe(handed);
    expect([0, 1, 2, windows - 1, windows].map((i) => t.window.u32(moved + i * WINDOW + 4))).toEqual([1, 2, 3, windows, 0]);
    // More than half of what is left comes at the first touch: one of the two new windows.
    expect(t.blocksUsed).toBe(windows + (handed ? 2 : 3));
    expect(t.space.mappings.at(AT)).toBeNull();
  });

  it("should give a window its own block again, and blocks of empty windows to others only when there are no more", () => {
    map(AT, WINDOW, RW, FIXED);
    const first = t.window.locate(AT, false);
    t.space.munmap(AT, WINDOW);
    map(AT + 8 * WINDOW, WINDOW, RW, FIXED);
    expect(t.window.locate(AT + 8 * WINDOW, false)).not.toBe(first);
    map(AT, WINDOW, RW, FIXED);
    expect(t.window.locate(AT, false)).toBe(first);
    t.space.munmap(AT, WINDOW);
    map(AT + 16 * WINDOW, 63 * WINDOW, RW, FIXED | M.MAP_POPULATE);
    expect(t.blocksUsed).toBe(64);
    expect(t.window.u32(AT + 78 * WINDOW)).toBe(0);
  });

  it("should leave the source mapped and empty with MREMAP_DONTUNMAP", () => {
    map(AT, WINDOW + PAGE, RW, FIXED);
    t.window.setU32(AT, 1);
    t.window.setU32(AT + WINDOW, 2);
    const moved = mremap(t.space, AT, WINDOW + PAGE, WINDOW + PAGE, M.MREMAP_MAYMOVE | M.MREMAP_DONTUNMAP, 0);
    expect([t.window.u32(moved), t.window.u32(moved + WINDOW)]).toEqual([1, 2]);
    expect([t.window.u32(AT), t.window.u32(AT + WINDOW)]).toEqual([0, 0]);
  });

  it("should lose nothing when memory runs out half-way", () => {
    map(AT, WINDOW + 5 * PAGE, RW, FIXED);
    t.window.setU32(AT + 8, 11);
    t.window.setU32(AT + WINDOW, 12);
    map(0, 62 * WINDOW, RW, ANON | M.MAP_POPULATE);
    expect(t.blocksUsed).toBe(64);
    expect(mremap(t.space, AT, WINDOW + 5 * PAGE, WINDOW + 5 * PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, AT + 16 * WINDOW)).toBe(-ENOMEM);
    expect(t.window.u32(AT + 8)).toBe(11);
    expect(t.window.u32(AT + WINDOW)).toBe(12);
    expect(t.space.mappings.at(AT + 16 * WINDOW)).toBeNull();
  });
});

describe("private file mappings", () => {
  it("should hold the file's bytes, zeros to the end of its last page, and SIGBUS behind it", () => {
    const fd = file(pages(3).subarray(0, 2 * PAGE + 100));
    expect(t.space.mmap(AT, 5 * PAGE, 1, M.MAP_PRIVATE | M.MAP_FIXED, fd, PAGE, "/some/file")).toBe(AT);
    expect(t.window.bytes(AT, 2 * PAGE)).toEqual(
      new Uint8Array([...new Uint8Array(PAGE).fill(2), ...new Uint8Array(100).fill(3), ...new Uint8Array(PAGE - 100)]),
    );
    expect(t.space.fault(AT + 2 * PAGE, false, false)).toBe(FAULT.BUS);
    expect(t.window.locate(AT + 2 * PAGE, false)).toBe(-1);
    expect(t.space.files.describe(t.space.mappings.at(AT)!.file - 1).path).toBe("/some/file");
  });

  it("should keep what the program writes from the file, and read the file again after MADV_DONTNEED", () => {
    const fd = file(pages(2));
    t.space.mmap(AT, 2 * PAGE, RW, M.MAP_PRIVATE | M.MAP_FIXED, fd, 0, null);
    t.window.setU8(AT, 99);
    const back = Buffer.alloc(1);
    readSync(fd, back, 0, 1, 0);
    expect(back[0]).toBe(1);
    expect(madvise(t.space, AT, 2 * PAGE, M.MADV_DONTNEED)).toBe(0);
    expect(t.window.u8(AT)).toBe(1);
  });

  it("should put segments over a library's whole extent without mixing in what was written", () => {
    const fd = file(pages(4));
    const file1 = M.MAP_PRIVATE | M.MAP_FIXED;
    t.space.mmap(AT, 4 * PAGE, 1, file1, fd, 0, null);
    expect(t.space.mmap(AT + PAGE, PAGE, 5, file1, fd, PAGE, null)).toBe(AT + PAGE);
    expect(t.tables.translate(AT + PAGE) && t.tables.executable).toBe(true);
    t.space.mmap(AT + 2 * PAGE, PAGE, RW, file1, fd, 2 * PAGE, null);
    t.window.setU8(AT + 2 * PAGE, 50);
    expect(t.space.mappings.at(AT + 2 * PAGE)!.flags & VF.DIRTIED).not.toBe(0);
    t.space.mmap(AT + 2 * PAGE, PAGE, RW, file1, fd, 2 * PAGE, null);
    expect(t.window.u8(AT + 2 * PAGE)).toBe(3);
    t.space.mmap(AT + 3 * PAGE, PAGE, 1, file1, fd, 0, null);
    expect(t.window.u8(AT + 3 * PAGE)).toBe(1);
  });

  it("should move with the bytes and their end", () => {
    const fd = file(pages(3));
    t.space.mmap(AT, 4 * PAGE, RW, M.MAP_PRIVATE | M.MAP_FIXED, fd, 0, null);
    t.window.setU8(AT + 1, 88);
    const moved = mremap(t.space, AT, 4 * PAGE, 4 * PAGE, M.MREMAP_MAYMOVE | M.MREMAP_FIXED, AT + 3 * WINDOW + PAGE);
    expect(moved).toBe(AT + 3 * WINDOW + PAGE);
    expect([t.window.u8(moved), t.window.u8(moved + 1), t.window.u8(moved + 2 * PAGE)]).toEqual([1, 88, 3]);
    expect(t.space.fault(moved + 3 * PAGE, false, false)).toBe(FAULT.BUS);
  });

  it("should refuse bad descriptors and rights that the descriptor does not give", () => {
    const closed = file(pages(1));
    closers.pop()!.close();
    expect(t.space.mmap(AT, PAGE, 1, M.MAP_PRIVATE, closed, 0, null)).toBe(-EBADF);
    expect(t.space.mmap(AT, PAGE, 1, M.MAP_PRIVATE, -1, 0, null)).toBe(-EBADF);
    const sys = t.gate.sys;
    const open = (path: string, flags: number): number => {
      t.memory.tableBytes.set(Buffer.from(`${path}\0`), 8 * PAGE);
      const fd = sys(NR.openat, -100, t.memory.layout.tableHost + 8 * PAGE, flags, 0);
      expect(fd).toBeGreaterThan(0);
      closers.push({ close: () => void sys(NR.close, fd) });
      return fd;
    };
    t.state.i32[H.nextTablePage] = 16;
    expect(t.space.mmap(AT, PAGE, 1, M.MAP_PRIVATE, open("/", 0), 0, null)).toBe(-ENODEV);
    expect(t.space.mmap(AT, PAGE, RW, M.MAP_SHARED, open("/etc/passwd", 0), 0, null)).toBe(-EACCES);
    expect(t.space.mmap(AT, PAGE, 1, M.MAP_PRIVATE, open("/dev/null", 1), 0, null)).toBe(-EACCES);
    const zero = t.space.mmap(AT, PAGE, RW, M.MAP_PRIVATE | M.MAP_FIXED, open("/dev/zero", 2), 0, null);
    expect(t.window.u32(zero)).toBe(0);
    t.memory.tableBytes.fill(0, 8 * PAGE, 9 * PAGE);
  });
});

describe("shared file mappings", () => {
  it("should be the file: both ways, also through the window", () => {
    const fd = file(pages(2));
    expect(t.space.mmap(AT, 2 * PAGE, RW, M.MAP_SHARED | M.MAP_FIXED, fd, 0, null)).toBe(AT);
    expect(t.blocksUsed).toBe(0);
    expect(t.window.u8(AT + PAGE)).toBe(2);
    t.window.write(AT + PAGE - 2, new Uint8Array([7, 8, 9, 10]));
    expect(t.window.bytes(AT + PAGE - 2, 4)).toEqual(new Uint8Array([7, 8, 9, 10]));
    const back = Buffer.alloc(4);
    readSync(fd, back, 0, 4, PAGE - 2);
    expect([...back]).toEqual([7, 8, 9, 10]);
    expect(msync(t.space, AT, 2 * PAGE, 4)).toBe(0);
    expect(t.space.mprotect(AT, PAGE, 0)).toBe(0);
    expect(t.window.locate(AT, false)).toBe(-1);
    expect(t.space.mprotect(AT, PAGE, 1)).toBe(0);
    expect(t.window.u8(AT + PAGE - 1)).toBe(8);
  });

  it("should answer EFAULT, not kill margay, when the file has become shorter", () => {
    const fd = file(pages(3));
    t.space.mmap(AT, 3 * PAGE, RW, M.MAP_SHARED | M.MAP_FIXED, fd, 0, null);
    expect(t.window.u8(AT + 2 * PAGE)).toBe(3);
    t.gate.sys(NR.ftruncate, fd, PAGE);
    expect(failure(() => t.window.u8(AT + 2 * PAGE))).toMatchObject({ errno: EFAULT });
    expect(failure(() => t.window.write(AT + PAGE, new Uint8Array(10)))).toMatchObject({ errno: EFAULT });
    expect(t.window.u8(AT)).toBe(1);
  });

  it("should give the arena's ranges to others after munmap, in parts too", () => {
    const fd = file(pages(4));
    const sharedFixed = M.MAP_SHARED | M.MAP_FIXED;
    t.space.mmap(AT, 4 * PAGE, RW, sharedFixed, fd, 0, null);
    const gpa = t.window.locate(AT, false);
    t.space.munmap(AT + PAGE, PAGE);
    expect(t.window.u8(AT + 2 * PAGE)).toBe(3);
    expect(t.state.i32[H.arenaCount]).toBe(2);
    t.space.munmap(AT, 4 * PAGE);
    expect(t.state.i32[H.arenaCount]).toBe(0);
    t.space.mmap(AT, PAGE, RW, sharedFixed, fd, 3 * PAGE, null);
    expect(t.window.locate(AT, false)).toBe(gpa);
    expect(t.window.u8(AT)).toBe(4);
  });

  it("should grow by moving, with what was written into a private one", () => {
    const fd = file(pages(2));
    t.gate.sys(NR.ftruncate, fd, 80 * MIB);
    const big = t.space.mmap(AT, 70 * MIB, RW, M.MAP_PRIVATE | M.MAP_FIXED, fd, 0, null);
    expect(t.space.mappings.at(big)!.kind).toBe(KIND.ARENA);
    t.window.setU8(big + 3, 44);
    const moved = mremap(t.space, big, 70 * MIB, 75 * MIB, M.MREMAP_MAYMOVE, 0);
    expect(moved).toBeGreaterThan(0);
    expect([t.window.u8(moved), t.window.u8(moved + 3), t.window.u8(moved + PAGE), t.window.u8(moved + 75 * MIB - 1)]).toEqual([
      1, 44, 2, 0,
    ]);
    const back = Buffer.alloc(1);
    readSync(fd, back, 0, 1, 3);
    expect(back[0]).toBe(1);
  });

  it("should populate a mapping of two gibibytes: more page tables than a thread sees at first", () => {
    const fd = file(pages(1));
    const size = 2200 * MIB;
    t.gate.sys(NR.ftruncate, fd, size);
    expect(t.space.mmap(AT, size, 1, M.MAP_SHARED | M.MAP_FIXED | M.MAP_POPULATE, fd, 0, null)).toBe(AT);
    for (const at of [0, size / 2, size - PAGE]) expect(t.tables.translate(AT + at), `at ${at}`).toBe(true);
    expect(t.window.u8(AT)).toBe(1);
    expect(t.state.i32[H.nextTablePage]).toBeLessThan(1200);
  });
});

describe("madvise and mincore", () => {
  it("should refuse what Linux refuses", () => {
    map(AT, PAGE, RW, FIXED);
    expect(madvise(t.space, AT + 1, PAGE, M.MADV_DONTNEED)).toBe(-EINVAL);
    expect(madvise(t.space, AT, 2 ** 63, M.MADV_DONTNEED)).toBe(-EINVAL);
    expect(madvise(t.space, AT, PAGE, 999)).toBe(-EINVAL);
    expect(madvise(t.space, AT, 0, M.MADV_DONTNEED)).toBe(0);
    expect(madvise(t.space, AT, 2 * PAGE, M.MADV_HUGEPAGE)).toBe(-ENOMEM);
    expect(madvise(t.space, AT, PAGE, M.MADV_HUGEPAGE)).toBe(0);
    expect(madvise(t.space, AT, PAGE, M.MADV_POPULATE_WRITE)).toBe(0);
  });

  it("should keep shared anonymous memory at MADV_DONTNEED and drop it at MADV_REMOVE", () => {
    map(AT, PAGE, RW, M.MAP_SHARED | M.MAP_ANONYMOUS | M.MAP_FIXED);
    t.window.setU32(AT, 3);
    expect(madvise(t.space, AT, PAGE, M.MADV_DONTNEED)).toBe(0);
    expect(t.window.u32(AT)).toBe(3);
    expect(madvise(t.space, AT, PAGE, M.MADV_FREE)).toBe(-EINVAL);
    expect(madvise(t.space, AT, PAGE, M.MADV_REMOVE)).toBe(0);
    expect(t.window.u32(AT)).toBe(0);
  });

  it("should say which pages are there", () => {
    map(AT, 100 * WINDOW, RW, FIXED | M.MAP_NORESERVE);
    t.window.setU32(AT + WINDOW, 1);
    expect([...mincore(t.space, AT + WINDOW - 2 * PAGE, 4)!]).toEqual([0, 0, 1, 1]);
    expect(mincore(t.space, AT - PAGE, 2)).toBeNull();
  });
});

describe("poke", () => {
  it("should write whatever the protection, across pages and windows", () => {
    map(AT, 2 * WINDOW, 5, FIXED);
    const bytes = pages(1).fill(6);
    t.space.poke(AT + WINDOW - 100, bytes);
    expect(t.window.bytes(AT + WINDOW - 100, PAGE)).toEqual(bytes);
    expect(() => t.space.poke(AT + 2 * WINDOW - 1, new Uint8Array(2))).toThrow(RangeError);
  });
});
