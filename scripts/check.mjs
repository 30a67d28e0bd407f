// The second command of the README: `npm run check [-- --only NAME,NAME]`. Sets everything up, then runs every suite and ends with
// `N passed, N failed, N skipped` alone on a line. Without a usable /dev/kvm the core tests run in the lab only, an emulated machine.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { lines, run } from "./lib/children.mjs";
import { add, byExitCode, fromClosingLine, fromTap, fromVitest, nothing } from "./lib/counts.mjs";
import { askDoctor, kvmProblem } from "./lib/kvm.mjs";
import { changes, machineState } from "./lib/machine-state.mjs";
import { setUp } from "./lib/setup.mjs";
import { table } from "./lib/table.mjs";

process.chdir(join(import.meta.dirname, ".."));
const { values: options } = parseArgs({ options: { only: { type: "string" } } });
const only = options.only?.split(",");
const say = (text) => process.stdout.write(`${text}\n`);

/** The whole check, set-up included, ends within 20 minutes. */
const limit = Date.now() + 19.5 * 60_000;
const logs = "build/check";
const unitReport = `${logs}/unit.json`;
const programReport = `${logs}/programs.tap`;
const bin = (name) => `node_modules/.bin/${name}`;
const testsIn = (folder) =>
  (existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".test.mjs")) : []).map((name) => `${folder}/${name}`);
// Named one by one: without names node would run every test file it finds.
const programTests = [...testsIn("test/programs"), ...testsIn("test/system")];

/**
 * In this order. `timeout` in seconds, cut to what is left of the check's own limit. `needs` names suites without which
 * this one cannot run, `kvm` says that it opens /dev/kvm, `live` that its lines are shown as they come since it runs for minutes.
 */
const suites = [
  { name: "build", command: [process.execPath, "scripts/build.mjs"], timeout: 60 },
  { name: "types", command: [bin("tsc"), "-p", "tsconfig.json", "--noEmit"], timeout: 120 },
  { name: "lint", command: [bin("biome"), "lint", "--diagnostic-level=error"], timeout: 60 },
  { name: "boundaries", command: [bin("depcruise"), "-c", ".dependency-cruiser.cjs", "src"], timeout: 60 },
  { name: "circles", command: [process.execPath, "scripts/check-circles.mjs"], timeout: 60 },
  { name: "docs", command: [process.execPath, "scripts/generate-docs.mjs", "--check"], timeout: 60 },
  { name: "links", command: [process.execPath, "scripts/check-links.mjs"], timeout: 60 },
  {
    name: "unit",
    command: [bin("vitest"), "run", "--reporter=default", "--reporter=json", `--outputFile.json=${unitReport}`],
    timeout: 240,
    count: (code) => fromVitest(unitReport, code),
  },
  { name: "test programs", command: [process.execPath, "test/programs/build.mjs"], timeout: 240 },
  {
    name: "programs",
    command: [
      process.execPath,
      ...["--test", "--test-concurrency=1", "--test-reporter=spec", "--test-reporter-destination=stdout"],
      ...["--test-reporter=tap", `--test-reporter-destination=${programReport}`],
      ...programTests,
    ],
    timeout: 600,
    needs: ["build", "test programs"],
    kvm: true,
    live: true,
    count: (code) => fromTap(programReport, code),
  },
  {
    name: "lab",
    command: [process.execPath, "test/lab/run.mjs", "--timeout", "420"],
    timeout: 440,
    needs: ["build", "test programs"],
    live: true,
    count: (code, output) => fromClosingLine(output, code),
  },
];

/** Runs one suite, keeps its output in build/check/NAME.log and shows the end of it when it failed. */
async function runSuite(suite) {
  const log = `${logs}/${suite.name.replace(" ", "-")}.log`;
  const kept = [];
  const output = lines((line) => {
    kept.push(line);
    if (suite.live) say(`  | ${line}`);
  });
  const [command, ...args] = suite.command;
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined };
  const timeout = Math.max(1, Math.min(suite.timeout, (limit - Date.now()) / 1000));
  const { code, seconds, timedOut } = await run(command, args, {
    env,
    timeout,
    onStdout: output.push,
    onStderr: output.push,
  });
  output.end();
  if (timedOut) kept.push(`check: stopped after ${timeout.toFixed(0)} s`);
  writeFileSync(log, `${kept.join("\n")}\n`);
  const end = timedOut ? 124 : code;
  const counts = suite.count ? suite.count(end, kept.join("\n")) : byExitCode(end);
  if (counts.failed > 0 && !suite.live) for (const line of kept.slice(-80)) say(`  | ${line}`);
  say(
    `${counts.failed > 0 ? "FAILED" : "ok"}  ${suite.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${seconds.toFixed(1)} s${counts.failed > 0 ? ` (all of it: ${log})` : ""}`,
  );
  return { name: suite.name, ...counts, seconds };
}

/** Prints the totals; the last line is for machines too. Returns the exit code. */
function conclude(results, where) {
  const rows = results.map((r) => [r.name, `${r.passed}`, `${r.failed}`, `${r.skipped}`, r.seconds.toFixed(1)]);
  const sum = results.reduce(add, nothing);
  say(`\n${table([["suite", "passed", "failed", "skipped", "seconds"], ...rows], [1, 2, 3, 4])}\n`);
  say(`check: ${where}`);
  say(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  return sum.failed === 0 && sum.passed > 0 ? 0 : 1;
}

async function main() {
  if (programTests.length === 0) throw new Error("no program tests in test/programs and test/system");
  let problem = kvmProblem();
  say(
    problem === null
      ? "check: all suites, on this machine's /dev/kvm and in the lab"
      : `check: EMULATED: /dev/kvm ${problem}: the core tests run in the lab, a machine that QEMU emulates; the others that need KVM are skipped`,
  );
  rmSync(logs, { recursive: true, force: true });
  mkdirSync(logs, { recursive: true });
  const setupCode = setUp("--no-build", "demo", "check", "lab");
  if (setupCode !== 0) return conclude([{ name: "set-up", ...nothing, failed: 1, seconds: 0 }], "set-up failed, nothing was run");

  let kind = "";
  const stateBefore = machineState();
  const results = [];
  const broken = new Set();
  for (const suite of suites) {
    if (only && !only.includes(suite.name)) continue;
    const missing = suite.needs?.find((name) => broken.has(name));
    const reason = missing ? `${missing} failed` : suite.kvm && problem !== null ? `/dev/kvm ${problem}` : null;
    if (reason !== null) {
      say(`skipped  ${suite.name}: ${reason}`);
      results.push({ name: suite.name, ...nothing, skipped: 1, seconds: 0 });
      continue;
    }
    const result = await runSuite(suite);
    results.push(result);
    if (result.failed > 0) broken.add(suite.name);
    if (suite.name === "build" && result.failed === 0 && problem === null) {
      const doctor = askDoctor();
      kind = doctor.kind;
      if (!doctor.ok) {
        problem = `does not do what margay needs: ${doctor.text}`;
        say(`check: EMULATED: margay doctor: virtual nodes cannot run here; the core tests run in the lab only. ${doctor.text}`);
      }
    }
  }
  const changed = changes(stateBefore, machineState());
  for (const line of changed) say(`FAILED  machine as before: ${line}`);
  results.push({ name: "machine as before", ...byExitCode(changed.length), seconds: 0 });

  const where =
    problem === null
      ? `ran on this machine's KVM${kind ? ` (${kind})` : ""} and in the lab`
      : `EMULATED: /dev/kvm ${problem}; core tests ran in the lab only`;
  return conclude(results, where);
}

process.exitCode = await main();
