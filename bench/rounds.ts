/** The order in which arms run, and which rounds count. */
import { type Random, shuffled } from "./random.ts";
import type { Round, RunRound, Sample } from "./types.ts";

export interface Plan {
  /** Rounds that shall count. */
  readonly rounds: number;
  /** A round during which others used more than this many CPUs is repeated. */
  readonly calm: number;
  /** At most this many rounds are run for one that counts. */
  readonly patience: number;
}

/** A round in which the arms run one after the other, in random order. */
export function oneAfterTheOther(arms: readonly (() => Promise<Sample>)[]): RunRound {
  return async (random) => {
    const samples: Sample[] = [];
    for (const run of shuffled(arms, random)) samples.push(await run());
    return samples;
  };
}

/**
 * Which rounds count: all calm ones, then the least disturbed until there are enough. What decides is the load of other processes,
 * never what was measured.
 */
export function choose(rounds: readonly Round[], wanted: number): Round[] {
  const byDisturbance = rounds
    .map((_, i) => i)
    .sort((a, b) => (rounds[a] as Round).disturbance - (rounds[b] as Round).disturbance || a - b);
  const kept = new Set(byDisturbance.slice(0, wanted));
  return rounds.map((round, i) => ({ ...round, kept: kept.has(i) }));
}

/** Runs rounds until `plan.rounds` calm ones exist or patience ends. One uncounted round comes first: it fills the page cache. */
export async function runRounds(
  run: RunRound,
  plan: Plan,
  random: Random,
  progress: (done: number, calm: number) => void,
): Promise<Round[]> {
  await run(random);
  const rounds: Round[] = [];
  let calm = 0;
  while (calm < plan.rounds && rounds.length < plan.rounds * plan.patience) {
    const samples = await run(random);
    const disturbance = Math.max(...samples.map((sample) => sample.foreign));
    rounds.push({ samples, disturbance, kept: true });
    if (disturbance <= plan.calm) calm++;
    progress(rounds.length, calm);
  }
  return choose(rounds, plan.rounds);
}
