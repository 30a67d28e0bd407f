/**
 * The vDSO's functions in machine code. All are leaves that touch no stack, so one unwind entry (CFA = rsp + 8) holds everywhere.
 *
 * A clock is read as Linux's lib/vdso/gettimeofday.c does: sequence counter, `lfence; rdtsc` (so that the TSC is not read before the
 * counter), a 128-bit product, the counter again. Differences: a TSC before the base counts as the base; a counter that stays
 * odd for SPIN_LIMIT looks (its writer lost its CPU) sends the caller to the real system call instead of burning the time slice.
 */
import { Assembler, type Program, rel8, rel32 } from "./assembler.ts";
import {
  THREAD_CPU,
  THREAD_NODE,
  THREAD_PAGE,
  VDSO_PAGE,
  VVAR_BOOTTIME,
  VVAR_MODE,
  VVAR_MONOTONIC,
  VVAR_MULT,
  VVAR_PAGE,
  VVAR_RAW,
  VVAR_RAW_MULT,
  VVAR_REALTIME,
  VVAR_SEQUENCE,
  VVAR_SHIFT,
  VVAR_TAI,
  VVAR_TIMEZONE,
  VVAR_TSC_BASE,
} from "./layout.ts";

/** Exported functions, each also under its name without the prefix. */
export const VDSO_FUNCTIONS = ["clock_gettime", "gettimeofday", "time", "getcpu", "clock_getres"] as const;
export type VdsoFunction = (typeof VDSO_FUNCTIONS)[number];

/** Offsets in the vvar page of a clock's base pair and multiplier, by clock id (include/uapi/linux/time.h); 0 = ask the kernel. */
export const CLOCKS: readonly (readonly [pair: number, mult: number])[] = [
  [VVAR_REALTIME, VVAR_MULT], // 0 CLOCK_REALTIME
  [VVAR_MONOTONIC, VVAR_MULT], // 1 CLOCK_MONOTONIC
  [0, 0], // 2 CLOCK_PROCESS_CPUTIME_ID
  [0, 0], // 3 CLOCK_THREAD_CPUTIME_ID
  [VVAR_RAW, VVAR_RAW_MULT], // 4 CLOCK_MONOTONIC_RAW
  [VVAR_REALTIME, VVAR_MULT], // 5 CLOCK_REALTIME_COARSE
  [VVAR_MONOTONIC, VVAR_MULT], // 6 CLOCK_MONOTONIC_COARSE
  [VVAR_BOOTTIME, VVAR_MULT], // 7 CLOCK_BOOTTIME
  [0, 0], // 8 CLOCK_REALTIME_ALARM
  [0, 0], // 9 CLOCK_BOOTTIME_ALARM
  [0, 0], // 10 unused (was CLOCK_SGI_CYCLE)
  [VVAR_TAI, VVAR_MULT], // 11 CLOCK_TAI
];
const LAST_CLOCK = CLOCKS.length - 1;

/** Clocks whose resolution is 1 ns: REALTIME, MONOTONIC, MONOTONIC_RAW, BOOTTIME, TAI. The coarse ones' is the host's tick: ask. */
const FINE_CLOCKS = (1 << 0) | (1 << 1) | (1 << 4) | (1 << 7) | (1 << 11);

/** arch/x86/entry/syscalls/syscall_64.tbl. */
const CALL_NUMBERS: Readonly<Record<VdsoFunction, number>> = { clock_gettime: 228, gettimeofday: 96, time: 201, getcpu: 309, clock_getres: 229 };

/** `pause`s before giving up on an odd counter: 30 to 100 us on today's processors, about the cost of one real call. */
const SPIN_LIMIT = 1000;

const NS_PER_SECOND = 1_000_000_000;

const hex = (n: number): string => `0x${n.toString(16)}`;
const le32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];

/** The table that clock_gettime looks up, two bytes per clock id. */
export function clockTable(): Uint8Array {
  return Uint8Array.from(CLOCKS.flat());
}

/**
 * Code of all functions; each function's name is a label, and NAME.end the label after it. `textOffset` is the code's place in the
 * image, `tableOffset` the clock table's; the vvar and thread pages stand at fixed distances before the image.
 */
