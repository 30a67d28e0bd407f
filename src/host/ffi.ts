/**
 * The only door out of JavaScript: one function made of 200 bytes of machine code, the gate, and views over raw memory.
 *
 * The gate makes any Linux system call. It looks at the thread's wake word first and returns -EINTR when it is set; a
 * signal handler (signals.ts) that interrupts it between that look and the `syscall` instruction moves the program counter
 * to the same answer. So a wake-up is never lost, and a blocked KVM_RUN, futex or read always comes back.
 */
import koffi from "koffi";

/** Size of one gate's slot in the gate area; the wake word sits at WAKE_OFFSET of the slot. */
export const GATE_SLOT = 128;
export const GATE_COUNT = 4096;
/** Byte offsets inside a slot: first byte of the look at the wake word, first byte after `syscall`, the way out. */
export const GATE_WINDOW_START = 27;
export const GATE_WINDOW_END = 43;
export const GATE_ABORT = 44;

type Raw = (nr: number | bigint, a: number | bigint, b: number | bigint, c: number | bigint, d: number | bigint, e: number | bigint, f: number | bigint) => number | bigint;

const proto = koffi.proto("int64_t margay_gate(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)");

/** The call used before any gate exists: libc's mmap, to make the page that the gates stand in. */
const libcMmap = koffi.load("libc.so.6").func("int64_t mmap(int64_t, size_t, int, int, int, int64_t)");

/** An ArrayBuffer over `length` bytes of this process at `address`. The caller vouches for the memory and keeps it mapped; make one per range and keep it. */
export function viewMemory(address: number, length: number): ArrayBuffer {
  return koffi.view(BigInt(address), length);
}

/**
 * Machine code of a gate, System V ABI: rdi = call number, rsi, rdx, rcx, r8, r9, [rsp+8] = arguments one to six.
 * `wakeAddress` is the address of the 32-bit wake word of the thread that will use it.
 */
export function gateCode(wakeAddress: number): Uint8Array {
  const code = new Uint8Array(GATE_SLOT);
  const wake = new DataView(new ArrayBuffer(8));
  wake.setBigUint64(0, BigInt(wakeAddress), true);
  code.set([
    0x48, 0x89, 0xf8, // 0  mov %rdi,%rax
    0x48, 0x89, 0xf7, // 3  mov %rsi,%rdi
    0x48, 0x89, 0xd6, // 6  mov %rdx,%rsi
    0x48, 0x89, 0xca, // 9  mov %rcx,%rdx
    0x4d, 0x89, 0xc2, // 12 mov %r8,%r10
    0x4d, 0x89, 0xc8, // 15 mov %r9,%r8
    0x4c, 0x8b, 0x4c, 0x24, 0x08, // 18 mov 8(%rsp),%r9
    0x66, 0x0f, 0x1f, 0x00, // 23 nop
    0x49, 0xbb, ...new Uint8Array(wake.buffer), // 27 movabs $wake,%r11   <- window starts
    0x41, 0x83, 0x3b, 0x00, // 37 cmpl $0,(%r11)
    0x75, 0x01, // 41 jne 44 (abort)
  ]);
  // The window ends after `syscall`; offsets below follow from the bytes above.
  return code;
}

export { koffi, libcMmap, proto, type Raw };
