/** What this process may use: resource limits, the machine's memory, the control group, kernel-wide limits. Source: proc(5), getrlimit(2). */
import { join } from "node:path";
import { type CgroupLimits, readCgroupLimits, readCgroupMemory } from "./cgroup.ts";
import { freeInPool, type HugePool, readPool } from "./hugepages.ts";
import { parseMeminfo, readInteger, readText } from "./sysfs.ts";

/** Soft and hard limit; Infinity = unlimited. */
export interface Rlimit {
  readonly soft: number;
  readonly hard: number;
}

export interface Rlimits {
  /** Processes and threads of this user. Root is not held to it. */
  readonly processes: Rlimit;
  readonly openFiles: Rlimit;
  /** Bytes, as the following. */
  readonly lockedMemory: Rlimit;
  readonly addressSpace: Rlimit;
  readonly stack: Rlimit;
}

/** Bytes. */
export interface HostMemory {
  readonly total: number;
  readonly free: number;
  /** What programs could get without swapping (the kernel's estimate). Free hugetlb pages are not in it. */
  readonly available: number;
}

export interface Limits {
  readonly rlimits: Rlimits;
  readonly memory: HostMemory;
  readonly cgroup: CgroupLimits;
  /** Mappings that one process may have. */
  readonly maxMapCount: number;
  /** 0 = guess, 1 = always, 2 = never overcommit memory. */
  readonly overcommit: number;
  /** Threads that the kernel allows in all. */
  readonly maxThreads: number;
}

/** Everything that bounds the memory of a virtual node; see readMemoryBudget. */
export interface MemoryBudget {
  readonly memory: HostMemory;
  /** Bytes that the control group still allows; Infinity when it does not limit memory. */
  readonly cgroupSpare: number;
  /** Free 2 MiB hugetlb pages in bytes, per NUMA node number; memory beside `memory.available`. */
  readonly hugeFree: ReadonlyMap<number, number>;
}

/** Reads the limits below `root`. Never throws; what the kernel does not tell is unlimited. */
export function readLimits(root = "/"): Limits {
  const text = readText(join(root, "proc/self/limits")) ?? "";
  const sysctl = (name: string): number => readInteger(join(root, "proc/sys", name)) ?? Number.POSITIVE_INFINITY;
  return {
    rlimits: {
      processes: rlimit(text, "Max processes"),
      openFiles: rlimit(text, "Max open files"),
      lockedMemory: rlimit(text, "Max locked memory"),
      addressSpace: rlimit(text, "Max address space"),
      stack: rlimit(text, "Max stack size"),
    },
    memory: readMemory(root),
    cgroup: readCgroupLimits(root),
    maxMapCount: sysctl("vm/max_map_count"),
    overcommit: readInteger(join(root, "proc/sys/vm/overcommit_memory")) ?? 0,
    maxThreads: sysctl("kernel/threads-max"),
  };
}

/** MemTotal, MemFree and MemAvailable below `root`. */
export function readMemory(root = "/"): HostMemory {
  const memory = parseMeminfo(readText(join(root, "proc/meminfo")) ?? "");
  const free = memory.get("MemFree") ?? 0;
  return { total: memory.get("MemTotal") ?? 0, free, available: memory.get("MemAvailable") ?? free };
}

/** What a virtual node's memory can be taken from below `root`. */
export function readMemoryBudget(root = "/"): MemoryBudget {
  const pool = freeInPool(root, 2 ** 21) > 0 ? readPool(root, 2 ** 21) : undefined;
  return {
    memory: readMemory(root),
    cgroupSpare: readCgroupMemory(root)?.spare ?? Number.POSITIVE_INFINITY,
    hugeFree: freePerNode(pool),
  };
}

/** Reserved pages are promised but not tied to a node: each node's free pages are counted less in the proportion of what is promised. */
function freePerNode(pool: HugePool | undefined): Map<number, number> {
  const free = new Map<number, number>();
  if (pool === undefined || pool.free === 0) return free;
  const nodes = pool.nodes.length > 0 ? pool.nodes : [{ node: 0, free: pool.free }];
  const unpromised = Math.max(0, pool.free - pool.reserved) / pool.free;
  for (const { node, free: pages } of nodes) free.set(node, Math.floor(pages * unpromised) * pool.pageSize);
  return free;
}

/** Line `Max locked memory   8388608   unlimited   bytes`. */
function rlimit(text: string, name: string): Rlimit {
  const line = text.split("\n").find((l) => l.startsWith(name)) ?? "";
  const [soft, hard] = line.slice(name.length).trim().split(/\s+/);
  const value = (word: string | undefined): number => (word !== undefined && /^\d+$/.test(word) ? Number(word) : Number.POSITIVE_INFINITY);
  return { soft: value(soft), hard: value(hard) };
}