export function vdsoProgram(textOffset: number, tableOffset: number): Program {
  const a = new Assembler();
  a.label("vvar", VVAR_PAGE - VDSO_PAGE - textOffset);
  a.label("thread", THREAD_PAGE - VDSO_PAGE - textOffset);
  a.label("table", tableOffset - textOffset);

  begin(a, "clock_gettime"); // (edi = clock id, rsi = struct timespec *)
  a.ins(`cmp $${hex(LAST_CLOCK)},%edi`, 0x83, 0xff, LAST_CLOCK);
  a.ins("ja {clock_gettime.call}", 0x0f, 0x87, rel32("clock_gettime.call"));
  a.ins("mov %edi,%eax", 0x89, 0xf8);
  a.ins("lea {table}(%rip),%rdx", 0x48, 0x8d, 0x15, rel32("table"));
  a.ins("movzbl (%rdx,%rax,2),%r8d", 0x44, 0x0f, 0xb6, 0x04, 0x42);
  a.ins("movzbl 0x1(%rdx,%rax,2),%r9d", 0x44, 0x0f, 0xb6, 0x4c, 0x42, 0x01);
  a.ins("test %r8d,%r8d", 0x45, 0x85, 0xc0);
  a.ins("je {clock_gettime.call}", 0x0f, 0x84, rel32("clock_gettime.call"));
  a.ins("lea {vvar}(%rip),%r10", 0x4c, 0x8d, 0x15, rel32("vvar"));
  readClock(a, "clock_gettime");
  a.ins("mov %rdx,(%rsi)", 0x48, 0x89, 0x16);
  a.ins("mov %rax,0x8(%rsi)", 0x48, 0x89, 0x46, 0x08);
  returnZero(a);
  realCall(a, "clock_gettime");

  begin(a, "gettimeofday"); // (rdi = struct timeval * or 0, rsi = struct timezone * or 0)
  a.ins("lea {vvar}(%rip),%r10", 0x4c, 0x8d, 0x15, rel32("vvar"));
  a.ins(`cmpl $0x0,${hex(VVAR_MODE)}(%r10)`, 0x41, 0x83, 0x7a, VVAR_MODE, 0);
  a.ins("je {gettimeofday.call}", 0x0f, 0x84, rel32("gettimeofday.call"));
  a.ins("test %rdi,%rdi", 0x48, 0x85, 0xff);
  a.ins("je {gettimeofday.zone}", 0x0f, 0x84, rel32("gettimeofday.zone"));
  realtime(a);
  readClock(a, "gettimeofday");
  a.ins("mov %rdx,(%rdi)", 0x48, 0x89, 0x17);
  a.ins("xor %edx,%edx", 0x31, 0xd2);
  a.ins("mov $0x3e8,%ecx", 0xb9, ...le32(1000));
  a.ins("div %ecx", 0xf7, 0xf1);
  a.ins("mov %rax,0x8(%rdi)", 0x48, 0x89, 0x47, 0x08);
  a.label("gettimeofday.zone");
  a.ins("test %rsi,%rsi", 0x48, 0x85, 0xf6);
  a.ins("je {gettimeofday.end_ok}", 0x74, rel8("gettimeofday.end_ok"));
  a.ins(`mov ${hex(VVAR_TIMEZONE)}(%r10),%rax`, 0x49, 0x8b, 0x42, VVAR_TIMEZONE);
  a.ins("mov %rax,(%rsi)", 0x48, 0x89, 0x06);
  a.label("gettimeofday.end_ok");
  returnZero(a);
  realCall(a, "gettimeofday");

  begin(a, "time"); // (rdi = time_t * or 0), returns seconds
  a.ins("lea {vvar}(%rip),%r10", 0x4c, 0x8d, 0x15, rel32("vvar"));
  realtime(a);
  readClock(a, "time");
  a.ins("mov %rdx,%rax", 0x48, 0x89, 0xd0);
  a.ins("test %rdi,%rdi", 0x48, 0x85, 0xff);
  a.ins("je {time.done}", 0x74, rel8("time.done"));
  a.ins("mov %rax,(%rdi)", 0x48, 0x89, 0x07);
  a.label("time.done");
  a.ins("ret", 0xc3);
  realCall(a, "time");

  begin(a, "getcpu"); // (rdi = unsigned * or 0, rsi = unsigned * or 0)
  a.ins("lea {thread}(%rip),%r10", 0x4c, 0x8d, 0x15, rel32("thread"));
  a.ins("test %rdi,%rdi", 0x48, 0x85, 0xff);
  a.ins("je {getcpu.node}", 0x74, rel8("getcpu.node"));
  a.ins(`mov ${hex(THREAD_CPU)}(%r10),%eax`, 0x41, 0x8b, 0x42, THREAD_CPU);
  a.ins("mov %eax,(%rdi)", 0x89, 0x07);
  a.label("getcpu.node");
  a.ins("test %rsi,%rsi", 0x48, 0x85, 0xf6);
  a.ins("je {getcpu.done}", 0x74, rel8("getcpu.done"));
  a.ins(`mov ${hex(THREAD_NODE)}(%r10),%eax`, 0x41, 0x8b, 0x42, THREAD_NODE);
  a.ins("mov %eax,(%rsi)", 0x89, 0x06);
  a.label("getcpu.done");
  returnZero(a);
  a.label("getcpu.end");

  begin(a, "clock_getres"); // (edi = clock id, rsi = struct timespec * or 0)
  a.ins("lea {vvar}(%rip),%r10", 0x4c, 0x8d, 0x15, rel32("vvar"));
  a.ins(`cmpl $0x0,${hex(VVAR_MODE)}(%r10)`, 0x41, 0x83, 0x7a, VVAR_MODE, 0);
  a.ins("je {clock_getres.call}", 0x74, rel8("clock_getres.call"));
  a.ins(`cmp $${hex(LAST_CLOCK)},%edi`, 0x83, 0xff, LAST_CLOCK);
  a.ins("ja {clock_getres.call}", 0x77, rel8("clock_getres.call"));
  a.ins(`mov $${hex(FINE_CLOCKS)},%eax`, 0xb8, ...le32(FINE_CLOCKS));
  a.ins("bt %edi,%eax", 0x0f, 0xa3, 0xf8);
  a.ins("jae {clock_getres.call}", 0x73, rel8("clock_getres.call"));
  a.ins("test %rsi,%rsi", 0x48, 0x85, 0xf6);
  a.ins("je {clock_getres.done}", 0x74, rel8("clock_getres.done"));
  a.ins("movq $0x0,(%rsi)", 0x48, 0xc7, 0x06, ...le32(0));
  a.ins("movq $0x1,0x8(%rsi)", 0x48, 0xc7, 0x46, 0x08, ...le32(1));
  a.label("clock_getres.done");
  returnZero(a);
  realCall(a, "clock_getres");
  return a.finish();
}

