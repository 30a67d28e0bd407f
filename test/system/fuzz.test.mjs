// A hostile guest makes random system calls from several threads. It may end in any way that is its own; margay must neither crash nor
// hang nor leave anything. MARGAY_FUZZ is the number of seconds per run (default 4), MARGAY_FUZZ_SEED the first seed: a failure names its own.
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { binary, build } from "../programs/build.mjs";
import { inFreshDirectory, margay, run } from "../programs/compare.mjs";
import { leavingNothing } from "./tools.mjs";

before(async () => {
  await build(["fuzz-syscalls"]);
});

/**
 * As root the guest's calls could change the machine: what a random path names would be unlinked or renamed for real. So its run sees every file system
 * read-only but the directory it runs in, in a mount namespace of its own.
 */
const READ_ONLY =
  'mount --make-rprivate / && mount -t tmpfs fuzz "$1" && cp "$2" "$1/fuzz" && for m in $(cut -d" " -f2 /proc/self/mounts); do [ "$m" = "$1" ] || mount -o remount,bind,ro "$m" 2>/dev/null || :; done; cd "$1"; shift 2; exec "$@"';
const contained = (dir, program, command) => (process.getuid() === 0 ? ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", READ_ONLY, "sh", dir, program, ...command] : command);

const seconds = Number(process.env.MARGAY_FUZZ ?? 4);
const firstSeed = Number(process.env.MARGAY_FUZZ_SEED ?? 1);

/** Exit codes with which margay itself has failed. */
const ownFailure = (code) => code >= 124 && code <= 127;

for (const [kind, threads, runs] of [
  ["gentle", 1, 1],
  ["gentle", 4, 2],
  ["wild", 1, 3],
  ["wild", 4, 3],
]) {
  for (let i = 0; i < runs; i++) {
    const seed = firstSeed + i;
    test(`should stand ${threads} threads of ${kind} random system calls, seed ${seed}`, async () => {
      await inFreshDirectory(async (dir) => {
        copyFileSync(binary("fuzz-syscalls", "static"), join(dir, "fuzz"));
        const result = await leavingNothing((env) => {
          // An empty environment: no string of it may name a file. The mark for left-over processes is margay's, not the guest's.
          const mark = Object.entries(env).filter(([name]) => name.startsWith("MARGAY_TEST_RUN"));
          const hide = mark.flatMap(([name]) => ["--env", name]);
          const command = [...margay, "run", "--mem", "512M", ...hide, "--", "./fuzz", `${seconds}`, `${seed}`, `${threads}`, kind];
          return run(contained(dir, binary("fuzz-syscalls", "static"), command), {
            cwd: dir,
            env: Object.fromEntries(mark),
            timeout: seconds + 30,
          });
        });
        const end = result.stderr.toString("latin1").slice(-3000);
        assert.ok(!result.timedOut, `hangs after ${result.seconds.toFixed(0)} s; stderr ends: ${end}`);
        assert.ok(!ownFailure(result.code), `exit code ${result.code}; stderr ends: ${end}`);
        assert.doesNotMatch(end, /E_INTERNAL|^Error:|\bat .*\.js:\d+/m);
        if (kind === "gentle" && result.code === 0) assert.match(result.stdout.toString("latin1"), /\d+ calls\n$/);
      });
    });
  }
}
