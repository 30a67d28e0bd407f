/** Clocks as the program names them, and times as it passes them. */
import { EINVAL } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCKFD, CPUCLOCK_PERTHREAD } from "../../abi/time.ts";
import { viewMemory } from "../../host/gate.ts";
import { type ClockPage, clockPage, readClock } from "../clock.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { H } from "../state.ts";
import { hostThreadOf } from "./host-thread.ts";
import { ROOM } from "./marshal.ts";

export const SECOND = 1_000_000_000n;

/** Seconds in a time that Linux takes as endless (KTIME_SEC_MAX). */
const SECONDS_MAX = 9_223_372_036n;

/**
 * The host's number for a clock of the guest: processor-time clocks of threads name a thread, clocks of devices a descriptor, and both have other
 * numbers on the host. Throws EINVAL for a clock of nobody we know, EBADF.
 */
export function hostClock(k: Kernel, id: number): number {
  if (id >= 0) return id;
  const number = ~(id >> 3);
  const low = id & 7;
  if (low === CLOCKFD) return (~k.fds.host(number) << 3) | CLOCKFD;
  if (number === 0) return id;
  if (low & CPUCLOCK_PERTHREAD) {
    const slot = k.threads.slotOf(number);
    if (slot < 0) throw new GuestError(EINVAL);
    return (~hostThreadOf(k, slot) << 3) | low;
  }
  return id;
}

const pages = new WeakMap<Kernel, ClockPage>();

/**
 * A clock's time in ns: as the vDSO computes it where it does, so that a program that uses both sees one clock; else the host's. `id` is the host's
 * number (`hostClock`). Throws EINVAL.
 */
export function clockNow(k: Kernel, id: number): bigint {
  let page = pages.get(k);
  if (!page) {
    page = clockPage(viewMemory(k.state.getU64(H.vvarAddress), 4096));
    pages.set(k, page);
  }
  const shared = id < 0 ? undefined : readClock(page, id, k.gate.readTsc());
  return shared ?? hostClockNow(k, id);
}

/** A clock's time in ns from the host. Throws EINVAL. */
export function hostClockNow(k: Kernel, id: number): bigint {
  const at = ROOM.structs;
  const result = k.sys(NR.clock_gettime, id, k.scratch.address + at);
  if (result < 0) throw new GuestError(-result);
  return k.scratch.view.getBigInt64(at, true) * SECOND + k.scratch.view.getBigInt64(at + 8, true);
}

/** A struct timespec of the guest as ns, at most what Linux can hold. Throws EINVAL when it is none, EFAULT. */
export function readTimespec(k: Kernel, va: number): bigint {
  const bytes = k.mem.bytes(va, 16);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const seconds = view.getBigInt64(0, true);
  const nanoseconds = view.getBigInt64(8, true);
  if (seconds < 0n || nanoseconds < 0n || nanoseconds >= SECOND) throw new GuestError(EINVAL);
  return (seconds > SECONDS_MAX ? SECONDS_MAX : seconds) * SECOND + nanoseconds;
}

/** Writes pairs (seconds, rest in units of `unit` ns) for each of `times` (ns): struct timespec with unit 1, struct timeval with 1000. Throws EFAULT. */
export function writeTimes(k: Kernel, va: number, times: readonly bigint[], unit = 1n): void {
  const view = new DataView(new ArrayBuffer(times.length * 16));
  for (const [i, ns] of times.entries()) {
    view.setBigInt64(i * 16, ns / SECOND, true);
    view.setBigInt64(i * 16 + 8, (ns % SECOND) / unit, true);
  }
  k.mem.write(va, new Uint8Array(view.buffer));
}

/** Puts ns as a struct timespec into the scratch buffer. Returns its host address. */
export function putTime(k: Kernel, at: number, ns: bigint): number {
  k.scratch.view.setBigInt64(at, ns / SECOND, true);
  k.scratch.view.setBigInt64(at + 8, ns % SECOND, true);
  return k.scratch.address + at;
}

/** The clock that a coarse one is a cheap copy of; a coarse clock cannot be slept on. */
export function isCoarse(id: number): boolean {
  return id === CLOCK_REALTIME_COARSE || id === CLOCK_MONOTONIC_COARSE;
}

/** True for clocks that jump when the host's wall clock is set. */
export function isWall(id: number): boolean {
  return id === CLOCK_REALTIME;
}
