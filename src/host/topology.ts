/**
 * The machine's processors, NUMA nodes and caches, as plain data, from /sys and /proc.
 *
 * Sources: Documentation/ABI/stable/sysfs-devices-system-cpu, .../sysfs-devices-node, Documentation/admin-guide/cputopology.rst,
 * proc(5). What a kernel does not tell (no node directory without CONFIG_NUMA, no cache directory in many virtual machines,
 * no topology of an offline CPU) is filled with the plainest answer and never fails.
 */
import { join } from "node:path";
import { listOf, numberedEntries, parseMeminfo, readHead, readInteger, readList, readText } from "./sysfs.ts";

/** One core: the hardware threads (SMT siblings) that share it. */
export interface Core {
  /** Position in `Topology.cores`: unique on the machine, unlike the kernel's core_id. */
  readonly index: number;
  /** The kernel's core_id: unique in its package (and die) only. */
  readonly coreId: number;
  readonly dieId: number;
  readonly packageId: number;
  /** NUMA node number (not a position). */
  readonly node: number;
  /** Online CPUs of the core, ascending. */
  readonly cpus: readonly number[];
}

export interface Package {
  readonly id: number;
  /** Positions in `Topology.cores`. */
  readonly cores: readonly number[];
  readonly cpus: readonly number[];
}

export interface NumaNode {
  /** The kernel's node number; numbers may have holes. */
  readonly id: number;
  /** Online CPUs, ascending; none on a memory-only node (HBM, CXL). */
  readonly cpus: readonly number[];
  /** Bytes; 0 on a node without memory. */
  readonly memTotal: number;
  /** Bytes that nobody uses. */
  readonly memFree: number;
  /** Bytes that could be had: free, plus file pages and slab that the kernel can drop. Measured like MemAvailable, but of one node. */
  readonly memAvailable: number;
  /** Distances to every node of `Topology.nodes`, in that order; 10 is local (ACPI SLIT). */
  readonly distances: readonly number[];
  /** False when this process's cpuset (Mems_allowed) forbids the node's memory. */
  readonly allowed: boolean;
}

export interface Cache {
  readonly level: number;
  readonly type: "Data" | "Instruction" | "Unified";
  /** Bytes; 0 where the kernel does not say, as in all the following. */
  readonly size: number;
  readonly lineSize: number;
  readonly ways: number;
  readonly sets: number;
  /** Online CPUs that share it, ascending. */
  readonly cpus: readonly number[];
}

export interface Processor {
  readonly vendor: string;
  readonly name: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly flags: readonly string[];
  /** The first processor's block of /proc/cpuinfo: keys in the kernel's order with their values. */
  readonly fields: Readonly<Record<string, string>>;
}

export interface Topology {
  readonly processor: Processor;
  /** CPUs that run, ascending. */
  readonly online: readonly number[];
  /** CPUs that are present but switched off. */
  readonly offline: readonly number[];
  /** Online CPUs that this process may use (sched_setaffinity, cpuset), ascending. */
  readonly allowed: readonly number[];
  /** CPUs kept from the scheduler (isolcpus); usable when named. */
  readonly isolated: readonly number[];
  readonly packages: readonly Package[];
  readonly cores: readonly Core[];
  /** Most hardware threads of any core: 1 = no SMT or switched off. */
  readonly smt: number;
  /** False when the kernel shows no NUMA nodes; `nodes` then holds one made of the whole machine. */
  readonly numa: boolean;
  readonly nodes: readonly NumaNode[];
  readonly caches: readonly Cache[];
}

export interface TopologyOptions {
  /** Leave `caches` empty: saves up to thousands of small reads on a large machine where start-up counts. Default true. */
  readonly caches?: boolean;
  /** Leave `cores`, `packages`, `smt` and `processor` empty as well: what a partition is chosen from needs none of them. Default true. */
  readonly cores?: boolean;
}

