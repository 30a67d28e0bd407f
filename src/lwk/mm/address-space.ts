/**
 * The program's address space: Linux's mmap family over blocks, arena and page tables. The table of mappings says what the program asked
 * for, the page tables what is there. Public methods take the memory lock.
 */
import { EACCES, EBADF, EEXIST, EINVAL, ENODEV, ENOMEM, EOVERFLOW, EPERM } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import { NR } from "../../abi/nr.ts";
import type { Sys } from "../../host/gate.ts";
import type { Scratch } from "../../host/memory.ts";
import type { GuestMemory } from "../../vmm/guest-memory.ts";
import {
  COMPANION_WORDS,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_HELD,
  PTE_HOLLOW,
  PTE_LARGE,
  PTE_NX_HIGH,
  PTE_PRESENT,
  PTE_USER,
  PTE_WRITE,
  type PageTables,
  WINDOW,
} from "../../vmm/page-table.ts";
import { MMAP_MIN_ADDR, USER_END } from "../elf/layout.ts";
import { GuestError } from "../guest-error.ts";
import { H, type State } from "../state.ts";
import { Arena } from "./arena.ts";
import { Blocks } from "./blocks.ts";
import { identify, MappedFiles } from "./files.ts";
import { KIND, type Mapping, Mappings, NAME, VF } from "./mappings.ts";
import { fileEnd } from "./truncated.ts";

export { USER_END };

const PAGE = M.PAGE_SIZE;

/** Private file mappings up to this size are copied into blocks; larger ones stay with the host. */
const COPY_LIMIT = 64 * 1024 * 1024;
/** Anonymous mappings from this size on are backed at once: the large arrays of HPC programs, not the reservations of language runtimes (64 MiB). */
const EAGER_BYTES = 128 * 1024 * 1024;
/** Arena mappings up to this size get their entries at once, larger ones at the first touch. */
const ARENA_EAGER = 16 * 1024 * 1024;

const up = (value: number, to: number): number => Math.ceil(value / to) * to;
const down = (value: number, to: number): number => Math.floor(value / to) * to;

/** Low word of an entry with these rights; PROT_NONE keeps the memory but is not present. */
function lowBits(prot: number, held: number): number {
  if (!(prot & (M.PROT_READ | M.PROT_WRITE | M.PROT_EXEC))) return held;
  return PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_DIRTY | (prot & M.PROT_WRITE ? PTE_WRITE : 0) | held;
}

function highBits(prot: number): number {
  return prot & M.PROT_EXEC ? 0 : PTE_NX_HIGH;
}

/** Why a guest access failed, for the signal that follows. */
export const FAULT = { NONE: 0, MAPERR: 1, ACCERR: 2, BUS: 3, NOMEM: 4 } as const;

export class AddressSpace {
  readonly state: State;
  readonly mappings: Mappings;
  readonly files: MappedFiles;
  readonly blocks: Blocks;
  readonly arena: Arena;
  readonly tables: PageTables;
  readonly memory: GuestMemory;
  readonly sys: Sys;
  private readonly scratch: Scratch;
  /** Virtual NUMA node that this thread's new memory comes from. */
  node = 0;
  /** Blocks whose windows are empty now: emptied after all entries are cleared. */
  private freed: [number, number][] = [];

  constructor(state: State, memory: GuestMemory, tables: PageTables, sys: Sys, scratch: Scratch) {
    this.state = state;
    this.memory = memory;
    this.tables = tables;
    this.sys = sys;
    this.scratch = scratch;
    this.mappings = new Mappings(state);
    this.files = new MappedFiles(state, sys);
    this.blocks = new Blocks(state, sys, scratch);
    this.arena = new Arena(state, sys, scratch);
  }

  /** Table pages that one operation may need: many when every window has a table of its own. */
  private get tableNeed(): number {
    return this.state.i32[H.guestHuge] ? 512 : 2 ** 20;
  }

  /** Runs `action` under the memory lock. */
  locked<T>(action: () => T): T {
    this.state.lock(H.lockMemory);
    try {
      this.memory.seeTables(this.state.i32[H.nextTablePage]!, this.tableNeed);
      return action();
    } finally {
      this.state.unlock(H.lockMemory);
    }
  }

