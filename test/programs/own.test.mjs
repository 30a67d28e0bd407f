// Every own program, in every way it is linked, against its native run: with glibc static, static-PIE and dynamic under 2M/2M and 4K/4K,
// with musl under the mixed policies. Programs that take seconds run once per linking, with a policy of its own.
import { before, test } from "node:test";
import { binary, build, programs } from "./build.mjs";
import { compare } from "./compare.mjs";

before(async () => {
  await build();
});

const both = ["2M/2M", "4K/4K"];
const pagingsOf = { static: both, "static-pie": both, dynamic: both, go: both, musl: ["2M/4K", "4K/2M"] };
const heavy = ["memory-model", "signals", "sigstate", "threads"];
const heavyPagingsOf = { static: ["2M/2M"], "static-pie": ["2M/4K"], dynamic: ["4K/4K"], musl: ["4K/2M"] };

/** How programs are started that need more than their name. Those with `skip` have tests of their own. */
const starts = {
  args: { args: ["one", "", "two words", "ü", "-x", "--", "a\nb"], input: "Some input\nwithout a last newline", code: 8 },
  tiny: { code: 42 },
  cxx: { input: "first line\nsecond line\n" },
  fortran: { args: ["an argument"] },
  go: { args: ["a", "b"] },
  crew: { args: ["6"] },
  registers: { args: ["general_registers", "vector_registers", "floating_point_modes", "segment_bases", "unknown_calls"] },
  exits: { skip: true },
  interrupt: { skip: true },
  "fuzz-syscalls": { skip: true },
};

for (const { name, variants } of programs) {
  const { args = [], skip = false, ...options } = starts[name] ?? {};
  if (skip) continue;
  for (const variant of variants) {
    for (const pages of (heavy.includes(name) ? heavyPagingsOf : pagingsOf)[variant] ?? []) {
      test(`should run ${name}.${variant} with ${pages} as natively`, async () => {
        await compare([binary(name, variant), ...args], { pages, timeout: 90, ...options });
      });
    }
  }
}

test("should keep the arithmetic flags over calls that are answered in the guest", { todo: "the stub compares call numbers" }, async () => {
  await compare([binary("registers", "static"), "status_flags"]);
});
