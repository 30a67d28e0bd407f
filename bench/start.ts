/** How long it takes until a program has run: nothing but `true`, beside Node's own start and gVisor's. */
import { accessSync, constants } from "node:fs";
import { delimiter } from "node:path";
import type { Context } from "./context.ts";
import { measure } from "./process.ts";
import type { Arm, Experiment, Figure } from "./types.ts";

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
  const arm = (name: string, argv: readonly string[]): Arm => ({
    name,
    run: () => measure(`${context.programs}wall`, name, { argv, cpus: new Set(context.cpus), timeout: 60, report: false }),
  });
  const wall = (name: string): { arm: string; key: string } => ({ arm: name, key: "wall_ms" });
  const arms = [arm("node", [process.execPath, "-e", "0"]), arm("margay", [context.margay, "run", "--", "/bin/true"])];
  const figures: Figure[] = [
    { label: "start, margay / node -e 0", unit: "ms", above: wall("margay"), below: wall("node"), target: { atMost: 1.8 } },
  ];
  // runsc do makes namespaces and mounts: root only.
  if (isInstalled(PEER[0] as string) && process.getuid?.() === 0) {
    arms.push(arm("runsc", PEER));
    figures.push(
      { label: "start, runsc / node -e 0", unit: "ms", above: wall("runsc"), below: wall("node") },
      { label: "start, margay / runsc", unit: "ms", above: wall("margay"), below: wall("runsc"), target: { atMost: 1 } },
    );
  }
  return {
    name: "start",
    about: `wall time of ${arms.map((one) => one.name).join(", ")} until /bin/true has ended`,
    arms,
    figures,
    rounds: 21,
  };
}