function begin(a: Assembler, name: VdsoFunction): void {
  a.align(16);
  a.label(name);
}

function returnZero(a: Assembler): void {
  a.ins("xor %eax,%eax", 0x31, 0xc0);
  a.ins("ret", 0xc3);
}

/** The way out to the kernel; arguments are still in their registers. Ends the function. */
function realCall(a: Assembler, name: VdsoFunction): void {
  const nr = CALL_NUMBERS[name];
  a.label(`${name}.call`);
  a.ins(`mov $${hex(nr)},%eax`, 0xb8, ...le32(nr));
  a.ins("syscall", 0x0f, 0x05);
  a.ins("ret", 0xc3);
  a.label(`${name}.end`);
}

/** r8, r9: select CLOCK_REALTIME. */
function realtime(a: Assembler): void {
  a.ins(`mov $${hex(VVAR_REALTIME)},%r8d`, 0x41, 0xb8, ...le32(VVAR_REALTIME));
  a.ins(`mov $${hex(VVAR_MULT)},%r9d`, 0x41, 0xb9, ...le32(VVAR_MULT));
}

/**
 * In: r10 = vvar, r8 = offset of the base pair, r9 = offset of the multiplier. Out: rdx = seconds, rax = nanoseconds below 1e9.
 * Jumps to NAME.call when the kernel must be asked. Clobbers rcx, r8, r11, flags.
 */
