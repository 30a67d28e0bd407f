/**
 * POSIX timers. Rows of the shared state are the truth: clock, next expiry, interval, what to send to whom. A host timer per row is only the alarm
 * clock: all of them raise one host signal, and whoever takes that in sends what has expired (`expireTimers`). So no expiry is lost when two fall
 * together, a thread can be named as target although the host does not know its number, and a checkpoint holds all timers.
 *
 * Row words (16): host timer id + 1 (0: free, -1: a timer without host timer, -2: being made), host clock, signal, notify (SIGEV_*), target thread id,
 * overrun of the last signal, flags, -, then u64: value, next expiry in ns on the measuring clock (0: disarmed), interval in ns; then the measuring clock.
 */
import { EAGAIN, EINVAL, EOPNOTSUPP } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { SIGALRM, SIGNAL_COUNT } from "../../abi/signal.ts";
import {
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  CLOCK_TAI,
  CLOCK_THREAD_CPUTIME_ID,
  CPUCLOCK_PERTHREAD,
  CPUCLOCK_SCHED,
  DELAYTIMER_MAX,
  SI_TIMER,
  SIGEV_NONE,
  SIGEV_SIGNAL,
  SIGEV_THREAD,
  SIGEV_THREAD_ID,
  SIGEVENT,
  TIMER_ABSTIME,
} from "../../abi/time.ts";
import { setHostAction } from "../../host/signals.ts";
import type { Call, Family } from "../call.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { makeInfo, TIMER_SIGNAL } from "../signals.ts";
import { H, OFFSET, Q, T } from "../state.ts";
import { hostClock, hostClockNow, isCoarse, readTimespec, SECOND, writeTimes } from "./clocks.ts";
import { ROOM } from "./marshal.ts";

export const TIMER_COUNT = 256;

const ROW = { size: 16, host: 0, clock: 1, signal: 2, notify: 3, tid: 4, overrun: 5, value: 8, expiry: 10, interval: 12, measure: 14 } as const;
const NO_HOST_TIMER = -1;
const BEING_MADE = -2;

function rowOf(id: number): number {
  return (OFFSET.timers >> 2) + id * ROW.size;
}

/** First word of a living timer's row. Throws EINVAL. */
function timer(k: Kernel, id: number): number {
  const host = id < 0 || id >= TIMER_COUNT ? 0 : k.state.i32[rowOf(id) + ROW.host]!;
  if (host === 0 || host === BEING_MADE) throw new GuestError(EINVAL);
  return rowOf(id);
}

