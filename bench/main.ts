/** `npm run bench`: runs the experiments, prints a table, writes everything measured to a JSON file. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { formatCpuList, parseCpuList } from "../src/host/cpulist.ts";
import { exitCost } from "./calls.ts";
import { computeExperiments } from "./compute.ts";
import type { Context } from "./context.ts";
import { type Outcome, outcomeOf } from "./figures.ts";
import { readCpuTime } from "./load.ts";
import { describeMachine, type Machine } from "./machine.ts";
import { memory } from "./memory.ts";
import { killAll } from "./process.ts";
import { type Random, seededRandom } from "./random.ts";
import { runRounds } from "./rounds.ts";
import { startTime } from "./start.ts";
import { table } from "./table.ts";
import type { Experiment, Round } from "./types.ts";

const USAGE = `usage: npm run bench -- [OPTIONS]
  --only NAME     one experiment; again for more. --list names them
  --pairs N       rounds per experiment (default: 11, start 21)
  --pages H/G     page policy of both sides (default 2M/2M)
  --cpus LIST     CPUs to use, e.g. 0,1 (default: all that this process may use)
  --json FILE     where the results go (default: bench/results/TIME.json)
  --calm CPUS     repeat a round in which others used more than so many CPUs (default 0.3)
  --patience N    run at most N times the rounds in search of calm ones (default 3; 1 keeps every round)
  --seed N        order of the runs and resampling (default: from the clock)
  --margay FILE   the margay to measure (default: bin/margay.js)`;

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

interface Settings extends Context {
  readonly only: readonly string[];
  readonly list: boolean;
  readonly pairs: number | undefined;
  readonly calm: number;
  readonly patience: number;
  readonly seed: number;
  readonly json: string | undefined;
}

function number(text: string | undefined, name: string, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === "" || !(value >= least)) throw new Error(`--${name} must be a number of at least ${least}, not "${text}"`);
  return value;
}

function whole(text: string | undefined, name: string, least: number): number | undefined {
  const value = number(text, name, least);
  if (value !== undefined && !Number.isInteger(value)) throw new Error(`--${name} must be a whole number, not "${text}"`);
  return value;
}

/** The CPUs this process may run on, from /proc/self/status. */
function allowedCpus(): number[] {
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return parseCpuList(list ?? "0");
}

function parse(argv: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: "string", multiple: true },
      list: { type: "boolean" },
      help: { type: "boolean", short: "h" },
      pairs: { type: "string" },
      pages: { type: "string" },
      cpus: { type: "string" },
      json: { type: "string" },
      calm: { type: "string" },
      patience: { type: "string" },
      seed: { type: "string" },
      margay: { type: "string" },
    },
  });
  if (values.help) return undefined;
  const pages = values.pages ?? "2M/2M";
  if (!/^(2M|4K)\/(2M|4K)$/.test(pages)) throw new Error(`--pages must be HOST/GUEST of 2M and 4K, not "${pages}"`);
  return {
    only: values.only ?? [],
    list: values.list ?? false,
    pairs: whole(values.pairs, "pairs", 1),
    calm: number(values.calm, "calm", 0) ?? 0.3,
    patience: whole(values.patience, "patience", 1) ?? 3,
    seed: whole(values.seed, "seed", 0) ?? Date.now() % 2 ** 32,
    json: values.json,
    programs: `${root}bench/.build/`,
    margay: values.margay ?? `${root}bin/margay.js`,
    cpus: values.cpus === undefined ? allowedCpus() : parseCpuList(values.cpus),
    pages,
  };
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

async function main(): Promise<number> {
  const settings = parse(process.argv.slice(2));
  if (settings === undefined) {
    console.log(USAGE);
    return 0;
  }
  const all = [...computeExperiments(settings), startTime(settings), exitCost(settings), memory(settings)];
  if (settings.list) {
    for (const { name, about } of all) console.log(`${name.padEnd(16)}${about}`);
    return 0;
  }
  const unknown = settings.only.filter((name) => !all.some((one) => one.name === name));
  if (unknown.length > 0) throw new Error(`no experiment "${unknown[0]}"; there are: ${all.map((one) => one.name).join(" ")}`);
  const chosen = settings.only.length === 0 ? all : all.filter((one) => settings.only.includes(one.name));

  const machine = describeMachine(root);
  printMachine(machine);
  const started = new Date();
  const loadBefore = loadavg();
  const cpus = new Set(settings.cpus);
  const timeBefore = readCpuTime(cpus);
  const random = seededRandom(settings.seed);
  const results: Result[] = [];
  for (const experiment of chosen) {
    const result = await carryOut(experiment, settings, random);
    printResult(result, settings.calm);
    results.push(result);
  }
  const seconds = (Date.now() - started.getTime()) / 1000;
  const stealShare = (readCpuTime(cpus).steal - timeBefore.steal) / (seconds * cpus.size);
  const load = { before: loadBefore, after: loadavg(), stealShare };

  const file = settings.json ?? `${root}bench/results/${started.toISOString().replaceAll(":", "")}.json`;
  mkdirSync(dirname(file), { recursive: true });
  const { pages, seed, calm, patience } = settings;
  const record = {
    started: started.toISOString(),
    seconds,
    machine,
    load,
    settings: { pages, cpus: formatCpuList(settings.cpus), seed, calm, patience },
    results,
  };
  writeFileSync(file, `${JSON.stringify(record, undefined, 1)}\n`);
  console.log(
    `\n${Math.round(seconds)} s, load ${loadBefore[0]?.toFixed(2)} before and ${load.after[0]?.toFixed(2)} after, steal ${(stealShare * 100).toFixed(1)} %, results in ${file}`,
  );
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
