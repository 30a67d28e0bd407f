/** What a system call costs: forwarded to the host, against a monitor in C, and answered inside the guest. */
import { type Context, firstCpus, margayRun } from "./context.ts";
import { measure } from "./process.ts";
import type { Arm, Experiment, Figure } from "./types.ts";

function arm(context: Context, name: string, argv: readonly string[]): Arm {
  const cpus = new Set(context.cpus);
  return { name, run: () => measure(`${context.programs}wall`, name, { argv, cpus, timeout: 120, report: true }) };
}

/** 20,000 calls of each kind under margay, beside exit-loop.c doing the same on the same CPU. */
export function exitCost(context: Context): Experiment {
  const cpu = firstCpus(context, 1).join(",");
  const figure = (key: string, label: string): Figure => ({
    label,
    unit: "us",
    above: { arm: "margay", key },
    below: { arm: "C", key },
    target: { atMost: 1.2 },
  });
  return {
    name: "exit-cost",
    about: "a system call forwarded to the host: margay against bench/exit-loop.c, 20,000 calls of each kind, median batch of 1,000",
    arms: [
      arm(context, "C", ["taskset", "-c", cpu, `${context.programs}exit-loop`]),
      arm(context, "margay", margayRun(context, "guest", 1, [`${context.programs}forwarded`])),
    ],
    figures: [
      figure("lseek_us", "forwarded lseek"),
      figure("write_us", "forwarded write, 1 byte"),
      { label: "exit alone, in C", unit: "us", above: { arm: "C", key: "bare_us" } },
    ],
    rounds: 11,
  };
}

/** Calls that the stub answers without leaving the guest. */
export function inGuestCost(context: Context): Experiment {
  const figure = (key: string, label: string): Figure => ({ label, unit: "us", above: { arm: "guest", key }, target: { atMost: 2.5 } });
  return {
    name: "in-guest-call",
    about: "the syscall instruction, answered by the stub without an exit; the target is for PVM",
    arms: [arm(context, "guest", margayRun(context, "guest", 1, [`${context.programs}calls`]))],
    figures: [
      figure("getpid_us", "getpid in the guest"),
      figure("gettid_us", "gettid in the guest"),
      figure("sched_yield_us", "sched_yield in the guest"),
    ],
    rounds: 11,
  };
}
