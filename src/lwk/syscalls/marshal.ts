/**
 * Between guest pointers and host calls. A structure goes to the host where it lies in guest memory when it is one piece there, else through
 * the thread's scratch buffer. Nothing here keeps a host address longer than one call.
 */
import { EFAULT, EINTR, ENOMEM, ERESTARTSYS } from "../../abi/errno.ts";
import type { Call } from "../call.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { USER_END } from "../mm/address-space.ts";

/**
 * How this folder uses the scratch buffer's first half (offsets). Helpers elsewhere overwrite its first bytes: strings are put there last, after
 * every look at guest memory. The second half belongs to the guest-memory window.
 */
export const ROOM = { path: 0, secondPath: 8192, structs: 16384, vector: 49152, data: 65536, end: 131072 } as const;

/** A host address where nothing is ever mapped (below vm.mmap_min_addr): handed to the host in place of a bad guest address, so that the host decides whether it matters. */
export const BAD_ADDRESS = 4096;

/** Makes a host call that may block, again after wake-ups without a signal, with the same arguments. No allocation. See Call.blocking. */
export function hostWait(
  k: Kernel,
  nr: number,
  a: number | bigint,
  b: number | bigint,
  c: number | bigint = 0,
  d: number | bigint = 0,
  e: number | bigint = 0,
  f: number | bigint = 0,
  interrupted: number = -ERESTARTSYS,
): number {
  for (;;) {
    const result = k.wait(nr, a, b, c, d, e, f);
    if (result !== -EINTR) return result;
    if (k.interrupted()) return interrupted;
  }
}

/** Argument `i` as a signed 64-bit integer, exact: a number where that is exact, else a bigint. */
export function word(c: Call, i: number): number | bigint {
  const value = c.long(i);
  return Number.isSafeInteger(value) ? value : BigInt.asIntN(64, c.big(i));
}

/** Throws EFAULT when [va, va + length) is not wholly among user addresses, as Linux does before it looks at the memory. */
export function checkRange(va: number, length: number): void {
  if (!(va + length <= USER_END)) throw new GuestError(EFAULT);
}

/**
 * Host ranges behind a guest buffer, into `mem.segmentAddress` and `segmentLength`. Where the guest may not go, one range at BAD_ADDRESS ends
 * the list: the host then moves the good part or answers EFAULT, exactly as it would natively. Returns false when there is such a range.
 */
export function gather(k: Kernel, va: number, length: number, write: boolean, append = false): boolean {
  const { mem } = k;
  const covered = mem.segments(va, length, write, append);
  if (covered === length) return true;
  mem.segmentAddress.push(BAD_ADDRESS);
  mem.segmentLength.push(Math.min(length - covered, 4096));
  return false;
}

/** Writes the gathered ranges, at most `limit`, as an array of struct iovec into the scratch buffer. Returns how many; the array is at ROOM.vector. */
export function putVector(k: Kernel, limit: number): number {
  const { segmentAddress, segmentLength } = k.mem;
  const { u32 } = k.scratch;
  const count = Math.min(segmentAddress.length, limit);
  let at = ROOM.vector >> 2;
  for (let i = 0; i < count; i++, at += 4) {
    const address = segmentAddress[i]!;
    u32[at] = address >>> 0;
    u32[at + 1] = Math.floor(address / 0x1_0000_0000);
    u32[at + 2] = segmentLength[i]!;
    u32[at + 3] = 0;
  }
  return count;
}

/** The structures of one call on their way to the host and back. */
export class Passage {
  private readonly k: Kernel;
  private next: number = ROOM.structs;
  private nextData: number = ROOM.data;
  private readonly returns: { va: number; at: number; length: number }[] = [];

  constructor(k: Kernel) {
    this.k = k;
  }

  /** Scratch offset of `length` fresh bytes, 8-aligned: small ones among the structures, large ones among the data. Throws ENOMEM. */
  room(length: number): number {
    const size = (length + 7) & ~7;
    if (size <= 4096 && this.next + size <= ROOM.vector) {
      const at = this.next;
      this.next += size;
      return at;
    }
    if (this.nextData + size > ROOM.end) throw new GuestError(ENOMEM);
    const at = this.nextData;
    this.nextData += size;
    return at;
  }

  /** Host address of `length` bytes that the host reads. Throws EFAULT. */
  input(va: number, length: number): number {
    if (length === 0) return BAD_ADDRESS;
    const direct = this.k.mem.host(va, length, false);
    return direct >= 0 ? direct : this.k.scratch.address + this.copy(va, length);
  }

  /** Copies `length` guest bytes into the scratch buffer, out of other threads' reach. Returns the offset. */
  copy(va: number, length: number): number {
    const at = this.room(length);
    this.k.mem.read(va, this.k.scratch.u8.subarray(at, at + length));
    return at;
  }

  /** Host address of `length` bytes that the host writes (and reads, when `read`). Throws EFAULT. */
  output(va: number, length: number, read = false): number {
    if (length === 0) return BAD_ADDRESS;
    const direct = this.k.mem.host(va, length, true);
    if (direct >= 0) return direct;
    const at = read ? this.copy(va, length) : this.room(length);
    this.returns.push({ va, at, length });
    return this.k.scratch.address + at;
  }

  /** Host address of a buffer of which the host fills as much as its result says: all of it need not be accessible. */
  filled(va: number, length: number): number {
    if (length === 0) return BAD_ADDRESS;
    const { mem } = this.k;
    if (mem.segments(va, length, true) === length && mem.segmentAddress.length === 1) return mem.segmentAddress[0]!;
    const at = this.room(length);
    this.returns.push({ va, at, length: -1 });
    return this.k.scratch.address + at;
  }

  /** After the call: what went by the scratch buffer goes back to the guest. Throws EFAULT. */
  finish(result: number): void {
    if (result < 0) return;
    for (const { va, at, length } of this.returns) {
      this.k.mem.write(va, this.k.scratch.u8.subarray(at, at + (length < 0 ? result : length)));
    }
  }
}