/** struct sigevent as the row wants it. Throws EINVAL, EFAULT. */
function readEvent(k: Kernel, va: number, id: number): { value: bigint; signal: number; notify: number; tid: number } {
  if (!va) return { value: BigInt(id), signal: SIGALRM, notify: SIGEV_SIGNAL, tid: 0 };
  const bytes = k.mem.bytes(va, SIGEVENT.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const event = {
    value: view.getBigUint64(SIGEVENT.value, true),
    signal: view.getInt32(SIGEVENT.signal, true),
    notify: view.getInt32(SIGEVENT.notify, true),
    tid: view.getInt32(SIGEVENT.tid, true),
  };
  const { notify, signal } = event;
  if (notify !== SIGEV_SIGNAL && notify !== SIGEV_NONE && notify !== SIGEV_THREAD && notify !== SIGEV_THREAD_ID) throw new GuestError(EINVAL);
  if (notify !== SIGEV_NONE && (signal < 1 || signal > SIGNAL_COUNT)) throw new GuestError(EINVAL);
  if (notify === SIGEV_THREAD_ID && !k.threads.alive(event.tid)) throw new GuestError(EINVAL);
  return event;
}

function create(c: Call): number {
  const { kernel: k } = c;
  const { state } = k;
  // A thread's clock needs its number: the row may be read by another thread later.
  const clock = c.int(0) === CLOCK_THREAD_CPUTIME_ID ? (~state.i32[k.record + T.hostTid]! << 3) | CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED : hostClock(k, c.int(0));
  if (isCoarse(clock)) return -EOPNOTSUPP;
  let id = 0;
  while (id < TIMER_COUNT && Atomics.compareExchange(state.i32, rowOf(id) + ROW.host, 0, BEING_MADE) !== 0) id++;
  if (id === TIMER_COUNT) return -EAGAIN;
  const row = rowOf(id);
  let host = 0;
  try {
    const event = readEvent(k, c.num(1), id);
    k.mem.setU32(c.num(2), id);
    state.u32.fill(0, row + 1, row + ROW.size);
    state.i32[row + ROW.clock] = clock;
    state.i32[row + ROW.measure] = clock;
    state.i32[row + ROW.signal] = event.signal;
    state.i32[row + ROW.notify] = event.notify;
    state.i32[row + ROW.tid] = event.tid;
    state.setBig(row + ROW.value, event.value);
    hostClockNow(k, clock); // throws EINVAL for a clock that is none
    host = event.notify === SIGEV_NONE ? NO_HOST_TIMER : createOnHost(k, clock);
    return 0;
  } finally {
    Atomics.store(state.i32, row + ROW.host, host);
  }
}

/** A host timer that raises TIMER_SIGNAL. Returns its id plus one. Throws the host's error. */
function createOnHost(k: Kernel, clock: number): number {
  setHostAction(k.gate, k.scratch, TIMER_SIGNAL, "catch");
  const at = ROOM.structs;
  k.scratch.u8.fill(0, at, at + SIGEVENT.size + 8);
  k.scratch.view.setInt32(at + SIGEVENT.signal, TIMER_SIGNAL, true);
  const result = k.sys(NR.timer_create, clock, k.scratch.address + at, k.scratch.address + at + SIGEVENT.size);
  if (result < 0) throw new GuestError(-result);
  return k.scratch.view.getInt32(at + SIGEVENT.size, true) + 1;
}

/** What is left until the next expiry, and the interval, in ns. Times past while nobody looked are stepped over. */
function left(k: Kernel, row: number): { interval: bigint; value: bigint } {
  const { state } = k;
  const expiry = state.getBig(row + ROW.expiry);
  const interval = state.getBig(row + ROW.interval);
  if (expiry === 0n) return { interval, value: 0n };
  const now = hostClockNow(k, state.i32[row + ROW.measure]!);
  if (expiry > now) return { interval, value: expiry - now };
  if (interval === 0n) return { interval, value: state.i32[row + ROW.notify] === SIGEV_NONE ? 0n : 1n };
  return { interval, value: interval - ((now - expiry) % interval) };
}

function gettime(c: Call): number {
  const { interval, value } = left(c.kernel, timer(c.kernel, c.int(0)));
  writeTimes(c.kernel, c.num(1), [interval, value]);
  return 0;
}

function settime(c: Call): number {
  const { kernel: k } = c;
  const { state } = k;
  const row = timer(k, c.int(0));
  const absolute = (c.int(1) & TIMER_ABSTIME) !== 0;
  if (!c.num(2)) return -EINVAL;
  const interval = readTimespec(k, c.num(2));
  const value = readTimespec(k, c.num(2) + 16);
  const before = left(k, row);

  const clock = state.i32[row + ROW.clock]!;
  // Setting the wall clock does not move relative timers (timer_settime(2)).
  const measure = !absolute && (clock === CLOCK_REALTIME || clock === CLOCK_TAI) ? CLOCK_MONOTONIC : clock;
  state.i32[row + ROW.measure] = measure;
  state.i32[row + ROW.overrun] = 0;
  state.setBig(row + ROW.interval, value === 0n ? 0n : interval);
  state.setBig(row + ROW.expiry, value === 0n ? 0n : absolute ? value : hostClockNow(k, measure) + value);
  const host = state.i32[row + ROW.host]!;
  if (host !== NO_HOST_TIMER) {
    const at = ROOM.structs;
    for (const [i, ns] of [interval, value].entries()) {
      k.scratch.view.setBigInt64(at + i * 16, ns / SECOND, true);
      k.scratch.view.setBigInt64(at + i * 16 + 8, ns % SECOND, true);
    }
    const result = k.sys(NR.timer_settime, host - 1, absolute ? TIMER_ABSTIME : 0, k.scratch.address + at, 0);
    if (result < 0) return result;
  }
  if (c.num(3)) writeTimes(k, c.num(3), [before.interval, before.value]);
  return 0;
}

function remove(c: Call): number {
  const { kernel: k } = c;
  const row = timer(k, c.int(0));
  const host = k.state.i32[row + ROW.host]!;
  if (host !== NO_HOST_TIMER) k.sys(NR.timer_delete, host - 1);
  dropWaiting(k, c.int(0));
  k.state.u32.fill(0, row, row + ROW.size);
  return 0;
}

/** Word of the queue row that holds a signal of timer `id` still to be delivered, -1 when there is none. The caller holds the signal lock. */
function waitingSignal(k: Kernel, id: number): number {
  const { i32 } = k.state;
  if (!i32[H.queueCount]) return -1;
  for (let i = 0; i < Q.count; i++) {
    const at = (OFFSET.signalQueue >> 2) + i * Q.size;
    if (i32[at + Q.used] && i32[at + Q.info + 2] === SI_TIMER && i32[at + Q.info + 4] === id) return at;
  }
  return -1;
}

/** A deleted timer's last signal is not delivered: another timer may get the number. */
function dropWaiting(k: Kernel, id: number): void {
  const { state } = k;
  state.lock(H.lockSignals);
  const at = waitingSignal(k, id);
  if (at >= 0) {
    state.i32[at + Q.used] = 0;
    Atomics.sub(state.i32, H.queueCount, 1);
  }
  state.unlock(H.lockSignals);
}

/** A clock read in a buffer of its own: handlers' scratch bytes must survive a wake-up. */
function quietNow(k: Kernel, clock: number): bigint {
  const { traceBuffer: bytes } = k;
  if (k.sys(NR.clock_gettime, clock, k.traceAddress) < 0) return -1n;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return view.getBigInt64(0, true) * SECOND + view.getBigInt64(8, true);
}

/**
 * Sends the signals of all timers that have expired. Called by the host thread that takes in outside signals, after the host signal TIMER_SIGNAL came
 * with si_code SI_TIMER; calling it at any other time does no harm. Does not touch the scratch buffer.
 */
export function expireTimers(k: Kernel): void {
  for (let id = 0; id < TIMER_COUNT; id++) {
    const row = rowOf(id);
    if (k.state.i32[row + ROW.host]! > 0 && k.state.getBig(row + ROW.expiry) !== 0n) expire(k, id, row);
  }
}

function expire(k: Kernel, id: number, row: number): void {
  const { state } = k;
  const expiry = state.getBig(row + ROW.expiry);
  const interval = state.getBig(row + ROW.interval);
  const now = quietNow(k, state.i32[row + ROW.measure]!);
  if (now < expiry) return;
  const missed = interval === 0n ? 0n : (now - expiry) / interval;
  state.setBig(row + ROW.expiry, interval === 0n ? 0n : expiry + (missed + 1n) * interval);
  const extra = missed > BigInt(DELAYTIMER_MAX) ? DELAYTIMER_MAX : Number(missed);
  if (addOverrun(k, id, row, extra + 1)) return;

  const signal = state.i32[row + ROW.signal]!;
  let target = -1;
  if (state.i32[row + ROW.notify] === SIGEV_THREAD_ID) {
    target = k.threads.slotOf(state.i32[row + ROW.tid]!);
    if (target < 0) return; // the thread has ended: Linux drops the signal too
  }
  state.i32[row + ROW.overrun] = extra;
  k.signals.send(target, signal, makeInfo(signal, SI_TIMER, { pid: id, uid: extra, value: state.getBig(row + ROW.value) }));
}

/** True when the timer's last signal still waits: it then stands for these expiries too (timer_getoverrun(2)). */
function addOverrun(k: Kernel, id: number, row: number, expiries: number): boolean {
  const { state } = k;
  state.lock(H.lockSignals);
  try {
    const at = waitingSignal(k, id);
    if (at < 0) return false;
    const info = at + Q.info;
    const sum = Math.min(DELAYTIMER_MAX, state.i32[info + 5]! + expiries);
    state.i32[info + 5] = sum;
    state.i32[row + ROW.overrun] = sum;
    return true;
  } finally {
    state.unlock(H.lockSignals);
  }
}

const NOTE = "at most 256 timers";

export const timerCalls: Family = {
  timer_create: ["lwk", NOTE, create],
  timer_settime: ["lwk", "", settime],
  timer_gettime: ["lwk", "", gettime],
  timer_getoverrun: ["lwk", "", (c) => c.kernel.state.i32[timer(c.kernel, c.int(0)) + ROW.overrun]!],
  timer_delete: ["lwk", "", remove],
};
