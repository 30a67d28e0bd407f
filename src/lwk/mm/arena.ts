/** The file arena: guest-physical memory that is the host's own mapping of a file. Ranges are handed out first-fit; memory slots follow as needed. Callers hold the memory lock. */
import { ENOMEM } from "../../abi/errno.ts";
import { BLOCK_SIZE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE } from "../../abi/mman.ts";
import { NR } from "../../abi/nr.ts";
import type { Sys } from "../../host/gate.ts";
import { setMemoryRegion } from "../../host/kvm.ts";
import type { Scratch } from "../../host/memory.ts";
import { H, OFFSET, S, SLOT, SLOT_LIMIT, type State } from "../state.ts";

const SLOT_BYTES = 256 * 1024 * 1024;
const LIMIT = 65000;
/** Slots that the arena leaves to the pool of blocks: 1 TiB of it in the largest steps, and the small ones at its start. */
const SLOTS_FOR_BLOCKS = 1100;

/** Used ranges are rows (start u64, end u64) sorted by start, offsets from the arena's begin. */
export class Arena {
  private readonly state: State;
  private readonly sys: Sys;
  private readonly scratch: Scratch;

  constructor(state: State, sys: Sys, scratch: Scratch) {
    this.state = state;
    this.sys = sys;
    this.scratch = scratch;
  }

  private row(i: number): number {
    return (OFFSET.arena >> 2) + i * 4;
  }

  get base(): number {
    return this.state.getU64(H.arenaGpa);
  }

  hostAddress(gpa: number): number {
    return this.state.getU64(H.arenaBase) + (gpa - this.base);
  }

  /** Maps `length` bytes of host descriptor `fd` from `offset`. Returns the guest-physical address or -errno. */
  map(length: number, prot: number, flags: number, fd: number, offset: number): number {
    const { state } = this;
    if (state.i32[H.arenaCount]! >= LIMIT) return -ENOMEM;
    let start = 0;
    let index = 0;
    for (; index < state.i32[H.arenaCount]!; index++) {
      const row = this.row(index);
      if (state.getU64(row) - start >= length) break;
      start = Math.ceil(state.getU64(row + 2) / BLOCK_SIZE) * BLOCK_SIZE;
    }
    if (start + length > state.getU64(H.arenaSize)) return -ENOMEM;
    const host = state.getU64(H.arenaBase) + start;
    const result = this.sys(NR.mmap, host, length, prot, flags | MAP_FIXED, fd, offset);
    if (result < 0) return result;
    if (!this.cover(start + length)) {
      this.reserve(host, length);
      return -ENOMEM;
    }
    state.u32.copyWithin(this.row(index + 1), this.row(index), this.row(state.i32[H.arenaCount]!));
    state.setU64(this.row(index), start);
    state.setU64(this.row(index) + 2, start + length);
    state.i32[H.arenaCount]!++;
    return this.base + start;
  }

  /** Slots up to `end` bytes into the arena. */
  private cover(end: number): boolean {
    const { state } = this;
    const mapped = state.getU64(H.arenaMapped);
    if (end <= mapped) return true;
    const bytes = Math.min(state.getU64(H.arenaSize) - mapped, Math.ceil((end - mapped) / SLOT_BYTES) * SLOT_BYTES);
    const index = state.i32[H.slotCount]!;
    if (index >= SLOT_LIMIT - SLOTS_FOR_BLOCKS) return false;
    try {
      setMemoryRegion(this.sys, this.scratch, state.i32[H.vmFd]!, index, this.base + mapped, bytes, state.getU64(H.arenaBase) + mapped);
    } catch {
      return false;
    }
    const slot = (OFFSET.slots >> 2) + index * S.size;
    state.setU64(slot + S.gpa, this.base + mapped);
    state.setU64(slot + S.bytes, bytes);
    state.i32[slot + S.kind] = SLOT.ARENA;
    state.i32[H.slotCount] = index + 1;
    state.setU64(H.arenaMapped, mapped + bytes);
    return true;
  }

  private reserve(host: number, length: number): void {
    this.sys(NR.mmap, host, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }

  /** Unmaps part of a range that `map` gave out; KVM forgets it. */
  unmap(gpa: number, length: number): void {
    const { state } = this;
    this.reserve(this.hostAddress(gpa), length);
    const start = gpa - this.base;
    const end = start + length;
    for (let i = 0; i < state.i32[H.arenaCount]!; i++) {
      const row = this.row(i);
      const a = state.getU64(row);
      const b = state.getU64(row + 2);
      if (start < a || end > b) continue;
      if (start === a && end === b) {
        state.u32.copyWithin(row, this.row(i + 1), this.row(state.i32[H.arenaCount]!));
        state.i32[H.arenaCount]!--;
      } else if (start === a) state.setU64(row, end);
      else if (end === b) state.setU64(row + 2, start);
      else {
        state.u32.copyWithin(this.row(i + 1), row, this.row(state.i32[H.arenaCount]!));
        state.i32[H.arenaCount]!++;
        state.setU64(row + 2, start);
        state.setU64(this.row(i + 1), end);
      }
      return;
    }
  }
}
