/**
 * `--native`: the same program on the host, on the same CPUs and memory node and with the same page policy: the baseline of every comparison.
 * Large pages natively: glibc's malloc is told to use THP or the hugetlb pool, and text, data and bss are left to the kernel; --stats says what came of it.
 */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { formatCpuList } from "../host/cpulist.ts";
import { MargayError } from "../host/error.ts";
import { NR } from "../abi/nr.ts";
import { createGateArea, openGate } from "../host/gate.ts";
import { createScratch } from "../host/memory.ts";
import { readTopology } from "../host/topology.ts";
import type { RunOptions } from "./options.ts";
import { choosePartition } from "./partition.ts";

/** glibc's switch for large pages in malloc: 1 = THP by madvise. */
const THP_MALLOC = "glibc.malloc.hugetlb=1";

/** Runs the program on the host and ends this process as the program ended. Throws MargayError when it cannot start. */
export function runNative(options: RunOptions): void {
  const gate = openGate(createGateArea(), 0);
  const scratch = createScratch(gate);
  const partition = choosePartition(readTopology("/", { caches: false, cores: false }), {
    cpus: options.cpus,
    numa: options.numa,
    mem: options.mem,
    hugetlb: options.pages.hostHuge,
  });
  const mask = new Uint8Array(1024);
  for (const cpu of partition.cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  scratch.u8.set(mask);
  gate.sys(NR.sched_setaffinity, 0, mask.length, scratch.address);
  if (options.numa !== undefined)
    bindMemory(
      gate.sys,
      scratch,
      partition.nodes.map((n) => n.hostNode),
    );
  // PR_SET_THP_DISABLE is inherited across exec: 4K pages for the baseline that wants them.
  if (!options.pages.hostHuge) gate.sys(NR.prctl, 41, 1, 0, 0, 0);

  const env: Record<string, string> = {};
  for (const entry of options.env) {
    const at = entry.indexOf("=");
    if (at > 0) env[entry.slice(0, at)] = Buffer.from(entry.slice(at + 1), "latin1").toString();
  }
  if (options.pages.hostHuge) env["GLIBC_TUNABLES"] = env["GLIBC_TUNABLES"] ? `${env["GLIBC_TUNABLES"]}:${THP_MALLOC}` : THP_MALLOC;
  const started = process.hrtime.bigint();
  const text = (s: string) => Buffer.from(s, "latin1").toString();
  const child = spawn(text(options.program), options.argv.slice(1).map(text), { argv0: text(options.argv[0]!), stdio: "inherit", env });
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const) process.on(signal, forward);
  let timedOut = false;
  const timer =
    options.timeoutSeconds === undefined
      ? null
      : setTimeout(() => {
          timedOut = true;
          child.kill("SIGKILL");
        }, options.timeoutSeconds * 1000);
  let peak = { resident: 0, huge: 0 };
  const sampler = options.stats
    ? setInterval(() => {
        peak = sample(child.pid, peak);
      }, 100)
    : null;
  child.on("error", (error: NodeJS.ErrnoException) => {
    const code = error.code === "ENOENT" ? "E_NOT_FOUND" : "E_NOT_EXECUTABLE";
    const failure = new MargayError(code, `cannot be started: ${error.code}`, { where: options.program });
    writeSync(2, `margay: ${failure.code}: ${failure.what} (${failure.where}): ${failure.hint}\n`);
    process.exit(failure.exitCode);
  });
  child.on("exit", (code, signal) => {
    if (timer) clearTimeout(timer);
    if (sampler) clearInterval(sampler);
    const exitCode = timedOut ? 124 : signal ? 128 + constants.signals[signal] : (code ?? 0);
    if (timedOut)
      writeSync(
        2,
        "margay: E_TIMEOUT: the program ran longer than --timeout allows: give it more time or find out what it waits for (--strace)\n",
      );
    if (options.stats) report(options, exitCode, Number(process.hrtime.bigint() - started) / 1e9, partition.cpus, peak);
    process.exit(exitCode);
  });
}

/** set_mempolicy(MPOL_BIND) of this process, which its child inherits. */
function bindMemory(sys: ReturnType<typeof openGate>["sys"], scratch: ReturnType<typeof createScratch>, nodes: readonly number[]): void {
  scratch.u8.fill(0, 0, 128);
  for (const node of nodes) scratch.u8[node >> 3]! |= 1 << (node & 7);
  sys(NR.set_mempolicy, 2, scratch.address, 1024);
}

/** The largest resident sizes seen, from the child's smaps_rollup. */
function sample(pid: number | undefined, peak: { resident: number; huge: number }): { resident: number; huge: number } {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
    const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0) * 1024;
    const hugetlb = field("Private_Hugetlb") + field("Shared_Hugetlb");
    return { resident: Math.max(peak.resident, field("Rss") + hugetlb), huge: Math.max(peak.huge, field("AnonHugePages") + hugetlb) };
  } catch {
    return peak;
  }
}

function report(
  options: RunOptions,
  exitCode: number,
  wallSeconds: number,
  cpus: readonly number[],
  peak: { resident: number; huge: number },
): void {
  const paging = options.pages.hostHuge ? "2M" : "4K";
  if (typeof options.stats === "string") {
    const path = Buffer.from(options.stats, "latin1");
    writeFileSync(
      path,
      `${JSON.stringify({ version: 1, native: true, exitCode, wallSeconds, paging, cpus, memory: { peakResidentBytes: peak.resident, peakBytesOn2M: peak.huge } }, null, 2)}\n`,
    );
    return;
  }
  writeSync(
    2,
    `margay: native, exit code ${exitCode} after ${wallSeconds.toFixed(3)} s, pages ${paging}, CPUs ${formatCpuList(cpus)}; resident at most ${(peak.resident / 2 ** 20).toFixed(1)} MiB, of it ${(peak.huge / 2 ** 20).toFixed(1)} MiB on 2M pages\n`,
  );
}
