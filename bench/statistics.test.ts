import { describe, expect, it } from "vitest";
import { seededRandom, shuffled } from "./random.ts";
import { median, medianInterval, quantile, spread } from "./statistics.ts";

describe("quantiles", () => {
  it("should interpolate as R's type 7 does", () => {
    // R: quantile(c(1, 2, 4, 8), c(.25, .5, .75)) is 1.75 3 5
    expect([0.25, 0.5, 0.75].map((p) => quantile([1, 2, 4, 8], p))).toEqual([1.75, 3, 5]);
  });

  it("should take the extremes at 0 and 1", () => {
    expect(spread([3, 1, 2])).toEqual({ min: 1, q1: 1.5, median: 2, q3: 2.5, max: 3 });
  });

  it("should not depend on the order of the values", () => {
    expect(median([9, 1, 5])).toBe(5);
  });

  it("should be NaN for no values", () => {
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe("the bootstrap interval", () => {
  it("should be a point when all values are equal", () => {
    expect(medianInterval(Array(11).fill(0.99), seededRandom(1))).toEqual([0.99, 0.99]);
  });

  it("should agree with the exact distribution of the resampled median", () => {
    // Of {0, 0, 1}, three draws: the median is 1 when at least two draws are 1: 3 * (1/9) * (2/3) + 1/27 = 7/27 = 26 %; so both ends are taken.
    expect(medianInterval([0, 0, 1], seededRandom(2))).toEqual([0, 1]);
    // Of ten zeros and a one, six of eleven draws must be the one: 0.01 %. The middle 95 % hold none of it.
    expect(medianInterval([...Array(10).fill(0), 1], seededRandom(3))).toEqual([0, 0]);
  });

  it("should hold the true median of a distribution about 95 times in 100", () => {
    const random = seededRandom(4);
    let held = 0;
    for (let i = 0; i < 400; i++) {
      const [low, high] = medianInterval(
        Array.from({ length: 21 }, () => random()),
        random,
        400,
      );
      if (low <= 0.5 && high >= 0.5) held++;
    }
    expect(held / 400).toBeGreaterThan(0.9);
    expect(held / 400).toBeLessThan(0.99);
  });
});

describe("random order", () => {
  it("should repeat itself for one seed and differ for another", () => {
    const items = Array.from({ length: 20 }, (_, i) => i);
    expect(shuffled(items, seededRandom(7))).toEqual(shuffled(items, seededRandom(7)));
    expect(shuffled(items, seededRandom(7))).not.toEqual(shuffled(items, seededRandom(8)));
  });

  it("should put each of two arms first about equally often", () => {
    const random = seededRandom(5);
    let first = 0;
    for (let i = 0; i < 10_000; i++) if (shuffled(["native", "guest"], random)[0] === "guest") first++;
    expect(Math.abs(first - 5000)).toBeLessThan(200);
  });
});
