import { beforeEach, describe, expect, it, vi } from "vitest";
import { MargayError } from "../host/error.ts";

/** What /proc says about this process: the parser reads arguments and environment there, as bytes. Null: no /proc. */
const proc: { cmdline: string | null; environ: string | null } = { cmdline: null, environ: null };
vi.mock("node:fs", () => ({
  readFileSync: (path: string): string => {
    const text = path === "/proc/self/cmdline" ? proc.cmdline : path === "/proc/self/environ" ? proc.environ : null;
    if (text === null) throw new Error(`ENOENT ${path}`);
    return text;
  },
}));
const { parseDuration, parseRun, RUN_HELP } = await import("./run-options.ts");

const options = (...args: string[]) => parseRun([...args, "prog"]).options;
const failure = (...args: string[]): MargayError => {
  try {
    parseRun(args);
  } catch (error) {
    if (error instanceof MargayError) return error;
    throw error;
  }
  throw new Error(`${args.join(" ")} was taken`);
};

beforeEach(() => {
  proc.cmdline = null;
  proc.environ = "PATH=/bin\0HOME=/root\0EMPTY=\0";
});

describe("margay run's options", () => {
  it("should have defaults: 2M pages on both sides, ASLR, nothing else", () => {
    const { help, native, options: o } = parseRun(["prog"]);
    expect({ help, native }).toEqual({ help: false, native: false });
    expect(o).toEqual({ program: "prog", argv: ["prog"], pages: { hostHuge: true, guestHuge: true }, hugetlb: false, env: ["PATH=/bin", "HOME=/root", "EMPTY="], stats: false, strace: false, aslr: true });
  });

  it("should take values behind a space or an equals sign", () => {
    for (const args of [["--cpus", "0-3,8", "--mem", "4G", "--workdir", "/tmp"], ["--cpus=0-3,8", "--mem=4G", "--workdir=/tmp"]]) {
      expect(options(...args)).toMatchObject({ cpus: "0-3,8", mem: "4G", workdir: "/tmp" });
    }
    expect(options("--numa", "1").numa).toBe(1);
    expect(options("--workdir=/a=b").workdir).toBe("/a=b");
  });

  it.each([
    ["2M/2M", true, true],
    ["2M/4K", true, false],
    ["4K/2M", false, true],
    ["4k/4k", false, false],
  ])("should know --pages %s, host before guest", (text, hostHuge, guestHuge) => {
    expect(options("--pages", text).pages).toEqual({ hostHuge, guestHuge });
  });

  it("should know the switches", () => {
    expect(options("--hugetlb").hugetlb).toBe(true);
    expect(options("--no-aslr").aslr).toBe(false);
    expect(parseRun(["--native", "prog"]).native).toBe(true);
    for (const flag of ["--help", "-h"]) expect(parseRun([flag]).help).toBe(true);
  });

  it("should write statistics and traces to stderr or into a file", () => {
    expect(options("--stats")).toMatchObject({ stats: true, program: "prog" });
    expect(options("--stats=s.json").stats).toBe("s.json");
    expect(options("--strace").strace).toBe(true);
    expect(options("--strace=t\u00e9.txt").strace).toBe(Buffer.from("t\u00e9.txt").toString("latin1"));
  });

  it("should leave everything behind the program to it", () => {
    expect(parseRun(["prog", "--cpus", "-h", "--", "--nonsense"]).options).toMatchObject({ program: "prog", argv: ["prog", "--cpus", "-h", "--", "--nonsense"] });
    expect(parseRun(["--stats", "--", "--prog", "-x"]).options).toMatchObject({ program: "--prog", argv: ["--prog", "-x"], stats: true });
    expect(parseRun(["--", "prog", "--", "x"]).options.argv).toEqual(["prog", "--", "x"]);
  });

  it("should pass arguments on as bytes, also such as are not UTF-8", () => {
    proc.cmdline = "node\0/x/margay.js\0run\0prog\0\xff\xfe\0a b\0";
    expect(parseRun(["prog", "\ufffd\ufffd", "a b"]).options.argv).toEqual(["prog", "\xff\xfe", "a b"]);
    proc.cmdline = null;
    expect(parseRun(["prog", "\u00e9"]).options.argv).toEqual(["prog", "\xc3\xa9"]);
  });

  it("should set, replace and take out environment variables, the last word winning", () => {
    expect(options("--env", "A=1", "--env", "HOME=/home", "--env", "PATH").env).toEqual(["EMPTY=", "A=1", "HOME=/home"]);
    expect(options("--env=A=1", "--env", "A=2=3").env).toEqual(["PATH=/bin", "HOME=/root", "EMPTY=", "A=2=3"]);
    expect(options("--env", "A=1", "--env", "A").env).not.toContain("A=1");
    expect(options("--env", "HOM=x").env).toContain("HOME=/root");
    expect(options("--env", "EMPTY=").env).toContain("EMPTY=");
  });

  it.each<[string, string[]]>([
    ["no program", []],
    ["no program behind --", ["--stats", "--"]],
    ["an unknown option", ["--cpu", "1", "prog"]],
    ["a short option", ["-c", "prog"]],
    ["a missing value", ["--cpus"]],
    ["an empty value", ["--mem=", "prog"]],
    ["an empty file name", ["--stats=", "prog"]],
    ["an empty trace file name", ["--strace=", "prog"]],
    ["a node that is no number", ["--numa", "a", "prog"]],
    ["a negative node", ["--numa", "-1", "prog"]],
    ["a list of nodes", ["--numa", "0,1", "prog"]],
    ["other page sizes", ["--pages", "1G/4K", "prog"]],
    ["one page size", ["--pages", "2M", "prog"]],
    ["a variable without a name", ["--env", "=x", "prog"]],
    ["a time that is none", ["--timeout", "soon", "prog"]],
    ["a time of nothing", ["--timeout", "0", "prog"]],
    ["a value for --native", ["--native=yes", "prog"]],
    ["a value for --no-aslr", ["--no-aslr=1", "prog"]],
    ["a value for --hugetlb", ["--hugetlb=2M", "prog"]],
    ["a value for --help", ["--help=run"]],
    ["hugetlb pools with small host pages", ["--hugetlb", "--pages", "4K/4K", "prog"]],
  ])("should refuse %s with E_BAD_OPTION and advice", (_what, args) => {
    const error = failure(...args);
    expect(error.code).toBe("E_BAD_OPTION");
    expect(error.exitCode).toBe(125);
    expect(error.what).not.toBe("");
    expect(error.hint).not.toBe("");
  });

  it("should name every option that it takes in the help text", () => {
    for (const name of ["cpus", "numa", "mem", "pages", "hugetlb", "env", "workdir", "stats", "strace", "timeout", "no-aslr", "native", "help"]) expect(RUN_HELP).toContain(`--${name}`);
  });
});

describe("parseDuration", () => {
  it.each([
    ["10", 10],
    ["10s", 10],
    ["1.5s", 1.5],
    ["500ms", 0.5],
    ["5m", 300],
    ["1h", 3600],
    ["2d", 172_800],
  ])("should read %s", (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  it.each(["", "s", "-1", "1e3", "1 s", "10us", "0ms", "Infinity", "99999999999d", "1.s"])("should refuse %j", (text) => {
    expect(() => parseDuration(text)).toThrow(MargayError);
  });
});
