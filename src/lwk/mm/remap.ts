/** mremap(2). */
import { EFAULT, EINVAL, ENOMEM } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import { NR } from "../../abi/nr.ts";
import { COMPANION_WORDS, PTE_LARGE, WINDOW } from "../../vmm/page-table.ts";
import { type AddressSpace, USER_END } from "./address-space.ts";
import { H } from "../state.ts";
import { KIND, type Mapping, VF } from "./mappings.ts";

const PAGE = M.PAGE_SIZE;

/** Grows, shrinks or moves a mapping. Whole 2 MiB windows change place with their block; only the edges are copied. Returns the address or -errno. */
export function mremap(
  space: AddressSpace,
  address: number,
  oldLength: number,
  newLength: number,
  flags: number,
  newAddress: number,
): number {
  if (address % PAGE !== 0 || flags & ~7) return -EINVAL;
  if (flags & M.MREMAP_FIXED && !(flags & M.MREMAP_MAYMOVE)) return -EINVAL;
  if (flags & M.MREMAP_DONTUNMAP && (!(flags & M.MREMAP_MAYMOVE) || oldLength !== newLength)) return -EINVAL;
  if (newLength === 0 || newLength > USER_END || oldLength > USER_END) return -EINVAL;
  const oldSize = Math.ceil(oldLength / PAGE) * PAGE;
  const newSize = Math.ceil(newLength / PAGE) * PAGE;
  if (
    flags & M.MREMAP_FIXED &&
    (newAddress % PAGE !== 0 || newAddress + newSize > USER_END || (newAddress < address + oldSize && address < newAddress + newSize))
  )
    return -EINVAL;
  return space.locked(() => {
    // A move that is not by whole windows splits them: a table each.
    space.memory.seeTables(space.state.i32[H.nextTablePage]!, 512 + Math.ceil(oldSize / WINDOW) * 2);
    const m = space.mappings.at(address);
    if (!m || m.kind === KIND.BOOT) return -EFAULT;
    if (!space.mappings.room) return -ENOMEM;
    if (oldSize === 0) return m.flags & VF.SHARED ? -ENOMEM : -EINVAL;
    if (address + oldSize > m.end) return -EFAULT;
    const moveAsked = (flags & (M.MREMAP_FIXED | M.MREMAP_DONTUNMAP)) !== 0;
    if (!moveAsked && newSize <= oldSize) {
      if (newSize < oldSize) space.removeLocked(address + newSize, address + oldSize);
      return address;
    }
    if (
      !moveAsked &&
      address + oldSize === m.end &&
      address + newSize <= USER_END &&
      m.kind !== KIND.ARENA &&
      space.mappings.free(m.end, address + newSize)
    )
      return extend(space, m, address + newSize, address);
    if (!(flags & M.MREMAP_MAYMOVE)) return -ENOMEM;
    return move(space, address, oldSize, newSize, flags & M.MREMAP_FIXED ? newAddress : -1, (flags & M.MREMAP_DONTUNMAP) !== 0);
  });
}

/** Lengthens mapping `m` to `end` where it is. */
function extend(space: AddressSpace, m: Mapping, end: number, result: number): number {
  const part: Mapping = { ...m, start: m.end, end, offset: m.kind === KIND.COPY ? m.offset + (m.end - m.start) : m.offset };
  if (m.kind === KIND.COPY) {
    const index = space.mappings.find(m.start);
    const validEnd = validFileEnd(space, m, end);
    space.mappings.put(index, { ...m, validEnd });
    part.validEnd = validEnd;
  }
  if (m.prot && !(m.flags & VF.LAZY)) {
    const error = space.fillFor(part, part.start, part.end);
    if (error < 0) {
      space.clearFor(part, part.start, part.end);
      return error;
    }
  }
  space.mappings.insert(part);
  space.promoteFor(part.start, part.end);
  return result;
}

/** Address behind the last page of the mapping that the file has bytes for. */
function validFileEnd(space: AddressSpace, m: Mapping, end: number): number {
  const size = space.fileSize(m.file - 1);
  return Math.max(m.start, Math.min(end, m.start + Math.ceil(Math.max(0, size - m.offset) / PAGE) * PAGE));
}

function move(space: AddressSpace, address: number, oldSize: number, newSize: number, fixed: number, keep: boolean): number {
  const kept = Math.min(oldSize, newSize);
  let target = fixed;
  if (target >= 0) space.removeLocked(target, target + newSize);
  else {
    // Congruent modulo 2 MiB, so that windows can change place whole.
    const lead = address % WINDOW;
    const place = kept >= WINDOW ? space.placeFor(0, newSize + 2 * WINDOW) : space.placeFor(0, newSize);
    if (place < 0) return -ENOMEM;
    target = kept >= WINDOW ? Math.ceil(place / WINDOW) * WINDOW + lead : place;
  }
  space.mappings.splitAt(address);
  space.mappings.splitAt(address + kept);
  const source = space.mappings.get(space.mappings.find(address));
  const shift = target - address;

  if (source.kind === KIND.ARENA) return moveArena(space, source, target, oldSize, newSize, keep);

  const result: Mapping = {
    ...source,
    start: target,
    end: target + kept,
    validEnd: source.kind === KIND.COPY ? source.validEnd + shift : 0,
  };
  const error = moveContents(space, source, result, shift);
  if (error < 0) {
    // Windows that have changed place already go back.
    moveContents(space, result, source, -shift);
    space.clearFor(result, result.start, result.end);
    return error;
  }
  space.clearFor(source, source.start, source.end);
  if (keep) {
    if (source.prot) space.fillFor(source, source.start, source.end);
  } else {
    // The old row goes before the new one comes: side by side they would be joined.
    const from = space.mappings.find(address);
    space.mappings.remove(from, from + 1);
    if (oldSize > kept) space.removeLocked(address + kept, address + oldSize);
  }
  space.mappings.insert(result);
  space.promoteFor(target, target + kept);
  if (newSize > kept) {
    const index = space.mappings.find(target + kept - 1);
    const grown = extend(space, space.mappings.get(index), target + newSize, target);
    if (grown < 0) return grown;
  }
  return target;
}

