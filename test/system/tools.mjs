// What the system tests share: starting margay, waiting for a word of the guest's, and proof that nothing is left behind.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { environment, margay, run } from "../programs/compare.mjs";

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

/** Names in the directories where programs leave things. Other users' come and go: only margay's count. */
const traces = () =>
  [tmpdir(), "/dev/shm", "/dev/hugepages", "/run"].flatMap((dir) => {
    try {
      return readdirSync(dir)
        .filter((name) => /margay/i.test(name) && !/^margay-(test|data)-/.test(name))
        .map((name) => `${dir}/${name}`);
    } catch {
      return [];
    }
  });

let runs = 0;

/**
 * Runs `use` with an environment that marks all its processes and asserts afterwards that none of them lives, that no huge page of
 * the pools is held and that no file is left in /tmp, /dev/shm and the like.
 */
export async function leavingNothing(use) {
  const mark = `MARGAY_TEST_RUN=${process.pid}-${++runs}`;
  const [name, value] = mark.split("=");
  const pools = () => `${memoryInfo("HugePages_Total")} huge pages, ${memoryInfo("HugePages_Free")} free`;
  const before = { pools: pools(), traces: traces() };
  const result = await use({ ...environment, [name]: value });
  // The kernel tears a killed process down after its parent has heard of the end.
  for (let i = 0; i < 50 && (marked(mark).length > 0 || pools() !== before.pools); i++) await new Promise((done) => setTimeout(done, 100));
  assert.deepEqual(marked(mark), [], "processes are left");
  assert.equal(pools(), before.pools);
  assert.deepEqual(
    traces().filter((name) => !before.traces.includes(name)),
    [],
    "files are left",
  );
  return result;
}

/** Resolves when the child has said `word` on stdout; rejects when it ends before, or after `timeout` seconds. */
export function said(child, word, timeout = 20) {
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => reject(new Error(`no "${word}" within ${timeout} s, but: ${text}`)), timeout * 1000);
    child.stdout.on("data", (data) => {
      text += data;
      if (!text.includes(word)) return;
      clearTimeout(timer);
      resolve(text);
    });
    child.on("close", () => {
      clearTimeout(timer);
      reject(new Error(`ended without "${word}": ${text}`));
    });
  });
}
