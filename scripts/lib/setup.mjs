import { spawnSync } from "node:child_process";

/** Runs scripts/setup.sh in the foreground, so that sudo can ask for a password; returns its exit code. */
export function setUp(...args) {
  return spawnSync("scripts/setup.sh", args, { stdio: "inherit" }).status ?? 1;
}
