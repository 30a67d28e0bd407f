// The same threaded program many times over: no hang, no wrong result, nothing left. MARGAY_SOAK is the number of runs (default 25; the
// issue asks for 1,000 once).
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { binary, build } from "../programs/build.mjs";
import { leavingNothing, margayRun } from "./tools.mjs";

before(async () => {
  await build(["crew"]);
});

const runs = Number(process.env.MARGAY_SOAK ?? 25);

test(`should run a threaded program ${runs} times in a row`, async () => {
  await leavingNothing(async (env) => {
    for (let i = 0; i < runs; i++) {
      // Every fifth ends by exit while its threads still run and wait; linkings and numbers of threads alternate.
      const early = i % 5 === 4;
      const args = [binary("crew", i % 2 ? "static" : "dynamic"), `${1 + (i % 8)}`, ...(early ? ["early"] : [])];
      const result = await margayRun(args, { env, timeout: 30 });
      assert.equal(
        `${result.code} ${result.stdout}`,
        `${early ? 3 : 0} sum 1468\n`,
        `run ${i} of ${args.join(" ")}${result.timedOut ? " hangs" : ""}: ${result.stderr}`,
      );
    }
  });
});
