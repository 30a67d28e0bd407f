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

/** Makes every start of Node read a file of certificates: 40 ms that margay shares, and that make its own part look small. */
const CERTIFICATES = "NODE_EXTRA_CA_CERTS";

/**
 * Wall time of `node -e 0`, of `margay run /bin/true` as a user types it, and of Debian's runsc where it is installed and may run; in the environment
 * as it is, and also without NODE_EXTRA_CA_CERTS where that is set.
 */
export function startTime(context: Context): Experiment {
  const arm =
    (name: string, argv: readonly string[], env: Record<string, undefined> = {}): (() => Promise<Sample>) =>
    () =>
      measure(`${context.programs}wall`, name, { argv, env, cpus: new Set(context.cpus), timeout: 60, report: false });
  const figure = (above: string, below: string, atMost?: number): Figure => ({
    label: `start, ${above} / ${below}`,
    unit: "ms",
    above: { arm: above, key: "wall_ms" },
    below: { arm: below, key: "wall_ms" },
    ...(atMost !== undefined && { target: { atMost } }),
  });
  const node = [process.execPath, "-e", "0"];
  const margay = [context.margay, "run", "--", "/bin/true"];
  const arms = [arm("node", node), arm("margay", margay)];
  const figures = [figure("margay", "node", 1.8)];
  if (process.env[CERTIFICATES]) {
    const without = { [CERTIFICATES]: undefined };
    arms.push(arm("bare node", node, without), arm("bare margay", margay, without));
    figures.push(figure("bare margay", "bare node", 1.8));
  }
  // runsc do makes namespaces and mounts: root only.
  if (isInstalled(PEER[0] as string) && process.getuid?.() === 0) {
    arms.push(arm("runsc", PEER));
    figures.push(figure("runsc", "node"), figure("margay", "runsc", 1));
  }
  const notes = [
    process.env[CERTIFICATES] ? `; bare: without ${CERTIFICATES}` : "",
    isInstalled("runsc") ? "" : "; runsc is not installed",
  ];
  return {
    name: "start",
    about: `wall time until /bin/true has ended, and of \`node -e 0\`${notes.join("")}`,
    round: oneAfterTheOther(arms),
    figures,
    rounds: 21,
  };
}
