/**
 * The only door out of JavaScript: system calls through a few hundred bytes of machine code, and views over raw memory.
 *
 * The *gate area* is one mapping: code pages (read and execute), then data pages. Every guest thread has a code slot, the
 * *waiting gate*, and a wake word at the same distance from it, so all slots hold the same bytes. The waiting gate looks at the
 * wake word before `syscall` and answers -EINTR when it is set; the signal handler, when it interrupts a gate between that look
 * and the `syscall`, moves the program counter to the same answer. So a wake-up is never lost and a thread blocked in KVM_RUN,
 * futex or read always comes back. The *plain gate* makes the call whatever the wake word says.
 */
import koffi from "koffi";

/** Guest threads that can have a gate. */
export const GATE_COUNT = 1024;

const SLOT = 128;
const PLAIN = 0x20000;
const HANDLER = 0x20040;
const RESTORER = 0x20100;
const READ_TSC = 0x20110;
const CODE_SIZE = 0x21000;
const WAKE = 0x40000;
const SIGNAL_BITS = 0x60000;
const SIGNAL_TARGET = 0x60020;
const SIGNAL_TABLE = 0x60040;
const AREA_SIZE = 0x61000;

/** Host signal that only wakes a thread; it carries nothing. The last but two of the real-time signals. */
export const KICK_SIGNAL = 62;

/** A waiting gate, offset 0 of a slot. System V ABI: call number, six arguments. */
const waitingGate = [
  0x48, 0x89, 0xf8, // 00 mov %rdi,%rax
  0x48, 0x89, 0xf7, // 03 mov %rsi,%rdi
  0x48, 0x89, 0xd6, // 06 mov %rdx,%rsi
  0x48, 0x89, 0xca, // 09 mov %rcx,%rdx
  0x4d, 0x89, 0xc2, // 0c mov %r8,%r10
  0x4d, 0x89, 0xc8, // 0f mov %r9,%r8
  0x4c, 0x8b, 0x4c, 0x24, 0x08, // 12 mov 8(%rsp),%r9
  0x83, 0x3d, 0xe2, 0xff, 0x03, 0x00, 0x00, // 17 cmpl $0,wake(%rip)    the window starts here
  0x75, 0x03, // 1e jne 23
  0x0f, 0x05, // 20 syscall                     and ends after this
  0xc3, // 22 ret
  0x48, 0xc7, 0xc0, 0xfc, 0xff, 0xff, 0xff, // 23 mov $-EINTR,%rax
  0xc3, // 2a ret
];

const plainGate = [...waitingGate.slice(0, 0x17), 0x0f, 0x05, 0xc3];

/**
 * Signal handler (rdi = signal, rsi = siginfo, rdx = ucontext). A kick goes straight to the window check. Any other signal is written into
 * the signal table (si_code, pid, uid, value), its bit set, and guest thread 0's wake word set and its host thread kicked.
 */
const signalHandler = [
  0x83, 0xff, KICK_SIGNAL, // cmp $KICK_SIGNAL,%edi
  0x74, 0x56, // je fix
  0x89, 0xf8, // mov %edi,%eax
  0xc1, 0xe0, 0x05, // shl $5,%eax
  0x48, 0x8d, 0x0d, 0xef, 0xff, 0x03, 0x00, // lea SIGNAL_TABLE(%rip),%rcx
  0x48, 0x01, 0xc1, // add %rax,%rcx
  0x8b, 0x46, 0x08, // mov 8(%rsi),%eax          si_code
  0x89, 0x01, // mov %eax,(%rcx)
  0x48, 0x8b, 0x46, 0x10, // mov 16(%rsi),%rax   si_pid, si_uid
  0x48, 0x89, 0x41, 0x08, // mov %rax,8(%rcx)
  0x48, 0x8b, 0x46, 0x18, // mov 24(%rsi),%rax   si_value
  0x48, 0x89, 0x41, 0x10, // mov %rax,16(%rcx)
  0x89, 0xf8, // mov %edi,%eax
  0xf0, 0x0f, 0xab, 0x05, 0x8d, 0xff, 0x03, 0x00, // lock bts %eax,SIGNAL_BITS(%rip)
  0xc7, 0x05, 0x83, 0xff, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00, // movl $1,WAKE(%rip)
  0x49, 0x89, 0xd0, // mov %rdx,%r8
  0x8b, 0x3d, 0x9a, 0xff, 0x03, 0x00, // mov SIGNAL_TARGET(%rip),%edi      process
  0x8b, 0x35, 0x98, 0xff, 0x03, 0x00, // mov SIGNAL_TARGET+4(%rip),%esi    host thread of guest thread 0
  0xba, KICK_SIGNAL, 0x00, 0x00, 0x00, // mov $KICK_SIGNAL,%edx
  0xb8, 0xea, 0x00, 0x00, 0x00, // mov $SYS_tgkill,%eax
  0x0f, 0x05, // syscall
  0x4c, 0x89, 0xc2, // mov %r8,%rdx
  0x48, 0x8b, 0x82, 0xa8, 0x00, 0x00, 0x00, // fix: mov 168(%rdx),%rax    REG_RIP of the interrupted code
  0x48, 0x8d, 0x0d, 0x57, 0xff, 0xfd, 0xff, // lea area(%rip),%rcx
  0x48, 0x29, 0xc8, // sub %rcx,%rax
  0x48, 0x3d, 0x00, 0x00, 0x02, 0x00, // cmp $PLAIN,%rax                  not in a waiting gate?
  0x73, 0x27, // jae out
  0x41, 0x89, 0xc0, // mov %eax,%r8d
  0x41, 0x83, 0xe0, 0x80, // and $-128,%r8d
  0x83, 0xe0, 0x7f, // and $127,%eax
  0x3d, 0x17, 0x00, 0x00, 0x00, // cmp $0x17,%eax
  0x72, 0x16, // jb out
  0x3d, 0x22, 0x00, 0x00, 0x00, // cmp $0x22,%eax
  0x73, 0x0f, // jae out
  0x4a, 0x8d, 0x84, 0x01, 0x23, 0x00, 0x00, 0x00, // lea 0x23(%rcx,%r8),%rax
  0x48, 0x89, 0x82, 0xa8, 0x00, 0x00, 0x00, // mov %rax,168(%rdx)
  0xc3, // out: ret
];

