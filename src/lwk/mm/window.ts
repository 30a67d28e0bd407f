/**
 * The one typed window on guest memory. Every length and pointer that comes from the guest goes by here: an address is translated by the
 * guest's own page tables, with the rights that ring 3 has, and anything else is EFAULT. Nothing is remembered across a change of the mappings.
 */
import { EFAULT, ENAMETOOLONG, ENOMEM } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import type { Gate } from "../../host/gate.ts";
import type { Scratch } from "../../host/memory.ts";
import { PTE_LARGE, PTE_USER, PTE_WRITE, WINDOW } from "../../vmm/page-table.ts";
import { GuestError } from "../guest-error.ts";
import { H } from "../state.ts";
import { type AddressSpace, FAULT, USER_END } from "./address-space.ts";

const PAGE = 4096;
const CACHE = 512;
const TWO_32 = 0x1_0000_0000;
/** Most bytes that are copied out at once: no structure of any call is larger, but a terabyte may be mapped. */
const BYTES_LIMIT = 2 ** 28;
/** Bounce area for file-arena bytes: the scratch buffer's second half. */
const BOUNCE = 128 * 1024;

export class GuestWindow {
  readonly space: AddressSpace;
  private readonly gate: Gate;
  private readonly scratch: Scratch;
  /** Remembered translations: page number + 1 (0: none), guest-physical page, writable. */
  private readonly pages = new Float64Array(CACHE);
  private readonly frames = new Float64Array(CACHE);
  private readonly writable = new Uint8Array(CACHE);
  private generation = -1;

  /** Result of `segments`: host addresses and lengths. */
  readonly segmentAddress: number[] = [];
  readonly segmentLength: number[] = [];

  constructor(space: AddressSpace, gate: Gate, scratch: Scratch) {
    this.space = space;
    this.gate = gate;
    this.scratch = scratch;
  }

  /** Guest-physical address behind `va`, or -1 when ring 3 may not read (or write) there. Brings lazy pages in. */
  locate(va: number, write: boolean): number {
    const generation = this.space.state.i32[H.mappingGeneration]!;
    if (generation !== this.generation) {
      this.pages.fill(0);
      this.generation = generation;
    }
    if (!(va >= 0 && va < USER_END)) return -1;
    const page = Math.floor(va / PAGE);
    const slot = page % CACHE;
    if (this.pages[slot] === page + 1 && (!write || this.writable[slot])) return this.frames[slot]! + (va % PAGE);
    const { tables } = this.space;
    if (!tables.translate(va) || !(tables.flags & PTE_USER) || (write && !(tables.flags & PTE_WRITE))) {
      if (this.space.fault(va, write, false) !== FAULT.NONE) return -1;
      if (!tables.translate(va)) return -1;
    }
    const gpa = tables.gpa;
    this.pages[slot] = page + 1;
    this.frames[slot] = gpa - (va % PAGE);
    this.writable[slot] = tables.flags & PTE_WRITE ? 1 : 0;
    return gpa;
  }

  private require(va: number, write: boolean): number {
    const gpa = this.locate(va, write);
    if (gpa < 0) throw new GuestError(EFAULT);
    return gpa;
  }

  /** Copies `length` bytes out of the guest. Throws EFAULT; ENOMEM for more than 256 MiB. */
  bytes(va: number, length: number): Uint8Array {
    if (!(length >= 0 && length <= USER_END)) throw new GuestError(EFAULT);
    if (length > 0) this.require(va + length - 1, false);
    if (length > BYTES_LIMIT) throw new GuestError(ENOMEM);
    const result = new Uint8Array(length);
    this.read(va, result);
    return result;
  }

  /** Fills `target` from the guest. Throws EFAULT. */
  read(va: number, target: Uint8Array): void {
    const { memory } = this.space;
    for (let done = 0; done < target.length; ) {
      const gpa = this.require(va + done, false);
      const n = Math.min(target.length - done, PAGE - ((va + done) % PAGE));
      if (memory.inArena(gpa)) this.copyArena(memory.hostAddress(gpa), target, done, n, false);
      else {
        const at = memory.chunkOffset(gpa);
        target.set(memory.chunk(gpa).subarray(at, at + n), done);
      }
      done += n;
    }
  }

  /** Copies bytes into the guest where ring 3 may write. Throws EFAULT. */
  write(va: number, source: Uint8Array): void {
    const { memory } = this.space;
    for (let done = 0; done < source.length; ) {
      const gpa = this.require(va + done, true);
      const n = Math.min(source.length - done, PAGE - ((va + done) % PAGE));
      if (memory.inArena(gpa)) this.copyArena(memory.hostAddress(gpa), source, done, n, true);
      else memory.chunk(gpa).set(source.subarray(done, done + n), memory.chunkOffset(gpa));
      done += n;
    }
  }

  /** Moves bytes between a file's mapping and JavaScript through process_vm_readv/writev, which answer EFAULT where a plain access would be SIGBUS. */
  private copyArena(host: number, data: Uint8Array, from: number, length: number, write: boolean): void {
    const { scratch, gate } = this;
    const at = scratch.length - BOUNCE;
    if (write) scratch.u8.set(data.subarray(from, from + length), at + 64);
    scratch.view.setBigUint64(at, BigInt(scratch.address + at + 64), true);
    scratch.view.setBigUint64(at + 8, BigInt(length), true);
    scratch.view.setBigUint64(at + 16, BigInt(host), true);
    scratch.view.setBigUint64(at + 24, BigInt(length), true);
    const pid = this.space.state.i32[H.pid]!;
    const moved = gate.sys(
      write ? NR.process_vm_writev : NR.process_vm_readv,
      pid,
      scratch.address + at,
      1,
      scratch.address + at + 16,
      1,
      0,
    );
    if (moved !== length) throw new GuestError(EFAULT);
    if (!write) data.set(scratch.u8.subarray(at + 64, at + 64 + length), from);
  }