  /** Every removal or restriction of a mapping goes by this: threads drop their remembered translations. */
  changed(): void {
    Atomics.add(this.state.i32, H.mappingGeneration, 1);
  }

  // ---- mmap -------------------------------------------------------------------------------------------------------

  /** mmap(2). `fd` is a host descriptor (-1: anonymous); `path` is what /proc/self/maps shows. Returns the address or -errno. */
  mmap(
    address: number,
    length: number,
    prot: number,
    flags: number,
    fd: number,
    offset: number,
    path: string | null,
    name: number = NAME.NONE,
  ): number {
    return this.locked(() => this.mmapLocked(address, length, prot, flags, fd, offset, path, name));
  }

  mmapLocked(
    address: number,
    length: number,
    prot: number,
    flags: number,
    fd: number,
    offset: number,
    path: string | null,
    name: number,
  ): number {
    const type = flags & M.MAP_TYPE;
    if (type !== M.MAP_PRIVATE && type !== M.MAP_SHARED && type !== M.MAP_SHARED_VALIDATE) return -EINVAL;
    if (length === 0 || offset % PAGE !== 0) return -EINVAL;
    if (length > USER_END) return -ENOMEM;
    const size = up(length, PAGE);
    if (offset + size >= 2 ** 53) return -EOVERFLOW;
    if (!this.mappings.room) return -ENOMEM;
    const anonymous = (flags & M.MAP_ANONYMOUS) !== 0;
    const shared = type !== M.MAP_PRIVATE;

    let file = 0;
    let kind: number = KIND.ANON;
    let mayWrite = true;
    let validBytes = size;
    if (!anonymous) {
      if (fd < 0) return -EBADF;
      const identity = identify(this.sys, this.scratch, fd);
      if (!identity) return -EBADF;
      const access = this.sys(NR.fcntl, fd, 3, 0);
      const format = identity.mode & 0o170000;
      if (format === 0o040000) return -ENODEV;
      if ((access & 3) === 1 || access & 0o10000000) return -EACCES;
      mayWrite = !shared || (access & 3) === 2;
      if (prot & M.PROT_WRITE && !mayWrite) return -EACCES;
      const zeroDevice = format === 0o020000 && identity.rdev === 0x105n;
      if (!(zeroDevice && !shared)) {
        const regular = format === 0o100000;
        kind = !shared && regular && size <= COPY_LIMIT ? KIND.COPY : KIND.ARENA;
        const index = this.files.open(fd, identity, path ?? "");
        if (index < 0) return index;
        file = index + 1;
        if (kind === KIND.COPY) validBytes = Math.max(0, Math.min(size, up(identity.size - offset, PAGE)));
      }
    }

    const fixed = (flags & (M.MAP_FIXED | M.MAP_FIXED_NOREPLACE)) !== 0;
    let start = address;
    if (fixed) {
      if (address % PAGE !== 0) return -EINVAL;
      if (address + size > USER_END || address < 0) return -ENOMEM;
      if (address < MMAP_MIN_ADDR && this.state.i32[H.euid] !== 0) return -EPERM; // without CAP_SYS_RAWIO a null pointer stays one
      if (flags & M.MAP_FIXED_NOREPLACE && !this.mappings.free(start, start + size)) return -EEXIST;
    } else {
      start = this.place(address, size, flags);
      if (start < 0) return -ENOMEM;
    }

    if (fixed && kind === KIND.COPY && this.reprotectCopy(start, size, prot, file, offset)) return start;
    if (!(flags & M.MAP_FIXED_NOREPLACE) && fixed) this.removeLocked(start, start + size);

    const mapping: Mapping = {
      start,
      end: start + size,
      prot: prot & 7,
      flags:
        (shared ? VF.SHARED : 0) |
        (mayWrite ? VF.MAYWRITE : 0) |
        (flags & M.MAP_STACK ? VF.STACK : 0) |
        (flags & M.MAP_NORESERVE ? VF.NORESERVE : 0) |
        (kind === KIND.COPY && prot & M.PROT_WRITE ? VF.DIRTIED : 0),
      kind,
      file,
      offset: file ? offset : 0,
      gpa: 0,
      validEnd: kind === KIND.COPY ? start + validBytes : 0,
      name,
    };
    if (kind === KIND.ARENA) {
      const rights = mayWrite ? M.PROT_READ | M.PROT_WRITE : M.PROT_READ;
      const gpa = this.arena.map(size, rights, type | (flags & M.MAP_NORESERVE), fd, offset);
      if (gpa < 0) return gpa;
      mapping.gpa = gpa;
      if (size > ARENA_EAGER) mapping.flags |= VF.LAZY;
    } else if (!this.eager(size, flags)) mapping.flags |= VF.LAZY;

    const error = this.fill(mapping, mapping.start, mapping.end, (flags & (M.MAP_POPULATE | M.MAP_LOCKED)) !== 0);
    if (error < 0) {
      this.clearRange(mapping, mapping.start, mapping.end);
      this.flushFreed();
      return error;
    }
    this.mappings.insert(mapping);
    if (mapping.kind !== KIND.ARENA) this.promoteEdges(start, start + size);
    return start;
  }

