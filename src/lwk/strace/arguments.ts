/**
 * Kinds of arguments: how each is printed, and whether it can be before the call is made or only when its result is known. An empty text means that the
 * call has no such argument this time.
 */
import { signalName } from "../../abi/signal.ts";
import type { Call } from "../call.ts";
import type { GuestWindow } from "../mm/window.ts";
import { AT, bitNames, CLOCK, CLONE, FCNTL, FD, FUTEX, FUTEX_CLOCK_REALTIME, FUTEX_PRIVATE, OPEN, SOCKET, SOCKET_FLAGS, valueName } from "./flags.ts";
import * as text from "./text.ts";

type Names = Readonly<Record<string, number>>;

export interface Argument {
  /** Printed after the call: the host or the LWK fills it in. */
  readonly after: boolean;
  print(c: Call, i: number, result: number): string;
}

const before = (print: (c: Call, i: number) => string): Argument => ({ after: false, print });
/** After a call that worked; one that failed left nothing there, so the pointer is shown. */
const after = (print: (c: Call, i: number, result: number) => string): Argument => ({
  after: true,
  print: (c, i, result) => (result < 0 || c.num(i) === 0 ? pointer(c, i) : print(c, i, result)),
});

/** A pointer: NULL, or hexadecimal. Also what a structure becomes that cannot be read. */
export function pointer(c: Call, i: number): string {
  const value = c.big(i);
  return value === 0n ? "NULL" : `0x${value.toString(16)}`;
}

const structure = (print: (mem: GuestWindow, va: number, c: Call) => string): Argument => before((c, i) => (c.num(i) === 0 ? "NULL" : print(c.kernel.mem, c.num(i), c)));
const filledStructure = (print: (mem: GuestWindow, va: number, c: Call, result: number) => string): Argument => after((c, i, result) => print(c.kernel.mem, c.num(i), c, result));

export const INT = before((c, i) => `${c.int(i)}`);
export const UINT = before((c, i) => `${c.u32(i)}`);
export const LONG = before((c, i) => `${BigInt.asIntN(64, c.big(i))}`);
export const SIZE = before((c, i) => `${c.big(i)}`);
export const HEX = before((c, i) => `0x${c.big(i).toString(16)}`);
export const HEX32 = before((c, i) => `0x${c.u32(i).toString(16)}`);
export const POINTER = before(pointer);
export const DIRFD = before((c, i) => (c.int(i) === -100 ? "AT_FDCWD" : `${c.int(i)}`));
export const PATH = structure((mem, va) => text.stringText(mem, va, 4095));
export const TEXT = structure((mem, va) => text.stringText(mem, va, text.SHOWN));
export const MODE = before((c, i) => text.permissions(c.u32(i)));
export const SIGNAL = before((c, i) => (c.int(i) >= 1 && c.int(i) <= 64 ? signalName(c.int(i)) : `${c.int(i)}`));
/** Old calls leave the upper half of int flags undefined: 32 bits. */
export const flags = (names: Names, zero = "0"): Argument => before((c, i) => bitNames(c.u32(i), names, zero));
export const one = (names: Names): Argument => before((c, i) => valueName(c.int(i), names));

export function openFlags(value: number): string {
  if (value & 3) return bitNames(value, OPEN);
  const rest = bitNames(value, OPEN, "");
  return rest ? `O_RDONLY|${rest}` : "O_RDONLY";
}
export const OPENFLAGS = before((c, i) => openFlags(c.u32(i)));
/** The mode of open and openat: only where a file may be made. */
export const CREATMODE = before((c, i) => (c.u32(i - 1) & 0o20000100 ? text.permissions(c.u32(i)) : ""));
/** New address of mremap: only with MREMAP_FIXED. */
export const FIXEDADDRESS = before((c, i) => (c.u32(3) & 2 ? pointer(c, i) : ""));
export const AT_FLAGS = flags(AT);
export const CLOCKID = one(CLOCK);
export const CLONEFLAGS = before((c, i) => {
  const value = c.u32(i);
  const signal = value & 0xff;
  return `${bitNames(value - signal, CLONE)}${signal ? `|${signalName(signal)}` : ""}`;
});
export const SOCKTYPE = before((c, i) => {
  const value = c.u32(i);
  const rest = bitNames(value & ~0xf, SOCKET_FLAGS, "");
  return valueName(value & 0xf, SOCKET) + (rest ? `|${rest}` : "");
});
export const FUTEXOP = before((c, i) => {
  const value = c.u32(i);
  return `${valueName(value & 0x7f, FUTEX)}${value & FUTEX_PRIVATE ? "_PRIVATE" : ""}${value & FUTEX_CLOCK_REALTIME ? "|FUTEX_CLOCK_REALTIME" : ""}`;
});
/** Operations of futex by the arguments that they have beyond three: a time-out; a number, an address and perhaps a value. */
const operationOf = (c: Call): number => c.u32(1) & 0x7f;
const requeues = (operation: number): boolean => (operation >= 3 && operation <= 5) || operation === 11 || operation === 12;
export const FUTEXTIME = before((c, i) => {
  const operation = operationOf(c);
  if (operation === 1 || operation === 7 || operation === 8 || operation === 10) return "";
  if (operation === 3 || operation === 4 || operation === 5 || operation === 12) return `${c.u32(i)}`;
  return c.num(i) === 0 ? "NULL" : text.timespecText(c.kernel.mem, c.num(i));
});
export const FUTEXADDRESS = before((c, i) => (requeues(operationOf(c)) ? pointer(c, i) : ""));
export const FUTEXVALUE = before((c, i) => {
  const operation = operationOf(c);
  return operation === 4 || operation === 5 || operation === 9 || operation === 10 || operation === 12 ? `0x${c.u32(i).toString(16)}` : "";
});
/** Third argument of fcntl, as the command has it. */
export const FCNTLVALUE = before((c, i) => {
  switch (c.int(1)) {
    case FCNTL.F_SETFD:
      return bitNames(c.u32(i), FD);
    case FCNTL.F_SETFL:
      return openFlags(c.u32(i));
    case FCNTL.F_GETLK:
    case FCNTL.F_SETLK:
    case FCNTL.F_SETLKW:
    case FCNTL.F_OFD_GETLK:
    case FCNTL.F_OFD_SETLK:
    case FCNTL.F_OFD_SETLKW:
      return pointer(c, i);
    case FCNTL.F_GETFD:
    case FCNTL.F_GETFL:
    case FCNTL.F_GETOWN:
    case FCNTL.F_GETSIG:
    case FCNTL.F_GETPIPE_SZ:
    case FCNTL.F_GET_SEALS:
      return "";
    default:
      return `${c.int(i)}`;
  }
});

