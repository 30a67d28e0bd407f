import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { byExitCode, fromClosingLine, fromTap, fromVitest } from "./counts.mjs";

const folder = mkdtempSync(join(tmpdir(), "margay-counts-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name, text) {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const tap = (pass, fail, cancelled) =>
  `TAP version 13\n# Subtest: x\nok 1 - # pass 99\n1..3\n# tests 9\n# suites 0\n# pass ${pass}\n# fail ${fail}\n# cancelled ${cancelled}\n# skipped 2\n# todo 1\n# duration_ms 5\n`;

describe("counts of a suite", () => {
  it("should take the exit code for a suite that is one test", () => {
    expect(byExitCode(0)).toEqual({ passed: 1, failed: 0, skipped: 0 });
    expect(byExitCode(137)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });

  it("should count cancelled node tests as failed and todo as skipped", () => {
    expect(fromTap(file("a.tap", tap(5, 1, 1)), 1)).toEqual({ passed: 5, failed: 2, skipped: 3 });
  });

  it("should fail when the TAP report is missing or cut short", () => {
    expect(fromTap(join(folder, "none.tap"), 0).failed).toBe(1);
    const cut = "TAP version 13\nok 1 - x\nok 2 - y # SKIP\n    not ok 1 - inner\nnot ok 3 - z\n";
    expect(fromTap(file("cut.tap", cut), 0)).toEqual({ passed: 1, failed: 2, skipped: 1 });
  });

  it("should fail when all tests passed but the runner did not exit with 0", () => {
    expect(fromTap(file("b.tap", tap(5, 0, 0)), 143)).toEqual({ passed: 5, failed: 1, skipped: 3 });
    expect(fromClosingLine("3 passed, 0 failed", 1).failed).toBe(1);
  });

  it("should count a vitest file that broke before its first test", () => {
    const report = {
      numPassedTests: 4,
      numFailedTests: 0,
      numPendingTests: 1,
      numTodoTests: 0,
      testResults: [
        { status: "failed", assertionResults: [] },
        { status: "passed", assertionResults: [{}] },
      ],
    };
    expect(fromVitest(file("v.json", JSON.stringify(report)), 1)).toEqual({ passed: 4, failed: 1, skipped: 1 });
    expect(fromVitest(join(folder, "none.json"), 0).failed).toBe(1);
  });

  it("should take the last closing line, with or without skipped", () => {
    expect(fromClosingLine("1 passed, 1 failed\nx\n12 passed, 0 failed, 3 skipped\n", 0)).toEqual({ passed: 12, failed: 0, skipped: 3 });
    expect(fromClosingLine("all 7 passed, 0 failed so far", 0).failed).toBe(1);
  });
});
