// Runs the core tests (tests.mjs) in the lab machine and reports each as it ends. Two at a time: the emulator has two real CPUs in CI.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Skip } from "./checks.mjs";
import { tests } from "./tests.mjs";

const AT_ONCE = 2;
const DEADLINE = 60;

/** Seconds a test has to say what it was doing when its time was over. */
const GRACE = 5;
const LATE = Symbol("late");

/** What the promise gives, or LATE. */
async function orLate(promise, seconds) {
  const timer = new AbortController();
  try {
    return await Promise.race([promise, sleep(seconds * 1000, LATE, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}

/** Ends as the promise does. After `seconds` it aborts `controller`, so that what the test started ends too, and then throws. */
async function within(seconds, controller, promise) {
  if ((await orLate(promise, seconds)) !== LATE) return;
  controller.abort();
  const said = promise.then(
    () => "",
    (error) => `: ${error.message}`,
  );
  const words = await orLate(said, GRACE);
  throw new Error(`not done after ${seconds} s${words === LATE ? "" : words}`);
}

/** The first lines, each cut: a report is to be read. */
const excerpt = (text) =>
  text
    .split("\n")
    .slice(0, 12)
    .map((line) => line.slice(0, 600))
    .join("\n");

async function runTest(test, report) {
  const directory = mkdtempSync(join(tmpdir(), "test-"));
  const controller = new AbortController();
  const began = performance.now();
  let outcome = "ok";
  let detail = "";
  try {
    await within(test.seconds ?? DEADLINE, controller, Promise.resolve(test.run({ directory, signal: controller.signal })));
  } catch (error) {
    outcome = error instanceof Skip ? "skipped" : "failed";
    detail = excerpt(error.message);
  }
  rmSync(directory, { recursive: true, force: true });
  report({ result: test.name, outcome, seconds: (performance.now() - began) / 1000, detail });
  return outcome !== "failed";
}

/**
 * @param {(message: object) => void} report
 * @param {{only?: string}} job `only`: a regular expression that names must match
 * @returns {Promise<number>} 0 where all tests passed
 */
export async function suite(report, { only }) {
  const pattern = new RegExp(only ?? "");
  const waiting = tests.filter(({ name }) => pattern.test(name));
  if (waiting.length === 0) {
    report({ say: `lab: no test matches ${only}` });
    return 1;
  }
  let good = true;
  const work = async () => {
    for (let test = waiting.shift(); test !== undefined; test = waiting.shift()) {
      if (!(await runTest(test, report))) good = false;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return good ? 0 : 1;
}