/** Reads the machine below `root` (a test's made-up machine, or "/"). Never throws: what is missing is filled in. */
export function readTopology(root = "/", options: TopologyOptions = {}): Topology {
  const cpuDir = join(root, "sys/devices/system/cpu");
  const processor = options.cores === false ? parseProcessor("") : readProcessor(root);
  const online = readOnline(root, cpuDir);
  const isOnline = new Set(online);
  const present = readList(join(cpuDir, "present")) ?? numberedEntries(cpuDir, "cpu");
  const status = readText(join(root, "proc/self/status")) ?? "";
  const allowedList = listOf(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1]);
  const allowedMems = listOf(/^Mems_allowed_list:\s*(.*)$/m.exec(status)?.[1]);

  const { numa, nodes } = readNodes(root, isOnline, allowedMems);
  const cores = options.cores === false ? [] : readCores(cpuDir, online, isOnline, nodes);
  return {
    processor,
    online,
    offline: present.filter((cpu) => !isOnline.has(cpu)),
    allowed: allowedList === undefined ? online : ascending(allowedList.filter((cpu) => isOnline.has(cpu))),
    isolated: (readList(join(cpuDir, "isolated")) ?? []).filter((cpu) => isOnline.has(cpu)),
    packages: packagesOf(cores),
    cores,
    smt: cores.reduce((most, core) => Math.max(most, core.cpus.length), 1),
    numa,
    nodes,
    caches: options.caches === false ? [] : readCaches(cpuDir, online, isOnline),
  };
}

function readOnline(root: string, cpuDir: string): number[] {
  const listed = readList(join(cpuDir, "online"));
  if (listed !== undefined && listed.length > 0) return ascending(listed);
  // Without /sys (a bare container) /proc/cpuinfo has one block per online CPU.
  const blocks = [...(readText(join(root, "proc/cpuinfo")) ?? "").matchAll(/^processor\s*:\s*(\d+)$/gm)].map((m) => Number(m[1]));
  return blocks.length > 0 ? ascending(blocks) : [0];
}

/** Only the head of cpuinfo is read: the whole is over a megabyte on a large machine and costs the kernel milliseconds. */
function readProcessor(root: string): Processor {
  return parseProcessor(readHead(join(root, "proc/cpuinfo"), 16384) ?? "");
}

