/** From rounds to figures: ratios within a turn or a round first, then medians. */
import type { Random } from "./random.ts";
import { median, medianInterval, type Spread, spread } from "./statistics.ts";
import type { Figure, Round, Sample, Source, Target } from "./types.ts";

export interface Outcome {
  readonly label: string;
  readonly unit: string;
  /** Over the kept rounds: the ratio above / below, or the reading itself when there is no `below`. */
  readonly value: Spread;
  /** 95 % confidence interval of the median. */
  readonly interval: readonly [number, number];
  readonly rounds: number;
  /** The readings behind a ratio, in `unit`, with their arms. */
  readonly parts: readonly { readonly arm: string; readonly value: Spread }[];
  readonly target?: Target;
  /** Whether the median reaches the target; "open" when it does not but the confidence interval does. Absent without a target. */
  readonly verdict?: "met" | "missed" | "open";
}

function sampleOf(round: Round, source: Source): Sample {
  const sample = round.samples.find((one) => one.arm === source.arm);
  if (!sample) throw new Error(`no sample of "${source.arm}"`);
  return sample;
}

function read(round: Round, source: Source): number {
  const value = sampleOf(round, source).readings[source.key];
  if (value === undefined) throw new Error(`no reading "${source.key}" of "${source.arm}"`);
  return value;
}

/** above / below in one round: the median over turns where both arms have a series of one length, else the ratio of the readings. */
function ratio(round: Round, above: Source, below: Source): number {
  const a = sampleOf(round, above).series[above.key];
  const b = sampleOf(round, below).series[below.key];
  if (a && b && a.length === b.length) return median(a.map((value, turn) => value / (b[turn] as number)));
  return read(round, above) / read(round, below);
}

function reaches(value: number, target: Target): boolean {
  return "atLeast" in target ? value >= target.atLeast : value <= target.atMost;
}

/** "met" when the median reaches the target, "open" when only the better end of the interval does, else "missed". */
export function verdictOf(median: number, interval: readonly [number, number], target: Target): "met" | "missed" | "open" {
  if (reaches(median, target)) return "met";
  return reaches("atLeast" in target ? interval[1] : interval[0], target) ? "open" : "missed";
}

/** Computes one figure from the rounds that count. Throws when a round lacks a reading it needs. */
export function outcomeOf(figure: Figure, rounds: readonly Round[], random: Random): Outcome {
  const kept = rounds.filter((round) => round.kept);
  const { below } = figure;
  const above = kept.map((round) => read(round, figure.above));
  const values = below ? kept.map((round) => ratio(round, figure.above, below)) : above;
  const interval = medianInterval(values, random);
  const value = spread(values);
  return {
    label: figure.label,
    unit: figure.unit,
    value,
    interval,
    rounds: kept.length,
    parts: below
      ? [
          { arm: figure.above.arm, value: spread(above) },
          { arm: below.arm, value: spread(kept.map((round) => read(round, below))) },
        ]
      : [],
    ...(figure.target && { target: figure.target, verdict: verdictOf(value.median, interval, figure.target) }),
  };
}