  /** Large and unreserved mappings get their memory window by window at the first touch, so that terabytes cost nothing. */
  private eager(size: number, flags: number): boolean {
    if (flags & M.MAP_NORESERVE && size > 2 * WINDOW) return false;
    return size / M.BLOCK_SIZE <= this.blocks.available / 2;
  }

  /** An address for a mapping that names none: the hint when free, else the highest gap below the mmap base. Large ones start on a 2M border. */
  private place(hint: number, size: number, flags: number): number {
    const wanted = down(hint, PAGE);
    if (wanted >= MMAP_MIN_ADDR && wanted + size <= USER_END && this.mappings.free(wanted, wanted + size)) return wanted;
    const alignment = size >= WINDOW ? WINDOW : PAGE;
    if (flags & M.MAP_32BIT) return this.mappings.gap(size, MMAP_MIN_ADDR, 0x8000_0000, alignment);
    const found = this.mappings.gap(size, MMAP_MIN_ADDR, this.state.getU64(H.mmapBase), alignment);
    return found >= 0 ? found : this.mappings.gap(size, MMAP_MIN_ADDR, USER_END, PAGE);
  }

  /**
   * ld.so maps a library's whole extent first and its segments over it. Where the bytes below are the same bytes of the same file, never
   * writable so far, only the rights change and nothing is read again.
   */
  private reprotectCopy(start: number, size: number, prot: number, file: number, offset: number): boolean {
    const old = this.mappings.at(start);
    if (!old || old.kind !== KIND.COPY || old.file !== file || old.end < start + size || old.flags & VF.DIRTIED) return false;
    if (old.offset + (start - old.start) !== offset) return false;
    return this.protectLocked(start, size, prot) === 0;
  }

  // ---- entries ----------------------------------------------------------------------------------------------------

  /** Makes the entries of `m` in [from, to): nothing is mapped there yet. Lazy mappings and PROT_NONE wait. Returns 0 or -errno. */
  private fill(m: Mapping, from: number, to: number, now: boolean): number {
    if ((m.flags & VF.LAZY || !m.prot) && !now) return 0;
    if (!m.prot) return 0;
    return this.fillNow(m, from, to);
  }

  /** Makes the entries of `m` in [from, to) with their memory. Returns 0 or -errno; what was made before an error is for the caller to clear. */
  private fillNow(m: Mapping, from: number, to: number): number {
    const spare: { run: [number, number] } = { run: [0, 0] };
    try {
      return this.fillEntries(m, from, to, spare);
    } catch (error) {
      // Slot 0 has no room for another page table.
      if (error instanceof GuestError) return -error.errno;
      throw error;
    } finally {
      // Blocks taken for windows that had one of their own, or that were not reached.
      if (spare.run[1]) this.blocks.untake(spare.run[0], spare.run[1]);
    }
  }

