// Runs the core tests (tests.mjs) in the lab machine and reports each as it ends. Two at a time: the emulator has two real CPUs in CI.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Skip } from "./checks.mjs";
import { tests } from "./tests.mjs";

const AT_ONCE = 2;
const DEADLINE = 60;

/** Ends with the promise or, after `seconds`, with an error. Aborts `controller` then, so that what the test started ends too. */
function within(seconds, controller, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      controller.abort();
      reject(new Error(`not done after ${seconds} s`));
    }, seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
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
    await within(test.seconds ?? DEADLINE, controller, test.run({ directory, signal: controller.signal }));
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
