/** What margay itself needs in memory, beyond what it gives the guest: looked at from outside while a program holds still. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { type Context, margayRun } from "./context.ts";
import { killLater } from "./process.ts";
import { guestRanges } from "./slots.ts";
import { parseSmaps, sumSmaps } from "./smaps.ts";
import type { Experiment, Sample } from "./types.ts";

const MANY = 8;
const PATIENCE_MS = 30_000;

interface Usage {
  readonly rssMib: number;
  readonly pssMib: number;
  readonly guestMib: number;
}

function look(pid: number): Usage {
  const { rssKib, pssKib, insideKib } = sumSmaps(parseSmaps(readFileSync(`/proc/${pid}/smaps`, "utf8")), guestRanges(pid));
  return { rssMib: rssKib / 1024, pssMib: pssKib / 1024, guestMib: insideKib / 1024 };
}

/** Starts `margay run sleeper THREADS`, looks at it once all threads run, and ends it. */
function usage(context: Context, threads: number): Promise<Usage> {
  const [program, ...args] = margayRun(context, "guest", Math.min(threads, context.cpus.length), [
    `${context.programs}sleeper`,
    String(threads),
  ]);
  const child = spawn(program as string, args, { stdio: ["pipe", "pipe", "inherit"], detached: true });
  return new Promise((resolve, reject) => {
    const done = killLater(child, PATIENCE_MS);
    let seen: Usage | undefined;
    let failure: Error | undefined;
    child.on("error", reject);
    child.stdout.once("data", () => {
      try {
        seen = look(child.pid as number);
      } catch (error) {
        failure = error as Error;
      }
      child.stdin.end();
    });
    child.on("close", (code) => {
      done();
      if (seen && code === 0) resolve(seen);
      else reject(failure ?? new Error(`sleeper with ${threads} threads ended with ${code} under margay`));
    });
  });
}

async function sample(context: Context): Promise<Sample> {
  const one = await usage(context, 1);
  const many = await usage(context, MANY);
  return {
    arm: "margay",
    readings: {
      rss_mib: one.rssMib,
      pss_mib: one.pssMib,
      guest_mib: one.guestMib,
      rss_per_thread_mib: (many.rssMib - one.rssMib) / (MANY - 1),
      pss_per_thread_mib: (many.pssMib - one.pssMib) / (MANY - 1),
    },
    series: {},
    notes: { threads: MANY },
    // Memory does not depend on who else runs.
    foreign: 0,
    steal: 0,
  };
}

/** Resident memory of the margay process outside its memory slots, with one thread and with eight. */
export function memory(context: Context): Experiment {
  const value = (key: string, label: string, atMost?: number) => ({
    label,
    unit: "MiB",
    above: { arm: "margay", key },
    ...(atMost !== undefined && { target: { atMost } }),
  });
  return {
    name: "memory",
    about: `resident memory of margay outside the guest's memory slots (/proc/PID/smaps), one thread, and the step to ${MANY}`,
    round: async () => [await sample(context)],
    figures: [
      value("rss_mib", "margay's own memory (Rss)", 80),
      value("pss_mib", "margay's own memory (Pss)"),
      value("rss_per_thread_mib", "more per thread (Rss)", 12),
      value("pss_per_thread_mib", "more per thread (Pss)"),
    ],
    rounds: 3,
  };
}
