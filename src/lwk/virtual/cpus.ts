/**
 * The virtual node's processors: /proc/cpuinfo, /proc/stat, /sys/devices/system/cpu. Each virtual CPU is a host CPU under a new number: what the
 * host's files say of it is passed on, with every set of CPUs cut to the virtual node's and renumbered.
 */
import { formatCpuList } from "../../host/cpulist.ts";
import { listOf, numberedEntries, readNames, readText } from "../../host/sysfs.ts";
import type { Kernel } from "../kernel.ts";
import { H, OFFSET } from "../state.ts";
import { cpuMask, parseMask } from "./masks.ts";
import { decimal, file, link, missing, type Place, register, type Step } from "./node.ts";

const ROOT = "/sys/devices/system/cpu";

export function cpuCount(k: Kernel): number {
  return k.state.i32[H.cpuCount]!;
}

/** Host CPU behind a virtual one. */
export function hostCpu(k: Kernel, cpu: number): number {
  return k.state.i32[(OFFSET.cpus >> 2) + cpu]!;
}

/** Virtual NUMA node of a virtual CPU. */
export function nodeOfCpu(k: Kernel, cpu: number): number {
  return k.state.i32[(OFFSET.cpuNodes >> 2) + cpu]!;
}

export function allCpus(k: Kernel): number[] {
  return Array.from({ length: cpuCount(k) }, (_, cpu) => cpu);
}

/** Virtual numbers of those host CPUs that belong to the virtual node, ascending. */
export function toVirtual(k: Kernel, hostCpus: Iterable<number>): number[] {
  const wanted = new Set(hostCpus);
  return allCpus(k).filter((cpu) => wanted.has(hostCpu(k, cpu)));
}

// ---- /proc/cpuinfo ------------------------------------------------------------------------------------------------

/** Features that the host's list may name and a program in a virtual node cannot use: protection keys, AMX, shadow stacks (XCR0 and CR4 lack them). */
const HIDDEN_FLAGS = new Set("pku ospke amx_bf16 amx_tile amx_int8 amx_fp16 amx_complex user_shstk ibt".split(" "));

/** Fields of one processor's block, in the kernel's order; `label` is the key with its tabs and colon. */
type Block = { key: string; label: string; value: string }[];

/** The blocks of /proc/cpuinfo by host CPU number. */
export function parseCpuinfo(text: string): Map<number, Block> {
  const blocks = new Map<number, Block>();
  for (const part of text.split("\n\n")) {
    const block: Block = [];
    for (const line of part.split("\n")) {
      const at = line.indexOf(":");
      if (at > 0) block.push({ key: line.slice(0, at).trimEnd(), label: line.slice(0, at + 1), value: line.slice(at + 1).trim() });
    }
    if (block[0]?.key === "processor") blocks.set(Number(block[0].value), block);
  }
  return blocks;
}

/** /proc/cpuinfo of the virtual CPUs made from the host's. `cpus`: host CPU of each. */
export function cpuinfoOf(text: string, cpus: readonly number[]): string {
  const blocks = parseCpuinfo(text);
  const value = (cpu: number, key: string): string => blocks.get(cpu)?.find((field) => field.key === key)?.value ?? "";
  return cpus
    .map((host, cpu) => {
      const block = blocks.get(host) ?? [{ key: "processor", label: "processor\t:", value: "" }];
      const siblings = cpus.filter((other) => value(other, "physical id") === value(host, "physical id"));
      const cores = new Set(siblings.map((other) => value(other, "core id") || `cpu ${other}`));
      const lines = block.map(({ key, label, value: old }) => {
        let text = old;
        if (key === "processor") text = `${cpu}`;
        else if (key === "siblings") text = `${siblings.length}`;
        else if (key === "cpu cores") text = `${cores.size}`;
        else if (key === "flags") text = old.split(" ").filter((flag) => !HIDDEN_FLAGS.has(flag)).join(" ");
        return text ? `${label} ${text}` : label;
      });
      return `${lines.join("\n")}\n\n`;
    })
    .join("");
}

export function cpuinfo(k: Kernel): string {
  return cpuinfoOf(readText("/proc/cpuinfo") ?? "", allCpus(k).map((cpu) => hostCpu(k, cpu)));
}

// ---- /proc/stat ---------------------------------------------------------------------------------------------------

