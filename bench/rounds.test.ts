import { describe, expect, it } from "vitest";
import { outcomeOf, verdictOf } from "./figures.ts";
import { seededRandom } from "./random.ts";
import { choose, runRounds } from "./rounds.ts";
import type { Arm, Round, Sample } from "./types.ts";

const sample = (arm: string, value: number, foreign = 0): Sample => ({ arm, readings: { value }, notes: {}, foreign, steal: 0 });
const round = (native: number, guest: number, disturbance = 0): Round => ({
  samples: [sample("native", native), sample("guest", guest)],
  disturbance,
  kept: true,
});

/** An arm whose runs see the given load of others, one after the other; the last for ever. */
function armWithLoads(name: string, loads: readonly number[]): Arm & { runs: number } {
  const arm = {
    name,
    runs: -1, // the first run warms up
    run: async () => sample(name, 1, loads[Math.min(arm.runs++, loads.length - 1)] ?? 0),
  };
  return arm;
}

describe("rounds", () => {
  it("should run every arm once per round, after one run that does not count", async () => {
    const arms = [armWithLoads("a", [0]), armWithLoads("b", [0])];
    const rounds = await runRounds(arms, { rounds: 5, calm: 0.1, patience: 3 }, seededRandom(1), () => {});
    expect(rounds).toHaveLength(5);
    expect(arms.map((arm) => arm.runs)).toEqual([5, 5]);
    for (const one of rounds) expect(one.samples.map((s) => s.arm).sort()).toEqual(["a", "b"]);
  });

  it("should repeat disturbed rounds and leave them out", async () => {
    const rounds = await runRounds([armWithLoads("a", [0, 2, 0, 2, 0])], { rounds: 3, calm: 0.1, patience: 3 }, seededRandom(1), () => {});
    expect(rounds.map((one) => one.kept)).toEqual([true, false, true, false, true]);
  });

  it("should give up when the machine never calms down, and keep the least disturbed", async () => {
    const rounds = await runRounds([armWithLoads("a", [3, 1, 2, 1.5])], { rounds: 2, calm: 0.1, patience: 2 }, seededRandom(1), () => {});
    expect(rounds.map((one) => one.kept)).toEqual([false, true, false, true]);
  });

  it("should choose by disturbance and never by result", () => {
    const rounds = [round(1, 0.1, 0), round(1, 2, 1), round(1, 0.2, 0)];
    expect(choose(rounds, 2).map((one) => one.kept)).toEqual([true, false, true]);
  });

  it("should pass on the failure of an arm", async () => {
    const broken: Arm = { name: "a", run: () => Promise.reject(new Error("wrong result")) };
    await expect(runRounds([broken], { rounds: 1, calm: 1, patience: 1 }, seededRandom(1), () => {})).rejects.toThrow("wrong result");
  });
});

describe("figures", () => {
  const figure = { label: "x", unit: "u", above: { arm: "guest", key: "value" }, below: { arm: "native", key: "value" } };

  it("should divide within each round before taking the median", () => {
    // Ratios 0.5, 1, 0.5: median 0.5. The ratio of the medians would be 2 / 2 = 1.
    const outcome = outcomeOf(figure, [round(4, 2), round(2, 2), round(1, 0.5)], seededRandom(1));
    expect(outcome.value.median).toBe(0.5);
    expect(outcome.parts.map((part) => part.value.median)).toEqual([2, 2]);
  });

  it("should leave out rounds that do not count", () => {
    const outcome = outcomeOf(figure, [round(1, 1), { ...round(1, 9), kept: false }], seededRandom(1));
    expect(outcome.value.max).toBe(1);
    expect(outcome.rounds).toBe(1);
  });

  it("should refuse a reading that nobody took", () => {
    expect(() => outcomeOf({ ...figure, above: { arm: "guest", key: "other" } }, [round(1, 1)], seededRandom(1))).toThrow(
      'no reading "other" of "guest"',
    );
  });

  it("should call a target met, missed, or open when the interval reaches it", () => {
    expect(verdictOf(0.99, [0.98, 1], { atLeast: 0.99 })).toBe("met");
    expect(verdictOf(0.98, [0.97, 0.985], { atLeast: 0.99 })).toBe("missed");
    expect(verdictOf(0.98, [0.97, 0.995], { atLeast: 0.99 })).toBe("open");
    expect(verdictOf(1.3, [1.1, 1.5], { atMost: 1.2 })).toBe("open");
    expect(verdictOf(1.3, [1.25, 1.5], { atMost: 1.2 })).toBe("missed");
    expect(verdictOf(1.2, [1.1, 1.5], { atMost: 1.2 })).toBe("met");
  });
});
