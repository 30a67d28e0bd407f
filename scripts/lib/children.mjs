// Child processes with a deadline. Each leads a process group of its own, so that what it started ends with it; Ctrl-C and SIGTERM
// end all of them before the script itself goes.
import { spawn } from "node:child_process";
import { constants } from "node:os";

const running = new Set();

function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group has ended already.
  }
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    for (const child of running) endGroup(child, "SIGKILL");
    process.exit(128 + constants.signals[signal]);
  });
}

/**
 * Runs a command to its end, with no standard input.
 * `onStdout` and `onStderr` get Buffers as they come; `timeout` is in seconds, after which the whole group gets SIGTERM and, 5 s
 * later, SIGKILL. Resolves to { code, seconds, timedOut }; code is 128 + N after signal N and 127 when the command cannot be started.
 */
export function run(command, args, { env = process.env, cwd, timeout = 600, onStdout, onStderr } = {}) {
  return new Promise((resolve) => {
    const start = process.hrtime.bigint();
    const child = spawn(command, args, {
      cwd,
      env,
      detached: true,
      stdio: ["pipe", onStdout ? "pipe" : "inherit", onStderr ? "pipe" : "inherit"],
    });
    running.add(child);
    // End of file from a pipe rather than from /dev/null: what a hostile guest does to its descriptor 0 must not reach the machine.
    child.stdin.on("error", () => {}).end();
    let timedOut = false;
    const deadline = setTimeout(() => {
      timedOut = true;
      endGroup(child, "SIGTERM");
      setTimeout(() => endGroup(child, "SIGKILL"), 5_000).unref();
    }, timeout * 1000);
    if (onStdout) child.stdout.on("data", onStdout);
    if (onStderr) child.stderr.on("data", onStderr);
    const finish = (code) => {
      clearTimeout(deadline);
      running.delete(child);
      endGroup(child, "SIGKILL");
      resolve({ code, seconds: Number(process.hrtime.bigint() - start) / 1e9, timedOut });
    };
    child.on("error", () => finish(127));
    child.on("close", (code, signal) => finish(code ?? 128 + constants.signals[signal]));
  });
}

/** Calls `onLine` for each whole line of a stream given in Buffers; `end()` gives the unfinished rest. */
export function lines(onLine) {
  let rest = "";
  return {
    push(buffer) {
      const parts = (rest + buffer.toString("utf8")).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) onLine(line.replace(/\r$/, ""));
    },
    end() {
      if (rest !== "") onLine(rest);
      rest = "";
    },
  };
}