  private fillEntries(m: Mapping, from: number, to: number, spare: { run: [number, number] }): number {
    if (m.kind === KIND.ARENA) {
      for (let va = from; va < to; va += PAGE) {
        const table = this.tables.tableOf(this.tables.directoryEntry(va, true), true);
        this.tables.setLeaf(table * 1024 + (Math.floor(va / PAGE) & 511) * 2, m.gpa + (va - m.start), lowBits(m.prot, 0), highBits(m.prot));
      }
      return 0;
    }
    const end = m.kind === KIND.COPY ? Math.min(to, m.validEnd) : to;
    const fresh: [number, number][] = [];
    let freshBlocks = 0;
    for (let va = from; va < end; ) {
      const next = Math.min(down(va, WINDOW) + WINDOW, end);
      const entry = this.tables.directoryEntry(va, true);
      let block = this.memory.tables[entry + COMPANION_WORDS + 1]! - 1;
      const empty = block < 0 || this.blocks.isBound(block);
      if (block < 0) {
        if (spare.run[1] === 0) {
          const taken = this.takeBlocks(Math.ceil((end - down(va, WINDOW)) / WINDOW));
          if (!taken) return -ENOMEM;
          spare.run = taken;
        }
        block = spare.run[0];
        spare.run = [block + 1, spare.run[1] - 1];
        this.memory.tables[entry + COMPANION_WORDS + 1] = block + 1;
      } else if (!this.blocks.claim(block)) return -ENOMEM;
      if (empty) {
        freshBlocks++;
        const last = fresh[fresh.length - 1];
        if (last && last[0] + last[1] === block) last[1]++;
        else fresh.push([block, 1]);
      }
      const gpa = this.blocks.gpa(block) + (va % WINDOW);
      if (m.kind === KIND.COPY) {
        const error = this.readInto(m, va, next, gpa);
        if (error < 0) {
          if (empty) this.blocks.empty(block, 1);
          return error;
        }
      }
      if (next - va === WINDOW && this.state.i32[H.guestHuge])
        this.tables.setLeaf(entry, gpa, lowBits(m.prot, PTE_HELD) | PTE_LARGE, highBits(m.prot));
      else {
        const table = this.tables.tableOf(entry, true);
        const low = lowBits(m.prot, PTE_HELD);
        const high = highBits(m.prot);
        let word = table * 1024 + (Math.floor(va / PAGE) & 511) * 2;
        for (let page = va; page < next; page += PAGE, word += 2) {
          if (!(this.memory.tables[word]! & PTE_HELD)) this.tables.setLeaf(word, gpa + (page - va), low, high);
        }
      }
      va = next;
    }
    if (m.kind === KIND.ANON && m.prot && freshBlocks * M.BLOCK_SIZE >= EAGER_BYTES && !(m.flags & (VF.LAZY | VF.STACK))) {
      for (const [first, count] of fresh)
        if (this.blocks.populate(this.blocks.hostAddress(first), count * M.BLOCK_SIZE) < 0) return -ENOMEM;
    }
    return 0;
  }

  /** Blocks for windows that have none; empty ones of other windows when there are no others. */
  private takeBlocks(wanted: number): [number, number] | null {
    const taken = this.blocks.take(wanted, this.node);
    if (taken || this.blocks.available <= 0 || !this.blocks.anyBound) return taken;
    this.unbind();
    return this.blocks.take(wanted, this.node);
  }

  /** Takes all empty blocks from the windows that they are bound to. KVM drops its tables first, so that no old place leads to them any more. */
  unbind(): void {
    this.blocks.dropShadow();
    const words = this.memory.tables;
    const next = (word: number): number => (words[word]! & PTE_PRESENT ? words[word]! >>> 12 : 0);
    const root = this.state.i32[H.rootTable]!;
    for (let top = 0; top < 255; top++) {
      const pdpt = next(root * 1024 + top * 2);
      for (let i = 0; pdpt && i < 512; i++) {
        const directory = next(pdpt * 1024 + i * 2);
        for (let j = 0; directory && j < 512; j++) {
          const owner = directory * 1024 + j * 2 + COMPANION_WORDS + 1;
          const block = words[owner]! - 1;
          if (block < 0 || !this.blocks.isBound(block)) continue;
          words[owner] = 0;
          this.blocks.unbind(block);
        }
      }
    }
  }

  /** Reads the file's bytes for [from, to) of a copied mapping to guest-physical `gpa`, where memory is zero. */
  private readInto(m: Mapping, from: number, to: number, gpa: number): number {
    const fd = this.files.hostDescriptor(m.file - 1);
    let done = 0;
    while (done < to - from) {
      const got = this.sys(NR.pread64, fd, this.memory.hostAddress(gpa) + done, to - from - done, m.offset + (from - m.start) + done);
      if (got === 0) break;
      if (got < 0) return got;
      done += got;
    }
    return 0;
  }

