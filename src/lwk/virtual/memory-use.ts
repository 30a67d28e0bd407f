/** How much memory is where: the page tables read as /proc shows it. All sizes in bytes. */
import { PTE_LARGE, PTE_PRESENT, WINDOW } from "../../vmm/page-table.ts";
import type { Kernel } from "../kernel.ts";
import { KIND, type Mapping, NAME, VF } from "../mm/mappings.ts";
import { H } from "../state.ts";

const PAGE = 4096;
const GIB = 0x4000_0000;

/** Bytes of a range that the guest's page tables map, by the size of the entry. */
export interface Resident {
  small: number;
  large: number;
}

/** Walks the page tables over [start, end). The caller holds the memory lock. */
export function resident(k: Kernel, start: number, end: number): Resident {
  const { tables, memory } = k.space;
  const words = memory.tables;
  const sum = { small: 0, large: 0 };
  for (let va = start; va < end; ) {
    const entry = tables.directoryEntry(va, false);
    if (entry < 0) {
      va = Math.floor(va / GIB) * GIB + GIB;
      continue;
    }
    const next = Math.min(end, Math.floor(va / WINDOW) * WINDOW + WINDOW);
    const low = words[entry]!;
    if (low & PTE_PRESENT) {
      if (low & PTE_LARGE) sum.large += next - va;
      else {
        const table = (low >>> 12) * 1024;
        const last = Math.floor((next - 1) / PAGE) & 511;
        for (let i = Math.floor(va / PAGE) & 511; i <= last; i++) if (words[table + i * 2]! & PTE_PRESENT) sum.small += PAGE;
      }
    }
    va = next;
  }
  return sum;
}

/** Every mapping with what is resident of it, at one moment. */
export function eachMapping(k: Kernel, withResident: boolean): { mapping: Mapping; resident: Resident }[] {
  return k.space.locked(() => {
    const { mappings } = k.space;
    const rows: { mapping: Mapping; resident: Resident }[] = [];
    for (let i = 0; i < mappings.count; i++) {
      const mapping = mappings.get(i);
      rows.push({ mapping, resident: withResident ? resident(k, mapping.start, mapping.end) : { small: 0, large: 0 } });
    }
    return rows;
  });
}

/** True for a private mapping's own memory, false for a file's or shared pages: Linux's "anonymous". */
export function isAnonymous(m: Mapping): boolean {
  return m.kind === KIND.ANON || (m.kind === KIND.COPY && (m.flags & VF.DIRTIED) !== 0);
}

/** Sums over the address space, in bytes, under the names of /proc/PID/status. */
export interface Usage {
  size: number;
  resident: number;
  anonymous: number;
  file: number;
  shared: number;
  data: number;
  stack: number;
  code: number;
  library: number;
}

export function usage(k: Kernel): Usage {
  const { state } = k;
  const sum: Usage = { size: 0, resident: 0, anonymous: 0, file: 0, shared: 0, data: 0, stack: 0, code: 0, library: 0 };
  const code = state.getU64(H.codeEnd) - state.getU64(H.codeStart);
  for (const { mapping: m, resident: r } of eachMapping(k, true)) {
    const size = m.end - m.start;
    const bytes = r.small + r.large;
    sum.size += size;
    if (m.kind === KIND.BOOT) continue;
    sum.resident += bytes;
    if (isAnonymous(m)) {
      if (m.flags & VF.SHARED) sum.shared += bytes;
      else sum.anonymous += bytes;
    } else sum.file += bytes;
    if (m.name === NAME.STACK) sum.stack += size;
    else if (m.prot & 2 && !(m.flags & VF.SHARED)) sum.data += size;
    else if (m.prot & 4 && m.file) sum.library += size;
  }
  sum.code = Math.ceil(code / PAGE) * PAGE;
  sum.library = Math.max(0, sum.library - sum.code);
  return sum;
}