function parseProcessor(head: string): Processor {
  const fields: Record<string, string> = {};
  for (const line of (head.split(/\n\s*\n/)[0] ?? "").split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  return {
    vendor: fields.vendor_id ?? "unknown",
    name: fields["model name"] ?? "unknown",
    family: Number(fields["cpu family"] ?? 0),
    model: Number(fields.model ?? 0),
    stepping: Number(fields.stepping ?? 0),
    flags: (fields.flags ?? "").split(" ").filter((flag) => flag !== ""),
    fields,
  };
}

function readNodes(
  root: string,
  isOnline: ReadonlySet<number>,
  allowedMems: readonly number[] | undefined,
): { numa: boolean; nodes: NumaNode[] } {
  const nodeDir = join(root, "sys/devices/system/node");
  const ids = numberedEntries(nodeDir, "node");
  if (ids.length === 0) {
    const memory = parseMeminfo(readText(join(root, "proc/meminfo")) ?? "");
    const free = memory.get("MemFree") ?? 0;
    const whole: NumaNode = {
      id: 0,
      cpus: ascending([...isOnline]),
      memTotal: memory.get("MemTotal") ?? 0,
      memFree: free,
      memAvailable: memory.get("MemAvailable") ?? free,
      distances: [10],
      allowed: true,
    };
    return { numa: false, nodes: [whole] };
  }
  const nodes = ids.map((id, i): NumaNode => {
    const dir = join(nodeDir, `node${id}`);
    const memory = parseMeminfo(readText(join(dir, "meminfo")) ?? "");
    const bytes = (key: string): number => memory.get(key) ?? 0;
    const distances = (readText(join(dir, "distance")) ?? "")
      .split(/\s+/)
      .filter((d) => /^\d+$/.test(d))
      .map(Number);
    return {
      id,
      cpus: ascending((readList(join(dir, "cpulist")) ?? []).filter((cpu) => isOnline.has(cpu))),
      memTotal: bytes("MemTotal"),
      memFree: bytes("MemFree"),
      memAvailable: bytes("MemFree") + bytes("Active(file)") + bytes("Inactive(file)") + bytes("SReclaimable"),
      distances: distances.length === ids.length ? distances : ids.map((_, j) => (i === j ? 10 : 20)),
      allowed: allowedMems === undefined || allowedMems.includes(id),
    };
  });
  return { numa: true, nodes };
}

function readCores(cpuDir: string, online: readonly number[], isOnline: ReadonlySet<number>, nodes: readonly NumaNode[]): Core[] {
  const nodeOf = new Map<number, number>();
  for (const node of nodes) for (const cpu of node.cpus) nodeOf.set(cpu, node.id);
  const done = new Set<number>();
  const cores: Core[] = [];
  for (const cpu of online) {
    if (done.has(cpu)) continue;
    const dir = join(cpuDir, `cpu${cpu}/topology`);
    // core_cpus_list since Linux 5.3; thread_siblings_list is its old name.
    const siblings = readList(join(dir, "core_cpus_list")) ?? readList(join(dir, "thread_siblings_list")) ?? [];
    const cpus = ascending([cpu, ...siblings.filter((s) => s !== cpu && isOnline.has(s) && !done.has(s))]);
    for (const c of cpus) done.add(c);
    // -1 means "unknown" (virtual machines); then each CPU is a core of its own in package 0.
    const coreId = readInteger(join(dir, "core_id")) ?? -1;
    cores.push({
      index: cores.length,
      coreId: coreId < 0 ? cpu : coreId,
      dieId: Math.max(0, readInteger(join(dir, "die_id")) ?? 0),
      packageId: Math.max(0, readInteger(join(dir, "physical_package_id")) ?? 0),
      node: nodeOf.get(cpu) ?? nodes[0]?.id ?? 0,
      cpus,
    });
  }
  return cores;
}

function packagesOf(cores: readonly Core[]): Package[] {
  const ids = ascending([...new Set(cores.map((core) => core.packageId))]);
  return ids.map((id) => {
    const own = cores.filter((core) => core.packageId === id);
    return { id, cores: own.map((core) => core.index), cpus: ascending(own.flatMap((core) => core.cpus)) };
  });
}

/** Each cache once. A cache is described alike by all CPUs that share it, so only the first of them is asked about it. */
function readCaches(cpuDir: string, online: readonly number[], isOnline: ReadonlySet<number>): Cache[] {
  const caches: Cache[] = [];
  const known = new Map<number, Set<number>>();
  for (const cpu of online) {
    for (const index of numberedEntries(join(cpuDir, `cpu${cpu}/cache`), "index")) {
      const covered = known.get(index) ?? new Set<number>();
      known.set(index, covered);
      if (covered.has(cpu)) continue;
      const cache = readCache(join(cpuDir, `cpu${cpu}/cache/index${index}`), cpu, isOnline);
      if (cache === undefined) continue;
      for (const c of cache.cpus) covered.add(c);
      caches.push(cache);
    }
  }
  return caches.sort((a, b) => a.level - b.level || a.type.localeCompare(b.type) || (a.cpus[0] as number) - (b.cpus[0] as number));
}

function readCache(dir: string, cpu: number, isOnline: ReadonlySet<number>): Cache | undefined {
  const level = readInteger(join(dir, "level"));
  const type = readText(join(dir, "type"));
  if (level === undefined || (type !== "Data" && type !== "Instruction" && type !== "Unified")) return undefined;
  const number = (name: string): number => Math.max(0, readInteger(join(dir, name)) ?? 0);
  const shared = (readList(join(dir, "shared_cpu_list")) ?? []).filter((c) => c !== cpu && isOnline.has(c));
  return {
    level,
    type,
    size: cacheBytes(readText(join(dir, "size")) ?? ""),
    lineSize: number("coherency_line_size"),
    ways: number("ways_of_associativity"),
    sets: number("number_of_sets"),
    cpus: ascending([cpu, ...shared]),
  };
}

/** The size file says `32K`, on some kernels `1M`. */
function cacheBytes(text: string): number {
  const m = /^(\d+)([KMG]?)$/.exec(text);
  if (m === null) return 0;
  return Number(m[1]) * ({ K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[m[2] as string] ?? 1);
}

function ascending(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}
