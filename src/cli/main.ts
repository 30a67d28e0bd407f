/** The command line: parses, calls, prints. Verbs but `run` are loaded when they are asked for, because start-up counts. */
import { writeSync } from "node:fs";
import { exitCodeOf, formatError } from "../host/error.ts";
import { runCommand } from "./run.ts";

/** Does what the command line says. Returns at once for verbs that work on in the background. */
export function main(): void {
  try {
    if (process.argv[2] === "run") runCommand(process.argv.slice(3));
    else void import("./program.ts").then(({ program }) => program().parseAsync(process.argv)).catch(fail);
  } catch (error) {
    fail(error);
  }
}

/** One line on stderr, and the exit code that belongs to the error. */
function fail(error: unknown): never {
  writeSync(2, `${formatError(error)}\n`);
  if (process.env["MARGAY_DEBUG"] && error instanceof Error) writeSync(2, `${error.stack}\n`);
  process.exit(exitCodeOf(error));
}
