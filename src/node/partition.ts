/** Which part of the host a virtual node gets: CPUs, NUMA nodes, memory. Pure: it looks at data and decides; nothing is reserved. */
import { formatCpuList, parseCpuList } from "../host/cpulist.ts";
import { MargayError } from "../host/error.ts";
import { type MemoryBudget, readMemoryBudget } from "../host/limits.ts";
import { formatBytes, parseSize } from "../host/size.ts";
import type { NumaNode, Topology } from "../host/topology.ts";

/** Guest memory comes in blocks of this many bytes (docs/design.md, Address spaces). */
const BLOCK = 2 ** 21;
/** No program loads in less: its segments, the loader's, libc's and the stack take a 2 MiB window each. */
export const MIN_MEMORY = 32 * 2 ** 20;
/** Share of the spare memory taken when nothing is said: the host keeps the rest for page tables, caches and its own work. */
const DEFAULT_SHARE = 0.9;

export interface PartitionRequest {
  /** Host CPUs as `0-3,8`; the order is that of the virtual CPUs. Default: all that this process may use. */
  readonly cpus?: string | undefined;
  /** Host NUMA node: its CPUs and its memory. Not together with `cpus`. */
  readonly numa?: number | undefined;
  /** `512M`, `4G`, or a share of what the host can spare: `50%`. Default: 90%. */
  readonly mem?: string | undefined;
  /** Most CPUs that a virtual machine may have (KVM_CAP_MAX_VCPUS). */
  readonly maxCpus?: number | undefined;
  /** False: free 2 MiB hugetlb pages are not for this virtual node (host pages of 4K). Default true. */
  readonly hugetlb?: boolean | undefined;
}

export interface VirtualNumaNode {
  /** Host NUMA node that the memory is on. */
  readonly hostNode: number;
  /** Host CPUs, in the partition's order. */
  readonly cpus: readonly number[];
  /** The same as virtual CPU numbers: positions in `Partition.cpus`. */
  readonly vcpus: readonly number[];
  /** Bytes, a multiple of 2 MiB. */
  readonly memBytes: number;
}

export interface Partition {
  /** Host CPU of each virtual CPU. */
  readonly cpus: readonly number[];
  /** Ascending by host node; the position is the virtual node's number. */
  readonly nodes: readonly VirtualNumaNode[];
  /** Bytes in all, a multiple of 2 MiB. */
  readonly memBytes: number;
  /** Square matrix over `nodes`; 10 = local. */
  readonly distances: readonly (readonly number[])[];
}

/**
 * Chooses the CPUs, the NUMA nodes they are on, and memory on these nodes, shared out by CPU count as far as each node's memory goes.
 * CPUs of a node without memory use the nearest node that has some.
 * Throws MargayError: E_BAD_OPTION, E_CPU_SYNTAX, E_CPU_UNKNOWN, E_CPU_TOO_MANY, E_NUMA_UNKNOWN, E_MEM_SYNTAX, E_MEM_TOO_MUCH, E_MEM_TOO_LITTLE.
 */
