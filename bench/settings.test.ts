import { describe, expect, it } from "vitest";
import { parseSettings } from "./settings.ts";

const parse = (...argv: string[]): ReturnType<typeof parseSettings> => parseSettings(argv, "/margay/");

describe("the command line", () => {
  it("should have defaults for everything", () => {
    expect(parse()).toMatchObject({
      only: [],
      pairs: undefined,
      pages: "2M/2M",
      calm: 0.3,
      patience: 3,
      programs: "/margay/bench/.build/",
      margay: "/margay/bin/margay.js",
    });
  });

  it("should take what it is told", () => {
    expect(
      parse("--only", "start", "--only", "calls", "--pairs", "5", "--pages", "4K/4K", "--cpus", "2,4-5", "--seed", "7", "--json", "o.json"),
    ).toMatchObject({
      only: ["start", "calls"],
      pairs: 5,
      pages: "4K/4K",
      cpus: [2, 4, 5],
      seed: 7,
      json: "o.json",
    });
    expect(parse("--help")).toBe("help");
  });

  it.each([
    [["--pairs", "0"], "--pairs"],
    [["--pairs", "1.5"], "--pairs"],
    [["--pairs", "many"], "--pairs"],
    [["--calm="], "--calm"],
    [["--pages", "1G/2M"], "--pages"],
    [["--cpus", "5-2"], "5-2"],
    [["--nonsense"], "--nonsense"],
  ])("should refuse %j and name it", (argv, named) => {
    expect(() => parse(...argv)).toThrow(named);
  });
});