  /** Next window border above `va`, further where no directory exists: an empty terabyte is crossed in 1 GiB steps. */
  private nextWindow(va: number, entry: number, end: number): number {
    return Math.min(end, entry < 0 ? down(va, 0x4000_0000) + 0x4000_0000 : down(va, WINDOW) + WINDOW);
  }

  /** Clears the entries of mapping `m` in [from, to) and gives the memory back (after `flushFreed`). */
  private clearRange(m: Mapping, from: number, to: number): void {
    const words = this.memory.tables;
    for (let va = from; va < to; ) {
      const entry = this.tables.directoryEntry(va, false);
      const next = this.nextWindow(va, entry, to);
      if (entry >= 0 && words[entry]) this.clearWindow(m, entry, va, next);
      va = next;
    }
    if (m.kind === KIND.ARENA) this.arena.unmap(m.gpa + (from - m.start), to - from);
    this.changed();
  }

  private clearWindow(m: Mapping, entry: number, from: number, to: number): void {
    const words = this.memory.tables;
    const block = words[entry + COMPANION_WORDS + 1]! - 1;
    if (words[entry]! & PTE_LARGE) {
      if (to - from === WINDOW) {
        this.tables.clear(entry);
        this.freeBlock(block);
        return;
      }
    }
    const table = this.tables.tableOf(entry, true);
    const base = table * 1024;
    let held = false;
    const first = base + (Math.floor(from / PAGE) & 511) * 2;
    for (let word = first, n = (to - from) / PAGE; n > 0; n--, word += 2) {
      if (words[word]! & PTE_HELD) held = true;
      this.tables.clear(word);
    }
    if (m.kind === KIND.ARENA || !held || block < 0) return;
    for (let word = base; word < base + 1024; word += 2) {
      if (words[word]! & PTE_HELD) {
        this.zero(block, from % WINDOW, to - from);
        return;
      }
    }
    this.freeBlock(block);
  }

  private freeBlock(block: number): void {
    const last = this.freed[this.freed.length - 1];
    if (last && last[0] + last[1] === block) last[1]++;
    else this.freed.push([block, 1]);
  }

  private flushFreed(): void {
    for (const [first, count] of this.freed) this.blocks.empty(first, count);
    this.freed = [];
  }

  /**
   * Zeroes part of a block whose other pages live on. Giving 4K of a 2M page back would break the page for good, so the bytes are cleared and the
   * page kept; on 4K host pages they go back.
   */
  private zero(block: number, offset: number, length: number): void {
    if (!this.state.i32[H.hostHuge]) {
      this.sys(NR.madvise, this.blocks.hostAddress(block) + offset, length, M.MADV_DONTNEED);
      return;
    }
    this.blocks.invalidate(block, 1);
    const gpa = this.blocks.gpa(block);
    const at = this.memory.chunkOffset(gpa) + offset;
    this.memory.chunk(gpa).fill(0, at, at + length);
  }

  // ---- munmap, mprotect -------------------------------------------------------------------------------------------

  munmap(address: number, length: number): number {
    if (address % PAGE !== 0 || length === 0 || length > USER_END || address + length > USER_END) return -EINVAL;
    return this.locked(() => {
      if (!this.mappings.room) return -ENOMEM;
      this.removeLocked(address, address + up(length, PAGE));
      return 0;
    });
  }

  removeLocked(start: number, end: number): void {
    const { mappings } = this;
    if (mappings.free(start, end)) return;
    mappings.splitAt(start);
    mappings.splitAt(end);
    const from = mappings.find(start);
    let to = from;
    while (to < mappings.count && mappings.start(to) < end) {
      const m = mappings.get(to++);
      this.clearRange(m, m.start, m.end);
    }
    mappings.remove(from, to);
    this.flushFreed();
  }

  mprotect(address: number, length: number, prot: number): number {
    const rights = prot & ~(M.PROT_GROWSDOWN | M.PROT_GROWSUP);
    if (address % PAGE !== 0 || rights & ~7) return -EINVAL;
    if (length === 0) return 0;
    if (length > USER_END || address + length > USER_END) return -ENOMEM;
    return this.locked(() => this.protectLocked(address, up(length, PAGE), rights));
  }