  private readonly small = new Uint8Array(8);
  private readonly smallView = new DataView(this.small.buffer);

  /** Up to 8 bytes into `smallView`. */
  private load(va: number, size: number): void {
    const gpa = this.require(va, false);
    const { memory } = this.space;
    if ((va % PAGE) + size <= PAGE && !memory.inArena(gpa)) {
      const chunk = memory.chunk(gpa);
      const at = memory.chunkOffset(gpa);
      for (let i = 0; i < size; i++) this.small[i] = chunk[at + i]!;
    } else this.read(va, this.small.subarray(0, size));
  }

  private store(va: number, size: number): void {
    const gpa = this.require(va, true);
    const { memory } = this.space;
    if ((va % PAGE) + size <= PAGE && !memory.inArena(gpa)) {
      const chunk = memory.chunk(gpa);
      const at = memory.chunkOffset(gpa);
      for (let i = 0; i < size; i++) chunk[at + i] = this.small[i]!;
    } else this.write(va, this.small.subarray(0, size));
  }

  u8(va: number): number {
    this.load(va, 1);
    return this.small[0]!;
  }

  u16(va: number): number {
    this.load(va, 2);
    return this.smallView.getUint16(0, true);
  }

  u32(va: number): number {
    this.load(va, 4);
    return this.smallView.getUint32(0, true);
  }

  i32(va: number): number {
    this.load(va, 4);
    return this.smallView.getInt32(0, true);
  }

  /** u64 as a number; exact below 2^53, never smaller than 2^53 above. */
  u64(va: number): number {
    this.load(va, 8);
    return this.smallView.getUint32(4, true) * TWO_32 + this.smallView.getUint32(0, true);
  }

  /** i64 as a number; exact within +-2^53. */
  i64(va: number): number {
    this.load(va, 8);
    return this.smallView.getInt32(4, true) * TWO_32 + this.smallView.getUint32(0, true);
  }

  big(va: number): bigint {
    this.load(va, 8);
    return this.smallView.getBigUint64(0, true);
  }

  setU8(va: number, value: number): void {
    this.small[0] = value;
    this.store(va, 1);
  }

  setU32(va: number, value: number): void {
    this.smallView.setUint32(0, value, true);
    this.store(va, 4);
  }

  /** Writes a 64-bit integer given as a number (negative: two's complement). */
  setU64(va: number, value: number): void {
    this.smallView.setUint32(0, value >>> 0, true);
    this.smallView.setUint32(4, Math.floor(value / TWO_32) >>> 0, true);
    this.store(va, 8);
  }

  setBig(va: number, value: bigint): void {
    this.smallView.setBigUint64(0, BigInt.asUintN(64, value), true);
    this.store(va, 8);
  }

  /** NUL-ended byte string as latin1, at most `limit` bytes with its NUL. Throws EFAULT, ENAMETOOLONG. */
  string(va: number, limit = 4096): string {
    const parts: Buffer[] = [];
    const { memory } = this.space;
    for (let done = 0; done < limit; ) {
      const gpa = this.require(va + done, false);
      const n = Math.min(limit - done, PAGE - ((va + done) % PAGE));
      let bytes: Uint8Array;
      if (memory.inArena(gpa)) {
        bytes = new Uint8Array(n);
        this.copyArena(memory.hostAddress(gpa), bytes, 0, n, false);
      } else {
        const at = memory.chunkOffset(gpa);
        bytes = memory.chunk(gpa).subarray(at, at + n);
      }
      const end = bytes.indexOf(0);
      const piece = end < 0 ? bytes : bytes.subarray(0, end);
      parts.push(Buffer.from(piece.buffer, piece.byteOffset, piece.length));
      if (end >= 0) return parts.length === 1 ? parts[0]!.toString("latin1") : Buffer.concat(parts).toString("latin1");
      done += n;
    }
    throw new GuestError(ENAMETOOLONG);
  }

  /**
   * Host ranges behind [va, va + length), joined where they touch, into `segmentAddress` and `segmentLength`. Returns how many bytes they cover: fewer
   * than `length` when a page in between may not be accessed, 0 when the first one may not.
   */
  segments(va: number, length: number, write: boolean, append = false): number {
    if (!append) {
      this.segmentAddress.length = 0;
      this.segmentLength.length = 0;
    }
    const { memory, tables } = this.space;
    let done = 0;
    while (done < length) {
      const at = va + done;
      const gpa = this.locate(at, write);
      if (gpa < 0) break;
      // One step takes what one entry maps: a 2M page is not looked up 512 times.
      const whole = length - done > PAGE && tables.leaf(at) >= 0 && tables.flags & PTE_LARGE ? WINDOW : PAGE;
      const n = Math.min(length - done, whole - (at % whole));
      const host = memory.hostAddress(gpa);
      const last = this.segmentAddress.length - 1;
      if (done > 0 && last >= 0 && this.segmentAddress[last]! + this.segmentLength[last]! === host) this.segmentLength[last]! += n;
      else {
        this.segmentAddress.push(host);
        this.segmentLength.push(n);
      }
      done += n;
    }
    return done;
  }

  /** Host address of [va, va + length) when it is one piece there; -1 when it is in pieces; throws EFAULT when part of it may not be accessed. */
  host(va: number, length: number, write: boolean): number {
    const gpa = this.require(va, write);
    if ((va % PAGE) + length <= PAGE) return this.space.memory.hostAddress(gpa);
    if (this.segments(va, length, write) < length) throw new GuestError(EFAULT);
    return this.segmentAddress.length === 1 ? this.segmentAddress[0]! : -1;
  }
}
