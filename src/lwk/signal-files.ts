/**
 * signalfd: descriptors that are readable while a signal of their set waits. Each row of a table in the shared state is one of them: its set, and
 * an eventfd of the host, so that the host's poll, select and epoll wait for signals together with everything else. Who queues a signal writes
 * the eventfds that want it; who reads the last one empties its eventfd. The signals themselves stay in the queue.
 */
import { EMFILE } from "../abi/errno.ts";
import { F_DUPFD_CLOEXEC, O_CLOEXEC, O_NONBLOCK } from "../abi/fcntl.ts";
import { NR } from "../abi/nr.ts";
import { signalBit } from "../abi/signal.ts";
import type { Sys } from "../host/gate.ts";
import { H, OFFSET, Q, type State } from "./state.ts";

/** Row words: host eventfd + 1 (0: free), -, set u64, two words 1 and 0: the number that is written to the eventfd. Row 0 word 0 counts rows ever used. */
const ROW = { words: 8, host: 0, set: 2, one: 4, count: 64 } as const;

function row(i: number): number {
  return (OFFSET.signalFiles >> 2) + i * ROW.words;
}

/** Rows ever used: 1 to this. */
function used(state: State): number {
  return state.i32[row(0)]!;
}

/** Makes one for `set`. Returns its row, or -errno. `inUse` says whether some descriptor still names a row. */
export function addSignalFile(state: State, sys: Sys, set: bigint, inUse: (row: number) => boolean): number {
  const event = sys(NR.eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
  if (event < 0) return event;
  state.lock(H.lockSignals);
  try {
    let free = 0;
    for (let i = 1; i <= used(state) && !free; i++) if (!inUse(i)) free = i;
    if (!free && used(state) + 1 < ROW.count) free = ++state.i32[row(0)]!;
    if (!free) {
      sys(NR.close, event);
      return -EMFILE;
    }
    const at = row(free);
    const old = state.i32[at + ROW.host]!;
    if (old) sys(NR.close, old - 1);
    state.setBig(at + ROW.set, set);
    state.i32[at + ROW.one] = 1;
    state.i32[at + ROW.host] = event + 1;
    return free;
  } finally {
    state.unlock(H.lockSignals);
  }
}

/** Forgets row `i`: its last descriptor is closed, and nothing may wait for it any more. */
export function dropSignalFile(state: State, sys: Sys, i: number): void {
  state.lock(H.lockSignals);
  const at = row(i);
  const host = state.i32[at + ROW.host]! - 1;
  state.i32[at + ROW.host] = 0;
  state.unlock(H.lockSignals);
  if (host >= 0) sys(NR.close, host);
}

/** A host descriptor of its own for the guest's table: the row's eventfd, duplicated. Blocking or not is the guest's wish. */
export function signalFileDescriptor(state: State, sys: Sys, i: number): number {
  return sys(NR.fcntl, state.i32[row(i) + ROW.host]! - 1, F_DUPFD_CLOEXEC, 3);
}

export function signalFileSet(state: State, i: number): bigint {
  return state.getBig(row(i) + ROW.set);
}

export function setSignalFileSet(state: State, i: number, set: bigint): void {
  state.setBig(row(i) + ROW.set, set);
}

/** True when some signalfd wants `signal`: it is queued even if it would be ignored. */
export function signalFileWants(state: State, signal: number): boolean {
  for (let i = 1; i <= used(state); i++)
    if (state.i32[row(i) + ROW.host] && state.getBig(row(i) + ROW.set) & signalBit(signal)) return true;
  return false;
}

function ring(state: State, sys: Sys, i: number): void {
  sys(NR.write, state.i32[row(i) + ROW.host]! - 1, state.address + (row(i) + ROW.one) * 4, 8);
}

/** A signal has been queued: makes those that want it readable. */
export function ringSignalFiles(state: State, sys: Sys, signal: number): void {
  for (let i = 1; i <= used(state); i++)
    if (state.i32[row(i) + ROW.host] && state.getBig(row(i) + ROW.set) & signalBit(signal)) ring(state, sys, i);
}

/** True when a signal of `set` waits for any thread or the process. */
function waits(state: State, set: bigint): boolean {
  if (!state.i32[H.queueCount]) return false;
  for (let i = 0; i < Q.count; i++) {
    const at = (OFFSET.signalQueue >> 2) + i * Q.size;
    if (state.i32[at + Q.used] && set & signalBit(state.i32[at + Q.signal]!)) return true;
  }
  return false;
}

/** Makes row `i` readable or not, as the queue says now. `scratch`: address of 8 bytes that may be overwritten. */
export function settleSignalFile(state: State, sys: Sys, i: number, scratch: number): void {
  // Emptied first: a signal that is queued from here on rings again.
  sys(NR.read, state.i32[row(i) + ROW.host]! - 1, scratch, 8);
  if (waits(state, state.getBig(row(i) + ROW.set))) ring(state, sys, i);
}