export function choosePartition(topology: Topology, request: PartitionRequest = {}, budget: MemoryBudget = readMemoryBudget()): Partition {
  const cpus = chooseCpus(topology, request);
  if (request.maxCpus !== undefined && cpus.length > request.maxCpus) {
    throw new MargayError("E_CPU_TOO_MANY", `${cpus.length} CPUs, but this KVM gives a virtual machine at most ${request.maxCpus}`, {
      hint: `name at most ${request.maxCpus} CPUs with --cpus`,
    });
  }
  const homes = homeNodes(topology, cpus);
  const spare = homes.map(({ node }) => blocks(spareOn(node, topology, budget, request.hugetlb !== false)));
  const hugeFree = request.hugetlb === false ? 0 : homes.reduce((sum, { node }) => sum + (budget.hugeFree.get(node.id) ?? 0), 0);
  // hugetlb pages are not charged to the memory controller, so they come on top of what the control group still allows.
  const most = Math.min(sum(spare), blocks(budget.cgroupSpare + hugeFree));
  const total = chooseMemory(
    request,
    most,
    homes.map(({ node }) => node.id),
    budget.cgroupSpare + hugeFree < sum(spare) * BLOCK,
  );
  const shares = shareOut(
    total,
    homes.map((home) => home.cpus.length),
    spare,
  );

  const positions = homes.map(({ node }) => topology.nodes.indexOf(node));
  return {
    cpus,
    nodes: homes.map(({ node, cpus: own }, i) => ({
      hostNode: node.id,
      cpus: own,
      vcpus: own.map((cpu) => cpus.indexOf(cpu)),
      memBytes: (shares[i] as number) * BLOCK,
    })),
    memBytes: total * BLOCK,
    distances: positions.map((from) => positions.map((to) => topology.nodes[from]?.distances[to] ?? (from === to ? 10 : 20))),
  };
}

function chooseCpus(topology: Topology, request: PartitionRequest): readonly number[] {
  if (request.cpus !== undefined && request.numa !== undefined) {
    throw new MargayError("E_BAD_OPTION", "--cpus and --numa contradict each other", { hint: "give one of them" });
  }
  if (request.cpus !== undefined) {
    const cpus = parseCpuList(request.cpus);
    for (const cpu of cpus) checkCpu(topology, cpu, request.cpus);
    return cpus;
  }
  if (request.numa !== undefined) return cpusOfNode(topology, request.numa);
  return topology.allowed;
}

function checkCpu(topology: Topology, cpu: number, list: string): void {
  if (topology.allowed.includes(cpu)) return;
  const where = `--cpus ${list}`;
  if (topology.offline.includes(cpu)) {
    throw new MargayError("E_CPU_UNKNOWN", `CPU ${cpu} is offline`, {
      where,
      hint: `echo 1 > /sys/devices/system/cpu/cpu${cpu}/online, as root`,
    });
  }
  const usable = `usable here: ${formatCpuList(topology.allowed)}`;
  if (!topology.online.includes(cpu)) throw new MargayError("E_CPU_UNKNOWN", `there is no CPU ${cpu}`, { where, hint: usable });
  throw new MargayError("E_CPU_UNKNOWN", `CPU ${cpu} is not allowed to this process by its affinity or cpuset`, { where, hint: usable });
}

function cpusOfNode(topology: Topology, id: number): number[] {
  const where = `--numa ${id}`;
  const node = topology.nodes.find((n) => n.id === id);
  const usable = topology.nodes.filter((n) => hasMemory(n) && allowedOf(topology, n).length > 0).map((n) => n.id);
  const hint = `usable here: ${formatCpuList(usable)}`;
  if (node === undefined) throw new MargayError("E_NUMA_UNKNOWN", `there is no NUMA node ${id}`, { where, hint });
  const cpus = allowedOf(topology, node);
  if (cpus.length === 0) throw new MargayError("E_NUMA_UNKNOWN", `NUMA node ${id} has no CPU that this process may use`, { where, hint });
  if (!hasMemory(node)) throw new MargayError("E_NUMA_UNKNOWN", `NUMA node ${id} has no memory that this process may use`, { where, hint });
  return cpus;
}

function allowedOf(topology: Topology, node: NumaNode): number[] {
  const allowed = new Set(topology.allowed);
  return node.cpus.filter((cpu) => allowed.has(cpu));
}

function hasMemory(node: NumaNode): boolean {
  return node.memTotal > 0 && node.allowed;
}

interface Home {
  readonly node: NumaNode;
  readonly cpus: readonly number[];
}

