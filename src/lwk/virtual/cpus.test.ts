import { describe, expect, it } from "vitest";
import { cpuinfoOf, cpuStatOf } from "./cpus.ts";
import { cpuMask, parseMask } from "./masks.ts";

/** Four CPUs on two packages, as Linux prints them. */
const CPUINFO = [0, 1, 2, 3]
  .map((cpu) => `processor\t: ${cpu}\nvendor_id\t: GenuineIntel\nphysical id\t: ${cpu >> 1}\nsiblings\t: 2\ncore id\t\t: ${cpu & 1}\ncpu cores\t: 2\nflags\t\t: fpu sse2 pku ospke amx_tile avx2\npower management:\n\n`)
  .join("");

describe("cpuinfo", () => {
  it("should keep the kernel's text for a virtual node of all CPUs, but for flags that cannot be used", () => {
    expect(cpuinfoOf(CPUINFO, [0, 1, 2, 3])).toBe(CPUINFO.replaceAll("fpu sse2 pku ospke amx_tile avx2", "fpu sse2 avx2"));
  });

  it("should renumber CPUs and count siblings within the virtual node", () => {
    const text = cpuinfoOf(CPUINFO, [3, 1]);
    expect(text.match(/^processor.*$/gm)).toEqual(["processor\t: 0", "processor\t: 1"]);
    expect(text.match(/^physical id.*$/gm)).toEqual(["physical id\t: 1", "physical id\t: 0"]);
    expect(text.match(/^siblings.*$/gm)).toEqual(["siblings\t: 1", "siblings\t: 1"]);
    expect(text.match(/^cpu cores.*$/gm)).toEqual(["cpu cores\t: 1", "cpu cores\t: 1"]);
  });

  it("should still name a CPU that the host's text lacks", () => {
    expect(cpuinfoOf("", [5])).toBe("processor\t: 0\n\n");
  });
});

describe("stat", () => {
  const STAT = "cpu  7 7 7 7\ncpu0 1 2 3 4\ncpu1 10 20 30 40\ncpu2 100 200 300 400\nintr 99 1 2 3\nctxt 5\nbtime 6\nsoftirq 12 1 2\n";

  it("should sum and renumber the virtual node's CPUs", () => {
    expect(cpuStatOf(STAT, [2, 0])).toBe("cpu  101 202 303 404\ncpu0 100 200 300 400\ncpu1 1 2 3 4\nintr 99\nctxt 5\nbtime 6\nsoftirq 12\n");
  });

  it("should give zeros for a CPU that the host does not list", () => {
    expect(cpuStatOf(STAT, [9])).toContain("cpu0 0 0 0 0 0 0 0 0 0 0\n");
  });
});

describe("masks", () => {
  it("should be written as the kernel writes them", () => {
    expect(cpuMask([0, 1], 2)).toBe("3");
    expect(cpuMask([0, 31], 32)).toBe("80000001");
    expect(cpuMask([32], 36)).toBe("1,00000000");
    expect(cpuMask([], 70)).toBe("00,00000000,00000000");
    expect(cpuMask([5, 99], 6)).toBe("20");
  });

  it("should be read back", () => {
    for (const members of [[], [0], [0, 5, 31, 32, 63, 64, 69]]) expect(parseMask(`${cpuMask(members, 70)}\n`)).toEqual(members);
  });
});
