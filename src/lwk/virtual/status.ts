/**
 * /proc/PID/status, stat, statm, limits, cmdline, environ: what the LWK knows; what only the host knows (credentials, processor time, context
 * switches) is taken from the host's file of the thread, field by field. Formats: proc_pid_status(5), proc_pid_stat(5), fs/proc/array.c.
 */
import { SIGNAL_COUNT, signalBit } from "../../abi/signal.ts";
import { RLIM_INFINITY } from "../../abi/resource.ts";
import { formatCpuList } from "../../host/cpulist.ts";
import { readText } from "../../host/sysfs.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { H, OFFSET, T, THREAD } from "../state.ts";
import { getLimit } from "../syscalls/limits.ts";
import { cpuMask } from "./masks.ts";
import { usage } from "./memory-use.ts";

/** Slot of the thread that a place's `param` names: 0 the process, by its first thread; else slot + 1. */
export function slotOfParam(param: number): number {
  return param === 0 ? 0 : param - 1;
}

/** A thread's name (latin1). */
export function nameOf(k: Kernel, slot: number): string {
  const at = (k.state.thread(slot) + T.name) * 4;
  const bytes = Buffer.from(k.state.u8.slice(at, at + 16));
  const end = bytes.indexOf(0);
  return bytes.toString("latin1", 0, end < 0 ? 15 : end);
}

export function tidOf(k: Kernel, slot: number): number {
  return k.state.i32[k.state.thread(slot) + T.tid]!;
}

/** Letter and word of a thread's state. Whoever reads this runs. */
function runState(k: Kernel, slot: number): string {
  const phase = k.state.i32[k.state.thread(slot) + T.state]!;
  if (slot === k.slot) return "R (running)";
  if (phase === THREAD.EXITED) return "Z (zombie)";
  return k.state.i32[k.state.thread(slot) + T.call]! >= 0 ? "S (sleeping)" : "R (running)";
}

/** The host's file `name` of the thread. */
function hostFile(k: Kernel, slot: number, name: string): string {
  return readText(`/proc/self/task/${k.state.i32[k.state.thread(slot) + T.hostTid]!}/${name}`) ?? readText(`/proc/self/${name}`) ?? "";
}

const mask64 = (value: bigint): string => BigInt.asUintN(64, value).toString(16).padStart(16, "0");

/** Signals that are ignored and handled, as masks. */
function dispositions(k: Kernel): { ignored: bigint; caught: bigint } {
  let ignored = 0n;
  let caught = 0n;
  for (let signal = 1; signal <= SIGNAL_COUNT; signal++) {
    const { handler } = k.signals.action(signal);
    if (handler === 1) ignored |= signalBit(signal);
    else if (handler > 1) caught |= signalBit(signal);
  }
  return { ignored, caught };
}

/** Signals that wait for a thread alone, and for the process. */
function waiting(k: Kernel, slot: number): { thread: bigint; shared: bigint } {
  const shared = k.signals.pendingMask(-1);
  return { thread: k.signals.pendingMask(slot) & ~shared, shared };
}

export function status(k: Kernel, param: number): string {
  const slot = slotOfParam(param);
  const { state } = k;
  const use = usage(k);
  const { ignored, caught } = dispositions(k);
  const pending = waiting(k, slot);
  const kb = (bytes: number): string => `${String(bytes / 1024).padStart(8)} kB`;
  const allowed = k.threads.allowed(state.thread(slot));
  const nodes = Array.from({ length: state.i32[H.nodeCount]! }, (_, i) => i);
  const tid = tidOf(k, slot);
  const ours: Readonly<Record<string, string>> = {
    Name: nameOf(k, slot).replaceAll("\\", "\\\\").replaceAll("\n", "\\n"),
    State: runState(k, slot),
    Tgid: `${k.pid}`,
    Pid: `${tid}`,
    TracerPid: "0",
    FDSize: `${Math.max(64, Math.ceil(((k.fds.open().at(-1) ?? 0) + 1) / 64) * 64)}`,
    NStgid: `${k.pid}`,
    NSpid: `${tid}`,
    VmPeak: kb(use.size),
    VmSize: kb(use.size),
    VmLck: kb(0),
    VmPin: kb(0),
    VmHWM: kb(use.resident),
    VmRSS: kb(use.resident),
    RssAnon: kb(use.anonymous),
    RssFile: kb(use.file),
    RssShmem: kb(use.shared),
    VmData: kb(use.data),
    VmStk: kb(use.stack),
    VmExe: kb(use.code),
    VmLib: kb(use.library),
    VmPTE: kb(state.i32[H.nextTablePage]! * 4096),
    VmSwap: kb(0),
    HugetlbPages: kb(0),
    CoreDumping: "0",
    THP_enabled: state.i32[H.guestHuge] ? "1" : "0",
    Threads: `${state.i32[H.threadsAlive]!}`,
    SigQ: `${state.i32[H.queueCount]!}/1024`,
    SigPnd: mask64(pending.thread),
    ShdPnd: mask64(pending.shared),
    SigBlk: mask64(k.signals.mask(slot)),
    SigIgn: mask64(ignored),
    SigCgt: mask64(caught),
    Cpus_allowed: cpuMask(allowed, state.i32[H.cpuCount]!),
    Cpus_allowed_list: formatCpuList(allowed),
    Mems_allowed: cpuMask(nodes, nodes.length),
    Mems_allowed_list: formatCpuList(nodes),
  };
  const lines: string[] = [];
  for (const line of hostFile(k, slot, "status").split("\n")) {
    const key = line.slice(0, line.indexOf(":"));
    if (Object.hasOwn(ours, key)) lines.push(`${key}:\t${ours[key]!}`);
    else if (HOST_KEYS.has(key)) lines.push(line);
  }
  return `${lines.join("\n")}\n`;
}

