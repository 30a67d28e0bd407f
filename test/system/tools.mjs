// What the system tests share: starting margay, waiting for a word of the guest's, and proof that nothing is left behind.
import assert from "node:assert/strict";
import { chmodSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { environment, inFreshDirectory, margay, run } from "../programs/compare.mjs";

/** `margay run` with these options and program; the result of `run`. */
export const margayRun = (args, options = {}) => run([...margay, "run", ...args], options);

/** All of stderr's lines. */
export const errorLines = (result) => result.stderr.toString().split("\n").slice(0, -1);

/** Asserts that margay refused: this exit code, nothing on stdout, one line on stderr that starts with "margay: " and matches. */
export function assertRefused(result, code, pattern) {
  const lines = errorLines(result);
  assert.equal(result.code, code, `stderr: ${result.stderr}`);
  assert.equal(result.stdout.toString(), "");
  assert.equal(lines.length, 1, `one line on stderr, not: ${result.stderr}`);
  assert.match(lines[0], /^margay: /);
  assert.match(lines[0], pattern);
}

const memoryInfo = (name) => Number(new RegExp(`^${name}: +(\\d+)`, "m").exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);

/** Processes of ours that run margay: those whose environment holds `mark`. */
function marked(mark) {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark);
      } catch {
        return false; // ended meanwhile, or not ours
      }
    })
    .map((pid) => {
      try {
        return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")} ${readlinkSync(`/proc/${pid}/exe`)}`;
      } catch {
        return `${pid} (ended)`;
      }
    });
}

/** Files of margay's in shared memory and the huge-page file system. */
const traces = () =>
  ["/dev/shm", "/dev/hugepages", "/run"].flatMap((dir) => {
    try {
      return readdirSync(dir)
        .filter((name) => /margay/i.test(name))
        .map((name) => `${dir}/${name}`);
    } catch {
      return [];
    }
  });

let runs = 0;

/**
 * Runs `use` with an environment that marks all its processes and has a directory of its own for temporary files. Asserts afterwards
 * that no process lives, no huge page of the pools is held, and no temporary file or shared memory is left.
 */
export async function leavingNothing(use) {
  return inFreshDirectory(async (temporary) => {
    chmodSync(temporary, 0o777);
    const mark = `MARGAY_TEST_RUN=${process.pid}-${++runs}`;
    const [name, value] = mark.split("=");
    const pools = () => `${memoryInfo("HugePages_Total")} huge pages, ${memoryInfo("HugePages_Free")} free`;
    const before = { pools: pools(), traces: traces() };
    const result = await use({ ...environment, [name]: value, TMPDIR: temporary });
    // The kernel tears a killed process down after its parent has heard of the end.
    for (let i = 0; i < 50 && (marked(mark).length > 0 || pools() !== before.pools); i++)
      await new Promise((done) => setTimeout(done, 100));
    assert.deepEqual(marked(mark), [], "processes are left");
    assert.equal(pools(), before.pools);
    const left = [...readdirSync(temporary), ...traces().filter((file) => !before.traces.includes(file))];
    assert.deepEqual(left, [], "files are left");
    return result;
  });
}

/** Resolves with all of the child's stdout so far when that contains `word`; rejects when it ends before, or after `timeout` seconds. */
export function said(child, word, timeout = 20) {
  return new Promise((resolve, reject) => {
    child.said ??= { text: "" };
    if (child.said.text === "") child.stdout.on("data", (data) => (child.said.text += data));
    const timer = setTimeout(() => finish(new Error(`no "${word}" within ${timeout} s, but: ${child.said.text}`)), timeout * 1000);
    const look = () => child.said.text.includes(word) && finish();
    const ended = () => finish(new Error(`ended without "${word}": ${child.said.text}`));
    const finish = (error) => {
      clearTimeout(timer);
      child.stdout.off("data", look);
      child.off("close", ended);
      error ? reject(error) : resolve(child.said.text);
    };
    child.stdout.on("data", look);
    child.on("close", ended);
    look();
  });
}
