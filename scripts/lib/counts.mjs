// How many tests a suite ran, from what its runner left behind. A runner that left nothing readable counts as one failure: a suite
// that does not say what it did has not passed.
import { existsSync, readFileSync } from "node:fs";

export const nothing = { passed: 0, failed: 0, skipped: 0 };

export const add = (a, b) => ({ passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped });

/** A suite that is one test: it passes with exit code 0. */
export const byExitCode = (code) => (code === 0 ? { ...nothing, passed: 1 } : { ...nothing, failed: 1 });

/** An exit code other than 0 without a failed test (a crash, a deadline) is a failure of its own. */
const withExitCode = (counts, code) => (code !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts);

/** vitest's JSON report. A file that failed before its first test counts as one failure. */
export function fromVitest(file, code) {
  if (!existsSync(file)) return { ...nothing, failed: 1 };
  const report = JSON.parse(readFileSync(file, "utf8"));
  const broken = report.testResults.filter((result) => result.status === "failed" && result.assertionResults.length === 0).length;
  const counts = {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken,
    skipped: report.numPendingTests + report.numTodoTests,
  };
  return withExitCode(counts, code);
}

/**
 * The totals that node:test's TAP reporter writes last ("# pass 12"); cancelled tests are failures. A report cut short has no totals:
 * what it lists counts, and one failure for the cut.
 */
export function fromTap(file, code) {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const total = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  const counts = { passed: total("pass"), failed: total("fail") + total("cancelled"), skipped: total("skipped") + total("todo") };
  if (!Object.values(counts).some(Number.isNaN)) return withExitCode(counts, code);
  const listed = (pattern) => [...text.matchAll(pattern)].length;
  const skipped = listed(/^ok \d+ .*# (SKIP|TODO)/gm);
  return { passed: listed(/^ok \d+ /gm) - skipped, failed: listed(/^not ok \d+ /gm) + 1, skipped };
}

/** The last line "N passed, N failed[, N skipped]" of a suite's output. */
export function fromClosingLine(output, code) {
  const match = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm)].at(-1);
  if (!match) return { ...nothing, failed: 1 };
  return withExitCode({ passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3] ?? 0) }, code);
}
