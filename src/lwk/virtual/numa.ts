/** /sys/devices/system/node: the virtual node's own NUMA nodes, numbered from 0. */
import { formatCpuList } from "../../host/cpulist.ts";
import type { Kernel } from "../kernel.ts";
import { H, OFFSET } from "../state.ts";
import { allCpus, cpuCount, nodeOfCpu } from "./cpus.ts";
import { cpuMask } from "./masks.ts";
import { decimal, directory, file, link, missing, type Place, register } from "./node.ts";
import { nodeMeminfo, nodeMemory } from "./node-memory.ts";

const ROOT = "/sys/devices/system/node";
/** Where the table of nodes keeps its distances: 64 x 64 bytes behind 64 rows of 32. */
const DISTANCES = OFFSET.nodes + 64 * 32;
/** Links to CPUs are named by both numbers in one `param`: node * 1024 + CPU. */
const CPU_LIMIT = 1024;

export function nodeCount(k: Kernel): number {
  return k.state.i32[H.nodeCount]!;
}

export function allNodes(k: Kernel): number[] {
  return Array.from({ length: nodeCount(k) }, (_, node) => node);
}

function cpusOf(k: Kernel, node: number): number[] {
  return allCpus(k).filter((cpu) => nodeOfCpu(k, cpu) === node);
}

function distances(k: Kernel, node: number): string {
  return allNodes(k)
    .map((other) => k.state.u8[DISTANCES + node * 64 + other] || (other === node ? 10 : 20))
    .join(" ");
}

const path = (name: string) => (_k: Kernel, node: number) => `${ROOT}/node${node}/${name}`;

const zero = (name: string): Place => file(path(`hugepages/hugepages-2048kB/${name}`), () => "0\n");
/** Programs need no reservation here: their memory is on 2 MiB pages in any case. */
const hugeFiles = { nr_hugepages: zero("nr_hugepages"), free_hugepages: zero("free_hugepages"), surplus_hugepages: zero("surplus_hugepages") };
const hugeSize = directory(path("hugepages/hugepages-2048kB"), hugeFiles);
const huge = directory(path("hugepages"), { "hugepages-2048kB": hugeSize });

const FILES: Readonly<Record<string, Place>> = {
  cpulist: file(path("cpulist"), (k, node) => `${formatCpuList(cpusOf(k, node))}\n`),
  cpumap: file(path("cpumap"), (k, node) => `${cpuMask(cpusOf(k, node), cpuCount(k))}\n`),
  distance: file(path("distance"), (k, node) => `${distances(k, node)}\n`),
  meminfo: file(path("meminfo"), nodeMeminfo),
  numastat: file(path("numastat"), (k, node) => {
    const pages = nodeMemory(k, node).used / 4096;
    return `numa_hit ${pages}\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node ${pages}\nother_node 0\n`;
  }),
  hugepages: huge,
};

const cpuLink = link(
  (_k, param) => `${ROOT}/node${Math.floor(param / CPU_LIMIT)}/cpu${param % CPU_LIMIT}`,
  (_k, param) => `/sys/devices/system/cpu/cpu${param % CPU_LIMIT}`,
);

const oneNode: Place = register({
  kind: "directory",
  mode: 0o755,
  path: (_k, node) => `${ROOT}/node${node}`,
  entries: (k, node) => [
    ...Object.entries(FILES).map(([name, place]) => ({ name, kind: place.kind })),
    ...cpusOf(k, node).map((cpu) => ({ name: `cpu${cpu}`, kind: "link" as const })),
  ],
  child: (k, node, name) => {
    if (Object.hasOwn(FILES, name)) return { place: FILES[name]!, param: node };
    const cpu = name.startsWith("cpu") ? decimal(name.slice(3)) : -1;
    return cpu >= 0 && cpusOf(k, node).includes(cpu) ? { place: cpuLink, param: node * CPU_LIMIT + cpu } : missing();
  },
});

const list = (name: string, members: (k: Kernel) => number[]): Place => file(() => `${ROOT}/${name}`, (k) => `${formatCpuList(members(k))}\n`);
const LISTS: Readonly<Record<string, Place>> = {
  online: list("online", allNodes),
  possible: list("possible", allNodes),
  has_cpu: list("has_cpu", (k) => allNodes(k).filter((node) => cpusOf(k, node).length > 0)),
  has_memory: list("has_memory", (k) => allNodes(k).filter((node) => nodeMemory(k, node).total > 0)),
  has_normal_memory: list("has_normal_memory", (k) => allNodes(k).filter((node) => nodeMemory(k, node).total > 0)),
};

export const numaDirectory: Place = register({
  kind: "directory",
  mode: 0o755,
  path: () => ROOT,
  entries: (k) => [...allNodes(k).map((node) => ({ name: `node${node}`, kind: "directory" as const })), ...Object.keys(LISTS).map((name) => ({ name, kind: "file" as const }))],
  child: (k, _param, name) => {
    if (Object.hasOwn(LISTS, name)) return { place: LISTS[name]!, param: 0 };
    const node = name.startsWith("node") ? decimal(name.slice(4)) : -1;
    return node >= 0 && node < nodeCount(k) ? { place: oneNode, param: node } : missing();
  },
});
