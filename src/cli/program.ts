/** All verbs but `run`, whose own parser is in run-options.ts, and the help texts. */
import { Command } from "commander";
import { packageVersion } from "./doctor-report.ts";
import { RUN_HELP } from "./run-options.ts";

export function program(): Command {
  const root = new Command("margay");
  root
    .description("Runs unmodified Linux programs in virtual nodes: KVM in ring 3, a lightweight kernel in TypeScript.")
    .version(packageVersion(), "-V, --version")
    .showHelpAfterError("(margay --help lists the verbs)")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 125));
  root
    .command("run")
    .usage("[options] [--] PROGRAM [ARGS...]")
    .description("run a program in a virtual node")
    .helpOption(false)
    .allowUnknownOption()
    .addHelpText("after", RUN_HELP)
    .action(() => undefined);
  root
    .command("doctor")
    .description("say what this machine offers, what to change, and whether `run` will work")
    .option("--json", "as JSON")
    .action(async (options: { json?: boolean }) => {
      const { doctorCommand } = await import("./doctor.ts");
      process.exitCode = doctorCommand(options);
    });
  return root;
}
