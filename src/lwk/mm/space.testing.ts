/**
 * An address space for unit tests: real gate, state, page tables, blocks and arena, but no virtual machine. The one call that needs /dev/kvm,
 * KVM_SET_USER_MEMORY_REGION, is answered here and its memory slots are kept, so that a test can compare them with the state's table.
 */
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { KVM_SET_USER_MEMORY_REGION } from "../../abi/kvm.ts";
import { BLOCK_SIZE } from "../../abi/mman.ts";
import { NR } from "../../abi/nr.ts";
import { createGateArea, type Gate, openGate, type Sys, viewMemory } from "../../host/gate.ts";
import { createScratch, reserveAddressSpace, type Scratch } from "../../host/memory.ts";
import { BLOCK_GPA, GuestMemory } from "../../vmm/guest-memory.ts";
import { COMPANION_WORDS, PageTables, PTE_HELD, PTE_LARGE, PTE_PRESENT, WINDOW } from "../../vmm/page-table.ts";
import { takeTablePages } from "../boot/install.ts";
import { H, OFFSET, S, SLOT, State } from "../state.ts";
import { AddressSpace, USER_END } from "./address-space.ts";
import { GuestWindow } from "./window.ts";

const PAGE = 4096;
const MIB = 2 ** 20;
/** Stands for the virtual machine's descriptor. */
const VM = 0x7000_0000;
const ARENA_GPA = 2 ** 40;
const TABLE_SIZE = 64 * MIB;
const ARENA_SIZE = 4096 * MIB;
const MMAP_BASE = 0x7f00_0000_0000;
const zeros = Buffer.alloc(PAGE);

let shared: Gate | undefined;

export interface SpaceOptions {
  readonly hostHuge?: boolean;
  readonly guestHuge?: boolean;
  /** Memory of the virtual node. */
  readonly blocks?: number;
}

export class TestSpace {
  readonly gate: Gate;
  readonly state: State;
  readonly memory: GuestMemory;
  readonly tables: PageTables;
  readonly space: AddressSpace;
  readonly window: GuestWindow;
  /** What KVM was told: guest-physical start, bytes, host address. */
  readonly slots: { gpa: number; bytes: number; host: number }[] = [];
  private readonly reserved: [number, number][] = [];
  /** Blocks that had an owner in some check. */
  private readonly everOwned = new Set<number>();

  constructor({ hostHuge = true, guestHuge = true, blocks = 64 }: SpaceOptions = {}) {
    shared ??= openGate(createGateArea(), 0);
    const gate = shared;
    this.gate = gate;
    const state = State.create(gate.sys);
    this.state = state;
    this.reserved.push([state.address, state.u8.length]);
    const reserve = (size: number): number => {
      const address = reserveAddressSpace(gate.sys, size, BLOCK_SIZE);
      this.reserved.push([address, size]);
      return address;
    };
    const layout = {
      tableHost: reserve(TABLE_SIZE),
      tableSize: TABLE_SIZE,
      blockHost: reserve(blocks * BLOCK_SIZE),
      blockSize: blocks * BLOCK_SIZE,
      arenaHost: reserve(ARENA_SIZE),
      arenaGpa: ARENA_GPA,
      arenaSize: ARENA_SIZE,
    };
    gate.sys(NR.mprotect, layout.tableHost, TABLE_SIZE, 3);
    const { i32 } = state;
    i32[H.pid] = gate.sys(NR.getpid);
    i32[H.hostHuge] = hostHuge ? 1 : 0;
    i32[H.guestHuge] = guestHuge ? 1 : 0;
    i32[H.blocksLimit] = blocks;
    i32[H.vmFd] = VM;
    i32[H.nodeCount] = 1;
    i32[OFFSET.nodes >> 2] = -1;
    i32[H.tablePages] = TABLE_SIZE / PAGE;
    i32[H.rootTable] = 1;
    i32[H.nextTablePage] = 2;
    i32[(OFFSET.slots >> 2) + S.kind] = SLOT.TABLES;
    i32[H.slotCount] = 1;
    state.setU64(H.blockBase, layout.blockHost);
    state.setU64(H.arenaBase, layout.arenaHost);
    state.setU64(H.arenaGpa, ARENA_GPA);
    state.setU64(H.arenaSize, ARENA_SIZE);
    state.setU64(H.mmapBase, MMAP_BASE);
    const scratch = createScratch(gate);
    this.memory = new GuestMemory(layout);
    this.tables = new PageTables(
      this.memory,
      1,
      (pages) => takeTablePages(state, pages),
      () => undefined,
    );
    this.space = new AddressSpace(state, this.memory, this.tables, this.answering(scratch), scratch);
    this.window = new GuestWindow(this.space, gate, createScratch(gate));
  }