/** Data that the program hands over; its length is argument `length`. */
export const data = (length: number): Argument => structure((mem, va, c) => text.bufferText(mem, va, c.num(length)));
/** A buffer that the call fills: as many bytes as the result says, or as argument `length` where the result says nothing. */
export const filled = (length = -1): Argument => filledStructure((mem, va, c, result) => text.bufferText(mem, va, length < 0 ? result : c.num(length)));
export const STAT = filledStructure(text.statText);
export const STATX = filledStructure(text.statxText);
export const TIMESPEC = structure(text.timespecText);
export const TIMESPEC_OUT = filledStructure(text.timespecText);
export const TIMEVAL = structure(text.timevalText);
export const TIMEVAL_OUT = filledStructure(text.timevalText);
export const ITIMERVAL = structure((mem, va) => text.itimerText(mem, va, text.timevalText));
export const ITIMERVAL_OUT = filledStructure((mem, va) => text.itimerText(mem, va, text.timevalText));
export const ITIMERSPEC = structure((mem, va) => text.itimerText(mem, va, text.timespecText));
export const ITIMERSPEC_OUT = filledStructure((mem, va) => text.itimerText(mem, va, text.timespecText));
/** Two times for utimensat. */
export const TIMES = structure((mem, va) => `[${text.timespecText(mem, va)}, ${text.timespecText(mem, va + 16)}]`);
export const SIGSET = structure((mem, va) => text.maskText(mem.big(va)));
export const SIGSET_OUT = filledStructure((mem, va) => text.maskText(mem.big(va)));
export const SIGACTION = structure(text.sigactionText);
export const SIGACTION_OUT = filledStructure(text.sigactionText);
export const ALTSTACK = structure(text.altstackText);
export const ALTSTACK_OUT = filledStructure(text.altstackText);
export const SIGEVENT = structure(text.sigeventText);
export const RLIMIT = structure(text.rlimitText);
export const RLIMIT_OUT = filledStructure(text.rlimitText);
export const IOVEC = structure((mem, va, c) => text.iovecText(mem, va, Math.min(c.num(2), 1024), Number.POSITIVE_INFINITY));
export const IOVEC_OUT = filledStructure((mem, va, c, result) => text.iovecText(mem, va, Math.min(c.num(2), 1024), result));
export const POLLFDS = structure((mem, va, c) => text.pollText(mem, va, c.num(1)));
export const EPOLL_EVENT = structure(text.epollEventText);
export const EPOLL_EVENTS = filledStructure((mem, va, _c, result) => text.epollText(mem, va, result));
export const INT_OUT = filledStructure((mem, va) => `[${mem.i32(va)}]`);
export const SIZE_OUT = filledStructure((mem, va) => `[${mem.big(va)}]`);
export const PAIR_OUT = filledStructure(text.pairText);
export const UTSNAME = filledStructure(text.utsnameText);
export const CLONE_ARGS = structure((mem, va, c) => text.cloneArgsText(mem, va, c.num(1)));
export const OPEN_HOW = structure((mem, va) => text.openHowText(mem, va, openFlags));
/** A socket address; its length is argument `length`. */
export const address = (length: number): Argument => structure((mem, va, c) => text.sockaddrText(mem, va, c.num(length)));
/** One that the call fills; argument `length` points at its length. */
export const addressOut = (length: number): Argument => filledStructure((mem, va, c) => text.sockaddrText(mem, va, mem.u32(c.num(length))));
export const MSGHDR = structure((mem, va) => text.msghdrText(mem, va, Number.POSITIVE_INFINITY));
export const MSGHDR_OUT = filledStructure((mem, va, _c, result) => text.msghdrText(mem, va, result));
/** An integer behind a pointer that the program hands over. */
export const INT_IN = structure((mem, va) => `[${mem.i32(va)}]`);
