/**
 * What this process's control group lets it have, for both versions of cgroups. A limit holds for the whole subtree, so each
 * level from the own group up to the mount is looked at and the tightest counts.
 * Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst, cgroups(7), proc_pid_mountinfo(5).
 */
import { join } from "node:path";
import { readText } from "./sysfs.ts";

/** The level that leaves least. */
export interface CgroupLimit {
  /** Directory of that level, without the root that was read. */
  readonly path: string;
  /** Bytes or processes. */
  readonly limit: number;
  readonly used: number;
  /** What can still be had: the limit less what is used; for memory, file pages that the kernel can drop do not count as used. */
  readonly spare: number;
}

export interface CgroupLimits {
  /** Undefined when no level limits it; the same below. */
  readonly memory: CgroupLimit | undefined;
  readonly pids: CgroupLimit | undefined;
  /** CPUs' worth of time (1.5 = one and a half); Infinity when not limited. */
  readonly cpuQuota: number;
}

type Controller = "memory" | "pids" | "cpu";

interface Place {
  readonly version: 1 | 2;
  /** Directories from the own group to the mount, without the root. */
  readonly levels: readonly string[];
}

/** Reads the limits below `root`. Never throws. */
export function readCgroupLimits(root = "/"): CgroupLimits {
  const groups = readText(join(root, "proc/self/cgroup")) ?? "";
  const mounts = readText(join(root, "proc/self/mountinfo")) ?? "";
  const place = (controller: Controller): Place => findPlace(groups, mounts, controller);
  return {
    memory: tightest(root, place("memory"), memoryAt),
    pids: tightest(root, place("pids"), (read) => {
      const limit = amount(read("pids.max"));
      return { limit, used: amount(read("pids.current"), 0), reclaimable: 0 };
    }),
    cpuQuota: cpuQuota(root, place("cpu")),
  };
}

/** The tightest limit on memory alone, for start-up. Undefined when no level limits it. */
export function readCgroupMemory(root = "/"): CgroupLimit | undefined {
  const groups = readText(join(root, "proc/self/cgroup")) ?? "";
  const mounts = readText(join(root, "proc/self/mountinfo")) ?? "";
  return tightest(root, findPlace(groups, mounts, "memory"), memoryAt);
}

type ReadFile = (name: string) => string | undefined;

function memoryAt(read: ReadFile, version: 1 | 2): { limit: number; used: number; reclaimable: number } {
  const stat = new Map((read("memory.stat") ?? "").split("\n").map((line) => line.split(" ") as [string, string]));
  const prefix = version === 1 ? "total_" : "";
  const reclaimable = Number(stat.get(`${prefix}active_file`) ?? 0) + Number(stat.get(`${prefix}inactive_file`) ?? 0);
  if (version === 1) return { limit: amount(read("memory.limit_in_bytes")), used: amount(read("memory.usage_in_bytes"), 0), reclaimable };
  // Above memory.high the kernel slows a group down until it hardly runs: for a program that wants its memory, a limit.
  return { limit: Math.min(amount(read("memory.max")), amount(read("memory.high"))), used: amount(read("memory.current"), 0), reclaimable };
}

function tightest(
  root: string,
  place: Place,
  at: (read: ReadFile, version: 1 | 2) => { limit: number; used: number; reclaimable: number },
): CgroupLimit | undefined {
  let best: CgroupLimit | undefined;
  for (const path of place.levels) {
    const { limit, used, reclaimable } = at((name) => readText(join(root, path, name)), place.version);
    if (limit === Number.POSITIVE_INFINITY) continue;
    const spare = Math.max(0, limit - Math.max(0, used - reclaimable));
    if (best === undefined || spare < best.spare) best = { path, limit, used, spare };
  }
  return best;
}

function cpuQuota(root: string, place: Place): number {
  let least = Number.POSITIVE_INFINITY;
  for (const path of place.levels) {
    const read: ReadFile = (name) => readText(join(root, path, name));
    const [quota, period] =
      place.version === 2 ? (read("cpu.max") ?? "max 100000").split(" ") : [read("cpu.cfs_quota_us"), read("cpu.cfs_period_us")];
    const cpus = Number(quota) / Number(period);
    if (cpus > 0) least = Math.min(least, cpus);
  }
  return least;
}

/** Where a controller's files are: the version 1 hierarchy when it has the controller, else version 2. */
function findPlace(groups: string, mounts: string, controller: Controller): Place {
  const lines = groups
    .split("\n")
    .map((line) => /^(\d+):([^:]*):(.*)$/.exec(line))
    .filter((m) => m !== null);
  const v1 = lines.find((m) => (m[2] as string).split(",").includes(controller));
  const v2 = lines.find((m) => m[1] === "0" && m[2] === "");
  const own = v1 ?? v2;
  if (own === undefined) return { version: 2, levels: [] };
  const version = v1 === undefined ? 2 : 1;
  // mountinfo: id parent dev root mountpoint options [fields] - type source superoptions
  for (const line of mounts.split("\n")) {
    const [left, right] = line.split(" - ");
    const [, , , mountRoot = "", mountPoint = ""] = (left ?? "").split(" ");
    const [type, , options = ""] = (right ?? "").split(" ");
    if (version === 2 ? type !== "cgroup2" : type !== "cgroup" || !options.split(",").includes(controller)) continue;
    return { version, levels: levels(mountPoint, mountRoot, own[3] as string) };
  }
  return { version, levels: [] };
}

/**
 * The group's path is told from the hierarchy's root, the mount may show only a part of it (containers). A group outside the part
 * that is mounted cannot be looked at; then the mount's top is the nearest that can.
 */
function levels(mountPoint: string, mountRoot: string, group: string): string[] {
  const base = mountRoot === "/" ? "" : mountRoot;
  const inside = group === base || group.startsWith(`${base}/`) ? group.slice(base.length) : "";
  const parts = inside.split("/").filter((part) => part !== "");
  if (parts.includes("..")) return [mountPoint];
  return parts.map((_, i) => [mountPoint, ...parts.slice(0, parts.length - i)].join("/")).concat(mountPoint);
}

/** `max`, a missing file, and version 1's "no limit" (the largest multiple of the page size in 63 bits) are Infinity or `otherwise`. */
function amount(text: string | undefined, otherwise = Number.POSITIVE_INFINITY): number {
  if (text === undefined || !/^\d+$/.test(text)) return otherwise;
  const value = Number(text);
  return value >= 2 ** 62 ? otherwise : value;
}
