import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EFAULT, ENAMETOOLONG, ENOMEM } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import { GuestError } from "../guest-error.ts";
import { NAME } from "./mappings.ts";
import { USER_END } from "./address-space.ts";
import { TestSpace, temporaryFile } from "./space.testing.ts";
import type { GuestWindow } from "./window.ts";

const PAGE = 4096;
const WINDOW = 2 ** 21;
const RW = 3;
const FIXED = M.MAP_PRIVATE | M.MAP_ANONYMOUS | M.MAP_FIXED;
const AT = 0x4000_0000;
/** Addresses that no program can have, as the registers' 64 bits become numbers. */
const NOWHERE: [string, number][] = [
  ["0", 0],
  ["NaN", Number.NaN],
  ["-1", -1],
  ["the LWK's pages", USER_END],
  ["the last user address", 2 ** 47 - 1],
  ["a hole in the address space", 2 ** 47],
  ["2^63", 2 ** 63],
  ["2^64 - 1", Number(2n ** 64n - 1n)],
  ["2^64 - 4096", Number(2n ** 64n - 4096n)],
];

let t: TestSpace;
let w: GuestWindow;
const errno = (call: () => unknown): number => {
  try {
    call();
  } catch (error) {
    if (error instanceof GuestError) return error.errno;
    throw error;
  }
  return 0;
};
const map = (address: number, length: number, prot = RW): void => {
  expect(t.space.mmap(address, length, prot, FIXED, -1, 0, null)).toBe(address);
};

beforeEach(() => {
  t = new TestSpace({ blocks: 16 });
  w = t.window;
});
afterEach(() => t.close());

