// `margay run` as seen from a shell: signals from outside, standard streams that are closed, time-outs, options that change what the
// program sees, and the statistics and traces it can write.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { binary, build } from "../programs/build.mjs";
import { inFreshDirectory, margay, run } from "../programs/compare.mjs";
import { leavingNothing, margayRun, said } from "./tools.mjs";

before(async () => {
  await build(["interrupt", "args", "exits", "crew", "tiny"]);
});

const interrupt = binary("interrupt", "static");

/** What interrupt.c prints for a signal. */
const heard = (signal) => `signal ${String(constants.signals[signal]).padStart(2, "0")}\n`;

/** Starts the guest, waits until it is ready, sends the signals (each after the handler of the one before has spoken), resolves with the result. */
async function signalled(way, signals, options = []) {
  return leavingNothing(async (env) => {
    let sent;
    const result = await margayRun([...options, interrupt, way], {
      env,
      timeout: 60,
      started: (child) => {
        sent = (async () => {
          await said(child, "ready\n");
          for (const [i, signal] of signals.entries()) {
            process.kill(child.pid, signal);
            if (i + 1 < signals.length) await said(child, heard(signal));
          }
        })();
        sent.catch(() => {}); // the assertions of the test say more
      },
    });
    await sent;
    return result;
  });
}

// Signals from outside
for (const way of ["handle", "compute", "threads"]) {
  test(`should pass signals on to handlers of the guest (${way})`, async () => {
    const signals = ["SIGINT", "SIGUSR1", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTERM"];
    const result = await signalled(way, signals);
    assert.equal(result.code, 5, result.stderr.toString());
    assert.equal(result.stdout.toString(), ["ready\n", ...signals.map(heard)].join(""));
  });
}
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
  ["SIGQUIT", 131],
  ["SIGUSR1", 138],
  ["SIGKILL", 137],
]) {
  test(`should exit ${code} when the guest dies of ${signal}`, async () => {
    const result = await signalled("default", [signal]);
    assert.equal(result.code, code, result.stderr.toString());
    assert.equal(result.stdout.toString(), "ready\n");
  });
}
test("should end at once on SIGINT while all threads compute", async () => {
  const result = await leavingNothing(async (env) => {
    const since = performance.now();
    const r = await margayRun([binary("exits", "static"), "exit-while-threads-block", "7"], {
      env,
      started: (child) => setTimeout(() => child.kill("SIGINT"), 100),
    });
    assert.ok(performance.now() - since < 15_000);
    return r;
  });
  assert.ok([7, 130].includes(result.code), `${result.code}`);
});
// Standard streams
test("should not take another descriptor for a standard input that is closed", async () => {
  // Node opens /dev/null in place of closed standard streams before any of our code runs: the guest reads the end of a file at once
  // where natively it would get EBADF.
  const guest = await run(["/bin/sh", "-c", 'exec 0<&-; exec "$@"', "sh", ...margay, "run", "/bin/cat"]);
  assert.equal(guest.code, 0);
  assert.equal(guest.stdout.toString() + guest.stderr.toString(), "");
});
test("should end the guest by SIGPIPE when nobody reads its output", async () => {
  const script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}';
  const seq = ["/usr/bin/seq", "1", "1000000"];
  const native = await run(["/bin/bash", "-c", script, "bash", ...seq]);
  const guest = await leavingNothing((env) => run(["/bin/bash", "-c", script, "bash", ...margay, "run", ...seq], { env }));
  assert.equal(native.code, 141);
  assert.equal(guest.code, 141, guest.stderr.toString());
  assert.equal(guest.stdout.toString(), "1\n");
});
test("should pass a megabyte through standard input and output unchanged", async () => {
  const input = Buffer.alloc(1 << 20);
  for (let i = 0; i < input.length; i++) input[i] = (i * 2654435761) >>> 24;
  const result = await margayRun(["/bin/cat"], { input });
  assert.equal(result.code, 0);
  assert.ok(result.stdout.equals(input));
});
test("should let the guest append to the file that is its standard output", async () => {
  await inFreshDirectory(async (dir) => {
    const out = join(dir, "out");
    writeFileSync(out, "before\n");
    const result = await run(["/bin/sh", "-c", '"$@" >>out; echo after >>out', "sh", ...margay, "run", "/bin/echo", "between"], {
      cwd: dir,
    });
    assert.equal(result.code, 0, result.stderr.toString());
    assert.equal(readFileSync(out, "utf8"), "before\nbetween\nafter\n");
  });
});

