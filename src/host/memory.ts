/** Host memory: mappings, views and numbers read from them. */
import { NR } from "../abi/nr.ts";
import type { Gate, Sys } from "./gate.ts";
import { viewMemory } from "./gate.ts";
import { HostError } from "./host-error.ts";

export const RESERVE = 0x4022; // MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
const MAP_FIXED = 0x10;

/** Maps anonymous memory; `flags` are MAP_* bits. Returns the address; throws HostError. */
export function mapAnonymous(sys: Sys, length: number, prot: number, flags: number, address = 0): number {
  const result = sys(NR.mmap, address, length, prot, address ? flags | MAP_FIXED : flags, -1, 0);
  if (result < 0) throw new HostError("mmap", -result, `${length} bytes`);
  return result;
}

/** Reserves `length` bytes of address space aligned to `alignment` (a power of two); nothing is backed. */
export function reserveAddressSpace(sys: Sys, length: number, alignment: number): number {
  const start = mapAnonymous(sys, length + alignment, 0, RESERVE);
  const aligned = Math.ceil(start / alignment) * alignment;
  if (aligned > start) sys(NR.munmap, start, aligned - start);
  const tail = start + alignment - aligned;
  if (tail > 0) sys(NR.munmap, aligned + length, tail);
  return aligned;
}

/** A thread's own buffer for passing structures to the kernel: address and views over the same bytes. */
export interface Scratch {
  readonly address: number;
  readonly length: number;
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly view: DataView;
  readonly buffer: Buffer;
}

export const SCRATCH_SIZE = 256 * 1024;

/** Makes a scratch buffer of SCRATCH_SIZE bytes; it lives as long as the process. */
export function createScratch(gate: Gate): Scratch {
  const address = mapAnonymous(gate.sys, SCRATCH_SIZE, 3, RESERVE);
  const memory = viewMemory(address, SCRATCH_SIZE);
  return {
    address,
    length: SCRATCH_SIZE,
    u8: new Uint8Array(memory),
    i32: new Int32Array(memory),
    u32: new Uint32Array(memory),
    view: new DataView(memory),
    buffer: Buffer.from(memory),
  };
}

/** Writes a byte string (latin1) and its NUL at `offset` of the scratch buffer. Returns its host address. */
export function putString(scratch: Scratch, text: string, offset = 0): number {
  const length = scratch.buffer.write(text, offset, scratch.length - offset - 1, "latin1");
  scratch.u8[offset + length] = 0;
  return scratch.address + offset;
}