  protectLocked(start: number, size: number, prot: number): number {
    const { mappings } = this;
    const end = start + size;
    if (!mappings.room) return -ENOMEM;
    const first = mappings.find(start);
    if (first >= mappings.count || mappings.start(first) > start) return -ENOMEM;
    let at = start;
    let error = 0;
    for (let i = first; at < end; ) {
      if (i >= mappings.count || mappings.start(i) > at) {
        error = -ENOMEM;
        break;
      }
      const m = mappings.get(i);
      const stop = Math.min(end, m.end);
      if (prot & M.PROT_WRITE && !(m.flags & VF.MAYWRITE)) {
        error = -EACCES;
        break;
      }
      if (m.prot !== prot) {
        error = this.protectPart(m, at, stop, prot);
        if (error < 0) break;
      }
      at = stop;
      i = mappings.find(at);
    }
    mappings.joinAround(start, end);
    if (at > start) this.promoteEdges(start, at);
    return error;
  }

  private protectPart(m: Mapping, from: number, to: number, prot: number): number {
    const { mappings } = this;
    const lost = m.prot & ~prot;
    mappings.splitAt(from);
    mappings.splitAt(to);
    const index = mappings.find(from);
    const part = mappings.get(index);
    part.prot = prot;
    if (prot & M.PROT_WRITE && part.kind === KIND.COPY) part.flags |= VF.DIRTIED;
    // A mapping that begins without rights is a reservation: what becomes accessible is backed unless it is too large for that.
    if (!m.prot && part.kind === KIND.ANON) {
      const lazy = !this.eager(to - from, part.flags & VF.NORESERVE ? M.MAP_NORESERVE : 0);
      part.flags = lazy ? part.flags | VF.LAZY : part.flags & ~VF.LAZY;
    }
    mappings.put(index, part);
    this.rewrite(from, to, prot, part.kind, lost !== 0, part);
    if (!m.prot && prot && !(part.flags & VF.LAZY)) return this.fillHoles(part, from, to);
    return 0;
  }

  /** Gives the existing entries in [from, to) new rights; makes KVM forget the old ones when any right is lost. */
  private rewrite(from: number, to: number, prot: number, kind: number, restrict: boolean, m: Mapping): void {
    const words = this.memory.tables;
    const high = highBits(prot);
    const stale: [number, number][] = [];
    for (let va = from; va < to; ) {
      const entry = this.tables.directoryEntry(va, false);
      const next = this.nextWindow(va, entry, to);
      if (entry >= 0 && words[entry]) {
        const block = words[entry + COMPANION_WORDS + 1]! - 1;
        let touched = false;
        if (words[entry]! & PTE_LARGE && next - va === WINDOW) {
          this.tables.setLeaf(entry, this.blocks.gpa(block), lowBits(prot, PTE_HELD) | PTE_LARGE, high);
          touched = true;
        } else {
          const table = this.tables.tableOf(entry, true);
          let word = table * 1024 + (Math.floor(va / PAGE) & 511) * 2;
          for (let page = va; page < next; page += PAGE, word += 2) {
            const low = words[word]!;
            if (!low) continue;
            touched = true;
            if (low & PTE_HELD) this.tables.setLeaf(word, this.blocks.gpa(block) + (page % WINDOW), lowBits(prot, PTE_HELD), high);
            else this.tables.setLeaf(word, m.gpa + (page - m.start), lowBits(prot, 0) || PTE_HOLLOW, high);
          }
        }
        if (touched && restrict && kind !== KIND.ARENA) {
          const last = stale[stale.length - 1];
          if (last && last[0] + last[1] === block) last[1]++;
          else stale.push([block, 1]);
        }
      }
      va = next;
    }
    if (!restrict) return;
    this.changed();
    for (const [first, count] of stale) this.blocks.invalidate(first, count);
    if (kind === KIND.ARENA) this.invalidateArena(m, from, to);
  }

  private invalidateArena(m: Mapping, from: number, to: number): void {
    const host = this.arena.hostAddress(m.gpa + (from - m.start));
    if (m.flags & VF.SHARED) {
      this.sys(NR.madvise, host, to - from, M.MADV_DONTNEED); // contents are the file's
      return;
    }
    const rw = M.PROT_READ | M.PROT_WRITE;
    if (this.sys(NR.mprotect, host, to - from, rw | M.PROT_EXEC) < 0) this.sys(NR.mprotect, host, to - from, M.PROT_READ);
    this.sys(NR.mprotect, host, to - from, rw);
  }