/** /proc/stat with the virtual node's CPUs only; interrupts and the rest are the host's totals. */
export function cpuStatOf(text: string, cpus: readonly number[]): string {
  const rows = new Map<number, number[]>();
  const others: string[] = [];
  for (const line of text.split("\n")) {
    const m = /^cpu(\d+) (.*)$/.exec(line);
    if (m) rows.set(Number(m[1]), m[2]!.split(" ").map(Number));
    else if (line.startsWith("intr ") || line.startsWith("softirq ")) others.push(line.split(" ").slice(0, 2).join(" "));
    else if (line && !line.startsWith("cpu ")) others.push(line);
  }
  const chosen = cpus.map((host) => rows.get(host) ?? new Array<number>(10).fill(0));
  const sums = (chosen[0] ?? []).map((_, i) => chosen.reduce((sum, row) => sum + (row[i] ?? 0), 0));
  const lines = [`cpu  ${sums.join(" ")}`, ...chosen.map((row, cpu) => `cpu${cpu} ${row.join(" ")}`), ...others];
  return `${lines.join("\n")}\n`;
}

export function cpuStat(k: Kernel): string {
  return cpuStatOf(readText("/proc/stat") ?? "", allCpus(k).map((cpu) => hostCpu(k, cpu)));
}

// ---- /sys/devices/system/cpu --------------------------------------------------------------------------------------

/** Files of a CPU that hold sets of CPUs: lists end in `_list` or are named so, masks are their siblings. */
const LISTS = new Set(["shared_cpu_list"]);
const MASKS = new Set(["shared_cpu_map", "thread_siblings", "core_siblings", "core_cpus", "die_cpus", "package_cpus", "cluster_cpus", "book_cpus", "drawer_cpus"]);

/** A host file about a CPU, for the virtual node. */
function translated(k: Kernel, name: string, text: string): string {
  if (LISTS.has(name) || name.endsWith("_list")) return `${formatCpuList(toVirtual(k, listOf(text) ?? []))}\n`;
  if (MASKS.has(name)) return `${cpuMask(toVirtual(k, parseMask(text)), cpuCount(k))}\n`;
  return `${text}\n`;
}

/** Names in one of a host CPU's folders that hold plain facts. */
const TOPOLOGY = "cluster_cpus cluster_cpus_list cluster_id core_cpus core_cpus_list core_id core_siblings core_siblings_list die_cpus die_cpus_list die_id package_cpus package_cpus_list physical_package_id thread_siblings thread_siblings_list".split(" ");
const CACHE = "coherency_line_size id level number_of_sets physical_line_partition shared_cpu_list shared_cpu_map size type ways_of_associativity".split(" ");

/** A cache is named by CPU and index in one `param`: index * CPU_LIMIT + CPU. */
const CPU_LIMIT = 1024;
const cpuOf = (param: number): number => param % CPU_LIMIT;
const indexOf = (param: number): number => Math.floor(param / CPU_LIMIT);

/** A folder of files about a CPU: `where` the host has it, where it is `seen` by the program. What the host lacks is missing here too. */
function hostFolder(where: (k: Kernel, param: number) => string, seen: (param: number) => string, names: readonly string[]): Place {
  const files = new Map<string, Place>();
  for (const name of names) {
    files.set(
      name,
      file(
        (_k, param) => `${seen(param)}/${name}`,
        (k, param) => translated(k, name, readText(`${where(k, param)}/${name}`) ?? ""),
      ),
    );
  }
  return register({
    kind: "directory",
    mode: 0o755,
    path: (_k, param) => seen(param),
    entries: (k, param) => readNames(where(k, param)).filter((name) => files.has(name)).map((name) => ({ name, kind: "file" })),
    child: (k, param, name): Step => {
      const found = files.get(name);
      return found && readText(`${where(k, param)}/${name}`) !== undefined ? { place: found, param } : missing();
    },
  });
}

const topology = hostFolder(
  (k, param) => `${ROOT}/cpu${hostCpu(k, param)}/topology`,
  (param) => `${ROOT}/cpu${param}/topology`,
  TOPOLOGY,
);
const cacheIndex = hostFolder(
  (k, param) => `${ROOT}/cpu${hostCpu(k, cpuOf(param))}/cache/index${indexOf(param)}`,
  (param) => `${ROOT}/cpu${cpuOf(param)}/cache/index${indexOf(param)}`,
  CACHE,
);