/** Lines of the host's status that are as true of the program as of margay. */
const HOST_KEYS = new Set(
  "Umask Ngid PPid Uid Gid Groups NSpgid NSsid Kthread untag_mask CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters Speculation_Store_Bypass SpeculationIndirectBranch voluntary_ctxt_switches nonvoluntary_ctxt_switches".split(" "),
);

/** /proc/PID/stat: one line of 52 fields. Numbers as in proc_pid_stat(5), counted from 1. */
export function stat(k: Kernel, param: number): string {
  const slot = slotOfParam(param);
  const { state } = k;
  const line = param === 0 ? (readText("/proc/self/stat") ?? "") : hostFile(k, slot, "stat");
  // The name, in parentheses, may hold anything: fields are counted from the last closing one.
  const rest = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const set = (field: number, value: number | bigint | string): void => {
    rest[field - 3] = `${value}`;
  };
  const use = usage(k);
  const { ignored, caught } = dispositions(k);
  set(3, runState(k, slot)[0]!);
  set(20, state.i32[H.threadsAlive]!);
  set(23, use.size);
  set(24, use.resident / 4096);
  set(25, getLimit(state, 5).soft);
  for (const [field, word] of [
    [26, H.codeStart],
    [27, H.codeEnd],
    [28, H.stackStart],
    [45, H.dataStart],
    [46, H.dataEnd],
    [47, H.brkStart],
    [48, H.argStart],
    [49, H.argEnd],
    [50, H.envStart],
    [51, H.envEnd],
  ] as const) {
    set(field, state.getU64(word));
  }
  set(29, 0);
  set(30, 0);
  // The old masks of 31 signals.
  set(31, k.signals.pendingMask(slot) & 0x7fff_ffffn);
  set(32, k.signals.mask(slot) & 0x7fff_ffffn);
  set(33, ignored & 0x7fff_ffffn);
  set(34, caught & 0x7fff_ffffn);
  set(35, 0);
  set(39, state.i32[state.thread(slot) + T.cpu]!);
  return `${tidOf(k, slot)} (${nameOf(k, slot)}) ${rest.join(" ")}\n`;
}

export function statm(k: Kernel): string {
  const use = usage(k);
  const pages = (bytes: number): number => Math.ceil(bytes / 4096);
  return `${pages(use.size)} ${pages(use.resident)} ${pages(use.file + use.shared)} ${pages(use.code)} 0 ${pages(use.data + use.stack)} 0\n`;
}

const LIMITS: readonly (readonly [name: string, unit: string])[] = [
  ["Max cpu time", "seconds"],
  ["Max file size", "bytes"],
  ["Max data size", "bytes"],
  ["Max stack size", "bytes"],
  ["Max core file size", "bytes"],
  ["Max resident set", "bytes"],
  ["Max processes", "processes"],
  ["Max open files", "files"],
  ["Max locked memory", "bytes"],
  ["Max address space", "bytes"],
  ["Max file locks", "locks"],
  ["Max pending signals", "signals"],
  ["Max msgqueue size", "bytes"],
  ["Max nice priority", ""],
  ["Max realtime priority", ""],
  ["Max realtime timeout", "us"],
];

export function limits(k: Kernel): string {
  const line = (name: string, soft: string, hard: string, unit: string): string => `${name.padEnd(25)} ${soft.padEnd(20)} ${hard.padEnd(20)} ${unit.padEnd(10)}\n`;
  const text = (value: bigint): string => (value === RLIM_INFINITY ? "unlimited" : `${value}`);
  return (
    line("Limit", "Soft Limit", "Hard Limit", "Units") +
    LIMITS.map(([name, unit], i) => {
      const { soft, hard } = getLimit(k.state, i);
      return line(name, text(soft), text(hard), unit);
    }).join("")
  );
}

/** Most of a program's strings that is shown; Linux's own bound is a quarter of the stack limit. */
const STRINGS_MAX = 8 * 1024 * 1024;

/** Guest bytes of [start, end), none when the program has unmapped them. */
function strings(k: Kernel, start: number, end: number): Uint8Array {
  try {
    return k.mem.bytes(start, Math.min(Math.max(0, end - start), STRINGS_MAX));
  } catch (error) {
    if (error instanceof GuestError) return new Uint8Array(0);
    throw error;
  }
}

/**
 * The arguments as they are in the program's memory now. A program that wrote a title over them has put a byte other than NUL at their end; the
 * text then runs on into the environment up to a NUL (fs/proc/base.c, get_mm_cmdline).
 */
export function cmdline(k: Kernel): Uint8Array {
  const { state } = k;
  const start = state.getU64(H.argStart);
  const bytes = strings(k, start, state.getU64(H.argEnd));
  if (bytes.length === 0 || bytes[bytes.length - 1] === 0) return bytes;
  const all = strings(k, start, state.getU64(H.envEnd));
  const end = all.indexOf(0);
  return end < 0 ? all : all.subarray(0, end + 1);
}

export function environ(k: Kernel): Uint8Array {
  return strings(k, k.state.getU64(H.envStart), k.state.getU64(H.envEnd));
}

export function auxv(k: Kernel): Uint8Array {
  const at = OFFSET.texts + k.state.i32[H.auxvOffset]!;
  return k.state.u8.slice(at, at + k.state.i32[H.auxvLength]!);
}

export function exePath(k: Kernel): string {
  const at = OFFSET.texts + k.state.i32[H.exePathOffset]!;
  return Buffer.from(k.state.u8.slice(at, at + k.state.i32[H.exePathLength]!)).toString("latin1");
}
