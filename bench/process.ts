/** Runs one program under the stopwatch (src/wall.c) and reads the JSON line it prints. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { type CpuTime, disturbance, readCpuTime } from "./load.ts";
import type { Disturbance, Readings, Sample, Series } from "./types.ts";

export interface Command {
  readonly argv: readonly string[];
  /** Added to this process's environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** CPUs whose other users count as disturbance: all of --cpus, also for one thread. A busy SMT sibling costs a third of the speed. */
  readonly cpus: ReadonlySet<number>;
  /** Seconds until it is killed with all its children. */
  readonly timeout: number;
  /** True when its last line on stdout is a JSON object with `"verified": true`. */
  readonly report: boolean;
}

/** What wall.c writes; times in seconds. */
interface Stopwatch {
  readonly wall: number;
  readonly user: number;
  readonly system: number;
  readonly preempted: number;
  readonly maxRssKib: number;
  readonly code: number;
}

/** Process groups started and not yet ended: an interrupted run takes them along. */
const running = new Set<number>();

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // ended by itself in between
  }
}

/** Kills everything that was started here and still runs. */
export function killAll(): void {
  for (const group of running) killGroup(group);
}

/**
 * Guards a child that leads a process group: the group is killed after `ms` milliseconds, or by killAll(). Returns the function to call when the
 * child has ended; its result says whether time ran out.
 */
export function killLater(child: ChildProcess, ms: number): () => boolean {
  const group = child.pid;
  if (group === undefined) return () => false;
  running.add(group);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(group);
  }, ms);
  return () => {
    clearTimeout(timer);
    running.delete(group);
    return timedOut;
  };
}

/** The JSON object on the last line of `output` that begins with "{". Throws when there is none. */
export function lastReport(output: string): Record<string, unknown> {
  const line = output.split("\n").findLast((text) => text.startsWith("{"));
  if (line === undefined) throw new Error("the program printed no result");
  return JSON.parse(line) as Record<string, unknown>;
}

/** Divides a report into numbers, the lists of numbers under "series", and everything else. */
export function divide(report: Readonly<Record<string, unknown>>): { readings: Readings; series: Series; notes: Record<string, unknown> } {
  const { series = {}, ...rest } = report;
  const readings: Record<string, number> = {};
  const notes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rest)) {
    if (typeof value === "number") readings[key] = value;
    else notes[key] = value;
  }
  return { readings, series: series as Series, notes };
}

/** A program that runs under the stopwatch. */
export interface Started {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when it has ended, well or badly. */
  readonly ended: Promise<Ended>;
}

/** How a program ended and what it wrote. */
export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  /** What the stopwatch wrote; empty when it could not start the program. */
  readonly watch: string;
  readonly timedOut: boolean;
}

/** Starts `command` under the stopwatch program at `wall`. */
export function start(wall: string, command: Command): Started {
  const child = spawn(wall, ["3", ...command.argv], {
    stdio: ["pipe", "pipe", "pipe", "pipe"],
    env: { ...process.env, ...command.env },
    detached: true, // a process group of its own, so that the timeout reaches grandchildren
  });
  const texts = ["", "", ""];
  const streams = [child.stdout, child.stderr, child.stdio[3] as Readable];
  for (const [i, stream] of streams.entries()) {
    stream.on("data", (chunk: Buffer) => {
      texts[i] += chunk.toString();
    });
  }
  child.stdin.on("error", () => {}); // it may end without having read everything
  const ended = new Promise<Ended>((resolve, reject) => {
    const done = killLater(child, command.timeout * 1000);
    child.on("error", reject);
    child.on("close", () =>
      resolve({ stdout: texts[0] as string, stderr: texts[1] as string, watch: texts[2] as string, timedOut: done() }),
    );
  });
  return { stdin: child.stdin, stdout: child.stdout, ended };
}

/** What a program measured, with the CPU time it took itself. */
export interface Measured {
  readonly readings: Readings;
  readonly series: Series;
  readonly notes: Readonly<Record<string, unknown>>;
  /** Seconds. */
  readonly wall: number;
  /** User and system time, seconds. */
  readonly cpu: number;
}

/**
 * Reads what a program that has ended measured: the numbers of its report, and wall_ms, user_ms, system_ms, preempted from the stopwatch.
 * Throws with the program's own words when it failed, did not end in time or did not verify.
 */
export function evaluate(command: Command, { stdout, stderr, watch, timedOut }: Ended): Measured {
  const words = command.argv.join(" ");
  if (timedOut) throw new Error(`${words}: not finished after ${command.timeout} s`);
  if (!watch) throw new Error(`${words}: ${stderr.trim() || "did not start"}`);
  const time = JSON.parse(watch) as Stopwatch;
  const lastWords = (stderr.trim() || stdout.trim()).split("\n").slice(-5).join(" | ");
  if (time.code !== 0) throw new Error(`${words}: exit code ${time.code}: ${lastWords}`);
  const { readings, series, notes } = divide(command.report ? lastReport(stdout) : {});
  if (command.report && notes.verified !== true) throw new Error(`${words}: wrong result: ${lastWords}`);
  const own = { wall_ms: time.wall * 1e3, user_ms: time.user * 1e3, system_ms: time.system * 1e3, preempted: time.preempted };
  return { readings: { ...readings, ...own }, series, notes, wall: time.wall, cpu: time.user + time.system };
}

/** The sample of an arm, without what only the caller knows: how long it was watched. */
export function toSample(arm: string, { readings, series, notes }: Measured, disturbed: Disturbance): Sample {
  return { arm, readings, series, notes, ...disturbed };
}

/** Runs `command` once, alone, as the arm `arm`. Rejects as evaluate() throws. */
export async function measure(wall: string, arm: string, command: Command): Promise<Sample> {
  const before: CpuTime = readCpuTime(command.cpus);
  const started = start(wall, command);
  started.stdin.end();
  const ended = await started.ended;
  const after = readCpuTime(command.cpus);
  const measured = evaluate(command, ended);
  return toSample(arm, measured, disturbance(before, after, measured.wall, measured.cpu));
}
