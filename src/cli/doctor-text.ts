/** The report as aligned text for people. */
import { formatCpuList } from "../host/cpulist.ts";
import type { HugePool } from "../host/hugepages.ts";
import type { Rlimit } from "../host/limits.ts";
import { formatBytes } from "../host/size.ts";
import type { Finding, Verdict } from "./doctor-findings.ts";
import type { Facts } from "./doctor-report.ts";

type Row = readonly [label: string, value: string];

/** The longest label, MEMORY_FAULT_INFO, and a space. */
const LABEL_WIDTH = 18;

/** Everything, ending with the verdict and a newline. */
export function doctorText(facts: Facts, findings: readonly Finding[], verdict: Verdict): string {
  const sections: readonly (readonly [title: string, rows: readonly Row[]])[] = [
    ["KVM", kvmRows(facts)],
    ["CPUs", cpuRows(facts)],
    ["NUMA", numaRows(facts)],
    ["Memory", memoryRows(facts)],
    ["Huge pages", pageRows(facts)],
    ["Limits", limitRows(facts)],
  ];
  const lines = [`margay ${facts.margay}, Node ${facts.node}, Linux ${facts.kernel}, user ${facts.user.name}`];
  for (const [title, rows] of sections) {
    lines.push("", title);
    for (const [label, value] of rows) lines.push(`  ${label.padEnd(LABEL_WIDTH)}${value}`.trimEnd());
  }
  if (findings.length > 0) lines.push("", "What to change");
  for (const finding of findings) {
    lines.push(`  ${finding.severity.padEnd(8)}${finding.code === null ? "" : `${finding.code}: `}${finding.text}`);
    for (const command of finding.commands) lines.push(`            ${command}`);
  }
  lines.push("", `${verdict.ok ? "ok" : "NOT OK"}: ${verdict.text}`, "");
  return lines.join("\n");
}

function kvmRows({ kvm }: Facts): Row[] {
  const { probe, ring0 } = kvm;
  const speed =
    probe.ring0Speed === undefined ? "" : ` (${(probe.ring0Speed / 1e6).toFixed(probe.ring0Speed < 1e7 ? 1 : 0)} M instructions/s)`;
  const rows: Row[] = [
    ["kind", kvm.kind],
    ["ring 3", probe.failure === undefined ? "native" : "unknown"],
    ["ring 0", `${ring0}${speed}`],
    ["device", deviceText(kvm)],
  ];
  if (probe.apiVersion !== undefined) rows.push(["API version", String(probe.apiVersion)]);
  if (probe.createMs !== undefined) rows.push(["VM and vCPU", `made in ${probe.createMs.toFixed(1)} ms`]);
  for (const capability of probe.capabilities) {
    const missing = capability.required ? "MISSING, needed" : "not there, not needed";
    rows.push([capability.name, capability.enough ? String(capability.value) : missing]);
  }
  return rows;
}

function deviceText({ probe, group }: Facts["kvm"]): string {
  const { device, failure } = probe;
  if (!device.present) return `${device.path} does not exist`;
  const mode = `mode ${device.mode.toString(8).padStart(4, "0")}, group ${group}`;
  if (failure === undefined) return `${device.path}, usable (${mode})`;
  return `${device.path}, ${failure.code === "E_KVM_DENIED" ? "not permitted" : "not usable"} (${mode})`;
}

function cpuRows({ cpu, limits }: Facts): Row[] {
  const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
  const rows: Row[] = [
    ["processor", cpu.name],
    ["layout", `${plural(cpu.packages, "package")}, ${plural(cpu.cores, "core")}, ${cpu.smt === 1 ? "no SMT" : `SMT ${cpu.smt}`}`],
    ["online", cpu.online],
  ];
  if (cpu.offline !== "") rows.push(["offline", cpu.offline]);
  rows.push(["usable", cpu.allowed]);
  if (cpu.isolated !== "") rows.push(["isolated", cpu.isolated]);
  if (limits.cpuQuota !== Number.POSITIVE_INFINITY) rows.push(["time quota", `${limits.cpuQuota} CPUs`]);
  if (cpu.governor !== null) rows.push(["governor", cpu.governor]);
  const letter: Readonly<Record<string, string>> = { Data: "d", Instruction: "i" };
  const caches = cpu.caches.map((c) => `${c.count} x L${c.level}${letter[c.type] ?? ""} ${formatBytes(c.size)}`);
  rows.push(["caches", caches.length > 0 ? caches.join(", ") : "not shown by the kernel"]);
  return rows;
}

function numaRows({ numa }: Facts): Row[] {
  if (!numa.present) return [["nodes", "not shown by the kernel; taken as one"]];
  return numa.nodes.map((node): Row => {
    const cpus = node.cpus.length > 0 ? `CPUs ${formatCpuList(node.cpus)}` : "no CPUs";
    const memory = node.memTotal > 0 ? `${formatBytes(node.memTotal)}, ${formatBytes(node.memFree)} free` : "no memory";
    return [
      `node ${node.id}`,
      `${cpus}; ${memory}; distances ${node.distances.join(" ")}${node.allowed ? "" : "; not allowed to this process"}`,
    ];
  });
}

function memoryRows({ memory }: Facts): Row[] {
  const rows: Row[] = [
    ["total", formatBytes(memory.total)],
    ["available", formatBytes(memory.available)],
  ];
  if (memory.cgroup !== null)
    rows.push(["control group", `${formatBytes(memory.cgroup.limit)}, ${formatBytes(memory.cgroup.spare)} left (${memory.cgroup.path})`]);
  rows.push(["virtual node", memory.virtualNode === null ? "too little" : `${formatBytes(memory.virtualNode)} without --mem`]);
  return rows;
}

function pageRows({ hugePages }: Facts): Row[] {
  const rows = hugePages.pools.map((pool): Row => [`${formatBytes(pool.pageSize)} pool`, poolText(pool)]);
  if (rows.length === 0) rows.push(["hugetlb", "not in this kernel"]);
  const { thp } = hugePages;
  rows.push(["THP", thp === undefined ? "not in this kernel" : `${thp.enabled}, defrag ${thp.defrag}, shared memory ${thp.shmem}`]);
  return rows;
}

function poolText(pool: HugePool): string {
  const nodes =
    pool.total > 0 && pool.nodes.length > 1 ? `; free per node: ${pool.nodes.map((n) => `${n.node}: ${n.free}`).join(", ")}` : "";
  const extra = pool.overcommit > 0 ? `, ${pool.overcommit} more on demand` : "";
  return `${pool.total} pages, ${pool.free} free, ${pool.reserved} reserved${extra}${nodes}`;
}

function limitRows({ limits }: Facts): Row[] {
  const number = (n: number): string => (n === Number.POSITIVE_INFINITY ? "unlimited" : String(n));
  const pair = (limit: Rlimit, show: (n: number) => string): string =>
    limit.soft === limit.hard ? show(limit.soft) : `${show(limit.soft)} (at most ${show(limit.hard)})`;
  const rows: Row[] = [
    ["processes", pair(limits.rlimits.processes, number)],
    ["open files", pair(limits.rlimits.openFiles, number)],
    ["locked memory", pair(limits.rlimits.lockedMemory, formatBytes)],
    ["address space", pair(limits.rlimits.addressSpace, formatBytes)],
    ["mappings", number(limits.maxMapCount)],
  ];
  if (limits.pids !== null) rows.push(["control group", `${limits.pids.limit} threads, ${limits.pids.spare} left (${limits.pids.path})`]);
  return rows;
}