  /** Makes the missing entries of `m` in [from, to); existing ones stay. */
  private fillHoles(m: Mapping, from: number, to: number): number {
    const words = this.memory.tables;
    for (let va = from; va < to; ) {
      const entry = this.tables.directoryEntry(va, false);
      const next = Math.min(to, down(va, WINDOW) + WINDOW);
      if (entry < 0 || !words[entry]) {
        // Join whole untouched windows into one call, so that they get consecutive blocks.
        let stop = next;
        for (;;) {
          const e = stop < to ? this.tables.directoryEntry(stop, false) : 0;
          if (stop >= to || (e >= 0 && words[e])) break;
          stop = Math.min(to, stop + WINDOW);
        }
        const error = this.fillNow(m, va, stop);
        if (error < 0) return error;
        va = stop;
        continue;
      }
      if (!(words[entry]! & PTE_LARGE)) {
        const table = this.tables.tableOf(entry, true);
        const wordAt = (page: number) => table * 1024 + (Math.floor(page / PAGE) & 511) * 2;
        for (let page = va; page < next; ) {
          if (words[wordAt(page)]) {
            page += PAGE;
            continue;
          }
          let stop = page;
          while (stop < next && !words[wordAt(stop)]) stop += PAGE;
          const error = this.fillNow(m, page, stop);
          if (error < 0) return error;
          page = stop;
        }
      }
      va = next;
    }
    return 0;
  }

  // ---- large pages ------------------------------------------------------------------------------------------------

  /** Tries to make one 2M entry of each window at the edges of a changed range. */
  private promoteEdges(start: number, end: number): void {
    if (!this.state.i32[H.guestHuge]) return;
    const first = down(start, WINDOW);
    const last = down(end - 1, WINDOW);
    this.promote(first);
    if (last !== first) this.promote(last);
  }

  /** One 2M entry for a window that a single mapping covers, wholly backed by its block. */
  private promote(window: number): void {
    const m = this.mappings.at(window);
    if (!m || m.start > window || m.end < window + WINDOW || m.kind === KIND.ARENA || m.kind === KIND.BOOT || !m.prot) return;
    if (m.kind === KIND.COPY && m.validEnd < window + WINDOW) return;
    const words = this.memory.tables;
    const entry = this.tables.directoryEntry(window, false);
    if (entry < 0 || !words[entry] || words[entry]! & PTE_LARGE) return;
    const block = words[entry + COMPANION_WORDS + 1]! - 1;
    if (block < 0) return;
    const table = this.tables.tableOf(entry, false);
    for (let word = table * 1024; word < table * 1024 + 1024; word += 2) if (!(words[word]! & PTE_HELD)) return;
    this.tables.setLeaf(entry, this.blocks.gpa(block), lowBits(m.prot, PTE_HELD) | PTE_LARGE, highBits(m.prot));
    this.blocks.invalidate(block, 1);
  }

  // ---- faults -----------------------------------------------------------------------------------------------------

  /**
   * A page fault at `va`, or the LWK's own need of the page. Brings in what the mapping promises. Returns FAULT.NONE when the access may be
   * tried again, else why not.
   */
  fault(va: number, write: boolean, execute: boolean): number {
    return this.locked(() => this.faultLocked(va, write, execute));
  }

  faultLocked(va: number, write: boolean, execute: boolean): number {
    if (va >= USER_END) return FAULT.MAPERR;
    const m = this.mappings.at(va);
    if (!m) return FAULT.MAPERR;
    if (m.kind === KIND.BOOT) return FAULT.ACCERR;
    if (!m.prot || (write && !(m.prot & M.PROT_WRITE)) || (execute && !(m.prot & M.PROT_EXEC))) return FAULT.ACCERR;
    if (m.kind === KIND.COPY && va >= m.validEnd) return FAULT.BUS;
    if (this.tables.translate(va) && (!write || this.tables.flags & PTE_WRITE)) return FAULT.NONE; // another thread was first, or a stale TLB
    const window = down(va, WINDOW);
    const from = Math.max(m.start, window);
    let to = Math.min(m.end, window + WINDOW);
    if (m.kind === KIND.ARENA) {
      const end = fileEnd(this, m);
      if (va >= end) return FAULT.BUS;
      to = Math.min(to, end);
    }
    if (this.fillHoles(m, from, to) < 0) return FAULT.NOMEM;
    if (m.kind !== KIND.ARENA) this.promote(window);
    return FAULT.NONE;
  }

