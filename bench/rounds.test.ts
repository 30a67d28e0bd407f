import { describe, expect, it } from "vitest";
import { outcomeOf, verdictOf } from "./figures.ts";
import { seededRandom } from "./random.ts";
import { choose, oneAfterTheOther, runRounds } from "./rounds.ts";
import type { Round, RunRound, Sample } from "./types.ts";

const sample = (arm: string, value: number, foreign = 0): Sample => ({
  arm,
  readings: { value },
  series: {},
  notes: {},
  foreign,
  steal: 0,
});
const round = (native: number, guest: number, disturbance = 0): Round => ({
  samples: [sample("native", native), sample("guest", guest)],
  disturbance,
  kept: true,
});

/** A round of one arm that sees the given load of others, one after the other; the last for ever. The first run is the uncounted one. */
function withLoads(loads: readonly number[]): RunRound & { runs: number } {
  const run = async (): Promise<Sample[]> => [sample("a", 1, loads[Math.min(run.runs++, loads.length - 1)] ?? 0)];
  run.runs = -1;
  return run;
}

const nothing = (): void => {};

describe("rounds", () => {
  it("should run one round more than it counts, to warm up", async () => {
    const run = withLoads([0]);
    expect(await runRounds(run, { rounds: 5, calm: 0.1, patience: 3 }, seededRandom(1), nothing)).toHaveLength(5);
    expect(run.runs).toBe(5);
  });

  it("should run every arm once, not always in the same order", async () => {
    const round = oneAfterTheOther(["a", "b"].map((name) => async () => sample(name, 1)));
    const random = seededRandom(1);
    const orders = new Set<string>();
    for (let i = 0; i < 20; i++) orders.add((await round(random)).map((one) => one.arm).join(""));
    expect([...orders].sort()).toEqual(["ab", "ba"]);
  });

  it("should repeat disturbed rounds and leave them out", async () => {
    const rounds = await runRounds(withLoads([0, 2, 0, 2, 0]), { rounds: 3, calm: 0.1, patience: 3 }, seededRandom(1), nothing);
    expect(rounds.map((one) => one.kept)).toEqual([true, false, true, false, true]);
  });

  it("should give up when the machine never calms down, and keep the least disturbed", async () => {
    const rounds = await runRounds(withLoads([3, 1, 2, 1.5]), { rounds: 2, calm: 0.1, patience: 2 }, seededRandom(1), nothing);
    expect(rounds.map((one) => one.kept)).toEqual([false, true, false, true]);
  });

  it("should choose by disturbance and never by result", () => {
    const rounds = [round(1, 0.1, 0), round(1, 2, 1), round(1, 0.2, 0)];
    expect(choose(rounds, 2).map((one) => one.kept)).toEqual([true, false, true]);
  });

  it("should pass on the failure of an arm", async () => {
    const broken = oneAfterTheOther([() => Promise.reject(new Error("wrong result"))]);
    await expect(runRounds(broken, { rounds: 1, calm: 1, patience: 1 }, seededRandom(1), nothing)).rejects.toThrow("wrong result");
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

  it("should divide turn by turn where the arms ran in lockstep", () => {
    // The machine slowed down by half in the middle; the guest is always at 90 %. The ratio of the medians would be 0.45.
    const native = { ...sample("native", 20), series: { value: [20, 20, 20, 10, 10] } };
    const guest = { ...sample("guest", 9), series: { value: [18, 18, 18, 9, 9] } };
    expect(outcomeOf(figure, [{ samples: [guest, native], disturbance: 0, kept: true }], seededRandom(1)).value.median).toBe(0.9);
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
