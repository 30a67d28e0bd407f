/**
 * The stub page: what `syscall` jumps to. The simplest form leaves the guest by one `out`; the fast form first answers, from the
 * thread page, the calls whose result the LWK has written there.
 *
 * Rules that make an asynchronous stop inside the stub harmless:
 * - rcx (where to return) never changes, nor does r11 on textbook, and rax keeps the call number until the result replaces it
 *   (r11 on PVM is free: `syscall` itself overwrites it, also when the call is made again);
 * - the result is loaded by one instruction, and the return is the very next.
 * So the state at every instruction is either "nothing done" or "done", see `resolveStubRip`.
 */
import { Assembler, type Program, rel8, rel32 } from "./assembler.ts";
import {
  type Flavour,
  SYSCALL_PORT,
  THREAD_EGID,
  THREAD_EUID,
  THREAD_GID,
  THREAD_PAGE,
  THREAD_PID,
  THREAD_PPID,
  THREAD_TID,
  THREAD_UID,
  THREAD_YIELD_EXITS,
  WAITERS_MASK,
  WAITERS_PAGE,
} from "./layout.ts";

/** Offset of the entry point in the page: LSTAR = lwkBase + this. */
export const STUB_ENTRY = 0x000;
/** Offset of an `iretq`: textbook's way back to any ring-3 state from a frame on the ring-0 stack (CS = KERNEL_CS, RSP = frame). */
export const IRET_STUB = 0xf00;
/** Offset of `mov $15,%rax; syscall` (rt_sigreturn), byte for byte what unwinders and gdb recognise as a signal trampoline. */
export const SIGRETURN_STUB = 0xf10;

/** Call number and thread-page field, for the calls that are only a load. Numbers: arch/x86/entry/syscalls/syscall_64.tbl. */
const LOADS: readonly (readonly [name: string, nr: number, field: number])[] = [
  ["getpid", 39, THREAD_PID],
  ["gettid", 186, THREAD_TID],
  ["getppid", 110, THREAD_PPID],
  ["getuid", 102, THREAD_UID],
  ["geteuid", 107, THREAD_EUID],
  ["getgid", 104, THREAD_GID],
  ["getegid", 108, THREAD_EGID],
];
const SCHED_YIELD = 24;
const FUTEX = 202;
/** FUTEX_WAKE | FUTEX_PRIVATE_FLAG, as libraries write it. */
const WAKE_PRIVATE = 0x81;

export interface StubOptions {
  flavour: Flavour;
  /** false: every call exits (for --strace). */
  fast: boolean;
}

/** How far a call had come when the vCPU stopped at an offset of the stub page. */
export type StubProgress =
  /** Nothing done: the call is repeated by RIP = rcx - 2, with all other registers as they are. */
  | "restart"
  /** The result is in rax: RIP = rcx (and on textbook RFLAGS = r11). */
  | "return"
  /** At the `out` or just after it. After KVM_EXIT_IO: the call itself. After a stop without exit: see `ripAfterStop`. */
  | "exit";

/** The stub page's first bytes; the rest of the page is int3. */
export function stubPage(options: StubOptions): Uint8Array {
  return stubProgram(options).code;
}

const hex = (n: number): string => `0x${n.toString(16)}`;
const le32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];

/** The same with labels and listing. Both values of `fast` place every label and return at the same offset. */
export function stubProgram({ flavour, fast }: StubOptions): Program {
  const a = new Assembler();
  const ret = (): void => {
    if (flavour === "pvm") a.ins("jmp *%rcx", 0xff, 0xe1);
    else a.ins("sysretq", 0x48, 0x0f, 0x07);
  };

  a.label("entry");
  if (fast) {
    a.ins(`cmp $${hex(SCHED_YIELD)},%eax`, 0x83, 0xf8, SCHED_YIELD);
  } else {
    a.ins("jmp {exit}", 0xeb, rel8("exit"));
    a.ins("nop", 0x90);
  }
  a.ins("je {sched_yield}", 0x74, rel8("sched_yield"));
  for (const [name, nr] of LOADS) {
    if (nr < 128) a.ins(`cmp $${hex(nr)},%eax`, 0x83, 0xf8, nr);
    else a.ins(`cmp $${hex(nr)},%eax`, 0x3d, ...le32(nr));
    a.ins(`je {${name}}`, 0x74, rel8(name));
  }
  if (flavour === "pvm") {
    a.ins(`cmp $${hex(FUTEX)},%eax`, 0x3d, ...le32(FUTEX));
    a.ins("je {futex}", 0x74, rel8("futex"));
  }
  a.label("exit");
  a.ins(`out %al,$${hex(SYSCALL_PORT)}`, 0xe6, SYSCALL_PORT);
  a.label("exited");
  ret();

  a.label("sched_yield");
  a.label("yield_exits", THREAD_PAGE + THREAD_YIELD_EXITS);
  a.ins("cmpl $0x0,{yield_exits}(%rip)", 0x83, 0x3d, rel32("yield_exits"), 0);
  a.ins("jne {exit}", 0x75, rel8("exit"));
  a.ins("xor %eax,%eax", 0x31, 0xc0);
  a.label("sched_yield.done");
  ret();

  for (const [name, , field] of LOADS) {
    a.label(name);
    a.label(`thread.${name}`, THREAD_PAGE + field);
    a.ins(`mov {thread.${name}}(%rip),%eax`, 0x8b, 0x05, rel32(`thread.${name}`));
    a.label(`${name}.done`);
    ret();
  }

  if (flavour === "pvm") {
    wakeNobody(a);
    ret();
  }

  a.org(IRET_STUB);
  a.label("iret");
  a.ins("iretq", 0x48, 0xcf);
  a.org(SIGRETURN_STUB);
  a.label("sigreturn");
  a.ins("mov $0xf,%rax", 0x48, 0xc7, 0xc0, 15, 0, 0, 0);
  a.ins("syscall", 0x0f, 0x05);
  a.org(0x1000);
  return a.finish();
}