function readClock(a: Assembler, name: VdsoFunction): void {
  const at = (part: string): string => `${name}.${part}`;
  a.label(at("retry"));
  a.ins("mov (%r10),%r11d", 0x45, 0x8b, 0x1a); // VVAR_SEQUENCE is 0
  a.ins("test $0x1,%r11b", 0x41, 0xf6, 0xc3, 0x01);
  a.ins(`jne {${at("spin")}}`, 0x0f, 0x85, rel32(at("spin")));
  a.ins(`cmpl $0x0,${hex(VVAR_MODE)}(%r10)`, 0x41, 0x83, 0x7a, VVAR_MODE, 0);
  a.ins(`je {${at("call")}}`, 0x0f, 0x84, rel32(at("call")));
  a.ins("lfence", 0x0f, 0xae, 0xe8);
  a.ins("rdtsc", 0x0f, 0x31);
  a.ins("shl $0x20,%rdx", 0x48, 0xc1, 0xe2, 0x20);
  a.ins("or %rdx,%rax", 0x48, 0x09, 0xd0);
  a.ins("xor %ecx,%ecx", 0x31, 0xc9);
  a.ins(`sub ${hex(VVAR_TSC_BASE)}(%r10),%rax`, 0x49, 0x2b, 0x42, VVAR_TSC_BASE);
  a.ins("cmovb %rcx,%rax", 0x48, 0x0f, 0x42, 0xc1);
  a.ins("mulq (%r10,%r9,1)", 0x4b, 0xf7, 0x24, 0x0a);
  a.ins(`mov ${hex(VVAR_SHIFT)}(%r10),%ecx`, 0x41, 0x8b, 0x4a, VVAR_SHIFT);
  a.ins("shrd %cl,%rdx,%rax", 0x48, 0x0f, 0xad, 0xd0);
  a.ins("add 0x8(%r10,%r8,1),%rax", 0x4b, 0x03, 0x44, 0x02, 0x08);
  a.ins("mov (%r10,%r8,1),%rdx", 0x4b, 0x8b, 0x14, 0x02);
  a.ins("cmp (%r10),%r11d", 0x45, 0x3b, 0x1a);
  a.ins(`jne {${at("retry")}}`, 0x75, rel8(at("retry")));

  // One second is nearly always enough; the LWK may have been away for long, then divide.
  a.ins(`cmp $${hex(NS_PER_SECOND)},%rax`, 0x48, 0x3d, ...le32(NS_PER_SECOND));
  a.ins(`jb {${at("normal")}}`, 0x72, rel8(at("normal")));
  a.ins(`sub $${hex(NS_PER_SECOND)},%rax`, 0x48, 0x2d, ...le32(NS_PER_SECOND));
  a.ins("inc %rdx", 0x48, 0xff, 0xc2);
  a.ins(`cmp $${hex(NS_PER_SECOND)},%rax`, 0x48, 0x3d, ...le32(NS_PER_SECOND));
  a.ins(`jb {${at("normal")}}`, 0x72, rel8(at("normal")));
  a.ins("mov %rdx,%r8", 0x49, 0x89, 0xd0);
  a.ins("xor %edx,%edx", 0x31, 0xd2);
  a.ins(`mov $${hex(NS_PER_SECOND)},%ecx`, 0xb9, ...le32(NS_PER_SECOND));
  a.ins("div %rcx", 0x48, 0xf7, 0xf1);
  a.ins("add %r8,%rax", 0x4c, 0x01, 0xc0);
  a.ins("xchg %rax,%rdx", 0x48, 0x92);
  a.ins(`jmp {${at("normal")}}`, 0xeb, rel8(at("normal")));

  a.label(at("spin"));
  a.ins(`mov $${hex(SPIN_LIMIT)},%ecx`, 0xb9, ...le32(SPIN_LIMIT));
  a.label(at("again"));
  a.ins("pause", 0xf3, 0x90);
  a.ins("testb $0x1,(%r10)", 0x41, 0xf6, 0x02, 0x01);
  a.ins(`je {${at("retry")}}`, 0x0f, 0x84, rel32(at("retry")));
  a.ins("dec %ecx", 0xff, 0xc9);
  a.ins(`jne {${at("again")}}`, 0x75, rel8(at("again")));
  a.ins(`jmp {${at("call")}}`, 0xe9, rel32(at("call")));
  a.label(at("normal"));
}

if (VVAR_SEQUENCE !== 0) throw new Error("the vDSO's code reads the sequence counter at the start of the vvar page");