const restorer = [0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05]; // mov $SYS_rt_sigreturn,%eax; syscall
const readTscCode = [0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3]; // rdtsc; shl $32,%rdx; or %rdx,%rax; ret

/** A Linux system call: the kernel's result, or -errno. Numbers are exact below 2^53; larger arguments are passed as bigint. */
export type Sys = (
  nr: number,
  a?: number | bigint,
  b?: number | bigint,
  c?: number | bigint,
  d?: number | bigint,
  e?: number | bigint,
  f?: number | bigint,
) => number;

type Raw = (nr: number, a: number | bigint, b: number | bigint, c: number | bigint, d: number | bigint, e: number | bigint, f: number | bigint) => number | bigint;

/** What one host thread uses of the gate area. */
export interface Gate {
  /** Address of the area, to hand to other threads. */
  readonly area: number;
  readonly slot: number;
  /** Makes a call that does not block for long. */
  readonly sys: Sys;
  /** Makes a call that may block; -EINTR as soon as this thread's wake word is set. */
  readonly wait: Sys;
  /** Wake words of all slots: slot `i` is at index `wakeIndex(i)`. */
  readonly wakeWords: Int32Array;
  /** Bits of external signals that arrived (bit = signal number), set by the handler, cleared by guest thread 0. */
  readonly signalBits: Int32Array;
  /** [process, host thread of guest thread 0]: where the handler sends its kick. */
  readonly signalTarget: Int32Array;
  /** Per signal 8 words: si_code, -, pid, uid, value low, value high. */
  readonly signalTable: Int32Array;
  readonly handlerAddress: number;
  readonly restorerAddress: number;
  /** The time-stamp counter now. */
  readonly readTsc: () => bigint;
}

/** Index of a slot's wake word in `Gate.wakeWords`. */
export function wakeIndex(slot: number): number {
  return (slot * SLOT) >> 2;
}

/** An ArrayBuffer over `length` bytes of this process at `address`. The caller vouches for the memory and keeps it mapped; make one per range and keep it. */
export function viewMemory(address: number, length: number): ArrayBuffer {
  return koffi.view(BigInt(address), length);
}

/** Makes the gate area; once per process. Returns its address. Throws when the kernel refuses executable memory. */
export function createGateArea(): number {
  const mmap = koffi.load("libc.so.6").func("int64_t mmap(int64_t, size_t, int, int, int, int64_t)") as (...a: number[]) => number;
  const area = mmap(0, AREA_SIZE, 3, 0x22, -1, 0);
  if (area < 0) throw new Error("mmap of the gate area failed");
  const bytes = new Uint8Array(viewMemory(area, AREA_SIZE));
  bytes.set(waitingGate, 0);
  for (let filled = SLOT; filled < GATE_COUNT * SLOT; filled *= 2) bytes.copyWithin(filled, 0, filled);
  bytes.set(plainGate, PLAIN);
  bytes.set(signalHandler, HANDLER);
  bytes.set(restorer, RESTORER);
  bytes.set(readTscCode, READ_TSC);
  const mprotect = koffi.load("libc.so.6").func("int mprotect(int64_t, size_t, int)") as (...a: number[]) => number;
  if (mprotect(area, CODE_SIZE, 5) !== 0) throw new Error("mprotect of the gate area failed: executable memory is not allowed here");
  return area;
}

/** Opens slot `slot` of the gate area for the calling host thread. */
export function openGate(area: number, slot: number): Gate {
  // koffi 3.3 makes a thread's call stack when it loads a library; a function pointer called before that crashes the process.
  koffi.load("libc.so.6");
  const proto = koffi.proto("int64_t", Array(7).fill("int64_t"));
  const plain = koffi.decode(BigInt(area + PLAIN), proto) as Raw;
  const waiting = koffi.decode(BigInt(area + slot * SLOT), proto) as Raw;
  const tsc = koffi.decode(BigInt(area + READ_TSC), koffi.proto("int64_t", [])) as () => number | bigint;
  const data = viewMemory(area + WAKE, AREA_SIZE - WAKE);
  return {
    area,
    slot,
    sys: (nr, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) => Number(plain(nr, a, b, c, d, e, f)),
    wait: (nr, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) => Number(waiting(nr, a, b, c, d, e, f)),
    wakeWords: new Int32Array(data, 0, (GATE_COUNT * SLOT) >> 2),
    signalBits: new Int32Array(data, SIGNAL_BITS - WAKE, 4),
    signalTarget: new Int32Array(data, SIGNAL_TARGET - WAKE, 2),
    signalTable: new Int32Array(data, SIGNAL_TABLE - WAKE, 65 * 8),
    handlerAddress: area + HANDLER,
    restorerAddress: area + RESTORER,
    readTsc: () => BigInt(tsc()),
  };
}