/** The nodes whose memory the CPUs use, ascending, each with its CPUs. */
function homeNodes(topology: Topology, cpus: readonly number[]): Home[] {
  const withMemory = topology.nodes.some(hasMemory) ? topology.nodes.filter(hasMemory) : topology.nodes;
  const homeOf = (cpu: number): NumaNode => {
    const own = topology.nodes.find((node) => node.cpus.includes(cpu)) ?? (topology.nodes[0] as NumaNode);
    const distance = (node: NumaNode): number => (node === own ? 0 : (own.distances[topology.nodes.indexOf(node)] ?? 255));
    return withMemory.reduce((best, node) => (distance(node) < distance(best) ? node : best));
  };
  const homes = new Map<NumaNode, number[]>();
  for (const cpu of cpus) {
    const node = homeOf(cpu);
    homes.set(node, [...(homes.get(node) ?? []), cpu]);
  }
  return [...homes].map(([node, own]) => ({ node, cpus: own })).sort((a, b) => a.node.id - b.node.id);
}

/**
 * Bytes that can be had on one node: its share of MemAvailable, in the proportion of what the nodes have available, and its free
 * hugetlb pages. MemAvailable is the kernel's own estimate and knows of reserves and of memory that a balloon gives back on
 * demand, the nodes' numbers tell only how it is spread.
 */
function spareOn(node: NumaNode, topology: Topology, budget: MemoryBudget, hugetlb: boolean): number {
  const everywhere = sum(topology.nodes.map((n) => n.memAvailable));
  const share = everywhere > 0 ? node.memAvailable / everywhere : 1 / topology.nodes.length;
  return budget.memory.available * share + (hugetlb ? (budget.hugeFree.get(node.id) ?? 0) : 0);
}

/** Blocks for the virtual node out of `most`. */
function chooseMemory(request: PartitionRequest, most: number, nodes: readonly number[], cgroupBinds: boolean): number {
  const size = request.mem === undefined ? { share: DEFAULT_SHARE } : parseSize(request.mem);
  const wanted = "share" in size ? Math.floor(most * size.share) : blocks(size.bytes);
  const where = request.mem === undefined ? undefined : `--mem ${request.mem}`;
  const source = cgroupBinds ? "the control group allows" : `NUMA node${nodes.length > 1 ? "s" : ""} ${formatCpuList(nodes)} can give`;
  const mib = (n: number): string => `${(n * BLOCK) / 2 ** 20}M`;
  if (wanted > most) {
    throw new MargayError("E_MEM_TOO_MUCH", `${formatBytes(wanted * BLOCK)} of memory, but ${source} only ${formatBytes(most * BLOCK)}`, {
      where,
      hint: `ask for at most --mem ${mib(most)}`,
    });
  }
  if (wanted * BLOCK < MIN_MEMORY) {
    const scarce = most * BLOCK < MIN_MEMORY;
    throw new MargayError(
      "E_MEM_TOO_LITTLE",
      `${formatBytes(wanted * BLOCK)} of memory is less than the ${formatBytes(MIN_MEMORY)} that any program needs`,
      {
        where,
        hint: scarce ? `free memory: ${source} only ${formatBytes(most * BLOCK)}` : `ask for at least --mem ${mib(MIN_MEMORY / BLOCK)}`,
      },
    );
  }
  return wanted;
}

/** Shares out `total` blocks by weight, no part above its cap; what a full part cannot take goes to the others. total <= sum of caps. */
function shareOut(total: number, weights: readonly number[], caps: readonly number[]): number[] {
  const parts = weights.map(() => 0);
  let left = total;
  while (left > 0) {
    const open = parts.map((_, i) => i).filter((i) => (parts[i] as number) < (caps[i] as number));
    const weight = sum(open.map((i) => weights[i] as number));
    const round = left;
    for (const i of open) {
      const room = (caps[i] as number) - (parts[i] as number);
      // At least one block, so that rounding cannot stop the loop.
      const share = Math.min(left, room, Math.max(1, Math.floor((round * (weights[i] as number)) / weight)));
      parts[i] = (parts[i] as number) + share;
      left -= share;
    }
  }
  return parts;
}

function blocks(bytes: number): number {
  return Math.floor(bytes / BLOCK);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
