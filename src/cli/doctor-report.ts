/** What `margay doctor` looks at. The report is data with stable names (docs/doctor.md); judging and printing are separate. */
import { readFileSync } from "node:fs";
import { release, userInfo } from "node:os";
import { join } from "node:path";
import type { CgroupLimit } from "../host/cgroup.ts";
import { formatCpuList } from "../host/cpulist.ts";
import { asMargayError } from "../host/error.ts";
import { type HugePages, readHugePages } from "../host/hugepages.ts";
import type { KvmProbe } from "../host/kvm-probe.ts";
import { type HostMemory, type Limits, readLimits, readMemoryBudget } from "../host/limits.ts";
import { readInteger, readText } from "../host/sysfs.ts";
import { type NumaNode, readTopology, type Topology } from "../host/topology.ts";
import { choosePartition } from "../node/partition.ts";
import { kvmKindName } from "../vmm/kind.ts";

/** Raised when a key of the report changes its meaning or goes; new keys do not raise it. */
export const REPORT_SCHEMA = 1;

/** Instructions per second in ring 0 below which it is interpreted: PVM's interpreter does 2 million, a processor hundreds. */
const INTERPRETED_BELOW = 10e6;

export interface SelfTest {
  readonly command: string;
  readonly ok: boolean;
  readonly milliseconds: number;
  /** Why it failed: what the run wrote to stderr, or how it ended. Empty when ok. */
  readonly detail: string;
}

export interface CacheSummary {
  readonly level: number;
  readonly type: string;
  /** Bytes of one. */
  readonly size: number;
  readonly count: number;
}

export interface Facts {
  readonly schema: typeof REPORT_SCHEMA;
  readonly margay: string;
  readonly node: string;
  readonly kernel: string;
  readonly platform: string;
  readonly user: { readonly uid: number; readonly name: string };
  readonly kvm: {
    /** PVM, SVM (AMD-V), VMX (Intel VT-x), unknown. */
    readonly kind: string;
    readonly ring0: "native" | "interpreted" | "unknown";
    readonly probe: KvmProbe;
    /** Name of the device's group; its number when it has no name. */
    readonly group: string;
  };
  readonly cpu: {
    readonly vendor: string;
    readonly name: string;
    readonly virtualization: "svm" | "vmx" | "none";
    readonly packages: number;
    readonly cores: number;
    /** Hardware threads per core. */
    readonly smt: number;
    readonly online: string;
    readonly offline: string;
    readonly allowed: string;
    readonly allowedCount: number;
    readonly isolated: string;
    /** One CPU of each core among the allowed ones; equals `allowed` without SMT. */
    readonly onePerCore: string;
    /** Frequency governor of the first CPU; null when the kernel does not control the frequency. */
    readonly governor: string | null;
    readonly caches: readonly CacheSummary[];
  };
  readonly numa: {
    /** False: the kernel shows no nodes; one is made up of the whole machine. */
    readonly present: boolean;
    /** The kernel moves pages between nodes by itself. */
    readonly balancing: boolean;
    readonly nodes: readonly NumaNode[];
  };
  readonly memory: HostMemory & {
    readonly cgroup: CgroupLimit | null;
    /** What `run` takes without --mem, bytes; null when there is too little. */
    readonly virtualNode: number | null;
    /** Why there is too little: one line; null when there is enough. */
    readonly problem: string | null;
  };
  readonly hugePages: HugePages;
  readonly limits: Omit<Limits, "memory" | "cgroup"> & { readonly pids: CgroupLimit | null; readonly cpuQuota: number };
  /** Null when it was not made, because KVM cannot be used at all. */
  readonly selfTest: SelfTest | null;
}

export interface FactSources {
  /** The machine's files: "/" or a made-up machine. */
  readonly root: string;
  readonly version: string;
  readonly probeKvm: () => KvmProbe;
  /** Runs a program in a virtual node; only called when the probe found no failure. */
  readonly selfTest: () => SelfTest | null;
}

