import type { Random } from "./random.ts";

/** Minimum, quartiles and maximum. */
export interface Spread {
  readonly min: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly max: number;
}

/** The quantile `p` (0 to 1) of ascending numbers, linear between neighbours (Hyndman and Fan's type 7, R's default). NaN for none. */
export function quantile(ascending: readonly number[], p: number): number {
  if (ascending.length === 0) return Number.NaN;
  const at = (ascending.length - 1) * p;
  const low = Math.floor(at);
  const a = ascending[low] as number;
  const b = ascending[Math.min(low + 1, ascending.length - 1)] as number;
  return a + (b - a) * (at - low);
}

const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

export function median(values: readonly number[]): number {
  return quantile(ascending(values), 0.5);
}

export function spread(values: readonly number[]): Spread {
  const v = ascending(values);
  return { min: quantile(v, 0), q1: quantile(v, 0.25), median: quantile(v, 0.5), q3: quantile(v, 0.75), max: quantile(v, 1) };
}

/**
 * 95 % confidence interval of the median by the percentile bootstrap: `resamples` times draw as many values with replacement and
 * take their median; the interval is the middle 95 % of those. Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
 */
export function medianInterval(values: readonly number[], random: Random, resamples = 10_000): readonly [number, number] {
  const n = values.length;
  const draw = new Float64Array(n);
  const medians: number[] = [];
  for (let r = 0; r < resamples; r++) {
    for (let i = 0; i < n; i++) draw[i] = values[Math.floor(random() * n)] as number;
    draw.sort();
    medians.push(((draw[(n - 1) >> 1] as number) + (draw[n >> 1] as number)) / 2);
  }
  const sorted = ascending(medians);
  return [quantile(sorted, 0.025), quantile(sorted, 0.975)];
}