  private answering(scratch: Scratch): Sys {
    const { gate } = this;
    return (nr, a, b, c, d, e, f) => {
      if (nr !== NR.ioctl || a !== VM) return gate.sys(nr, a, b, c, d, e, f);
      if (b !== KVM_SET_USER_MEMORY_REGION) throw new Error(`unexpected ioctl ${String(b)} on the virtual machine`);
      const at = Number(c) - scratch.address;
      const word = (offset: number): number => Number(scratch.view.getBigUint64(at + offset, true));
      this.slots.push({ gpa: word(8), bytes: word(16), host: word(24) });
      return 0;
    };
  }

  /** Gives the address ranges back to the host. Views of them must not be used again. */
  close(): void {
    this.space.munmap(0, USER_END);
    for (const [address, size] of this.reserved) this.gate.sys(NR.munmap, address, size);
  }

  get blocksUsed(): number {
    return this.state.i32[H.blocksUsed]!;
  }

  /** Windows of [start, end) that own a block: [window address, block, its pages that an entry holds]. */
  private owners(): [number, number, Set<number>][] {
    this.memory.seeTables(this.state.i32[H.nextTablePage]!, 0);
    const words = this.memory.tables;
    const result: [number, number, Set<number>][] = [];
    const next = (word: number): number => (words[word]! & PTE_PRESENT ? words[word]! >>> 12 : 0);
    for (let a = 0; a < 255; a++) {
      const pdpt = next(1024 + a * 2);
      if (!pdpt) continue;
      for (let b = 0; b < 512; b++) {
        const directory = next(pdpt * 1024 + b * 2);
        if (!directory) continue;
        for (let c = 0; c < 512; c++) {
          const entry = directory * 1024 + c * 2;
          const block = words[entry + COMPANION_WORDS + 1]! - 1;
          const held = new Set<number>();
          const low = words[entry]!;
          const va = (a * 2 ** 18 + b * 512 + c) * WINDOW;
          const check = (gpa: number, page: number): void => {
            if (block < 0 || gpa !== BLOCK_GPA + block * BLOCK_SIZE + page * PAGE)
              throw new Error(`page ${page} of window 0x${va.toString(16)} (block ${block}) is at 0x${gpa.toString(16)}`);
            held.add(page);
          };
          if (low & PTE_LARGE) {
            if (!(low & PTE_HELD)) throw new Error(`large entry of window 0x${va.toString(16)} holds nothing`);
            for (let i = 0; i < 512; i++) check((words[entry + 1]! % 2 ** 20) * 2 ** 32 + ((low & 0xffe0_0000) >>> 0) + i * PAGE, i);
          } else if (low & PTE_PRESENT) {
            const table = (low >>> 12) * 1024;
            for (let i = 0; i < 512; i++) {
              const leaf = words[table + i * 2]!;
              if (leaf & PTE_HELD) check((words[table + i * 2 + 1]! % 2 ** 20) * 2 ** 32 + ((leaf & 0xffff_f000) >>> 0), i);
            }
          }
          if (block >= 0) result.push([va, block, held]);
        }
      }
    }
    return result;
  }

  /** Throws where the page tables, the blocks' owners and the pool disagree, or a page of a block that no entry holds is not zero. */
  checkBlocks(): void {
    const { state } = this;
    const owned = new Map<number, Set<number>>();
    const named = new Set<number>();
    for (const [va, block, held] of this.owners()) {
      if (named.has(block)) throw new Error(`block ${block} belongs to two windows, one of them 0x${va.toString(16)}`);
      named.add(block);
      if (this.space.blocks.isBound(block)) {
        if (held.size > 0) throw new Error(`block ${block} counts as empty, but window 0x${va.toString(16)} holds pages of it`);
        continue;
      }
      owned.set(block, held);
      this.everOwned.add(block);
    }
    if (owned.size !== this.blocksUsed) throw new Error(`${this.blocksUsed} blocks are used, ${owned.size} belong to windows`);
    for (let block = 0; block < state.i32[H.blocksMapped]!; block++) {
      const held = owned.get(block);
      if ((state.u8[OFFSET.blocks + block] === 1) !== (held !== undefined))
        throw new Error(`block ${block}: its mark in the pool is wrong`);
      if (!this.everOwned.has(block)) continue;
      const bytes = Buffer.from(viewMemory(this.space.blocks.hostAddress(block), BLOCK_SIZE));
      for (let page = 0; page < 512; page++) {
        if (held?.has(page)) continue;
        if (bytes.compare(zeros, 0, PAGE, page * PAGE, (page + 1) * PAGE) !== 0)
          throw new Error(`page ${page} of block ${block} is not held and not zero`);
      }
    }
  }
}

let files = 0;

/** A file without a name that holds `bytes`. Returns its descriptor. */
export function temporaryFile(bytes: Uint8Array): { fd: number; close(): void } {
  const path = `${tmpdir()}/margay-mm-${process.pid}-${files++}-${Math.floor(performance.now() * 1000)}`;
  const fd = openSync(path, "w+", 0o600);
  unlinkSync(path);
  writeSync(fd, bytes);
  return { fd, close: () => closeSync(fd) };
}