/** Whole windows of moves from this size on change place with their block; smaller ones are copied, which takes less than making KVM drop its tables. */
const HAND_OVER_BYTES = 64 * 1024 * 1024;

/** Gives the block of directory entry `entry`'s window to the window at `to`. */
function giveWindow(space: AddressSpace, to: number, entry: number): void {
  const words = space.memory.tables;
  const target = space.tables.directoryEntry(to, true);
  const block = words[entry + COMPANION_WORDS + 1]!;
  const spare = words[target + COMPANION_WORDS + 1]!;
  const low = words[entry]!;
  const high = words[entry + 1]!;
  space.tables.clear(entry);
  // The block that the target's window had, if any, is empty: the windows exchange them.
  words[entry + COMPANION_WORDS + 1] = spare;
  words[target + COMPANION_WORDS + 1] = block;
  words[target + 1] = high;
  words[target] = low;
  space.changed();
  space.blocks.invalidate(block - 1, 1);
}

/** Copies the window at `from` into a fresh one at `to`. */
function copyWindow(space: AddressSpace, target: Mapping, from: number, to: number): number {
  const error = space.fillFor(target, to, to + WINDOW);
  if (error < 0) return error;
  const source = space.heldPage(from);
  const destination = space.heldPage(to);
  space.memory.chunk(destination).set(space.memory.chunk(source), 0);
  return 0;
}

/** Moves contents: whole windows by their block or copied at once, the rest page by page. */
function moveContents(space: AddressSpace, source: Mapping, target: Mapping, shift: number): number {
  const words = space.memory.tables;
  const limit = source.kind === KIND.COPY ? Math.min(source.end, source.validEnd) : source.end;
  const handOver = limit - source.start >= HAND_OVER_BYTES;
  let handed = false;
  const result = moveWindows();
  // A block that has changed its window: KVM must drop its tables, after the edits (blocks.ts).
  if (handed) space.blocks.dropShadow();
  return result;

  function moveWindows(): number {
    for (let va = source.start; va < limit; ) {
      const entry = space.tables.directoryEntry(va, false);
      const next = Math.min(limit, Math.floor(va / WINDOW) * WINDOW + WINDOW);
      if (entry < 0 || !words[entry]) {
        va = next;
        continue;
      }
      if (words[entry]! & PTE_LARGE && next - va === WINDOW && shift % WINDOW === 0) {
        if (handOver || copyWindow(space, target, va, va + shift) < 0) {
          giveWindow(space, va + shift, entry);
          handed = true;
        }
        va = next;
        continue;
      }
      for (let page = va; page < next; page += PAGE) {
        const from = space.heldPage(page);
        if (from < 0) continue;
        const error = space.fillFor(target, page + shift, page + shift + PAGE);
        if (error < 0) return error;
        const to = space.heldPage(page + shift);
        const at = space.memory.chunkOffset(from);
        space.memory.chunk(to).set(space.memory.chunk(from).subarray(at, at + PAGE), space.memory.chunkOffset(to));
      }
      va = next;
    }
    return target.prot && !(target.flags & VF.LAZY) ? space.fillFor(target, target.start, target.end) : 0;
  }
}

/** A file mapping gets a new range of the arena; the host moves its pages (mremap on the host keeps private copies). */
function moveArena(space: AddressSpace, source: Mapping, target: number, oldSize: number, newSize: number, keep: boolean): number {
  if (keep) return -EINVAL;
  const rights = source.flags & VF.MAYWRITE ? M.PROT_READ | M.PROT_WRITE : M.PROT_READ;
  const fd = space.files.hostDescriptor(source.file - 1);
  const gpa = space.arena.map(newSize, rights, source.flags & VF.SHARED ? M.MAP_SHARED : M.MAP_PRIVATE, fd, source.offset);
  if (gpa < 0) return gpa;
  if (!(source.flags & VF.SHARED)) {
    const kept = Math.min(oldSize, newSize);
    const moved = space.sys(
      NR.mremap,
      space.arena.hostAddress(source.gpa),
      kept,
      kept,
      M.MREMAP_MAYMOVE | M.MREMAP_FIXED,
      space.arena.hostAddress(gpa),
    );
    if (moved < 0) return moved;
  }
  space.removeLocked(source.start, source.start + oldSize);
  const result: Mapping = { ...source, start: target, end: target + newSize, gpa };
  if (!(result.flags & VF.LAZY) && result.prot) space.fillFor(result, result.start, result.end);
  space.mappings.insert(result);
  return target;
}
