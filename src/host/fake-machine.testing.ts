/**
 * Made-up machines for tests: a short description becomes a directory with the /sys and /proc files that Linux would show.
 * Everything in src/host that reads the machine takes such a root.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { formatCpuList } from "./cpulist.ts";

const MIB = 2 ** 20;

export interface FakeNode {
  readonly id: number;
  /** Default: none. */
  readonly cpus?: readonly number[];
  /** MiB; default 8192. */
  readonly memory?: number;
  /** MiB; default: seven eighths of memory. */
  readonly free?: number;
  /** MiB of file pages that the kernel can drop; default 0. */
  readonly filePages?: number;
  /** Default: 10 to itself, 20 to the others. */
  readonly distances?: readonly number[];
}

export interface FakePool {
  readonly sizeKiB: number;
  /** Per node, in the order of `nodes`: [total, free, surplus]. */
  readonly perNode: readonly (readonly [number, number, number])[];
  readonly reserved?: number;
  readonly overcommit?: number;
}

export interface FakeMachine {
  /** Default 1. */
  readonly packages?: number;
  /** Cores per package; default 2. */
  readonly cores?: number;
  /** Threads per core; default 1. CPU numbers as on most machines: first all first threads, then all second ones. */
  readonly smt?: number;
  readonly offline?: readonly number[];
  /** Cpus_allowed_list; default: all, as the kernel writes it, beyond those that exist. */
  readonly allowed?: string;
  readonly allowedMems?: string;
  /** Default: one node per package with its CPUs. `null`: a kernel without NUMA, no node directory. */
  readonly nodes?: readonly FakeNode[] | null;
  /** No cache directories, as in many virtual machines. */
  readonly noCaches?: boolean;
  /** No topology directories. */
  readonly noTopology?: boolean;
  readonly pools?: readonly FakePool[];
  /** MiB; default: the sum of the nodes' free memory. */
  readonly memAvailable?: number;
  /** More files, or other texts for files above (paths without a leading slash); null takes a file away. */
  readonly files?: Readonly<Record<string, string | null>>;
}

export interface FakeRoot {
  readonly root: string;
  /** Deletes the directory. */
  remove(): void;
}

/** Writes the machine into a new temporary directory. The caller removes it. */
export function makeFakeRoot(machine: FakeMachine): FakeRoot {
  const root = mkdtempSync(join(tmpdir(), "margay-machine-"));
  for (const [path, text] of Object.entries(fakeFiles(machine))) {
    if (text === null) continue;
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) };
}

/** The files of the machine: path without a leading slash, and text. */
export function fakeFiles(machine: FakeMachine): Record<string, string | null> {
  const packages = machine.packages ?? 1;
  const cores = machine.cores ?? 2;
  const smt = machine.smt ?? 1;
  const all = Array.from({ length: packages * cores * smt }, (_, cpu) => cpu);
  const offline = machine.offline ?? [];
  const online = all.filter((cpu) => !offline.includes(cpu));
  const coreOf = (cpu: number): number => cpu % (packages * cores);
  const packageOf = (cpu: number): number => Math.floor(coreOf(cpu) / cores);
  const files: Record<string, string> = {};

  files["sys/devices/system/cpu/online"] = `${formatCpuList(online)}\n`;
  files["sys/devices/system/cpu/present"] = `${formatCpuList(all)}\n`;
  files["sys/devices/system/cpu/isolated"] = "\n";
  for (const cpu of online) {
    const dir = `sys/devices/system/cpu/cpu${cpu}`;
    const like = (same: (other: number) => boolean): string => `${formatCpuList(online.filter(same))}\n`;
    if (machine.noTopology !== true) {
      files[`${dir}/topology/core_id`] = `${coreOf(cpu) % cores}\n`;
      files[`${dir}/topology/die_id`] = "0\n";
      files[`${dir}/topology/physical_package_id`] = `${packageOf(cpu)}\n`;
      files[`${dir}/topology/core_cpus_list`] = like((other) => coreOf(other) === coreOf(cpu));
    }
    if (machine.noCaches !== true) {
      const core = like((other) => coreOf(other) === coreOf(cpu));
      const whole = like((other) => packageOf(other) === packageOf(cpu));
      Object.assign(files, cacheFiles(`${dir}/cache/index0`, "1", "Data", "32K", core));
      Object.assign(files, cacheFiles(`${dir}/cache/index1`, "1", "Instruction", "32K", core));
      Object.assign(files, cacheFiles(`${dir}/cache/index2`, "2", "Unified", "1024K", core));
      Object.assign(files, cacheFiles(`${dir}/cache/index3`, "3", "Unified", "32M", whole));
    }
  }

  const byPackage = Array.from({ length: packages }, (_, id): FakeNode => ({ id, cpus: all.filter((cpu) => packageOf(cpu) === id) }));
  const nodes = machine.nodes === undefined ? byPackage : machine.nodes;
  const described = nodes ?? [{ id: 0, cpus: all, memory: 8192 }];
  if (nodes !== null) for (const [i, node] of nodes.entries()) Object.assign(files, nodeFiles(node, i, nodes, offline));

  const total = described.reduce((sum, node) => sum + memoryOf(node), 0);
  const free = described.reduce((sum, node) => sum + freeOf(node), 0);
  files["proc/meminfo"] =
    `MemTotal: ${kib(total)} kB\nMemFree: ${kib(free)} kB\nMemAvailable: ${kib(machine.memAvailable ?? free)} kB\nHugepagesize: 2048 kB\n`;
  files["proc/self/status"] =
    `Name:\tnode\nCpus_allowed_list:\t${machine.allowed ?? "0-127"}\nMems_allowed_list:\t${machine.allowedMems ?? "0-63"}\n`;
  files["proc/cpuinfo"] = online
    .map(
      (cpu) =>
        `processor\t: ${cpu}\nvendor_id\t: GenuineFake\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: Fake Processor 9000\nstepping\t: 1\nflags\t\t: fpu vme avx512f\npower management:\n\n`,
    )
    .join("");

  for (const pool of machine.pools ?? []) Object.assign(files, poolFiles(pool, described, nodes !== null));
  return { ...files, ...machine.files };
}

