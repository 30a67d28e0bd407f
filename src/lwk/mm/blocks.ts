/**
 * The pool of 2 MiB blocks behind all private memory. Invariant: a page of a block that no page-table entry holds is zero.
 * Memory slots are added to the virtual machine as the pool grows, because KVM's time for a slot grows with its size.
 */
import {
  BLOCK_SIZE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGE_2MB,
  MAP_HUGETLB,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MPOL_BIND,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from "../../abi/mman.ts";
import { EINTR } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import type { Sys } from "../../host/gate.ts";
import { freeOnNode } from "../../host/hugepages.ts";
import { setMemoryRegion } from "../../host/kvm.ts";
import type { Scratch } from "../../host/memory.ts";
import { BLOCK_GPA } from "../../vmm/guest-memory.ts";
import { H, OFFSET, S, SLOT, SLOT_LIMIT, type State } from "../state.ts";

const RW = PROT_READ | PROT_WRITE;
/**
 * States of a block. BOUND: empty, but still of the window that had it last. On PVM, and wherever KVM shadows page tables, a 2M entry over small host
 * pages leaves a table behind that stays linked from the window's old place even when its leaves are gone: a block that went to another window at once would
 * be written through the old place. So a block goes to another window only after `AddressSpace.unbind` has made KVM drop all its tables.
 */
const FREE = 0;
const HELD = 1;
const BOUND = 2;

/** Blocks in the first slot (64 MiB); each next one doubles, up to 1 GiB, and is never smaller than what is asked for. */
const FIRST_SLOT = 32;
const LARGEST_SLOT = 512;
/** A slot that comes and goes for `dropShadow`, at the last page below the block pool. */
const SPARE_SLOT = 32000;
const SPARE_GPA = BLOCK_GPA - 4096;

export class Blocks {
  private readonly state: State;
  private readonly sys: Sys;
  private readonly scratch: Scratch;
  private readonly used: Uint8Array;

  constructor(state: State, sys: Sys, scratch: Scratch) {
    this.state = state;
    this.sys = sys;
    this.scratch = scratch;
    this.used = state.u8.subarray(OFFSET.blocks, OFFSET.arena);
  }

  gpa(block: number): number {
    return BLOCK_GPA + block * BLOCK_SIZE;
  }

  hostAddress(block: number): number {
    return this.state.getU64(H.blockBase) + block * BLOCK_SIZE;
  }

  /** Blocks that may still be handed out. */
  get available(): number {
    return this.state.i32[H.blocksLimit]! - this.state.i32[H.blocksUsed]!;
  }

  /**
   * Takes up to `wanted` consecutive blocks, preferably on virtual NUMA node `node`. Returns [first block, count], count >= 1, or null
   * when the virtual node's memory is used up.
   */
  take(wanted: number, node: number): [number, number] | null {
    const limit = Math.min(wanted, this.available);
    if (limit <= 0) return null;
    let run = this.search(limit, node);
    if (!run || (run[1] < limit && this.grow(limit, node))) run = this.search(limit, node) ?? run;
    if (!run && this.grow(limit, node)) run = this.search(limit, node);
    run ??= this.search(limit, -1);
    if (!run) return null;
    this.used.fill(HELD, run[0], run[0] + run[1]);
    this.state.i32[H.blocksUsed]! += run[1];
    return run;
  }

  /** Takes `block` for the window that it is bound to. Does nothing when it is held. False when the virtual node's memory is used up. */
  claim(block: number): boolean {
    if (this.used[block] !== BOUND) return true;
    if (this.available <= 0) return false;
    this.used[block] = HELD;
    this.state.i32[H.blocksUsed]!++;
    return true;
  }

  isBound(block: number): boolean {
    return this.used[block] === BOUND;
  }

  /** True when unbinding would give blocks back. */
  get anyBound(): boolean {
    return this.used.subarray(0, this.state.i32[H.blocksMapped]!).includes(BOUND);
  }

  /** Makes a bound block free: its window no longer names it and KVM has dropped its tables. */
  unbind(block: number): void {
    this.used[block] = FREE;
  }

  /** First free run of `wanted` blocks on `node` (-1: anywhere), else the longest one. */
  private search(wanted: number, node: number): [number, number] | null {
    const { state, used } = this;
    let best: [number, number] | null = null;
    for (let i = 0; i < state.i32[H.slotCount]!; i++) {
      const slot = (OFFSET.slots >> 2) + i * S.size;
      if (state.i32[slot + S.kind] === SLOT.TABLES || state.i32[slot + S.kind] === SLOT.ARENA) continue;
      if (node >= 0 && state.i32[slot + S.node] !== node) continue;
      const first = state.i32[slot + S.firstBlock]!;
      const end = first + state.i32[slot + S.blocks]!;
      for (let b = first; b < end; ) {
        const start = used.indexOf(FREE, b);
        if (start < 0 || start >= end) break;
        let stop = start;
        while (stop < end && stop - start < wanted && used[stop] === FREE) stop++;
        if (stop - start >= wanted) return [start, wanted];
        if (!best || stop - start > best[1]) best = [start, stop - start];
        b = stop;
      }
    }
    return best;
  }

  /** Adds a slot with room for `wanted` blocks (less when the limit is near). False when there is no room left or the host refuses. */
  private grow(wanted: number, node: number): boolean {
    const { state } = this;
    const mapped = state.i32[H.blocksMapped]!;
    const room = state.i32[H.blocksLimit]! - mapped;
    if (room <= 0) return false;
    const step = Math.min(LARGEST_SLOT, Math.max(FIRST_SLOT, 2 ** Math.floor(Math.log2(Math.max(1, mapped)))));
    const blocks = Math.min(room, Math.max(step, Math.ceil(wanted / FIRST_SLOT) * FIRST_SLOT));
    const index = state.i32[H.slotCount]!;
    if (index >= SLOT_LIMIT) return false;
    const kind = this.back(mapped, blocks, Math.max(0, node));
    if (kind < 0) return false;
    const slot = (OFFSET.slots >> 2) + index * S.size;
    setMemoryRegion(this.sys, this.scratch, state.i32[H.vmFd]!, index, this.gpa(mapped), blocks * BLOCK_SIZE, this.hostAddress(mapped));
    state.setU64(slot + S.gpa, this.gpa(mapped));
    state.setU64(slot + S.bytes, blocks * BLOCK_SIZE);
    state.i32[slot + S.node] = Math.max(0, node);
    state.i32[slot + S.kind] = kind;
    state.i32[slot + S.firstBlock] = mapped;
    state.i32[slot + S.blocks] = blocks;
    state.i32[H.blocksMapped] = mapped + blocks;
    state.i32[H.slotCount] = index + 1;
    return true;
  }

  /** Maps host memory under `count` blocks: a hugetlb pool when it has room, else anonymous memory with THP (or without, for 4K). Returns the slot kind, -1 when refused. */
  private back(first: number, count: number, node: number): number {
    const { state, sys } = this;
    const address = this.hostAddress(first);
    const length = count * BLOCK_SIZE;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    const huge = state.i32[H.hostHuge] === 1;
    const hostNode = state.i32[(OFFSET.nodes >> 2) + node * 8]!;
    let kind: number = SLOT.SMALL;
    if (huge) {
      // A hugetlb reservation is taken from all nodes together, and a page that the bound node does not have is a SIGBUS: the node itself must have them.
      const onNode = hostNode < 0 || freeOnNode("/", BLOCK_SIZE, hostNode) >= count;
      kind = onNode && sys(NR.mmap, address, length, RW, flags | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0) === address ? SLOT.HUGETLB : SLOT.THP;
      if (kind === SLOT.THP && state.i32[H.options]! & 8) return -1;
    }
    if (kind !== SLOT.HUGETLB) {
      if (sys(NR.mmap, address, length, RW, flags | MAP_NORESERVE, -1, 0) !== address) return -1;
      sys(NR.madvise, address, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    if (hostNode >= 0) this.bind(address, length, hostNode);
    return kind;
  }

  /** mbind(2): the range's pages come from `hostNode` only. A kernel without NUMA says ENOSYS, which is fine. */
  private bind(address: number, length: number, hostNode: number): void {
    this.scratch.u8.fill(0, 0, 128);
    this.scratch.u8[hostNode >> 3] = 1 << (hostNode & 7);
    this.sys(NR.mbind, address, length, MPOL_BIND, this.scratch.address, 1024, 0);
  }

  /** Backs a host range now. Returns 0 or -errno. */
  populate(address: number, length: number): number {
    for (;;) {
      const result = this.sys(NR.madvise, address, length, MADV_POPULATE_WRITE);
      if (result !== -EINTR) return result;
    }
  }

  /** Empties blocks that stay bound to their windows: contents go to the host, KVM forgets their translations. The entries that held them are already cleared. */
  empty(first: number, count: number): void {
    this.sys(NR.madvise, this.hostAddress(first), count * BLOCK_SIZE, MADV_DONTNEED);
    this.used.fill(BOUND, first, first + count);
    this.state.i32[H.blocksUsed]! -= count;
  }

  /** Gives back blocks that were taken and never named by a window. */
  untake(first: number, count: number): void {
    this.used.fill(FREE, first, first + count);
    this.state.i32[H.blocksUsed]! -= count;
  }

  /** Makes KVM drop every shadow page table: it does so when any memory slot goes. About a millisecond, and each vCPU faults its pages in again. */
  dropShadow(): void {
    const vm = this.state.i32[H.vmFd]!;
    setMemoryRegion(this.sys, this.scratch, vm, SPARE_SLOT, SPARE_GPA, 4096, this.state.getU64(H.tableBase));
    setMemoryRegion(this.sys, this.scratch, vm, SPARE_SLOT, SPARE_GPA, 0, this.state.getU64(H.tableBase));
  }

  /** Makes KVM forget its translations of a range of blocks; contents stay. Adding a right and taking it back never makes an access fail meanwhile. */
  invalidate(first: number, count: number): void {
    const address = this.hostAddress(first);
    const result = this.sys(NR.mprotect, address, count * BLOCK_SIZE, RW | PROT_EXEC);
    if (result < 0) this.sys(NR.mprotect, address, count * BLOCK_SIZE, PROT_READ); // a host that forbids executable memory
    this.sys(NR.mprotect, address, count * BLOCK_SIZE, RW);
  }
}
