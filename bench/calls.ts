/** What a forwarded system call costs, against a monitor in C that does the same. */
import { type Context, firstCpus, margayRun } from "./context.ts";
import { type Contestant, lockstep } from "./lockstep.ts";
import type { Experiment, Figure } from "./types.ts";

/** 20,000 calls of each kind under margay, in lockstep with exit-loop.c doing the same on the same CPU. */
export function exitCost(context: Context): Experiment {
  const contestant = (arm: string, argv: readonly string[]): Contestant => ({
    arm,
    command: { argv, cpus: new Set(context.cpus), timeout: 120, report: true },
  });
  const figure = (key: string, label: string): Figure => ({
    label,
    unit: "us",
    above: { arm: "margay", key },
    below: { arm: "C", key },
    target: { atMost: 1.2 },
  });
  return {
    name: "exit-cost",
    about: "a system call forwarded to the host: margay against bench/exit-loop.c, 20 turns of 1,000 calls of each kind",
    round: (random) =>
      lockstep(
        `${context.programs}wall`,
        [
          contestant("C", ["taskset", "-c", firstCpus(context, 1).join(","), `${context.programs}exit-loop`]),
          contestant("margay", margayRun(context, "guest", 1, [`${context.programs}forwarded`])),
        ],
        5,
        random,
      ),
    figures: [
      figure("lseek_us", "forwarded lseek"),
      figure("write_us", "forwarded write, 1 byte"),
      { label: "exit alone, in C", unit: "us", above: { arm: "C", key: "bare_us" } },
    ],
    rounds: 11,
  };
}
