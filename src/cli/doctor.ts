/** `margay doctor`: what this machine offers, what to change, and whether `margay run` will work. */
import { spawnSync } from "node:child_process";
import { existsSync, writeSync } from "node:fs";
import { type KvmProbe, probeKvm } from "../host/kvm-probe.ts";
import { type Finding, judge, type Verdict, verdict } from "./doctor-findings.ts";
import { collectFacts, type Facts, packageVersion, type SelfTest } from "./doctor-report.ts";
import { doctorText } from "./doctor-text.ts";

export interface DoctorOptions {
  /** Print the report as one JSON document (docs/doctor.md). */
  readonly json?: boolean | undefined;
  /** Tests: a made-up machine's files. */
  readonly root?: string | undefined;
  readonly version?: string | undefined;
  readonly probeKvm?: (() => KvmProbe) | undefined;
  readonly selfTest?: (() => SelfTest | null) | undefined;
  readonly write?: ((text: string) => void) | undefined;
}

/** The JSON document: the facts, then what was made of them. */
export interface DoctorReport extends Facts {
  readonly findings: readonly Finding[];
  readonly verdict: Verdict;
}

/** Looks, judges, prints to stdout. Returns the exit code: 0 when `margay run` works here, else 125. */
export function doctorCommand(options: DoctorOptions = {}): number {
  const facts = collectFacts({
    root: options.root ?? "/",
    version: options.version ?? packageVersion(),
    probeKvm: options.probeKvm ?? probeKvm,
    selfTest: options.selfTest ?? runTrue,
  });
  const findings = judge(facts);
  const report: DoctorReport = { ...facts, findings, verdict: verdict(facts, findings) };
  const text = options.json === true ? doctorJson(report) : doctorText(facts, findings, report.verdict);
  (options.write ?? writeStdout)(text);
  return report.verdict.ok ? 0 : 125;
}

/** Infinity, which JSON has no number for, becomes null: no limit. Undefined becomes null, so that every key is always there. */
function doctorJson(report: DoctorReport): string {
  const plain = (_key: string, value: unknown): unknown => (value === undefined || value === Number.POSITIVE_INFINITY ? null : value);
  return `${JSON.stringify(report, plain, 2)}\n`;
}

const SELF_TEST_MS = 30_000;

/** The proof: `margay run` on the smallest program there is, in a process of its own so that a hang cannot take the doctor along. */
function runTrue(): SelfTest | null {
  const margay = process.argv[1];
  const program = ["/bin/true", "/usr/bin/true"].find((path) => existsSync(path));
  if (margay === undefined || program === undefined) return null;
  const start = process.hrtime.bigint();
  const child = spawnSync(process.execPath, [...process.execArgv, margay, "run", "--", program], {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: SELF_TEST_MS,
    killSignal: "SIGKILL",
  });
  const milliseconds = Number(process.hrtime.bigint() - start) / 1e6;
  const ok = child.status === 0;
  let detail = "";
  if (!ok) {
    const said = child.stderr?.trim().split("\n").at(-1) ?? "";
    const end =
      child.status !== null
        ? `exit code ${child.status}`
        : milliseconds >= SELF_TEST_MS
          ? `no end after ${SELF_TEST_MS / 1000} s`
          : `ended by ${child.signal ?? child.error?.message}`;
    detail = said === "" ? end : `${end}: ${said}`;
  }
  return { command: `margay run ${program}`, ok, milliseconds, detail };
}

/** All of it, synchronously; a reader that goes away (`| head`) is not our failure. */
function writeStdout(text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : "";
      if (code === "EPIPE") return;
      if (code !== "EAGAIN") throw error;
    }
  }
}
