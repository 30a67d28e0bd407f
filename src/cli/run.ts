/** `margay run`: finds the program, then becomes the virtual node (or, with --native, the program). */
import { accessSync, constants, openSync, statSync, writeSync } from "node:fs";
import { MargayError } from "../host/error.ts";
import type { RunOptions } from "../node/options.ts";
import { startVirtualNode } from "../node/virtual-node.ts";
import { parseRun, RUN_HELP } from "./run-options.ts";

const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Looks a name without a slash up in PATH, as shells do: the first file that may be executed, else the name as it is. */
function findProgram(name: string, env: readonly string[]): string {
  if (name.includes("/")) return name;
  const path = env.find((entry) => entry.startsWith("PATH="))?.slice(5) ?? DEFAULT_PATH;
  let unusable: string | null = null;
  for (const folder of path.split(":")) {
    const candidate = `${folder || "."}/${name}`;
    try {
      if (!statSync(Buffer.from(candidate, "latin1")).isFile()) continue;
      accessSync(Buffer.from(candidate, "latin1"), constants.X_OK);
      return candidate;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EACCES") unusable ??= candidate;
    }
  }
  if (unusable) throw new MargayError("E_NOT_EXECUTABLE", "no permission to execute it", { where: unusable });
  throw new MargayError("E_NOT_FOUND", "no such program in PATH", {
    where: name,
    hint: "give its path, like ./program, or add its folder to PATH",
  });
}

export function runCommand(args: readonly string[]): void {
  const { help, native, options } = parseRun(args);
  if (help) {
    writeSync(1, RUN_HELP.slice(1));
    return;
  }
  if (options.workdir !== undefined) {
    try {
      process.chdir(options.workdir);
    } catch (error) {
      throw new MargayError("E_BAD_WORKDIR", `cannot go there: ${(error as NodeJS.ErrnoException).code}`, {
        where: `--workdir ${options.workdir}`,
      });
    }
  }
  const program = findProgram(options.program, options.env);
  const full: RunOptions = { ...options, program };
  if (native) {
    void import("../node/native.ts").then(({ runNative }) => runNative(full));
    return;
  }
  let straceFd = -1;
  if (typeof options.strace === "string") straceFd = openOutput(options.strace, "--strace");
  if (typeof options.stats === "string") openOutput(options.stats, "--stats");
  startVirtualNode(full, straceFd);
}

/** Opens an output file now, so that a bad path is an error before the program starts. */
function openOutput(path: string, option: string): number {
  try {
    return openSync(Buffer.from(path, "latin1"), "w");
  } catch (error) {
    throw new MargayError("E_BAD_OUTPUT", `cannot be written: ${(error as NodeJS.ErrnoException).code}`, { where: `${option}=${path}` });
  }
}
