/** The order in which arms run, and which rounds count. */
import { type Random, shuffled } from "./random.ts";
import type { Arm, Round, Sample } from "./types.ts";

export interface Plan {
  /** Rounds that shall count. */
  readonly rounds: number;
  /** A round during which others used more than this many CPUs is repeated. */
  readonly calm: number;
  /** At most this many rounds are run for one that counts. */
  readonly patience: number;
}

/** Runs every arm once, in random order. */
async function runRound(arms: readonly Arm[], random: Random): Promise<Round> {
  const samples: Sample[] = [];
  for (const arm of shuffled(arms, random)) samples.push(await arm.run());
  return { samples, disturbance: Math.max(...samples.map((sample) => sample.foreign)), kept: true };
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

/** Runs rounds until `plan.rounds` calm ones exist or patience ends. One uncounted run of each arm comes first: it fills the page cache. */
export async function runRounds(
  arms: readonly Arm[],
  plan: Plan,
  random: Random,
  progress: (done: number, calm: number) => void,
): Promise<Round[]> {
  for (const arm of arms) await arm.run();
  const rounds: Round[] = [];
  let calm = 0;
  while (calm < plan.rounds && rounds.length < plan.rounds * plan.patience) {
    const round = await runRound(arms, random);
    rounds.push(round);
    if (round.disturbance <= plan.calm) calm++;
    progress(rounds.length, calm);
  }
  return choose(rounds, plan.rounds);
}
