/** The descriptor table: dup, close, fcntl, pipes. */
import { EBADF, EINVAL, EMFILE } from "../../abi/errno.ts";
import * as F from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC, FD_NONBLOCK, FILE_KIND } from "../descriptors.ts";
import type { Kernel } from "../kernel.ts";
import { dropSignalFile } from "../signal-files.ts";
import { DESCRIPTOR_COUNT } from "../state.ts";
import { hostWait, Passage, ROOM, word } from "./marshal.ts";

/** A second host descriptor for what the guest calls `fd`. Throws EBADF; -errno when the host has no more. */
function duplicate(k: Kernel, fd: number): number {
  return k.sys(NR.fcntl, k.fds.host(fd), F.F_DUPFD_CLOEXEC, 3);
}

/** Flags that a second number for `fd` has besides close-on-exec: they belong to the open file. */
function shared(k: Kernel, fd: number): number {
  return k.fds.flags(fd) & FD_NONBLOCK;
}

/** dup and F_DUPFD: at the lowest free number from `from` on. */
function dupFrom(k: Kernel, fd: number, from: number, flags: number): number {
  const host = duplicate(k, fd);
  return host < 0 ? host : k.fds.add(host, flags | shared(k, fd), k.fds.kind(fd), k.fds.aux(fd), from);
}

/** dup2 and dup3: at number `to`, closing what was there. */
function dupTo(k: Kernel, fd: number, to: number, flags: number): number {
  if (to < 0 || to >= k.fds.limit) return -EBADF;
  const host = duplicate(k, fd);
  return host < 0 ? host : k.fds.replace(to, host, flags | shared(k, fd), k.fds.kind(fd), k.fds.aux(fd));
}

function dup2(c: Call): number {
  const k = c.kernel;
  const fd = c.int(0);
  const to = c.int(1);
  k.fds.host(fd);
  return fd === to ? fd : dupTo(k, fd, to, 0);
}

function dup3(c: Call): number {
  const fd = c.int(0);
  const flags = c.int(2);
  if (flags & ~F.O_CLOEXEC || fd === c.int(1)) return -EINVAL;
  return dupTo(c.kernel, fd, c.int(1), flags & F.O_CLOEXEC ? FD_CLOEXEC : 0);
}

/** close(2). With its last descriptor a signalfd goes. */
function close(k: Kernel, fd: number): number {
  const file = k.fds.kind(fd) === FILE_KIND.SIGNALS ? k.fds.aux(fd) : -1;
  const result = k.fds.close(fd);
  if (file >= 0 && !k.fds.open().some((n) => k.fds.kind(n) === FILE_KIND.SIGNALS && k.fds.aux(n) === file)) dropSignalFile(k.state, k.sys, file);
  return result;
}

function closeRange(c: Call): number {
  const { fds } = c.kernel;
  const first = c.u32(0);
  const last = Math.min(c.u32(1), DESCRIPTOR_COUNT - 1);
  const flags = c.u32(2);
  // One table for all threads: the unshared copy that CLOSE_RANGE_UNSHARE asks for would be the same table.
  if (c.u32(1) < first || flags & ~(F.CLOSE_RANGE_CLOEXEC | F.CLOSE_RANGE_UNSHARE)) return -EINVAL;
  for (let fd = first; fd <= last; fd++) {
    if (fds.peek(fd) < 0) continue;
    if (flags & F.CLOSE_RANGE_CLOEXEC) fds.setFlags(fd, fds.flags(fd) | FD_CLOEXEC);
    else close(c.kernel, fd);
  }
  return 0;
}

/** Sets or clears the guest's close-on-exec flag. */
export function setCloseOnExec(k: Kernel, fd: number, on: boolean): void {
  k.fds.setFlags(fd, on ? k.fds.flags(fd) | FD_CLOEXEC : k.fds.flags(fd) & ~FD_CLOEXEC);
}

/** F_GETFL and F_SETFL of a signalfd: whether it blocks is our own business. */
function signalFileFlags(k: Kernel, fd: number, host: number, flags: number | null): number {
  const own = k.fds.flags(fd);
  if (flags === null) return (k.sys(NR.fcntl, host, F.F_GETFL) & ~F.O_NONBLOCK) | (own & FD_NONBLOCK ? F.O_NONBLOCK : 0);
  k.fds.setFlags(fd, flags & F.O_NONBLOCK ? own | FD_NONBLOCK : own & ~FD_NONBLOCK);
  return 0;
}

// ---- fcntl --------------------------------------------------------------------------------------------------------

