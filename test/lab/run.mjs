#!/usr/bin/env node
// Runs margay's core tests, its demo or any command on a textbook-KVM machine with two NUMA nodes, emulated. docs/lab.md describes it.
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildImage, CACHE } from "./image.mjs";
import { consoleTail, runJob, runShell } from "./machine.mjs";

const USAGE = `Usage: node test/lab/run.mjs [options] [-- COMMAND...]
Without a command: the core tests. Exit code: theirs, or the command's; 125 where the lab itself failed.
  --demo          a small native/guest comparison
  --shell         a shell in the machine, on this terminal
  --only PATTERN  tests whose name matches this regular expression
  --add FROM[:TO] put a file or directory of this machine into it (may be repeated)
  --timeout S     give up after S seconds (default 400)
  --keep          keep the temporary files and say where
`;

const write = (text) => process.stdout.write(`${text}\n`);

function options() {
  const { values, positionals } = parseArgs({
    options: {
      demo: { type: "boolean", default: false },
      shell: { type: "boolean", default: false },
      only: { type: "string" },
      add: { type: "string", multiple: true, default: [] },
      timeout: { type: "string", default: "400" },
      keep: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const timeout = Number(values.timeout);
  if (!(timeout > 0)) throw new Error(`--timeout ${values.timeout}: not a number of seconds`);
  return { ...values, timeout, command: positionals };
}

function jobOf({ demo, command, only }) {
  if (command.length > 0) return { mode: "command", argv: command };
  if (demo) return { mode: "demo" };
  return { mode: "tests", only };
}

/** Prints what the machine says. Returns the counts of test results. */
function printer() {
  const counts = { ok: 0, failed: 0, skipped: 0 };
  const words = { ok: "ok", failed: "not ok", skipped: "ok" };
  let number = 0;
  const onMessage = (message) => {
    if ("result" in message) {
      number += 1;
      counts[message.outcome] += 1;
      const directive = message.outcome === "skipped" ? ` # SKIP ${message.detail}` : ` (${message.seconds.toFixed(1)} s)`;
      write(`${words[message.outcome]} ${number} - ${message.result}${directive}`);
      if (message.outcome === "failed") for (const line of message.detail.split("\n")) write(`  # ${line}`);
    } else if ("fd" in message) {
      (message.fd === 2 ? process.stderr : process.stdout).write(Buffer.from(message.data, "base64"));
    } else {
      write(message.say);
    }
  };
  return { counts, onMessage };
}

const PREFIX = "margay-lab-";

/** Removes the temporary directories of runs that were killed before they could do it themselves: the name tells whose it is. */
function removeLeftovers() {
  for (const name of readdirSync(tmpdir())) {
    const owner = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
    if (owner > 0 && !existsSync(`/proc/${owner}`)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

async function main() {
  const chosen = options();
  if (chosen.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const began = Date.now();
  const seconds = () => ((Date.now() - began) / 1000).toFixed(0);
  const job = jobOf(chosen);
  const image = buildImage(chosen.add, job.mode !== "command" && !chosen.shell);
  if (job.mode !== "command") {
    const source = image.fresh ? "built" : "from the cache";
    write(
      `lab: EMULATED machine (QEMU TCG, 2 NUMA nodes, 4 CPUs), Linux ${image.version}, image ${(image.bytes / 2 ** 20).toFixed(0)} MiB ${source}`,
    );
  }
  if (chosen.shell) return runShell(image);

  removeLeftovers();
  const directory = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  const saved = join(CACHE, "console.log");
  const { counts, onMessage } = printer();
  // Temporary files go on every way out; machine.mjs ends QEMU the same way.
  const clean = () => {
    if (existsSync(join(directory, "console.log"))) copyFileSync(join(directory, "console.log"), saved);
    if (!chosen.keep) rmSync(directory, { recursive: true, force: true });
  };
  process.on("exit", clean);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(signal === "SIGINT" ? 130 : 143));

  const { code, reason } = await runJob(image, job, { directory, deadline: chosen.timeout, onMessage });
  if (reason !== null) {
    write(`lab: ${reason}; the machine's last words (all of them: ${saved}):`);
    write(consoleTail(directory));
  }
  if (job.mode === "tests") {
    if (reason !== null) counts.failed += 1;
    write(`lab: ${seconds()} s on an emulated machine; console log in ${saved}`);
    write(`${counts.ok} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
  if (chosen.keep) write(`lab: kept ${directory}`);
  return code ?? 125;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`lab: ${error.message}\n`);
  process.exitCode = 125;
}
