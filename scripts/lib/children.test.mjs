import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { lines, run } from "./children.mjs";

it("should give the exit code, 128 + N after signal N, and 127 for a command that is not there", async () => {
  expect((await run("sh", ["-c", "exit 3"])).code).toBe(3);
  expect((await run("sh", ["-c", "kill -9 $$"])).code).toBe(137);
  expect((await run("/no/such/command", [])).code).toBe(127);
});

it("should give a command no standard input to wait for", async () => {
  expect((await run("cat", [], { timeout: 5 })).timedOut).toBe(false);
});

it("should end the whole group at the deadline, also a grandchild that holds the output open", async () => {
  let pid = "";
  const onStdout = (chunk) => {
    pid += chunk;
  };
  const { timedOut, seconds } = await run("sh", ["-c", "sleep 60 & echo $!; exit 0"], { timeout: 0.5, onStdout });
  expect(timedOut).toBe(true);
  expect(seconds).toBeLessThan(10);
  await expect.poll(() => isRunning(Number(pid))).toBe(false);
});

it("should put lines together that arrive in pieces, and give the unfinished last one", () => {
  const got = [];
  const { push, end } = lines((line) => got.push(line));
  for (const piece of ["one\ntw", "o\r\n", "\nrest"]) push(Buffer.from(piece));
  end();
  expect(got).toEqual(["one", "two", "", "rest"]);
});

/** Not counting a zombie, which its parent (init, for an orphan) has yet to collect. */
function isRunning(pid) {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
