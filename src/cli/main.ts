/** The command line: parses, calls, prints. Verbs are loaded when they are asked for, because start-up counts. */
import { writeSync } from "node:fs";

const argv = process.argv.slice(2);

async function main(): Promise<void> {
  if (argv[0] === "run") {
    const { runCommand } = await import("./run.ts");
    runCommand(argv.slice(1));
    return;
  }
  const { program } = await import("./program.ts");
  await program().parseAsync(process.argv);
}

try {
  await main();
} catch (error) {
  const { exitCodeOf, formatError } = await import("../host/error.ts");
  writeSync(2, `${formatError(error)}\n`);
  if (process.env["MARGAY_DEBUG"] && error instanceof Error) writeSync(2, `${error.stack}\n`);
  process.exit(exitCodeOf(error));
}