// Options
test("should end a guest that takes too long with 124", async () => {
  for (const way of ["default", "compute"]) {
    const result = await leavingNothing((env) => margayRun(["--timeout", "1s", interrupt, way], { env }));
    assert.equal(result.code, 124, result.stderr.toString());
    assert.equal(result.stdout.toString(), "ready\n");
    assert.ok(result.seconds >= 1 && result.seconds < 10, `${result.seconds} s`);
  }
});
test("should set, replace and remove environment variables", async () => {
  const result = await margayRun(["--env", "NEW=a=b c", "--env", "OLD=new", "--env", "GONE", "/usr/bin/env"], {
    env: { PATH: "/bin", OLD: "old", GONE: "x", KEPT: "k" },
  });
  assert.equal(result.code, 0, result.stderr.toString());
  assert.deepEqual(result.stdout.toString().split("\n").filter(Boolean).sort(), ["KEPT=k", "NEW=a=b c", "OLD=new", "PATH=/bin"]);
});
test("should start in the working directory asked for", async () => {
  await inFreshDirectory(async (dir) => {
    mkdirSync(join(dir, "sub"));
    const result = await margayRun(["--workdir", join(dir, "sub"), "/bin/pwd", "-P"], { cwd: "/" });
    assert.equal(result.stdout.toString(), `${realpathSync(join(dir, "sub"))}\n`);
    const relative = await margayRun(["--workdir", "sub", "/bin/pwd", "-P"], { cwd: dir });
    assert.equal(relative.stdout.toString(), `${realpathSync(join(dir, "sub"))}\n`, relative.stderr.toString());
  });
});
test("should keep options of the program apart from its own", async () => {
  const result = await margayRun([binary("args", "static"), "--stats", "--pages", "--"], { env: {} });
  assert.equal(result.code, 4, result.stderr.toString());
  assert.match(result.stdout.toString(), /argv\[1\]=<--stats>\nargv\[2\]=<--pages>\nargv\[3\]=<-->\n/);
});
test("should write statistics as JSON", async () => {
  await inFreshDirectory(async (dir) => {
    const result = await margayRun(["--stats=s.json", "--", binary("crew", "static")], { cwd: dir });
    assert.equal(result.code, 0, result.stderr.toString());
    assert.equal(result.stdout.toString(), "sum 1468\n");
    assert.equal(result.stderr.toString(), "");
    const stats = JSON.parse(readFileSync(join(dir, "s.json"), "utf8"));
    assert.ok(JSON.stringify(stats).length > 100);
  });
});
test("should print statistics on stderr and leave stdout alone", async () => {
  const result = await margayRun(["--stats", "--", binary("tiny", "static")]);
  assert.equal(result.code, 42);
  assert.equal(result.stdout.toString(), "hello from assembler\n");
  assert.ok(result.stderr.length > 0);
});
test("should count and show unknown system calls", async () => {
  await inFreshDirectory(async (dir) => {
    await build(["registers"]);
    const result = await margayRun(["--stats=s.json", "--", binary("registers", "static"), "unknown_calls"], { cwd: dir });
    assert.equal(result.code, 0, result.stderr.toString());
    assert.match(readFileSync(join(dir, "s.json"), "utf8"), /unknown|ENOSYS|unsupported/i);
  });
});
test("should trace system calls", async () => {
  await inFreshDirectory(async (dir) => {
    const onError = await margayRun(["--strace", "--", binary("tiny", "static")]);
    assert.equal(onError.code, 42);
    assert.match(onError.stderr.toString(), /write\(1, "hello from assembler\\n", 21\) += 21/);
    assert.match(onError.stderr.toString(), /exit_group\(42\)/);
    const result = await margayRun(["--strace=trace.txt", "--", "/bin/cat", "/etc/hostname"], { cwd: dir });
    assert.equal(result.code, 0);
    assert.equal(result.stderr.toString(), "");
    const trace = readFileSync(join(dir, "trace.txt"), "utf8");
    assert.match(trace, /openat\(AT_FDCWD, "\/etc\/hostname", O_RDONLY\S*\) += 3/);
  });
});
test("should load at the same addresses with --no-aslr and at others without", async () => {
  const maps = async (...options) =>
    (await margayRun([...options, "/bin/cat", "/proc/self/maps"])).stdout.toString().replace(/ +\d+ /g, " ");
  assert.equal(await maps("--no-aslr"), await maps("--no-aslr"));
  assert.notEqual(await maps(), await maps());
});
test("should run natively with --native", async () => {
  await inFreshDirectory(async (dir) => {
    const result = await margayRun(["--native", "--", binary("exits", "static"), "abort"], { cwd: dir });
    assert.equal(result.code, 134, result.stderr.toString());
    const release = await margayRun(["--native", "--", "/bin/cat", "/proc/sys/kernel/osrelease"]);
    assert.equal(release.stdout.toString(), readFileSync("/proc/sys/kernel/osrelease", "utf8"));
  });
});
test("should confine the guest to the CPUs given", async () => {
  const result = await margayRun(["--cpus", "0", "--", "/usr/bin/nproc"]);
  assert.equal(result.stdout.toString(), "1\n", result.stderr.toString());
});
test("should report a fault with address, place and the nearest mappings", async () => {
  const result = await leavingNothing((env) => margayRun([binary("exits", "static"), "segv"], { env }));
  assert.equal(result.code, 139);
  assert.match(result.stderr.toString(), /^margay: SIGSEGV in thread \d+: .*0x8\b.*main/m);
});
test("should run many guests at once", async () => {
  const results = await leavingNothing((env) =>
    Promise.all(Array.from({ length: 6 }, () => margayRun([binary("crew", "dynamic")], { env }))),
  );
  for (const result of results) assert.equal(`${result.code} ${result.stdout}`, "0 sum 1468\n", result.stderr.toString());
});
test("should leave no file of a guest that is killed", async () => {
  await inFreshDirectory(async (dir) => {
    const result = await leavingNothing((env) =>
      margayRun(["--stats=s.json", interrupt, "default"], {
        env,
        cwd: dir,
        started: (child) =>
          said(child, "ready").then(
            () => child.kill("SIGKILL"),
            () => {},
          ),
      }),
    );
    assert.equal(result.code, 137);
    assert.ok(
      !existsSync(join(dir, "s.json")) ||
        readFileSync(join(dir, "s.json"), "utf8").length === 0 ||
        JSON.parse(readFileSync(join(dir, "s.json"), "utf8")),
    );
  });
});
