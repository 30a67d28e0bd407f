/** What a forwarded system call costs, against a monitor in C that does the same. */
import { type Context, firstCpus, margayRun } from "./context.ts";
import { measure } from "./process.ts";
import { oneAfterTheOther } from "./rounds.ts";
import type { Experiment, Figure, Sample } from "./types.ts";

/** 20,000 calls of each kind under margay, beside exit-loop.c doing the same on the same CPU. */
export function exitCost(context: Context): Experiment {
  const arm = (name: string, argv: readonly string[]) => (): Promise<Sample> =>
    measure(`${context.programs}wall`, name, { argv, cpus: new Set(context.cpus), timeout: 120, report: true });
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
    round: oneAfterTheOther([
      arm("C", ["taskset", "-c", firstCpus(context, 1).join(","), `${context.programs}exit-loop`]),
      arm("margay", margayRun(context, "guest", 1, [`${context.programs}forwarded`])),
    ]),
    figures: [
      figure("lseek_us", "forwarded lseek"),
      figure("write_us", "forwarded write, 1 byte"),
      { label: "exit alone, in C", unit: "us", above: { arm: "C", key: "bare_us" } },
    ],
    rounds: 11,
  };
}
