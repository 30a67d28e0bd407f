import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatCpuList, parseCpuList } from "./cpulist.ts";
import { formatError, MargayError } from "./error.ts";

function failure(text: string): MargayError {
  try {
    parseCpuList(text);
  } catch (e) {
    if (e instanceof MargayError) return e;
    throw e;
  }
  throw new Error(`'${text}' was accepted`);
}

describe("parseCpuList", () => {
  it("should read numbers, ranges and strides in the order written, each CPU once", () => {
    expect(parseCpuList("0-3,8,10-12:2")).toEqual([0, 1, 2, 3, 8, 10, 12]);
    expect(parseCpuList("5, 1 ,3-4,1")).toEqual([5, 1, 3, 4]);
    expect(parseCpuList("0-7:3")).toEqual([0, 3, 6]);
    expect(parseCpuList("2-2")).toEqual([2]);
  });

  it("should name the bad part and its place", () => {
    expect(formatError(failure("0,3-1"))).toMatch(/^margay: E_CPU_SYNTAX: the range '3-1' runs backwards \('0,3-1' at character 3\): /);
    expect(failure("0-3,x").what).toBe("'x' is neither a CPU number nor a range");
    expect(failure("0-3:0").what).toContain("stride of 0");
    expect(failure("0-4000000000").what).toContain("beyond CPU 65535");
  });

  it.each(["", " ", ",", "0,", ",0", "-1", "1-", "1:2", "1--2", "0x3", "1.5", "1-2-3", "1-4:", "1e3", "٣", "9".repeat(400)])(
    "should refuse %j",
    (text) => {
      expect(failure(text).code).toBe("E_CPU_SYNTAX");
    },
  );
});

describe("formatCpuList", () => {
  it("should join neighbours, sort, and drop repetitions", () => {
    expect(formatCpuList([8, 0, 1, 2, 2, 11, 10])).toBe("0-2,8,10-11");
    expect(formatCpuList([])).toBe("");
  });

  it("should give back any set of CPUs through parseCpuList", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 300 }), { minLength: 1 }), (cpus) => {
        expect(parseCpuList(formatCpuList(cpus))).toEqual([...cpus].sort((a, b) => a - b));
      }),
    );
  });
});

describe("any text", () => {
  it("should become CPUs or one E_CPU_SYNTAX, nothing else", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."0123456789-,: x".split("")), maxLength: 12 }), (text) => {
        try {
          expect(parseCpuList(text).length).toBeGreaterThan(0);
        } catch (e) {
          expect(e).toBeInstanceOf(MargayError);
        }
      }),
    );
  });
});