  // ---- brk --------------------------------------------------------------------------------------------------------

  /** brk(2): the new end, or the old one when it cannot be. */
  brk(address: number): number {
    return this.locked(() => {
      const { state } = this;
      const start = state.getU64(H.brkStart);
      const current = state.getU64(H.brkEnd);
      if (address < start || address > USER_END) return current;
      const oldEnd = up(current, PAGE);
      const newEnd = up(address, PAGE);
      if (newEnd < oldEnd) this.removeLocked(newEnd, oldEnd);
      else if (newEnd > oldEnd) {
        if (!this.mappings.free(oldEnd, newEnd)) return current;
        const result = this.mmapLocked(
          oldEnd,
          newEnd - oldEnd,
          M.PROT_READ | M.PROT_WRITE,
          M.MAP_PRIVATE | M.MAP_ANONYMOUS | M.MAP_FIXED,
          -1,
          0,
          null,
          NAME.HEAP,
        );
        if (result < 0) return current;
      }
      state.setU64(H.brkEnd, address);
      return address;
    });
  }

  /** Adds pages of the LWK itself to the table, so that nothing else is placed there and /proc/self/maps shows them. */
  addBootMapping(start: number, end: number, prot: number, name: number): void {
    this.locked(() => this.mappings.insert({ start, end, prot, flags: 0, kind: KIND.BOOT, file: 0, offset: 0, gpa: 0, validEnd: 0, name }));
  }

  /** True when every page of [start, end) belongs to some mapping. */
  covered(start: number, end: number): boolean {
    let at = start;
    for (let i = this.mappings.find(start); at < end; i++) {
      if (i >= this.mappings.count || this.mappings.start(i) > at) return false;
      at = this.mappings.end(i);
    }
    return true;
  }

  /** Guest-physical address of the private page at `va`, whether its rights make it present or not; -1 when nothing is held there. */
  heldPage(va: number): number {
    if (this.tables.leaf(va) < 0 || !(this.tables.flags & PTE_HELD)) return -1;
    const block = this.memory.tables[this.tables.directoryEntry(va, false) + COMPANION_WORDS + 1]! - 1;
    return block < 0 ? -1 : this.blocks.gpa(block) + (va % WINDOW);
  }

  /** Bytes of mapped file `index` now; -1 for what has no size (devices, pipes). */
  fileSize(index: number): number {
    const identity = identify(this.sys, this.scratch, this.files.hostDescriptor(index));
    return identity && (identity.mode & 0o170000) === 0o100000 ? identity.size : -1;
  }

  /** Writes into mapped memory whatever its protection (the loader's way). Throws RangeError where no private memory is. */
  poke(address: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const va = address + done;
      const n = Math.min(bytes.length - done, PAGE - (va % PAGE));
      const gpa = this.heldPage(va);
      if (gpa < 0) {
        if (this.fault(va, false, false) === FAULT.NONE) continue;
        throw new RangeError(`no memory at 0x${va.toString(16)}`);
      }
      this.memory.chunk(gpa).set(bytes.subarray(done, done + n), this.memory.chunkOffset(gpa));
      done += n;
    }
  }

  // Used by remap.ts and advise.ts, which are parts of this class in files of their own.
  /** @internal */ clearFor(m: Mapping, from: number, to: number): void {
    this.clearRange(m, from, to);
    this.flushFreed();
  }

  /** @internal */ fillFor(m: Mapping, from: number, to: number): number {
    return this.fillHoles(m, from, to);
  }

  /** @internal */ zeroFor(block: number, offset: number, length: number): void {
    this.zero(block, offset, length);
  }

  /** @internal */ placeFor(hint: number, size: number): number {
    return this.place(hint, size, 0);
  }

  /** @internal */ promoteFor(start: number, end: number): void {
    this.promoteEdges(start, end);
  }
}
