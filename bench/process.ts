/** Runs one program under the stopwatch (src/wall.c) and reads the JSON line it prints. */
import { type ChildProcess, spawn } from "node:child_process";
import { disturbance, readCpuTime } from "./load.ts";
import type { Readings, Sample } from "./types.ts";

export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
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

/** Divides a report into numbers and everything else. */
export function divide(report: Readonly<Record<string, unknown>>): { readings: Readings; notes: Record<string, unknown> } {
  const readings: Record<string, number> = {};
  const notes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(report)) {
    if (typeof value === "number") readings[key] = value;
    else notes[key] = value;
  }
  return { readings, notes };
}

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly watch: string;
  readonly timedOut: boolean;
}

function run(wall: string, command: Command): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(wall, ["3", ...command.argv], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      env: { ...process.env, ...command.env },
      detached: true, // a process group of its own, so that the timeout reaches grandchildren
    });
    const texts = ["", "", ""];
    for (const [i, stream] of [child.stdout, child.stderr, child.stdio[3] as NodeJS.ReadableStream].entries()) {
      stream?.on("data", (chunk: Buffer) => {
        texts[i] += chunk.toString();
      });
    }
    const done = killLater(child, command.timeout * 1000);
    child.on("error", reject);
    child.on("close", () =>
      resolve({ stdout: texts[0] as string, stderr: texts[1] as string, watch: texts[2] as string, timedOut: done() }),
    );
  });
}

/**
 * Runs `command` once as the arm `arm`, through the stopwatch program at `wall`. Readings: those of the program's report plus wall_ms,
 * user_ms, system_ms and preempted. Rejects with the program's own words when it fails, does not end in time or does not verify.
 */
export async function measure(wall: string, arm: string, command: Command): Promise<Sample> {
  const words = command.argv.join(" ");
  const before = readCpuTime(command.cpus);
  const { stdout, stderr, watch, timedOut } = await run(wall, command);
  const after = readCpuTime(command.cpus);
  if (timedOut) throw new Error(`${words}: not finished after ${command.timeout} s`);
  if (!watch) throw new Error(`${words}: ${stderr.trim() || "did not start"}`);
  const time = JSON.parse(watch) as Stopwatch;
  if (time.code !== 0)
    throw new Error(`${words}: exit code ${time.code}: ${(stderr.trim() || stdout.trim()).split("\n").slice(-5).join(" | ")}`);
  const { readings, notes } = divide(command.report ? lastReport(stdout) : {});
  if (command.report && notes.verified !== true) throw new Error(`${words}: wrong result: ${stdout.trim()}`);
  return {
    arm,
    readings: { ...readings, wall_ms: time.wall * 1e3, user_ms: time.user * 1e3, system_ms: time.system * 1e3, preempted: time.preempted },
    notes,
    ...disturbance(before, after, time.wall, time.user + time.system),
  };
}