/**
 * futex(FUTEX_WAKE | FUTEX_PRIVATE_FLAG) of an aligned word in user space that nobody waits for: 0. All others exit. Not on textbook, where an exit
 * costs little and r11 must stay. futex-waiters.ts says why no wake-up is lost; the `mfence` stands between the program's last stores and the look at
 * the count.
 */
function wakeNobody(a: Assembler): void {
  a.label("futex");
  a.label("waiters", WAITERS_PAGE);
  a.ins(`cmp $${hex(WAKE_PRIVATE)},%esi`, 0x81, 0xfe, ...le32(WAKE_PRIVATE));
  a.ins("jne {exit}", 0x75, rel8("exit"));
  a.ins("test $0x3,%dil", 0x40, 0xf6, 0xc7, 3);
  a.ins("jne {exit}", 0x75, rel8("exit"));
  a.ins("mov %rdi,%r11", 0x49, 0x89, 0xfb);
  a.ins("shr $0x2f,%r11", 0x49, 0xc1, 0xeb, 47);
  a.ins("jne {exit}", 0x75, rel8("exit"));
  a.ins("mfence", 0x0f, 0xae, 0xf0);
  // r11 = waiters | (rdi & WAITERS_MASK) without a second register: of two XORs with rdi, WAITERS_MASK keeps the first from the low bits.
  a.ins("lea {waiters}(%rip),%r11", 0x4c, 0x8d, 0x1d, rel32("waiters"));
  a.ins("xor %rdi,%r11", 0x49, 0x31, 0xfb);
  a.ins(`and $0x${BigInt.asUintN(64, ~BigInt(WAITERS_MASK)).toString(16)},%r11`, 0x49, 0x81, 0xe3, ...le32(~WAITERS_MASK));
  a.ins("xor %rdi,%r11", 0x49, 0x31, 0xfb);
  a.ins("cmpl $0x0,(%r11)", 0x41, 0x83, 0x3b, 0);
  a.ins("jne {exit}", 0x75, rel8("exit"));
  a.ins("xor %eax,%eax", 0x31, 0xc0);
  a.label("futex.done");
}

interface StubMap {
  outAt: number;
  afterOut: number;
  returns: ReadonlySet<number>;
  end: number;
}

function mapStub(flavour: Flavour): StubMap {
  const { labels } = stubProgram({ flavour, fast: true });
  const at = (name: string): number => {
    const address = labels.get(name);
    if (address === undefined) throw new Error(`the stub has no label ${name}`);
    return address;
  };
  const done = [...labels.keys()].filter((name) => name.endsWith(".done")).map(at);
  const returnSize = flavour === "pvm" ? 2 : 3;
  return { outAt: at("exit"), afterOut: at("exited"), returns: new Set(done), end: Math.max(...done) + returnSize };
}

const maps: Partial<Record<Flavour, StubMap>> = {};

/**
 * Progress of the call when RIP = lwkBase + `offset`. `undefined`: not inside the system-call stub (beyond its code: the iret and
 * sigreturn stubs, or a program that jumped somewhere by itself). An offset inside an instruction counts as "restart", which
 * for a program that jumped there by itself can only harm that program.
 */
export function resolveStubRip(flavour: Flavour, offset: number): StubProgress | undefined {
  maps[flavour] ??= mapStub(flavour);
  const map = maps[flavour];
  if (offset < 0 || offset >= map.end) return undefined;
  if (offset === map.outAt || offset === map.afterOut) return "exit";
  return map.returns.has(offset) ? "return" : "restart";
}

/**
 * The program's own RIP for a vCPU that KVM_RUN gave back with EINTR (not with KVM_EXIT_IO) at `offset` of the stub page; `rcx` is
 * the register's value. KVM completes a pending `out` before it looks at signals, so at the `out` the call has not been
 * made yet, and after it the LWK has already put the result into rax. `undefined` as for `resolveStubRip`.
 */
export function ripAfterStop(flavour: Flavour, offset: number, rcx: number): number | undefined {
  maps[flavour] ??= mapStub(flavour);
  const progress = resolveStubRip(flavour, offset);
  if (progress === undefined) return undefined;
  if (progress === "return" || offset === maps[flavour].afterOut) return rcx;
  return rcx - 2;
}
