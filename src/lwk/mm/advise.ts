/** madvise(2), msync(2), mincore(2): what the program says about its memory. */
import { EINVAL, ENOMEM } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import { NR } from "../../abi/nr.ts";
import { COMPANION_WORDS, PTE_HELD, PTE_LARGE, PTE_PRESENT, WINDOW } from "../../vmm/page-table.ts";
import { type AddressSpace, USER_END } from "./address-space.ts";
import { KIND, type Mapping, VF } from "./mappings.ts";

const PAGE = M.PAGE_SIZE;

export function madvise(space: AddressSpace, address: number, length: number, advice: number): number {
  if (address % PAGE !== 0 || length > USER_END || address + length > USER_END) return -EINVAL;
  const end = address + Math.ceil(length / PAGE) * PAGE;
  if (end === address) return 0;
  switch (advice) {
    case M.MADV_DONTNEED:
    case M.MADV_DONTNEED_LOCKED:
      return each(space, address, end, (m, from, to) => discard(space, m, from, to));
    case M.MADV_FREE:
      return each(space, address, end, (m, from, to) => {
        if (m.kind !== KIND.ANON || m.flags & VF.SHARED) return -EINVAL;
        const first = Math.ceil(from / WINDOW) * WINDOW;
        const last = Math.floor(to / WINDOW) * WINDOW;
        return last > first ? discard(space, m, first, last) : 0;
      });
    case M.MADV_POPULATE_READ:
    case M.MADV_POPULATE_WRITE:
      return each(space, address, end, (m, from, to) =>
        m.prot & (advice === M.MADV_POPULATE_WRITE ? M.PROT_WRITE : M.PROT_READ) ? populate(space, m, from, to) : -EINVAL,
      );
    case M.MADV_REMOVE:
      return each(space, address, end, (m, from, to) => {
        if (m.kind === KIND.ARENA && m.flags & VF.SHARED)
          return space.sys(NR.madvise, space.arena.hostAddress(m.gpa + (from - m.start)), to - from, M.MADV_REMOVE);
        return m.kind === KIND.ANON && m.flags & VF.SHARED ? drop(space, from, to) : -EINVAL;
      });
    case M.MADV_NORMAL:
    case M.MADV_RANDOM:
    case M.MADV_SEQUENTIAL:
    case M.MADV_WILLNEED:
    case M.MADV_DONTFORK:
    case M.MADV_DOFORK:
    case M.MADV_MERGEABLE:
    case M.MADV_UNMERGEABLE:
    case M.MADV_HUGEPAGE:
    case M.MADV_NOHUGEPAGE:
    case M.MADV_DONTDUMP:
    case M.MADV_DODUMP:
    case M.MADV_WIPEONFORK:
    case M.MADV_KEEPONFORK:
    case M.MADV_COLD:
    case M.MADV_PAGEOUT:
    case M.MADV_COLLAPSE:
      return space.locked(() => (space.covered(address, end) ? 0 : -ENOMEM));
    default:
      return -EINVAL;
  }
}

/** Calls `action` for every mapped part of [start, end); holes make the result ENOMEM, as Linux does, after the rest is done. */
function each(space: AddressSpace, start: number, end: number, action: (m: Mapping, from: number, to: number) => number): number {
  return space.locked(() => {
    let result = 0;
    let at = start;
    while (at < end) {
      const index = space.mappings.find(at);
      if (index >= space.mappings.count) return -ENOMEM;
      const m = space.mappings.get(index);
      if (m.start > at) {
        result = -ENOMEM;
        at = m.start;
        continue;
      }
      const to = Math.min(end, m.end);
      const error = m.kind === KIND.BOOT ? -EINVAL : action(m, at, to);
      if (error < 0) return error;
      at = to;
    }
    return result;
  });
}

function populate(space: AddressSpace, m: Mapping, from: number, to: number): number {
  if (m.kind === KIND.COPY) return space.fillFor(m, from, Math.min(to, m.validEnd));
  return space.fillFor(m, from, to);
}

/** Drops contents: zero again, or the file's bytes again. Whole windows go back to the host. */
function discard(space: AddressSpace, m: Mapping, from: number, to: number): number {
  if (m.kind === KIND.ARENA) {
    space.sys(NR.madvise, space.arena.hostAddress(m.gpa + (from - m.start)), to - from, M.MADV_DONTNEED);
    return 0;
  }
  if (m.kind === KIND.ANON && m.flags & VF.SHARED) return 0; // shared memory keeps its contents
  if (m.kind === KIND.COPY) {
    space.clearFor(m, from, to);
    return m.flags & VF.LAZY || !m.prot ? 0 : space.fillFor(m, from, Math.min(to, m.validEnd));
  }
  return drop(space, from, to);
}

/** Makes the blocks' pages in [from, to) zero again. */
function drop(space: AddressSpace, from: number, to: number): number {
  const words = space.memory.tables;
  for (let va = from; va < to; ) {
    const entry = space.tables.directoryEntry(va, false);
    const next = Math.min(
      to,
      entry < 0 ? Math.floor(va / 0x4000_0000) * 0x4000_0000 + 0x4000_0000 : Math.floor(va / WINDOW) * WINDOW + WINDOW,
    );
    if (entry >= 0 && words[entry]) {
      const block = words[entry + COMPANION_WORDS + 1]! - 1;
      if (block >= 0) {
        if (next - va === WINDOW) space.sys(NR.madvise, space.blocks.hostAddress(block), WINDOW, M.MADV_DONTNEED);
        else zeroHeld(space, entry, block, va, next);
      }
    }
    va = next;
  }
  return 0;
}

/** Zeroes the pages of [from, to) that this window's entries hold. */
function zeroHeld(space: AddressSpace, entry: number, block: number, from: number, to: number): void {
  const words = space.memory.tables;
  if (words[entry]! & PTE_LARGE) {
    space.zeroFor(block, from % WINDOW, to - from);
    return;
  }
  if (!(words[entry]! & PTE_PRESENT)) return;
  const table = words[entry]! >>> 12;
  let start = -1;
  for (let va = from; va <= to; va += PAGE) {
    const held = va < to && (words[table * 1024 + (Math.floor(va / PAGE) & 511) * 2]! & PTE_HELD) !== 0;
    if (held && start < 0) start = va;
    if (!held && start >= 0) {
      space.zeroFor(block, start % WINDOW, va - start);
      start = -1;
    }
  }
}

/** msync(2): only mappings in the arena have anything to write back. */
export function msync(space: AddressSpace, address: number, length: number, flags: number): number {
  if (address % PAGE !== 0 || flags & ~7 || (flags & 5) === 5) return -EINVAL;
  const end = address + Math.ceil(length / PAGE) * PAGE;
  if (end > USER_END) return -ENOMEM;
  if (end === address) return 0;
  return each(space, address, end, (m, from, to) =>
    m.kind === KIND.ARENA && m.flags & VF.SHARED
      ? space.sys(NR.msync, space.arena.hostAddress(m.gpa + (from - m.start)), to - from, flags)
      : 0,
  );
}

/** mincore(2): one byte per page, 1 where memory is there. Null when part of the range is not mapped. */
export function mincore(space: AddressSpace, address: number, pages: number): Uint8Array | null {
  return space.locked(() => {
    if (!space.covered(address, address + pages * PAGE)) return null;
    const result = new Uint8Array(pages);
    for (let i = 0; i < pages; i++) result[i] = space.tables.translate(address + i * PAGE) ? 1 : 0;
    return result;
  });
}
