/** Memory of the virtual node and of its NUMA nodes, as /proc/meminfo and nodeN/meminfo tell it. */
import type { Kernel } from "../kernel.ts";
import { H, OFFSET, S, SLOT } from "../state.ts";
import { eachMapping } from "./memory-use.ts";

const BLOCK = 2 ** 21;

/** Bytes of NUMA node `node` and how many of them are handed out. */
export function nodeMemory(k: Kernel, node: number): { total: number; used: number } {
  const { state } = k;
  let used = 0;
  for (let i = 0; i < state.i32[H.slotCount]!; i++) {
    const slot = (OFFSET.slots >> 2) + i * S.size;
    const kind = state.i32[slot + S.kind]!;
    if (kind === SLOT.TABLES || kind === SLOT.ARENA || state.i32[slot + S.node] !== node) continue;
    const first = OFFSET.blocks + state.i32[slot + S.firstBlock]!;
    for (let block = first; block < first + state.i32[slot + S.blocks]!; block++) if (state.u8[block]) used += BLOCK;
  }
  return { total: state.getU64((OFFSET.nodes >> 2) + node * 8 + 2), used };
}

const line = (name: string, bytes: number, width: number): string => `${`${name}:`.padEnd(15)} ${String(Math.floor(bytes / 1024)).padStart(width)} kB\n`;

/** Bytes on 2 MiB entries of the guest's page tables. */
function largeBytes(k: Kernel): number {
  return eachMapping(k, true).reduce((sum, { resident }) => sum + resident.large, 0);
}

/** The virtual node's memory: what is not handed out is free; nothing is cached, nothing swapped. */
export function meminfo(k: Kernel): string {
  const total = k.state.getU64(H.memoryBytes);
  const used = Math.min(total, k.state.i32[H.blocksUsed]! * BLOCK);
  const tables = k.state.i32[H.nextTablePage]! * 4096;
  const kb = (name: string, bytes: number): string => line(name, bytes, 8);
  const zero = (names: string): string =>
    names
      .split(" ")
      .map((name) => kb(name, 0))
      .join("");
  return [
    kb("MemTotal", total),
    kb("MemFree", total - used),
    kb("MemAvailable", total - used),
    zero("Buffers Cached SwapCached"),
    kb("Active", used),
    kb("Inactive", 0),
    kb("Active(anon)", used),
    zero("Inactive(anon) Active(file) Inactive(file) Unevictable Mlocked SwapTotal SwapFree Dirty Writeback"),
    kb("AnonPages", used),
    zero("Mapped Shmem KReclaimable Slab SReclaimable SUnreclaim KernelStack"),
    kb("PageTables", tables),
    zero("NFS_Unstable Bounce WritebackTmp"),
    kb("CommitLimit", total),
    kb("Committed_AS", used),
    line("VmallocTotal", 2 ** 45 - 1024, 0),
    zero("VmallocUsed VmallocChunk Percpu HardwareCorrupted"),
    kb("AnonHugePages", largeBytes(k)),
    zero("ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped"),
    "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n",
    kb("Hugepagesize", BLOCK),
    kb("Hugetlb", 0),
  ].join("");
}

export function nodeMeminfo(k: Kernel, node: number): string {
  const { total, used } = nodeMemory(k, node);
  const kb = (name: string, bytes: number): string => `Node ${node} ${line(name, bytes, 8)}`;
  return [
    kb("MemTotal", total),
    kb("MemFree", Math.max(0, total - used)),
    kb("MemUsed", used),
    kb("Active", used),
    kb("Inactive", 0),
    kb("Active(anon)", used),
    kb("Inactive(anon)", 0),
    kb("Active(file)", 0),
    kb("Inactive(file)", 0),
    kb("FilePages", 0),
    kb("AnonPages", used),
    kb("Shmem", 0),
    `Node ${node} HugePages_Total:     0\nNode ${node} HugePages_Free:      0\nNode ${node} HugePages_Surp:      0\n`,
  ].join("");
}
