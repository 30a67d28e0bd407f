/** signalfd: signals read as data. */
import { EAGAIN, EBADF, EINTR, EINVAL, ERESTARTSYS } from "../../abi/errno.ts";
import { O_CLOEXEC, O_NONBLOCK } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { SIGCHLD, SIGKILL, SIGSTOP, signalBit } from "../../abi/signal.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC, FD_NONBLOCK, FILE_KIND } from "../descriptors.ts";
import type { Kernel } from "../kernel.ts";
import { addSignalFile, setSignalFileSet, settleSignalFile, signalFileDescriptor, signalFileSet } from "../signal-files.ts";
import { T } from "../state.ts";
import { ROOM } from "./marshal.ts";

/** sizeof(struct signalfd_siginfo). */
const RECORD = 128;
/** Records that one read brings at most. */
const RECORDS = 64;
const UNBLOCKABLE = signalBit(SIGKILL) | signalBit(SIGSTOP);
/** si_code of a signal that a timer sent. */
const SI_TIMER = -2;

/** Turns siginfo into struct signalfd_siginfo (linux/signalfd.h): the same facts, each at a place of its own. */
export function signalRecord(signal: number, info: Uint8Array): Uint8Array {
  const record = new Uint8Array(RECORD);
  const from = new DataView(info.buffer, info.byteOffset, info.length);
  const to = new DataView(record.buffer);
  const code = from.getInt32(8, true);
  to.setUint32(0, signal, true);
  to.setInt32(4, from.getInt32(4, true), true);
  to.setInt32(8, code, true);
  if (code === SI_TIMER) {
    to.setUint32(24, from.getUint32(16, true), true); // timer
    to.setUint32(32, from.getUint32(20, true), true); // overruns
  } else {
    to.setUint32(12, from.getUint32(16, true), true); // process
    to.setUint32(16, from.getUint32(20, true), true); // user
  }
  if (signal === SIGCHLD && code > 0) {
    to.setInt32(40, from.getInt32(24, true), true); // status
    to.setBigUint64(56, from.getBigUint64(32, true), true);
    to.setBigUint64(64, from.getBigUint64(40, true), true);
  } else {
    to.setInt32(44, from.getInt32(24, true), true); // value as int and as pointer
    to.setBigUint64(48, from.getBigUint64(24, true), true);
  }
  return record;
}

/** read(2) of a signalfd: takes signals of its set that wait for this thread or the process, and waits for the first. */
export function readSignals(k: Kernel, fd: number, va: number, length: number): number {
  if (length < RECORD) return -EINVAL;
  const { state, record, slot, signals } = k;
  const file = k.fds.aux(fd);
  const set = signalFileSet(state, file);
  const room = Math.min(Math.floor(length / RECORD), RECORDS);
  // While this is set, whoever queues a signal of the set wakes this thread.
  state.setBig(record + T.waitMask, set);
  try {
    for (;;) {
      let count = 0;
      for (; count < room; count++) {
        const pending = signals.take(slot, set);
        if (!pending) break;
        k.mem.write(va + count * RECORD, signalRecord(pending.signal, pending.info));
      }
      settleSignalFile(state, k.sys, file, k.scratch.address + ROOM.structs);
      if (count > 0) return count * RECORD;
      if (k.fds.flags(fd) & FD_NONBLOCK) return -EAGAIN;
      const result = k.wait(NR.ppoll, 0, 0, 0, 0, 8);
      if (result === -EINTR && k.interrupted() && !(signals.pendingMask(slot) & set)) return -ERESTARTSYS;
    }
  } finally {
    state.setBig(record + T.waitMask, 0n);
  }
}

/** signalfd4: a new one, or another set for an old one. */
function signalfd(c: Call, flags: number): number {
  const k = c.kernel;
  const fd = c.int(0);
  if (flags & ~(O_CLOEXEC | O_NONBLOCK) || c.num(2) !== 8) return -EINVAL;
  const set = k.mem.big(c.num(1)) & ~UNBLOCKABLE;
  if (fd !== -1) {
    if (k.fds.peek(fd) < 0) return -EBADF;
    if (k.fds.kind(fd) !== FILE_KIND.SIGNALS) return -EINVAL;
    setSignalFileSet(k.state, k.fds.aux(fd), set);
    settleSignalFile(k.state, k.sys, k.fds.aux(fd), k.scratch.address + ROOM.structs);
    return fd;
  }
  const open = new Set(k.fds.open().filter((n) => k.fds.kind(n) === FILE_KIND.SIGNALS).map((n) => k.fds.aux(n)));
  const file = addSignalFile(k.state, k.sys, set, (row) => open.has(row));
  if (file < 0) return file;
  const host = signalFileDescriptor(k.state, k.sys, file);
  if (host < 0) return host;
  const result = k.fds.add(host, (flags & O_CLOEXEC ? FD_CLOEXEC : 0) | (flags & O_NONBLOCK ? FD_NONBLOCK : 0), FILE_KIND.SIGNALS, file);
  settleSignalFile(k.state, k.sys, file, k.scratch.address + ROOM.structs);
  return result;
}

const note = "at most 63; poll and epoll also tell of signals that wait for another thread";

export const signalFileCalls: Family = {
  signalfd: ["partial", note, (c) => signalfd(c, 0)],
  signalfd4: ["partial", note, (c) => signalfd(c, c.int(3))],
};
