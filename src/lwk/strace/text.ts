/** Bytes and structures in guest memory as strace writes them. Everything here may throw GuestError for a bad pointer; format.ts then prints the pointer. */
import { signalName } from "../../abi/signal.ts";
import { STAT, STATX } from "../../abi/stat.ts";
import type { GuestWindow } from "../mm/window.ts";
import { ALTSTACK, bitNames, CLONE, EPOLL, FAMILY, FORMAT, POLL, SIGACTION, SIGEV, valueName } from "./flags.ts";

/** Bytes of a string or buffer that are shown. */
export const SHOWN = 32;
/** Elements of an array that are shown. */
const ELEMENTS = 8;

const ESCAPES: Readonly<Record<number, string>> = { 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\" };

/** Bytes as a C string: octal for what does not print, in three digits where a digit follows. */
export function quote(bytes: Uint8Array, cut = false): string {
  let text = '"';
  for (const [i, byte] of bytes.entries()) {
    const next = bytes[i + 1] ?? 0;
    if (ESCAPES[byte]) text += ESCAPES[byte];
    else if (byte >= 32 && byte < 127) text += String.fromCharCode(byte);
    else text += `\\${byte.toString(8).padStart(next >= 48 && next <= 57 ? 3 : 1, "0")}`;
  }
  return `${text}"${cut ? "..." : ""}`;
}

/** The first bytes of a buffer. */
export function bufferText(mem: GuestWindow, va: number, length: number): string {
  return quote(mem.bytes(va, Math.min(length, SHOWN)), length > SHOWN);
}

/** A NUL-ended string, at most `most` bytes of it. */
export function stringText(mem: GuestWindow, va: number, most: number): string {
  const bytes: number[] = [];
  for (let i = 0; i <= most; i++) {
    const byte = mem.u8(va + i);
    if (byte === 0) return quote(Uint8Array.from(bytes));
    if (i === most) break;
    bytes.push(byte);
  }
  return quote(Uint8Array.from(bytes), true);
}

export function permissions(mode: number): string {
  return mode.toString(8).padStart(3, "0").padStart(4, "0");
}

function modeText(mode: number): string {
  return `${valueName(mode & 0o170000, FORMAT)}|${permissions(mode & 0o7777)}`;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

export function statText(mem: GuestWindow, va: number): string {
  const v = view(mem.bytes(va, STAT.size));
  return `{st_mode=${modeText(v.getUint32(STAT.mode, true))}, st_size=${v.getBigInt64(48, true)}, ...}`;
}

export function statxText(mem: GuestWindow, va: number): string {
  const v = view(mem.bytes(va, STATX.size));
  return `{stx_mode=${modeText(v.getUint16(STATX.mode, true))}, stx_size=${v.getBigUint64(40, true)}, ...}`;
}

export function timespecText(mem: GuestWindow, va: number): string {
  return `{tv_sec=${mem.i64(va)}, tv_nsec=${mem.i64(va + 8)}}`;
}

export function timevalText(mem: GuestWindow, va: number): string {
  return `{tv_sec=${mem.i64(va)}, tv_usec=${mem.i64(va + 8)}}`;
}

/** struct itimerspec or itimerval. */
export function itimerText(mem: GuestWindow, va: number, time: (mem: GuestWindow, va: number) => string): string {
  return `{it_interval=${time(mem, va)}, it_value=${time(mem, va + 16)}}`;
}

/** Signals of a mask: `[INT TERM]`, or `~[KILL]` when most are in it. */
export function maskText(mask: bigint): string {
  const inside: string[] = [];
  const outside: string[] = [];
  for (let signal = 1; signal <= 64; signal++) ((mask >> BigInt(signal - 1)) & 1n ? inside : outside).push(signalName(signal).replace("SIG", ""));
  return inside.length > 32 ? `~[${outside.join(" ")}]` : `[${inside.join(" ")}]`;
}

export function sigactionText(mem: GuestWindow, va: number): string {
  const handler = mem.big(va);
  const flags = mem.u32(va + 8);
  const name = handler === 0n ? "SIG_DFL" : handler === 1n ? "SIG_IGN" : `0x${handler.toString(16)}`;
  const restorer = flags & 0x04000000 ? `, sa_restorer=0x${mem.big(va + 16).toString(16)}` : "";
  return `{sa_handler=${name}, sa_mask=${maskText(mem.big(va + 24))}, sa_flags=${bitNames(flags, SIGACTION)}${restorer}}`;
}

export function altstackText(mem: GuestWindow, va: number): string {
  return `{ss_sp=0x${mem.big(va).toString(16)}, ss_flags=${bitNames(mem.u32(va + 8), ALTSTACK)}, ss_size=${mem.u64(va + 16)}}`;
}

export function sigeventText(mem: GuestWindow, va: number): string {
  const notify = mem.u32(va + 12);
  return `{sigev_value=0x${mem.big(va).toString(16)}, sigev_signo=${signalName(mem.i32(va + 8))}, sigev_notify=${valueName(notify, SIGEV)}${notify === 4 ? `, sigev_notify_thread_id=${mem.i32(va + 16)}` : ""}}`;
}

export function rlimitText(mem: GuestWindow, va: number): string {
  const value = (at: number): string => {
    const limit = mem.big(at);
    if (limit === 0xffff_ffff_ffff_ffffn) return "RLIM64_INFINITY";
    return limit > 1024n && limit % 1024n === 0n ? `${limit / 1024n}*1024` : `${limit}`;
  };
  return `{rlim_cur=${value(va)}, rlim_max=${value(va + 8)}}`;
}

function list(count: number, element: (i: number) => string): string {
  const parts: string[] = [];
  for (let i = 0; i < Math.min(count, ELEMENTS); i++) parts.push(element(i));
  if (count > ELEMENTS) parts.push("...");
  return `[${parts.join(", ")}]`;
}

/** struct iovec array; `filled` bytes in all hold data (Infinity: all of them). */
export function iovecText(mem: GuestWindow, va: number, count: number, filled: number): string {
  let left = filled;
  return list(count, (i) => {
    const base = mem.u64(va + i * 16);
    const length = mem.u64(va + i * 16 + 8);
    const has = Math.max(0, Math.min(length, left));
    left -= has;
    let data: string;
    try {
      data = bufferText(mem, base, has);
    } catch {
      data = `0x${base.toString(16)}`;
    }
    return `{iov_base=${data}, iov_len=${length}}`;
  });
}

/** struct pollfd array with what is asked for. */
export function pollText(mem: GuestWindow, va: number, count: number): string {
  return list(count, (i) => `{fd=${mem.i32(va + i * 8)}, events=${bitNames(mem.u16(va + i * 8 + 4), POLL)}}`);
}

/** Those of the array that are ready. */
export function pollResultText(mem: GuestWindow, va: number, count: number): string {
  const ready: string[] = [];
  for (let i = 0; i < Math.min(count, 1024); i++) {
    const revents = mem.u16(va + i * 8 + 6);
    if (revents) ready.push(`{fd=${mem.i32(va + i * 8)}, revents=${bitNames(revents, POLL)}}`);
  }
  return ready.length ? ` (${list(ready.length, (i) => ready[i]!)})` : "";
}

/** struct epoll_event array. */
export function epollText(mem: GuestWindow, va: number, count: number): string {
  return list(count, (i) => epollEventText(mem, va + i * 12));
}

export function epollEventText(mem: GuestWindow, va: number): string {
  return `{events=${bitNames(mem.u32(va), EPOLL)}, data=0x${mem.big(va + 4).toString(16)}}`;
}

export function pairText(mem: GuestWindow, va: number): string {
  return `[${mem.i32(va)}, ${mem.i32(va + 4)}]`;
}

export function utsnameText(mem: GuestWindow, va: number): string {
  return `{sysname=${stringText(mem, va, 65)}, nodename=${stringText(mem, va + 65, 65)}, ...}`;
}

export function cloneArgsText(mem: GuestWindow, va: number, size: number): string {
  const field = (at: number): string => `0x${mem.big(va + at).toString(16)}`;
  const settls = size >= 64 && mem.u64(va + 56) !== 0 ? `, tls=${field(56)}` : "";
  return `{flags=${bitNames(mem.u64(va), CLONE)}, child_tid=${field(16)}, parent_tid=${field(24)}, exit_signal=${mem.u64(va + 32)}, stack=${field(40)}, stack_size=${field(48)}${settls}}`;
}

export function openHowText(mem: GuestWindow, va: number, open: (flags: number) => string): string {
  return `{flags=${open(mem.u32(va))}, mode=${permissions(mem.u32(va + 8))}, resolve=0x${mem.big(va + 16).toString(16)}}`;
}

export function sockaddrText(mem: GuestWindow, va: number, length: number): string {
  const bytes = mem.bytes(va, Math.min(length, 128));
  if (bytes.length < 2) return `0x${va.toString(16)}`;
  const v = view(bytes);
  const family = v.getUint16(0, true);
  const name = valueName(family, FAMILY);
  if (family === 1) {
    const path = bytes.subarray(2);
    const end = path.indexOf(0);
    // An abstract name starts with NUL and has no end but the length.
    return path.length === 0 ? `{sa_family=${name}}` : `{sa_family=${name}, sun_path=${path[0] === 0 ? `@${quote(path.subarray(1))}` : quote(end < 0 ? path : path.subarray(0, end))}}`;
  }
  if (family === 2 && bytes.length >= 8) return `{sa_family=${name}, sin_port=htons(${v.getUint16(2, false)}), sin_addr=inet_addr("${bytes.subarray(4, 8).join(".")}")}`;
  if (family === 10 && bytes.length >= 24) {
    const groups = Array.from({ length: 8 }, (_, i) => v.getUint16(8 + i * 2, false).toString(16));
    return `{sa_family=${name}, sin6_port=htons(${v.getUint16(2, false)}), sin6_addr="${groups.join(":")}"}`;
  }
  return `{sa_family=${name}, sa_data=${quote(bytes.subarray(2, 2 + SHOWN), bytes.length > 2 + SHOWN)}}`;
}

/** struct msghdr: name, data, flags. `filled` as in iovecText. */
export function msghdrText(mem: GuestWindow, va: number, filled: number): string {
  const name = mem.u64(va);
  const count = mem.u64(va + 24);
  return `{msg_name=${name ? sockaddrText(mem, name, mem.u32(va + 8)) : "NULL"}, msg_iov=${iovecText(mem, mem.u64(va + 16), Math.min(count, 1024), filled)}, msg_iovlen=${count}, msg_controllen=${mem.u64(va + 40)}, msg_flags=0x${mem.u32(va + 48).toString(16)}}`;
}
