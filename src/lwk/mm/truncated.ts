/** Files in the arena that have become shorter than their mappings. */
import { PAGE_SIZE } from "../../abi/mman.ts";
import type { AddressSpace } from "./address-space.ts";
import { KIND, type Mapping } from "./mappings.ts";

/** End of the pages of `m` that the file has bytes for now. Files without a size (devices) have no end. */
export function fileEnd(space: AddressSpace, m: Mapping): number {
  const size = space.fileSize(m.file - 1);
  if (size < 0) return m.end;
  return m.start + Math.ceil(Math.max(0, size - m.offset) / PAGE_SIZE) * PAGE_SIZE;
}

/** Takes the entries of pages past their file's end away. KVM has no translation for them: that is why it failed. Returns whether any was there. */
export function truncatedPages(space: AddressSpace): boolean {
  return space.locked(() => {
    let changed = false;
    for (let i = 0; i < space.mappings.count; i++) {
      const m = space.mappings.get(i);
      if (m.kind !== KIND.ARENA || !m.file) continue;
      for (let va = Math.max(m.start, fileEnd(space, m)); va < m.end; va += PAGE_SIZE) {
        if (!space.tables.translate(va)) continue;
        space.tables.clear(space.tables.leaf(va));
        changed = true;
      }
    }
    if (changed) space.changed();
    return changed;
  });
}
