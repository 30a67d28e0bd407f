/** How long it takes until a program has run: nothing but `true`, beside Node's own start and gVisor's. */
import { accessSync, constants } from "node:fs";
import { delimiter } from "node:path";
import type { Context } from "./context.ts";
import { measure } from "./process.ts";
import { oneAfterTheOther } from "./rounds.ts";
import type { Experiment, Figure, Sample } from "./types.ts";

const PEER = ["runsc", "--platform=ptrace", "--network=none", "--ignore-cgroups", "do", "/bin/true"];

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(`${directory}/${program}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Wall time of `node -e 0`, of `margay run /bin/true` as a user types it, and of Debian's runsc where it is installed and may run. */
export function startTime(context: Context): Experiment {
  const arm = (name: string, argv: readonly string[]) => (): Promise<Sample> =>
    measure(`${context.programs}wall`, name, { argv, cpus: new Set(context.cpus), timeout: 60, report: false });
  const figure = (above: string, below: string, atMost?: number): Figure => ({
    label: `start, ${above} / ${below}`,
    unit: "ms",
    above: { arm: above, key: "wall_ms" },
    below: { arm: below, key: "wall_ms" },
    ...(atMost !== undefined && { target: { atMost } }),
  });
  const arms = [arm("node", [process.execPath, "-e", "0"]), arm("margay", [context.margay, "run", "--", "/bin/true"])];
  const figures = [figure("margay", "node", 1.8)];
  // runsc do makes namespaces and mounts: root only.
  if (isInstalled(PEER[0] as string) && process.getuid?.() === 0) {
    arms.push(arm("runsc", PEER));
    figures.push(figure("runsc", "node"), figure("margay", "runsc", 1));
  }
  return {
    name: "start",
    about: `wall time until /bin/true has ended, and of \`node -e 0\`${arms.length < 3 ? "; runsc is not installed, or this is not root" : ""}`,
    round: oneAfterTheOther(arms),
    figures,
    rounds: 21,
  };
}
