// Every way to end: the exit code is the native one, 128+N after a signal, and what was printed before is there.
import { before, test } from "node:test";
import { binary, build } from "./build.mjs";
import { compare } from "./compare.mjs";

before(async () => {
  await build(["exits", "crew"]);
});

/** Ways of src/exits.c with the native exit code. */
const ways = [
  [["return", "0"], 0],
  [["return", "255"], 255],
  [["return", "256"], 0],
  [["exit", "3"], 3],
  [["_exit", "77"], 77],
  [["exit-syscall", "9"], 9],
  [["exit-from-thread", "4"], 4],
  [["group-while-main-sleeps", "5"], 5],
  [["group-while-main-spins", "6"], 6],
  [["exit-while-threads-block", "7"], 7],
  [["main-pthread-exit"], 0],
  [["abort"], 134],
  [["segv"], 139],
  [["segv-thread"], 139],
  [["segv-ignored"], 139],
  [["segv-blocked"], 139],
  [["execute-data"], 139],
  [["jump-to-zero"], 139],
  [["noncanonical"], 139],
  [["write-text"], 139],
  [["overflow"], 139],
  [["fpe"], 136],
  [["ill"], 132],
  [["trap"], 133],
  [["privileged"], 139],
  [["raise", "1"], 129],
  [["raise", "9"], 137],
  [["raise", "17"], 99],
  [["kill", "15"], 143],
  [["tgkill", "12"], 140],
  [["kill-with-blocked-thread", "10"], 138],
  [["sigpipe"], 141],
  [["alarm"], 142],
  [["rlimit-fsize"], 153],
];

/**
 * A program that a fault kills natively dies without a word; `margay run` adds its report of the fault to stderr: lines that start with
 * "margay: ". They are not the program's.
 */
const withoutReport = (text) => text.replace(/^margay: .*\n(?: .*\n)*/gm, "");

for (const [args, code] of ways) {
  for (const [variant, pages] of [
    ["dynamic", "2M/2M"],
    ["static", "4K/4K"],
  ]) {
    test(`should end with ${code} after ${args.join(" ")} (${variant}, ${pages})`, async () => {
      await compare([binary("exits", variant), ...args], { pages, code, normalise: withoutReport, timeout: 30 });
    });
  }
}

test("should end while threads of a crew still run and wait", async () => {
  await compare([binary("crew", "dynamic"), "8", "and exit"], { code: 3 });
});