describe("numbers", () => {
  beforeEach(() => map(AT, 4 * PAGE));

  it("should be little-endian, and the same within a page and across two", () => {
    for (const va of [AT, AT + PAGE - 1, AT + PAGE - 3, AT + PAGE - 4, AT + PAGE - 7, AT + PAGE - 8, AT + 3]) {
      w.setBig(va, 0x8877_6655_4433_2211n);
      expect([w.u8(va), w.u16(va), w.u32(va), w.u64(va) > 2 ** 63, w.big(va)]).toEqual([
        0x11,
        0x2211,
        0x4433_2211,
        true,
        0x8877_6655_4433_2211n,
      ]);
      expect([...w.bytes(va, 8)]).toEqual([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
      w.setU32(va, 0xfffe_fdfc);
      expect([w.u32(va), w.i32(va)]).toEqual([0xfffe_fdfc, 0xfffe_fdfc | 0]);
      w.setU64(va, -2);
      expect([w.i64(va), w.big(va)]).toEqual([-2, 2n ** 64n - 2n]);
      w.setU64(va, 2 ** 52 + 12345);
      expect([w.u64(va), w.i64(va)]).toEqual([2 ** 52 + 12345, 2 ** 52 + 12345]);
      w.setU8(va, 0x1ff);
      expect(w.u8(va)).toBe(0xff);
    }
  });

  it("should write all or nothing of a number that crosses into a page that may not be written", () => {
    w.setBig(AT + PAGE - 4, 0n);
    t.space.mprotect(AT + PAGE, PAGE, 1);
    expect(errno(() => w.setBig(AT + PAGE - 4, -1n))).toBe(EFAULT);
    expect(w.u32(AT + PAGE)).toBe(0);
    expect(errno(() => w.u32(AT + 4 * PAGE - 2))).toBe(EFAULT);
  });
});

describe("what is not the program's", () => {
  beforeEach(() => {
    map(AT, PAGE);
    t.space.addBootMapping(USER_END, USER_END + 2 ** 16, 5, NAME.VDSO);
  });

  it.each(NOWHERE)("should be EFAULT at %s, for every way in", (_name, va) => {
    expect(w.locate(va, false)).toBe(-1);
    const ways = [
      () => w.u8(va),
      () => w.u64(va),
      () => w.big(va),
      () => w.setU8(va, 1),
      () => w.setBig(va, 1n),
      () => w.bytes(va, 16),
      () => w.write(va, new Uint8Array(16)),
      () => w.read(va, new Uint8Array(16)),
      () => w.string(va),
      () => w.host(va, 16, false),
    ];
    for (const way of ways) expect(errno(way)).toBe(EFAULT);
    expect(w.segments(va, 2 ** 63, true)).toBe(0);
  });

  it.each([2 ** 63, Number(2n ** 64n - 1n), 2 ** 47, USER_END, USER_END - AT + 1, Number.NaN, -1, Number.POSITIVE_INFINITY])(
    "should be EFAULT for bytes of length %s",
    (length) => {
      expect(errno(() => w.bytes(AT, length))).toBe(EFAULT);
    },
  );

  it("should end where the mapping ends, also for lengths of 2^63", () => {
    expect(w.segments(AT + 100, 2 ** 63, true)).toBe(PAGE - 100);
    expect(w.segments(AT, Number.NaN, false)).toBe(0);
    expect(errno(() => w.host(AT, PAGE + 1, false))).toBe(EFAULT);
    expect(errno(() => w.host(AT, 2 ** 63, false))).toBe(EFAULT);
    expect(errno(() => w.write(AT + PAGE - 1, new Uint8Array(2)))).toBe(EFAULT);
  });

  it("should not be had in one piece where one lazy mapping promises more than there can be", () => {
    t.space.mmap(2 ** 42, 2 ** 42, RW, FIXED | M.MAP_NORESERVE, -1, 0, null);
    expect(errno(() => w.bytes(2 ** 42, 2 ** 42))).toBe(ENOMEM);
    expect(w.u8(2 ** 42)).toBe(0);
  });
});

describe("rights", () => {
  it("should be ring 3's: read-only pages may not be written, PROT_NONE ones not touched", () => {
    map(AT, PAGE, 1);
    map(AT + PAGE, PAGE, 0);
    expect(w.u8(AT)).toBe(0);
    expect(errno(() => w.setU8(AT, 1))).toBe(EFAULT);
    expect(errno(() => w.u8(AT + PAGE))).toBe(EFAULT);
    expect(errno(() => w.host(AT, 8, true))).toBe(EFAULT);
    expect(w.segments(AT, 2 * PAGE, false)).toBe(PAGE);
    expect(w.segments(AT, 2 * PAGE, true)).toBe(0);
  });

  it("should be asked for anew after each change", () => {
    map(AT, PAGE);
    w.setU8(AT, 5);
    t.space.mprotect(AT, PAGE, 1);
    expect(errno(() => w.setU8(AT, 6))).toBe(EFAULT);
    t.space.munmap(AT, PAGE);
    expect(errno(() => w.u8(AT))).toBe(EFAULT);
    map(AT, PAGE);
    expect(w.u8(AT)).toBe(0);
  });

  it("should be seen by a second window of the same space", () => {
    map(AT, PAGE);
    w.setU8(AT, 5);
    const other = new TestSpace({ blocks: 2 });
    expect(errno(() => other.window.u8(AT))).toBe(EFAULT);
    other.close();
    expect(w.u8(AT)).toBe(5);
  });
});

describe("strings", () => {
  beforeEach(() => map(AT, 3 * PAGE));

  it("should end at their NUL, across pages, byte for byte", () => {
    w.write(AT + PAGE - 3, Buffer.from("caf\xe9 \xff\x80 x\0tail", "latin1"));
    expect(w.string(AT + PAGE - 3)).toBe("caf\xe9 \xff\x80 x");
    expect(w.string(AT)).toBe("");
  });

  it("should be too long without a NUL within the limit, and EFAULT at the end of the mapping", () => {
    w.write(AT, new Uint8Array(3 * PAGE).fill(65));
    expect(errno(() => w.string(AT))).toBe(ENAMETOOLONG);
    expect(errno(() => w.string(AT + 100, 4096))).toBe(ENAMETOOLONG);
    expect(errno(() => w.string(AT + 2 * PAGE + 1))).toBe(EFAULT);
    w.setU8(AT + 4095, 0);
    expect(w.string(AT).length).toBe(4095);
    w.setU8(AT + 4095, 65);
    w.setU8(AT + 4096, 0);
    expect(errno(() => w.string(AT))).toBe(ENAMETOOLONG);
    expect(w.string(AT, 4097).length).toBe(4096);
  });
});

describe("segments", () => {
  it("should be one piece where the host has one, and more where windows lie apart", () => {
    map(AT + 2 * WINDOW, WINDOW);
    map(AT, 2 * WINDOW);
    expect(w.segments(AT + 5, 3 * WINDOW - 10, true)).toBe(3 * WINDOW - 10);
    const total = w.segmentLength.reduce((a, b) => a + b, 0);
    expect(total).toBe(3 * WINDOW - 10);
    expect(w.segmentAddress.length).toBe(2);
    expect(w.host(AT + 5, WINDOW, true)).toBe(w.segmentAddress[0]);
    expect(w.host(AT, 3 * WINDOW, true)).toBe(-1);
  });

  it("should be appended to when told so", () => {
    map(AT, PAGE);
    map(AT + 2 * PAGE, PAGE);
    w.segments(AT, 10, false);
    expect(w.segments(AT + 2 * PAGE, 20, false, true)).toBe(20);
    expect(w.segmentLength).toEqual([10, 20]);
    w.segments(AT, 10, false);
    expect(w.segmentLength).toEqual([10]);
  });

  it("should lead to the bytes that the window reads", () => {
    map(AT, WINDOW);
    w.setU32(AT + 12, 0xabcd_ef01);
    w.segments(AT + 12, 4, false);
    expect(w.segmentAddress[0]).toBe(t.memory.hostAddress(w.locate(AT + 12, false)));
  });
});

describe("file-arena memory", () => {
  it("should be read and written by every way in", () => {
    const file = temporaryFile(Buffer.alloc(3 * PAGE, "abc"));
    t.space.mmap(AT, 3 * PAGE, RW, M.MAP_SHARED | M.MAP_FIXED, file.fd, 0, null);
    w.setBig(AT + PAGE - 4, 0x1122_3344_5566_7788n);
    expect(w.big(AT + PAGE - 4)).toBe(0x1122_3344_5566_7788n);
    w.setU8(AT + 2 * PAGE + 9, 0);
    expect(w.string(AT + 2 * PAGE)).toBe(
      Buffer.alloc(3 * PAGE, "abc")
        .subarray(2 * PAGE, 2 * PAGE + 9)
        .toString(),
    );
    expect(w.segments(AT, 3 * PAGE, true)).toBe(3 * PAGE);
    expect(w.segmentAddress.length).toBe(1);
    file.close();
  });
});
