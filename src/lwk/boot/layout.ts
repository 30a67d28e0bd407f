/**
 * Where everything stands in the LWK's 64 KiB of guest virtual memory, and the numbers that the boot pages and the run loop
 * must agree on. docs/boot-pages.md explains the bytes.
 */
import { RFLAGS_AC, RFLAGS_DF, RFLAGS_IF, RFLAGS_NT, RFLAGS_TF } from "../../abi/x86.ts";

/**
 * How `syscall` reaches the LWK. `pvm`: the entry stub runs in ring 3 and returns with `jmp *%rcx`. `textbook` (VMX, SVM): it runs
 * in ring 0 and returns with `sysretq`.
 */
export type Flavour = "pvm" | "textbook";

/** Byte offsets from lwkBase (2 MiB-aligned). */
export const STUB_PAGE = 0x0000;
export const VVAR_PAGE = 0x1000;
export const THREAD_PAGE = 0x2000;
export const VDSO_PAGE = 0x3000;
export const WAITERS_PAGE = 0x6000;
export const GDT_PAGE = 0x8000;
export const IDT_PAGE = 0x9000;
export const TRAP_STUB_PAGE = 0xa000;
export const TSS_PAGE = 0xb000;
export const STACK_PAGE = 0xe000;
/** First byte above the ring-0 stack, the value of RSP0. */
export const STACK_TOP = 0x10000;
/** Bytes of the whole area. */
export const BOOT_AREA_SIZE = 0x10000;

/** Room for the vDSO image. */
export const VDSO_MAX_SIZE = 0x3000;

/** The futex waiter counts, u32 each. The stub needs WAITERS_PAGE to be a multiple of the size. */
export const WAITERS_SIZE = 0x2000;
/** Bits of a futex word's address that are the byte offset of its count. */
export const WAITERS_MASK = WAITERS_SIZE - 4;

/** What a page of the area may be used for in ring 3. */
export interface BootPageRange {
  /** Byte offset from lwkBase and length, both multiples of 4096. */
  offset: number;
  size: number;
  name: string;
  user: boolean;
  write: boolean;
  execute: boolean;
  /** The page differs per vCPU. */
  perThread: boolean;
}

/**
 * The mappings to make. On textbook KVM the stub page is executed in ring 0 although it is a user page, and reads the thread page,
 * so CR4.SMEP and CR4.SMAP must be clear.
 */
export const BOOT_RANGES: readonly BootPageRange[] = [
  { offset: STUB_PAGE, size: 0x1000, name: "stub", user: true, write: false, execute: true, perThread: false },
  { offset: VVAR_PAGE, size: 0x1000, name: "vvar", user: true, write: false, execute: false, perThread: false },
  { offset: THREAD_PAGE, size: 0x1000, name: "thread page", user: true, write: false, execute: false, perThread: true },
  { offset: VDSO_PAGE, size: VDSO_MAX_SIZE, name: "vDSO", user: true, write: false, execute: true, perThread: false },
  { offset: WAITERS_PAGE, size: WAITERS_SIZE, name: "futex waiters", user: true, write: false, execute: false, perThread: false },
  { offset: GDT_PAGE, size: 0x1000, name: "GDT", user: false, write: false, execute: false, perThread: false },
  { offset: IDT_PAGE, size: 0x1000, name: "IDT", user: false, write: false, execute: false, perThread: false },
  { offset: TRAP_STUB_PAGE, size: 0x1000, name: "trap stubs", user: false, write: false, execute: true, perThread: false },
  { offset: TSS_PAGE, size: 0x3000, name: "TSS", user: false, write: false, execute: false, perThread: false },
  { offset: STACK_PAGE, size: 0x2000, name: "ring-0 stack", user: false, write: true, execute: false, perThread: true },
];

/** Port on which a system call leaves the guest. */
export const SYSCALL_PORT = 0x42;
/** Exception vector v (0..31) leaves the guest on port VECTOR_PORT_BASE + v. */
export const VECTOR_PORT_BASE = 0x50;

/** Selectors: Linux's user ones (0x33, 0x2b), because programs can see and compare them. */
export const KERNEL_CS32 = 0x08;
export const KERNEL_CS = 0x10;
export const KERNEL_DS = 0x18;
export const USER_CS32 = 0x23;
export const USER_DS = 0x2b;
export const USER_CS = 0x33;
export const TSS_SELECTOR = 0x40;

/**
 * MSR_STAR. SYSCALL loads CS from bits 47:32 and SS from that + 8; SYSRET to 64-bit loads CS from bits 63:48 + 16 and SS from
 * bits 63:48 + 8 (SDM volume 2, SYSCALL and SYSRET; APM 6.1.1).
 */
export const STAR = (BigInt(USER_CS32) << 48n) | (BigInt(KERNEL_CS) << 32n);

/**
 * MSR_SFMASK: flags that `syscall` clears. PVM: none, because `jmp *%rcx` cannot bring them back. Textbook: the stub must not be
 * single-stepped in ring 0 on the program's stack; `sysretq` restores all of them from r11. (NT and AC as Linux does.)
 */
export function syscallFlagMask(flavour: Flavour): number {
  return flavour === "pvm" ? 0 : RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC;
}

/** Thread page: byte offsets, each a little-endian u32. */
export const THREAD_TID = 0;
export const THREAD_PID = 4;
export const THREAD_PPID = 8;
export const THREAD_UID = 12;
export const THREAD_EUID = 16;
export const THREAD_GID = 20;
export const THREAD_EGID = 24;
export const THREAD_CPU = 28;
export const THREAD_NODE = 32;
/** Not 0: sched_yield must exit. */
export const THREAD_YIELD_EXITS = 36;

/** vvar page: byte offsets. */
export const VVAR_SEQUENCE = 0;
/** u32: 0 = make the real call, 1 = TSC usable. */
export const VVAR_MODE = 4;
export const VVAR_TSC_BASE = 8;
export const VVAR_MULT = 16;
export const VVAR_SHIFT = 24;
/** Pairs (u64 seconds, u64 nanoseconds). */
export const VVAR_REALTIME = 32;
export const VVAR_MONOTONIC = 48;
export const VVAR_BOOTTIME = 64;
export const VVAR_TAI = 80;
export const VVAR_RAW = 96;
export const VVAR_RAW_MULT = 112;
/** struct timezone for gettimeofday: i32 minutes west of Greenwich, i32 dsttime. */
export const VVAR_TIMEZONE = 120;

/**
 * What an exception leaves on the ring-0 stack: byte offsets from the frame's first byte (the RIP slot). The frame ends at
 * STACK_TOP; an error code, when there is one, is the u64 below it. SDM 6.14.2, figure 6-9.
 */
export const FRAME_RIP = 0;
export const FRAME_CS = 8;
export const FRAME_RFLAGS = 16;
export const FRAME_RSP = 24;
export const FRAME_SS = 32;
export const FRAME_SIZE = 40;
