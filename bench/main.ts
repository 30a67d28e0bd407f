/** `npm run bench`: runs the experiments, prints a table, writes everything measured to a JSON file. */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { formatCpuList } from "../src/host/cpulist.ts";
import { exitCost } from "./calls.ts";
import { computeExperiments } from "./compute.ts";
import { type Outcome, outcomeOf } from "./figures.ts";
import { readCpuTime } from "./load.ts";
import { describeMachine, type Machine } from "./machine.ts";
import { memory } from "./memory.ts";
import { killAll } from "./process.ts";
import { type Random, seededRandom } from "./random.ts";
import { runRounds } from "./rounds.ts";
import { parseSettings, type Settings, USAGE } from "./settings.ts";
import { startTime } from "./start.ts";
import { table } from "./table.ts";
import type { Experiment, Round } from "./types.ts";

/** The package's root: this file is bundled into bench/.build. */
const root = fileURLToPath(new URL("../../", import.meta.url));

interface Result {
  readonly name: string;
  readonly about: string;
  readonly outcomes: readonly Outcome[];
  readonly rounds: readonly Round[];
  /** Present when the experiment could not be carried out. */
  readonly error?: string;
}

async function carryOut(experiment: Experiment, settings: Settings, random: Random): Promise<Result> {
  const plan = { rounds: settings.pairs ?? experiment.rounds, calm: settings.calm, patience: settings.patience };
  const { name, about } = experiment;
  try {
    const rounds = await runRounds(experiment.round, plan, random, (done, calm) => {
      if (process.stderr.isTTY) process.stderr.write(`\r${name}: ${done} rounds, ${calm} of ${plan.rounds} calm `);
    });
    if (process.stderr.isTTY) process.stderr.write("\n");
    return { name, about, rounds, outcomes: experiment.figures.map((figure) => outcomeOf(figure, rounds, random)) };
  } catch (error) {
    return { name, about, rounds: [], outcomes: [], error: error instanceof Error ? error.message : String(error) };
  }
}

function printResult(result: Result, calm: number): void {
  console.log(`\n${result.name}: ${result.about}`);
  if (result.error !== undefined) {
    console.log(`  not measured: ${result.error}`);
    return;
  }
  const kept = result.rounds.filter((round) => round.kept);
  const disturbed = kept.filter((round) => round.disturbance > calm).length;
  console.log(table(result.outcomes));
  console.log(
    `  ${kept.length} rounds of ${result.rounds.length} count; in ${disturbed} of them other processes used more than ${calm} CPUs`,
  );
}

function printMachine(machine: Machine): void {
  console.log(
    `${machine.cpu}, ${machine.cpus} CPUs, ${machine.numaNodes} NUMA node(s), ${machine.memoryGib} GiB${machine.virtual ? ", itself a virtual machine" : ""}`,
  );
  console.log(
    `Linux ${machine.kernel}, KVM: ${machine.kvm}, THP: ${machine.transparentHugePages}, hugetlb pages: ${machine.hugePages}, governor: ${machine.governor}`,
  );
  console.log(
    Object.entries(machine.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
  );
}

/** Runs the experiments one after the other; the file is written after each, so that an interrupted run keeps what it has. */
async function runAll(experiments: readonly Experiment[], settings: Settings, machine: Machine): Promise<readonly Result[]> {
  const started = new Date();
  const loadBefore = loadavg();
  const cpus = new Set(settings.cpus);
  const timeBefore = readCpuTime(cpus);
  const random = seededRandom(settings.seed);
  const file = settings.json ?? `${root}bench/results/${started.toISOString().replaceAll(":", "")}.json`;
  mkdirSync(dirname(file), { recursive: true });
  const { pages, seed, calm, patience } = settings;
  const results: Result[] = [];
  for (const experiment of experiments) {
    const result = await carryOut(experiment, settings, random);
    printResult(result, calm);
    results.push(result);
    const seconds = (Date.now() - started.getTime()) / 1000;
    const stealShare = (readCpuTime(cpus).steal - timeBefore.steal) / (seconds * cpus.size);
    const record = {
      started: started.toISOString(),
      seconds,
      machine,
      load: { before: loadBefore, after: loadavg(), stealShare },
      settings: { pages, cpus: formatCpuList(settings.cpus), seed, calm, patience },
      results,
    };
    writeFileSync(file, `${JSON.stringify(record, undefined, 1)}\n`);
  }
  console.log(`\nload ${loadBefore[0]?.toFixed(2)} before and ${loadavg()[0]?.toFixed(2)} after; results in ${file}`);
  return results;
}

async function main(): Promise<number> {
  const settings = parseSettings(process.argv.slice(2), root);
  if (settings === "help") {
    console.log(USAGE);
    return 0;
  }
  const all = [...computeExperiments(settings), startTime(settings), exitCost(settings), memory(settings)];
  if (settings.list) {
    for (const { name, about } of all) console.log(`${name.padEnd(16)}${about}`);
    return 0;
  }
  const unknown = settings.only.find((name) => !all.some((one) => one.name === name));
  if (unknown !== undefined) throw new Error(`no experiment "${unknown}"; there are: ${all.map((one) => one.name).join(" ")}`);
  const machine = describeMachine(root);
  printMachine(machine);
  const chosen = settings.only.length === 0 ? all : all.filter((one) => settings.only.includes(one.name));
  const results = await runAll(chosen, settings, machine);
  return results.some((result) => result.error !== undefined) ? 1 : 0;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    killAll();
    process.exit(signal === "SIGINT" ? 130 : 143);
  });
}
try {
  process.exitCode = await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
