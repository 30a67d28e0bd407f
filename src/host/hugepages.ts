/**
 * Huge pages of the machine: hugetlb pools per size and NUMA node, and transparent huge pages (THP).
 * Sources: Documentation/admin-guide/mm/hugetlbpage.rst and transhuge.rst.
 */
import { join } from "node:path";
import { numberedEntries, parseMeminfo, readInteger, readNames, readText } from "./sysfs.ts";

/** Pages, not bytes. */
export interface NodePool {
  readonly node: number;
  readonly total: number;
  readonly free: number;
  readonly surplus: number;
}

/** One hugetlb pool. Counts are pages. */
export interface HugePool {
  /** Bytes of one page. */
  readonly pageSize: number;
  readonly total: number;
  readonly free: number;
  /** Promised to mappings that have not touched them yet. The kernel counts them for the machine only, not per node. */
  readonly reserved: number;
  /** Beyond the pool's size, given on demand. */
  readonly surplus: number;
  /** How many surplus pages may exist at once. */
  readonly overcommit: number;
  /** Ascending by node number; empty where the kernel shows no nodes. */
  readonly nodes: readonly NodePool[];
}

/** Transparent huge pages. Words are the kernel's: the one in brackets. */
export interface Thp {
  /** Bytes of the large transparent page: 2 MiB on x86-64. */
  readonly pageSize: number;
  /** always, madvise or never; for the 2 MiB size, with its own setting (Linux 6.8) resolved. */
  readonly enabled: string;
  /** When the kernel compacts memory to find one: always, defer, defer+madvise, madvise, never. */
  readonly defrag: string;
  /** For shared memory and memfd: always, within_size, advise, never, deny, force; 2 MiB resolved alike. */
  readonly shmem: string;
  readonly zeroPage: boolean;
  readonly khugepaged: {
    readonly defrag: boolean;
    readonly pagesToScan: number;
    readonly scanSleepMs: number;
    readonly pagesCollapsed: number;
    readonly fullScans: number;
  };
}

export interface HugePages {
  /** The size that MAP_HUGETLB without a size means, bytes; 0 when there is no hugetlb. */
  readonly defaultPageSize: number;
  /** Ascending by page size; empty when the kernel has no hugetlb. */
  readonly pools: readonly HugePool[];
  /** Undefined when the kernel has no THP. */
  readonly thp: Thp | undefined;
}

/** Reads the pools and the THP state below `root`. Never throws. */
export function readHugePages(root = "/"): HugePages {
  const sizes = readNames(join(root, "sys/kernel/mm/hugepages")).flatMap((name) => {
    const kib = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    return kib === undefined ? [] : [Number(kib) * 1024];
  });
  return {
    defaultPageSize: parseMeminfo(readText(join(root, "proc/meminfo")) ?? "").get("Hugepagesize") ?? 0,
    pools: sizes.sort((a, b) => a - b).flatMap((size) => readPool(root, size) ?? []),
    thp: readThp(join(root, "sys/kernel/mm/transparent_hugepage")),
  };
}

/** The pool of pages of `pageSize` bytes below `root`; undefined when the kernel has none of that size. */
export function readPool(root: string, pageSize: number): HugePool | undefined {
  const name = `hugepages-${pageSize / 1024}kB`;
  const pool = join(root, "sys/kernel/mm/hugepages", name);
  const total = readInteger(join(pool, "nr_hugepages"));
  if (total === undefined) return undefined;
  const nodeDir = join(root, "sys/devices/system/node");
  const nodes = numberedEntries(nodeDir, "node").flatMap((node): NodePool[] => {
    const own = join(nodeDir, `node${node}/hugepages`, name);
    const there = readInteger(join(own, "nr_hugepages"));
    return there === undefined ? [] : [{ node, total: there, free: count(own, "free_hugepages"), surplus: count(own, "surplus_hugepages") }];
  });
  return {
    pageSize,
    total,
    free: count(pool, "free_hugepages"),
    reserved: count(pool, "resv_hugepages"),
    surplus: count(pool, "surplus_hugepages"),
    overcommit: count(pool, "nr_overcommit_hugepages"),
    nodes,
  };
}

/** Pages free in the pool of `pageSize` now; one read, for the many machines where it is 0. */
export function freeInPool(root: string, pageSize: number): number {
  return count(join(root, "sys/kernel/mm/hugepages", `hugepages-${pageSize / 1024}kB`), "free_hugepages");
}

/** Pages of `pageSize` free on NUMA node `node` now: a reservation is global, a binding is not. */
export function freeOnNode(root: string, pageSize: number, node: number): number {
  return count(join(root, `sys/devices/system/node/node${node}/hugepages`, `hugepages-${pageSize / 1024}kB`), "free_hugepages");
}

/** Pages of a pool that a new mapping can have now: free ones that are not promised, and those the kernel would add on demand. */
export function pagesToHave(pool: HugePool): number {
  return Math.max(0, pool.free - pool.reserved) + Math.max(0, pool.overcommit - pool.surplus);
}

function readThp(dir: string): Thp | undefined {
  const enabled = chosen(join(dir, "enabled"));
  if (enabled === undefined) return undefined;
  const pageSize = readInteger(join(dir, "hpage_pmd_size")) ?? 2 ** 21;
  const own = join(dir, `hugepages-${pageSize / 1024}kB`);
  const daemon = join(dir, "khugepaged");
  return {
    pageSize,
    enabled: resolve(chosen(join(own, "enabled")), enabled),
    defrag: chosen(join(dir, "defrag")) ?? "unknown",
    shmem: resolve(chosen(join(own, "shmem_enabled")), chosen(join(dir, "shmem_enabled")) ?? "never"),
    zeroPage: readInteger(join(dir, "use_zero_page")) === 1,
    khugepaged: {
      defrag: readInteger(join(daemon, "defrag")) === 1,
      pagesToScan: count(daemon, "pages_to_scan"),
      scanSleepMs: count(daemon, "scan_sleep_millisecs"),
      pagesCollapsed: count(daemon, "pages_collapsed"),
      fullScans: count(daemon, "full_scans"),
    },
  };
}

/**
 * A page size's own setting wins unless it says inherit. For shared memory, deny and force at the top are emergency switches
 * that win over everything, and a kernel without settings per size has only the top.
 */
function resolve(own: string | undefined, top: string): string {
  if (own === undefined || own === "inherit" || top === "deny" || top === "force") return top;
  return own;
}

/** The word in brackets: `always [madvise] never` is madvise. */
function chosen(path: string): string | undefined {
  return /\[([^\]]+)\]/.exec(readText(path) ?? "")?.[1];
}

function count(dir: string, name: string): number {
  return Math.max(0, readInteger(join(dir, name)) ?? 0);
}