function cacheFiles(dir: string, level: string, type: string, size: string, shared: string): Record<string, string> {
  return {
    [`${dir}/level`]: `${level}\n`,
    [`${dir}/type`]: `${type}\n`,
    [`${dir}/size`]: `${size}\n`,
    [`${dir}/coherency_line_size`]: "64\n",
    [`${dir}/ways_of_associativity`]: "8\n",
    [`${dir}/number_of_sets`]: "64\n",
    [`${dir}/shared_cpu_list`]: shared,
  };
}

function nodeFiles(node: FakeNode, position: number, nodes: readonly FakeNode[], offline: readonly number[]): Record<string, string> {
  const dir = `sys/devices/system/node/node${node.id}`;
  const distances = node.distances ?? nodes.map((_, i) => (i === position ? 10 : 20));
  const line = (key: string, mib: number): string => `Node ${node.id} ${key}: ${kib(mib)} kB\n`;
  return {
    // The kernel lists a node's online CPUs only.
    [`${dir}/cpulist`]: `${formatCpuList((node.cpus ?? []).filter((cpu) => !offline.includes(cpu)))}\n`,
    [`${dir}/distance`]: `${distances.join(" ")}\n`,
    [`${dir}/meminfo`]:
      line("MemTotal", memoryOf(node)) +
      line("MemFree", freeOf(node)) +
      line("Active(file)", node.filePages ?? 0) +
      line("Inactive(file)", 0) +
      line("SReclaimable", 0),
  };
}

function poolFiles(pool: FakePool, nodes: readonly FakeNode[], perNode: boolean): Record<string, string> {
  const files: Record<string, string> = {};
  const name = `hugepages-${pool.sizeKiB}kB`;
  const put = (dir: string, [total, free, surplus]: readonly [number, number, number]): void => {
    files[`${dir}/nr_hugepages`] = `${total}\n`;
    files[`${dir}/free_hugepages`] = `${free}\n`;
    files[`${dir}/surplus_hugepages`] = `${surplus}\n`;
  };
  const sum = (i: 0 | 1 | 2): number => pool.perNode.reduce((s, counts) => s + counts[i], 0);
  put(`sys/kernel/mm/hugepages/${name}`, [sum(0), sum(1), sum(2)]);
  files[`sys/kernel/mm/hugepages/${name}/resv_hugepages`] = `${pool.reserved ?? 0}\n`;
  files[`sys/kernel/mm/hugepages/${name}/nr_overcommit_hugepages`] = `${pool.overcommit ?? 0}\n`;
  if (perNode)
    for (const [i, counts] of pool.perNode.entries()) put(`sys/devices/system/node/node${nodes[i]?.id}/hugepages/${name}`, counts);
  return files;
}

function memoryOf(node: FakeNode): number {
  return node.memory ?? 8192;
}

function freeOf(node: FakeNode): number {
  return node.free ?? Math.floor((memoryOf(node) * 7) / 8);
}

function kib(mib: number): number {
  return (mib * MIB) / 1024;
}