function cacheIndexes(k: Kernel, cpu: number): number[] {
  return numberedEntries(`${ROOT}/cpu${hostCpu(k, cpu)}/cache`, "index").filter((index) => index < 64);
}

const cache: Place = register({
  kind: "directory",
  mode: 0o755,
  path: (_k, cpu) => `${ROOT}/cpu${cpu}/cache`,
  entries: (k, cpu) => cacheIndexes(k, cpu).map((index) => ({ name: `index${index}`, kind: "directory" })),
  child: (k, cpu, name) => {
    const index = name.startsWith("index") ? decimal(name.slice(5)) : -1;
    return index >= 0 && cacheIndexes(k, cpu).includes(index) ? { place: cacheIndex, param: index * CPU_LIMIT + cpu } : missing();
  },
});

const online = file((_k, cpu) => `${ROOT}/cpu${cpu}/online`, () => "1\n");
const nodeLink = link(
  (k, cpu) => `${ROOT}/cpu${cpu}/node${nodeOfCpu(k, cpu)}`,
  (k, cpu) => `/sys/devices/system/node/node${nodeOfCpu(k, cpu)}`,
);

const hasTopology = (k: Kernel, cpu: number): boolean => readNames(`${ROOT}/cpu${hostCpu(k, cpu)}/topology`).length > 0;

/** One CPU. Frequencies are the host's, of the CPU behind it. */
const oneCpu: Place = register({
  kind: "directory",
  mode: 0o755,
  path: (_k, cpu) => `${ROOT}/cpu${cpu}`,
  entries: (k, cpu) => {
    const names: { name: string; kind: "file" | "directory" | "link" }[] = [{ name: "online", kind: "file" }];
    if (hasTopology(k, cpu)) names.push({ name: "topology", kind: "directory" });
    if (cacheIndexes(k, cpu).length) names.push({ name: "cache", kind: "directory" });
    names.push({ name: `node${nodeOfCpu(k, cpu)}`, kind: "link" });
    if (readNames(`${ROOT}/cpu${hostCpu(k, cpu)}`).includes("cpufreq")) names.push({ name: "cpufreq", kind: "link" });
    return names;
  },
  child: (k, cpu, name) => {
    if (name === "online") return { place: online, param: cpu };
    if (name === "topology" && hasTopology(k, cpu)) return { place: topology, param: cpu };
    if (name === "cache" && cacheIndexes(k, cpu).length) return { place: cache, param: cpu };
    if (name === `node${nodeOfCpu(k, cpu)}`) return { place: nodeLink, param: cpu };
    if (name === "cpufreq" || name === "acpi_cppc") return { host: `${ROOT}/cpu${hostCpu(k, cpu)}/${name}`, magic: true };
    return missing();
  },
});

const list = (name: string, members: (k: Kernel) => number[]): Place => file(() => `${ROOT}/${name}`, (k) => `${formatCpuList(members(k))}\n`);

const FILES: Readonly<Record<string, Place>> = {
  online: list("online", allCpus),
  possible: list("possible", allCpus),
  present: list("present", allCpus),
  enabled: list("enabled", allCpus),
  offline: list("offline", () => []),
  isolated: list("isolated", () => []),
  nohz_full: list("nohz_full", () => []),
  kernel_max: file(() => `${ROOT}/kernel_max`, () => `${CPU_LIMIT - 1}\n`),
};

/** Folders that say the same of every CPU: the host's own. */
const ON_HOST = new Set(["vulnerabilities", "modalias", "smt"]);

export const cpuDirectory: Place = register({
  kind: "directory",
  mode: 0o755,
  path: () => ROOT,
  entries: (k) => [
    ...allCpus(k).map((cpu) => ({ name: `cpu${cpu}`, kind: "directory" as const })),
    ...Object.keys(FILES).map((name) => ({ name, kind: "file" as const })),
    ...readNames(ROOT)
      .filter((name) => ON_HOST.has(name))
      .map((name) => ({ name, kind: name === "modalias" ? ("file" as const) : ("directory" as const) })),
  ],
  child: (k, _param, name) => {
    if (Object.hasOwn(FILES, name)) return { place: FILES[name]!, param: 0 };
    if (ON_HOST.has(name)) return { host: `${ROOT}/${name}`, magic: true };
    const cpu = name.startsWith("cpu") ? decimal(name.slice(3)) : -1;
    return cpu >= 0 && cpu < cpuCount(k) ? { place: oneCpu, param: cpu } : missing();
  },
});
