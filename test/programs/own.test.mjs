// Every own program, in every way it is linked, against its native run. Static and dynamic programs run with 2M/2M and 4K/4K, static-PIE
// ones with 2M/4K, those on musl with 4K/2M: all linkings and all page policies, not every pair of both.
import { before, test } from "node:test";
import { binary, build, programs } from "./build.mjs";
import { compare } from "./compare.mjs";

before(async () => {
  await build();
});

const pagingsOf = {
  static: ["2M/2M", "4K/4K"],
  dynamic: ["2M/2M", "4K/4K"],
  go: ["2M/2M", "4K/4K"],
  "static-pie": ["2M/4K"],
  musl: ["4K/2M"],
};

/** How programs are started that need more than their name. Those with `skip` have tests of their own. */
const starts = {
  args: { args: ["one", "", "two words", "ü", "-x", "--", "a\nb"], input: "Some input\nwithout a last newline", code: 8 },
  tiny: { code: 42 },
  cxx: { input: "first line\nsecond line\n" },
  fortran: { args: ["an argument"] },
  go: { args: ["a", "b"] },
  crew: { args: ["6"] },
  exits: { skip: true },
  interrupt: { skip: true },
  "fuzz-syscalls": { skip: true },
};

for (const { name, variants } of programs) {
  const { args = [], skip = false, ...options } = starts[name] ?? {};
  if (skip) continue;
  for (const variant of variants) {
    for (const pages of pagingsOf[variant] ?? []) {
      test(`should run ${name}.${variant} with ${pages} as natively`, async () => {
        await compare([binary(name, variant), ...args], { pages, timeout: 90, ...options });
      });
    }
  }
}