/** Collects everything. Opens /dev/kvm through `probeKvm`; leaves nothing behind. */
export function collectFacts(sources: FactSources): Facts {
  const { root } = sources;
  const topology = readTopology(root);
  const { memory, cgroup, ...limits } = readLimits(root);
  const probe = sources.probeKvm();
  return {
    schema: REPORT_SCHEMA,
    margay: sources.version,
    node: process.version,
    kernel: release(),
    platform: `${process.platform} ${process.arch}`,
    user: currentUser(),
    kvm: { kind: kvmKindName(root === "/" ? "" : root), ring0: ring0Of(probe), probe, group: groupName(root, probe.device.gid) },
    cpu: cpuFacts(root, topology),
    numa: {
      present: topology.numa,
      balancing: (readInteger(join(root, "proc/sys/kernel/numa_balancing")) ?? 0) > 0,
      nodes: topology.nodes,
    },
    memory: { ...memory, cgroup: cgroup.memory ?? null, ...defaultMemory(root, topology) },
    hugePages: readHugePages(root),
    limits: { ...limits, pids: cgroup.pids ?? null, cpuQuota: cgroup.cpuQuota },
    selfTest: probe.failure === undefined ? sources.selfTest() : null,
  };
}

function ring0Of(probe: KvmProbe): "native" | "interpreted" | "unknown" {
  if (probe.ring0Speed === undefined) return "unknown";
  return probe.ring0Speed < INTERPRETED_BELOW ? "interpreted" : "native";
}

function currentUser(): { uid: number; name: string } {
  const uid = process.getuid?.() ?? 0;
  try {
    return { uid, name: userInfo().username };
  } catch {
    // A user that /etc/passwd does not know, as in containers.
    return { uid, name: String(uid) };
  }
}

function groupName(root: string, gid: number): string {
  for (const line of (readText(join(root, "etc/group")) ?? "").split("\n")) {
    const [name, , id] = line.split(":");
    if (name !== undefined && Number(id) === gid) return name;
  }
  return String(gid);
}

function cpuFacts(root: string, topology: Topology): Facts["cpu"] {
  const { processor, allowed } = topology;
  const firsts = topology.cores.flatMap((core) => core.cpus.filter((cpu) => allowed.includes(cpu)).slice(0, 1));
  return {
    vendor: processor.vendor,
    name: processor.name,
    virtualization: processor.flags.includes("svm") ? "svm" : processor.flags.includes("vmx") ? "vmx" : "none",
    packages: topology.packages.length,
    cores: topology.cores.length,
    smt: topology.smt,
    online: formatCpuList(topology.online),
    offline: formatCpuList(topology.offline),
    allowed: formatCpuList(allowed),
    allowedCount: allowed.length,
    isolated: formatCpuList(topology.isolated),
    onePerCore: formatCpuList(firsts),
    governor: readText(join(root, `sys/devices/system/cpu/cpu${allowed[0]}/cpufreq/scaling_governor`)) ?? null,
    caches: cacheSummary(topology),
  };
}

function cacheSummary(topology: Topology): CacheSummary[] {
  const kinds = new Map<string, CacheSummary>();
  for (const { level, type, size } of topology.caches) {
    const key = `${level} ${type} ${size}`;
    kinds.set(key, { level, type, size, count: (kinds.get(key)?.count ?? 0) + 1 });
  }
  return [...kinds.values()];
}

function defaultMemory(root: string, topology: Topology): { virtualNode: number | null; problem: string | null } {
  try {
    return { virtualNode: choosePartition(topology, {}, readMemoryBudget(root)).memBytes, problem: null };
  } catch (error) {
    return { virtualNode: null, problem: asMargayError(error).what };
  }
}

/** The version in the package's own package.json, which lies one directory above dist/ and two above src/cli/. */
export function packageVersion(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const manifest: unknown = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (typeof manifest === "object" && manifest !== null && "name" in manifest && manifest.name === "margay" && "version" in manifest) {
        return String(manifest.version);
      }
    } catch {
      // Not there: the next place.
    }
  }
  return "unknown";
}