/** fcntl commands whose argument is a pointer: bytes of it, and whether the host writes it. The waiting ones wait. */
const POINTERS: ReadonlyMap<number, readonly [size: number, writes: boolean]> = new Map([
  [F.F_GETLK, [F.FLOCK_SIZE, true]],
  [F.F_SETLK, [F.FLOCK_SIZE, false]],
  [F.F_SETLKW, [F.FLOCK_SIZE, false]],
  [F.F_OFD_GETLK, [F.FLOCK_SIZE, true]],
  [F.F_OFD_SETLK, [F.FLOCK_SIZE, false]],
  [F.F_OFD_SETLKW, [F.FLOCK_SIZE, false]],
  [F.F_SETOWN_EX, [F.F_OWNER_EX_SIZE, false]],
  [F.F_GETOWN_EX, [F.F_OWNER_EX_SIZE, true]],
  [F.F_GETOWNER_UIDS, [8, true]],
  [F.F_GET_RW_HINT, [8, true]],
  [F.F_SET_RW_HINT, [8, false]],
  [F.F_GET_FILE_RW_HINT, [8, true]],
  [F.F_SET_FILE_RW_HINT, [8, false]],
]);

/** fcntl commands whose argument is a number, or none. */
const NUMBERS: ReadonlySet<number> = new Set([
  F.F_GETFL,
  F.F_SETFL,
  F.F_SETOWN,
  F.F_GETOWN,
  F.F_SETSIG,
  F.F_GETSIG,
  F.F_SETLEASE,
  F.F_GETLEASE,
  F.F_NOTIFY,
  F.F_CREATED_QUERY,
  F.F_SETPIPE_SZ,
  F.F_GETPIPE_SZ,
  F.F_ADD_SEALS,
  F.F_GET_SEALS,
]);

function fcntl(c: Call): number {
  const k = c.kernel;
  const fd = c.int(0);
  const command = c.int(1);
  const host = k.fds.host(fd);
  switch (command) {
    case F.F_DUPFD:
    case F.F_DUPFD_CLOEXEC: {
      const from = c.int(2);
      if (from < 0 || from >= k.fds.limit) return -EINVAL;
      return dupFrom(k, fd, from, command === F.F_DUPFD_CLOEXEC ? FD_CLOEXEC : 0);
    }
    case F.F_GETFD:
      return k.fds.flags(fd) & FD_CLOEXEC;
    case F.F_SETFD:
      setCloseOnExec(k, fd, (c.int(2) & FD_CLOEXEC) !== 0);
      return 0;
    case F.F_GETFL:
    case F.F_SETFL:
      if (k.fds.kind(fd) === FILE_KIND.SIGNALS) return signalFileFlags(k, fd, host, command === F.F_SETFL ? c.int(2) : null);
      break;
    case F.F_DUPFD_QUERY:
      return k.sys(NR.fcntl, host, command, k.fds.host(c.int(2)));
  }
  if (NUMBERS.has(command)) return k.sys(NR.fcntl, host, command, word(c, 2));
  const shape = POINTERS.get(command);
  if (!shape) return -EINVAL;
  const [size, writes] = shape;
  const passage = new Passage(k);
  const at = writes ? passage.output(c.num(2), size, true) : passage.input(c.num(2), size);
  const waits = command === F.F_SETLKW || command === F.F_OFD_SETLKW;
  const result = waits ? hostWait(k, NR.fcntl, host, command, at) : k.sys(NR.fcntl, host, command, at);
  passage.finish(result);
  return result;
}

// ---- pairs --------------------------------------------------------------------------------------------------------

/** Gives two host descriptors at scratch offset `at` to the guest, as two ints at `va`. Nothing stays open when that fails. */
export function addPair(k: Kernel, at: number, va: number, flags: number): number {
  const hosts = [k.scratch.view.getInt32(at, true), k.scratch.view.getInt32(at + 4, true)] as const;
  const first = k.fds.add(hosts[0], flags);
  if (first < 0) {
    k.sys(NR.close, hosts[1]);
    return -EMFILE;
  }
  const second = k.fds.add(hosts[1], flags);
  if (second < 0) {
    k.fds.close(first);
    return -EMFILE;
  }
  try {
    k.mem.setU32(va, first);
    k.mem.setU32(va + 4, second);
  } catch (error) {
    k.fds.close(first);
    k.fds.close(second);
    throw error;
  }
  return 0;
}

function pipe(k: Kernel, va: number, flags: number): number {
  const result = k.sys(NR.pipe2, k.scratch.address + ROOM.structs, flags | F.O_CLOEXEC);
  return result < 0 ? result : addPair(k, ROOM.structs, va, flags & F.O_CLOEXEC ? FD_CLOEXEC : 0);
}

export const descriptorCalls: Family = {
  close: ["lwk", "", (c) => close(c.kernel, c.int(0))],
  close_range: ["lwk", "", closeRange],
  dup: ["lwk", "", (c) => dupFrom(c.kernel, c.int(0), 0, 0)],
  dup2: ["lwk", "", dup2],
  dup3: ["lwk", "", dup3],
  fcntl: ["partial", "F_SETOWN names host processes; SIGIO goes to the whole program", fcntl],
  pipe: ["forwarded", "", (c) => pipe(c.kernel, c.num(0), 0)],
  pipe2: ["forwarded", "", (c) => pipe(c.kernel, c.num(0), c.int(1))],
};
