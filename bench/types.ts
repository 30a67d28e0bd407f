import type { Random } from "./random.ts";

/**
 * The words of the benchmarks. An experiment has arms (commands to compare) that run in rounds; each round runs every arm once, in random
 * order, so that what disturbs the machine disturbs all arms alike. Figures are made from the rounds, ratios within each round first.
 */

/** What one run of an arm measured: numbers by name; the name says the unit. */
export type Readings = Readonly<Record<string, number>>;

/** Readings of every turn of arms that run in lockstep: value i of each arm belongs to turn i. */
export type Series = Readonly<Record<string, readonly number[]>>;

/** What else ran while an arm did, in CPUs (1 = one CPU fully busy with something else). */
export interface Disturbance {
  /** CPU time of other processes, as far as it fell on the CPUs in use. Resolution: one tick (10 ms) per CPU. */
  readonly foreign: number;
  /** CPU time the machine below did not give us, from the steal column of /proc/stat. */
  readonly steal: number;
}

export interface Sample extends Disturbance {
  readonly arm: string;
  readonly readings: Readings;
  readonly series: Series;
  /** Anything else the program said about itself (core name, page sizes), kept for the record. */
  readonly notes: Readonly<Record<string, unknown>>;
}

/** One run of every arm, in the order they ran. */
export interface Round {
  readonly samples: readonly Sample[];
  /** Largest `foreign` of its samples. */
  readonly disturbance: number;
  /** False for a round left out because it was disturbed and enough calm ones exist. */
  readonly kept: boolean;
}

/**
 * Runs every arm once, in an order taken from `random`. Rejects when a program fails, times out or does not verify its own result.
 */
export type RunRound = (random: Random) => Promise<readonly Sample[]>;

/** Reading `key` of arm `arm`. */
export interface Source {
  readonly arm: string;
  readonly key: string;
}

/** The bound of the issue. Shown as met or missed, never asserted: it holds for an idle machine. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** With `below` the figure is above / below in each round (in each turn first, where both have a series); without it is the reading `above` itself. */
export interface Figure {
  readonly label: string;
  readonly unit: string;
  readonly above: Source;
  readonly below?: Source;
  readonly target?: Target;
}

export interface Experiment {
  readonly name: string;
  /** One line: what is compared, with which settings. */
  readonly about: string;
  readonly round: RunRound;
  readonly figures: readonly Figure[];
  /** Rounds unless --pairs says otherwise. */
  readonly rounds: number;
}
