/** System calls on clocks, sleep and interval timers. */
import { EFAULT, EINTR, EINVAL, EPERM, ERESTARTNOHAND } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { SIGNAL_COUNT, signalBit } from "../../abi/signal.ts";
import { CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI, CLOCK_THREAD_CPUTIME_ID, ITIMER_SIZE, TIMER_ABSTIME, TIMEX_SIZE } from "../../abi/time.ts";
import type { Call, Family } from "../call.ts";
import type { Kernel } from "../kernel.ts";
import { clockNow, hostClock, hostClockNow, putTime, readTimespec, SECOND, writeTimes } from "./clocks.ts";
import { forward, input, INT, output, UINT } from "./forward.ts";
import { ROOM } from "./marshal.ts";
import { timerCalls } from "./timers.ts";

function clockGettime(c: Call): number {
  const { kernel } = c;
  writeTimes(kernel, c.num(1), [clockNow(kernel, hostClock(kernel, c.int(0)))]);
  return 0;
}

function clockGetres(c: Call): number {
  const { kernel } = c;
  const at = ROOM.structs;
  const result = kernel.sys(NR.clock_getres, hostClock(kernel, c.int(0)), kernel.scratch.address + at);
  if (result === 0 && c.num(1)) kernel.mem.write(c.num(1), kernel.scratch.u8.slice(at, at + 16));
  return result;
}

function gettimeofday(c: Call): number {
  const { kernel } = c;
  if (c.num(0)) writeTimes(kernel, c.num(0), [clockNow(kernel, CLOCK_REALTIME)], 1000n);
  if (c.num(1)) kernel.mem.setBig(c.num(1), 0n); // struct timezone: Greenwich
  return 0;
}

function time(c: Call): number {
  const seconds = clockNow(c.kernel, CLOCK_REALTIME) / SECOND;
  if (c.num(0)) c.kernel.mem.setBig(c.num(0), seconds);
  return Number(seconds);
}

/** True when a signal that this thread does not block waits and has a handler: the call then ends with EINTR. */
function handlerWaits(k: Kernel): boolean {
  const waiting = k.signals.pendingMask(k.slot) & ~k.signals.mask(k.slot);
  for (let signal = 1; signal <= SIGNAL_COUNT; signal++) if (waiting & signalBit(signal) && k.signals.action(signal).handler > 1) return true;
  return false;
}

/** Sleeps until `deadline` (ns) on host clock `clock`. Returns 0, or -ERESTARTNOHAND when a signal ends it. */
function sleepUntil(c: Call, clock: number, deadline: bigint): number {
  const { kernel } = c;
  return c.blocking(() => kernel.wait(NR.clock_nanosleep, clock, TIMER_ABSTIME, putTime(kernel, ROOM.structs, deadline), 0), -ERESTARTNOHAND);
}

/**
 * A sleep of `duration` ns, held to a deadline so that wake-ups without a signal do not lengthen it. When a handler runs, the rest goes to
 * `remaining` (0: nowhere). Setting the wall clock does not change relative sleeps (clock_nanosleep(2)), so MONOTONIC measures them.
 */
function sleepFor(c: Call, clock: number, duration: bigint, remaining: number): number {
  const { kernel } = c;
  const measure = clock === CLOCK_REALTIME || clock === CLOCK_TAI ? CLOCK_MONOTONIC : clock;
  const deadline = hostClockNow(kernel, measure) + duration;
  const result = sleepUntil(c, measure, deadline);
  if (result !== -ERESTARTNOHAND || !handlerWaits(kernel)) return result;
  if (remaining) {
    const left = deadline - hostClockNow(kernel, measure);
    writeTimes(kernel, remaining, [left > 0n ? left : 0n]);
  }
  return -EINTR;
}

function nanosleep(c: Call): number {
  return sleepFor(c, CLOCK_MONOTONIC, readTimespec(c.kernel, c.num(0)), c.num(1));
}

function clockNanosleep(c: Call): number {
  const { kernel } = c;
  const id = c.int(0);
  if (id === CLOCK_THREAD_CPUTIME_ID) return -EINVAL;
  const clock = hostClock(kernel, id);
  const when = readTimespec(kernel, c.num(2));
  return c.int(1) & TIMER_ABSTIME ? sleepUntil(c, clock, when) : sleepFor(c, clock, when, c.num(3));
}

/** Reads are the host's; the virtual node does not set the machine's clock. */
function adjtimex(c: Call, clock: number | null, va: number): number {
  const { kernel } = c;
  if (!va) return -EFAULT;
  const bytes = kernel.mem.bytes(va, TIMEX_SIZE);
  if (new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) !== 0) return -EPERM;
  const at = ROOM.structs;
  kernel.scratch.u8.set(bytes, at);
  const address = kernel.scratch.address + at;
  const result = clock === null ? kernel.sys(NR.adjtimex, address) : kernel.sys(NR.clock_adjtime, hostClock(kernel, clock), address);
  if (result >= 0) kernel.mem.write(va, kernel.scratch.u8.slice(at, at + TIMEX_SIZE));
  return result;
}

const SETS_NO_CLOCK = "EPERM: a virtual node does not set the machine's clock";
const IN_VDSO = "in the vDSO without an exit where the host runs on the TSC";
const HOST_TIMER = "a timer of the host process, whose signal is passed on";

export const timeCalls: Family = {
  ...timerCalls,
  clock_gettime: ["guest", IN_VDSO, clockGettime],
  gettimeofday: ["guest", IN_VDSO, gettimeofday],
  time: ["guest", IN_VDSO, time],
  clock_getres: ["guest", `${IN_VDSO}; processor-time clocks by the host`, clockGetres],
  clock_settime: ["partial", SETS_NO_CLOCK, () => -EPERM],
  settimeofday: ["partial", SETS_NO_CLOCK, () => -EPERM],
  adjtimex: ["partial", "reading only", (c) => adjtimex(c, null, c.num(0))],
  clock_adjtime: ["partial", "reading only", (c) => adjtimex(c, c.int(0), c.num(1))],
  nanosleep: ["forwarded", "a relative sleep starts anew when the process was stopped and continued", nanosleep],
  clock_nanosleep: ["forwarded", "as nanosleep", clockNanosleep],
  getitimer: ["forwarded", HOST_TIMER, forward(NR.getitimer, [INT, output(ITIMER_SIZE)])],
  setitimer: ["forwarded", HOST_TIMER, forward(NR.setitimer, [INT, input(ITIMER_SIZE), output(ITIMER_SIZE)])],
  alarm: ["forwarded", HOST_TIMER, forward(NR.alarm, [UINT])],
};
