/** How busy the CPUs are, from /proc/stat (proc_stat(5)). */
import { readFileSync } from "node:fs";
import type { Disturbance } from "./types.ts";

/** Seconds since boot that the counted CPUs were busy, and that were stolen from them. */
export interface CpuTime {
  readonly busy: number;
  readonly steal: number;
}

/** USER_HZ: always 100 on x86-64 (include/asm-generic/param.h). */
const TICKS_PER_SECOND = 100;

/** Sums the lines of `cpus` in the text of /proc/stat. Guest time is part of user time there. */
export function parseCpuTime(text: string, cpus: ReadonlySet<number>): CpuTime {
  let busy = 0;
  let steal = 0;
  for (const line of text.split("\n")) {
    const match = /^cpu(\d+) (.*)$/.exec(line);
    if (!match || !cpus.has(Number(match[1]))) continue;
    const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, stolen = 0] = (match[2] as string).split(" ").map(Number);
    busy += user + nice + system + irq + softirq;
    steal += stolen;
  }
  return { busy: busy / TICKS_PER_SECOND, steal: steal / TICKS_PER_SECOND };
}

export function readCpuTime(cpus: ReadonlySet<number>): CpuTime {
  return parseCpuTime(readFileSync("/proc/stat", "utf8"), cpus);
}

/** What others used between two readings `wall` seconds apart, when `own` seconds of CPU time were ours. */
export function disturbance(before: CpuTime, after: CpuTime, wall: number, own: number): Disturbance {
  return { foreign: Math.max(0, after.busy - before.busy - own) / wall, steal: (after.steal - before.steal) / wall };
}
