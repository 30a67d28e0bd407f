import { afterAll, afterEach, describe, expect, it } from "vitest";
import { EAGAIN, EFAULT, EINTR, EINVAL, EPERM, ERESTARTNOHAND } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { SI_USER, SIGTSTP, SIGUSR1 } from "../../abi/signal.ts";
import { mapAnonymous } from "../../host/memory.ts";
import { makeInfo } from "../signals.ts";
import { H, OFFSET } from "../state.ts";
import { fakeNode } from "../virtual/fake-node.testing.ts";
import { hostClock, hostClockNow } from "./clocks.ts";
import { BASE } from "./fake-call.testing.ts";
import { timeCalls } from "./time.ts";
import { expireTimers, TIMER_COUNT } from "./timers.ts";

const machine = fakeNode({ tids: [900001] });
const { kernel } = machine;
const { state } = kernel;
// A vvar page that says: ask the host.
state.setU64(H.vvarAddress, mapAnonymous(kernel.sys, 4096, 3, 0x22));
afterAll(() => machine.close());

const call = (name: string, ...args: (number | bigint)[]): number => machine.run(timeCalls[name]![2], ...args);
const MS = 1_000_000n;
const now = (clock = 1): bigint => hostClockNow(kernel, clock);
const time = (at: number): bigint => kernel.mem.big(BASE + at) * 1_000_000_000n + kernel.mem.big(BASE + at + 8);

describe("clocks", () => {
  it("should read the host's", () => {
    for (const id of [0, 1, 2, 3, 4, 5, 6, 7, 11]) {
      const before = now(id);
      expect(call("clock_gettime", id, BASE)).toBe(0);
      expect(time(0)).toBeGreaterThanOrEqual(before);
      expect(time(0)).toBeLessThanOrEqual(now(id));
    }
    expect(call("clock_gettime", 99, BASE)).toBe(-EINVAL);
    expect(call("clock_gettime", 1, 64)).toBe(-EFAULT);
    expect(call("clock_getres", 1, BASE)).toBe(0);
    expect(time(0)).toBe(1n);
  });

  it("should find a guest thread's clock by its host thread", () => {
    const of = (tid: number): number => (~tid << 3) | 6;
    expect(hostClock(kernel, of(900001))).toBe((~kernel.sys(NR.gettid) << 3) | 6);
    expect(call("clock_gettime", of(900001), BASE)).toBe(0);
    expect(call("clock_gettime", of(900002), BASE)).toBe(-EINVAL);
    expect(call("clock_gettime", (~77 << 3) | 3, BASE)).toBe(-9);
  });

  it("should not be set", () => {
    expect(call("clock_settime", 0, machine.words(0, 1, 0))).toBe(-EPERM);
    expect(call("adjtimex", machine.ints(0, 1, ...new Array<number>(51).fill(0)))).toBe(-EPERM);
    expect(call("adjtimex", machine.ints(0, ...new Array<number>(52).fill(0)))).toBeGreaterThanOrEqual(0);
    expect(call("adjtimex", 0)).toBe(-EFAULT);
  });

  it("should fill struct timeval in microseconds", () => {
    const before = now(0);
    expect(call("gettimeofday", BASE, 0)).toBe(0);
    const read = kernel.mem.big(BASE) * 1_000_000n + kernel.mem.big(BASE + 8);
    expect(read).toBeGreaterThanOrEqual(before / 1000n);
    expect(read).toBeLessThanOrEqual(now(0) / 1000n);
    expect(call("time", 0)).toBe(Number(now(0) / 1_000_000_000n));
  });
});

describe("sleep", () => {
  afterEach(() => kernel.signals.take(0, ~0n));

  it("should last as long as asked, also when woken for nothing", () => {
    const start = now();
    machine.wake();
    expect(call("nanosleep", machine.words(0, 0, 20n * MS), 0)).toBe(0);
    expect(now() - start).toBeGreaterThanOrEqual(20n * MS);
  });

  it("should refuse times that are none", () => {
    for (const [seconds, rest] of [[-1, 0], [0, -1], [0, 1_000_000_000]] as const) expect(call("nanosleep", machine.words(0, seconds, rest), 0)).toBe(-EINVAL);
    expect(call("nanosleep", 64, 0)).toBe(-EFAULT);
    expect(call("clock_nanosleep", 3, 0, machine.words(0, 0, 1), 0)).toBe(-EINVAL);
    expect(call("clock_nanosleep", 99, 0, machine.words(0, 0, 1), 0)).toBe(-EINVAL);
  });

  it("should end with the time left when a handler will run", () => {
    kernel.signals.setAction(SIGUSR1, { handler: 0x1000, flags: 0, restorer: 0, mask: 0n });
    kernel.signals.send(0, SIGUSR1, makeInfo(SIGUSR1, SI_USER));
    expect(call("nanosleep", machine.words(0, 10, 0), BASE + 64)).toBe(-EINTR);
    expect(time(64)).toBeGreaterThan(9_000n * MS);
    expect(time(64)).toBeLessThanOrEqual(10_000n * MS);
    // Into the same structure, as many programs do.
    kernel.signals.take(0, ~0n);
    kernel.signals.send(0, SIGUSR1, makeInfo(SIGUSR1, SI_USER));
    expect(call("clock_nanosleep", 0, 0, machine.words(0, 10, 0), BASE)).toBe(-EINTR);
    expect(time(0)).toBeGreaterThan(9_000n * MS);
  });

  it("should be made again when only the process stops, and leave the time left alone when absolute", () => {
    kernel.signals.send(0, SIGTSTP, makeInfo(SIGTSTP, SI_USER));
    machine.words(64, 1, 2);
    expect(call("nanosleep", machine.words(0, 10, 0), BASE + 64)).toBe(-ERESTARTNOHAND);
    kernel.signals.take(0, ~0n);
    kernel.signals.send(0, SIGUSR1, makeInfo(SIGUSR1, SI_USER));
    const later = now() + 10_000n * MS;
    expect(call("clock_nanosleep", 1, 1, machine.words(0, later / 1_000_000_000n, later % 1_000_000_000n), BASE + 64)).toBe(-ERESTARTNOHAND);
    expect(time(64)).toBe(1_000_000_002n);
  });

  it("should return at once for a deadline that is past", () => {
    expect(call("clock_nanosleep", 1, 1, machine.words(0, 0, 1), 0)).toBe(0);
  });
});

describe("timers", () => {
  const event = (notify: number, signal = SIGUSR1, tid = 0): number => {
    machine.words(512, 0x1122334455667788n, 0, 0, 0, 0, 0, 0, 0);
    machine.ints(520, signal, notify, tid);
    return BASE + 512;
  };
  const create = (clock: number, notify: number, signal = SIGUSR1, tid = 0): number => {
    const result = call("timer_create", clock, event(notify, signal, tid), BASE);
    return result < 0 ? result : machine.i32(0);
  };
  const set = (id: number, flags: number, interval: bigint, value: bigint): number =>
    call("timer_settime", id, flags, machine.words(600, interval / 1_000_000_000n, interval % 1_000_000_000n, value / 1_000_000_000n, value % 1_000_000_000n), 0);
  /** A signal of the queue: number, code, timer, overrun, value. */
  const taken = (): (number | bigint)[] | null => {
    const pending = kernel.signals.take(0, ~0n);
    if (!pending) return null;
    const v = new DataView(pending.info.buffer, pending.info.byteOffset);
    return [pending.signal, v.getInt32(8, true), v.getInt32(16, true), v.getInt32(20, true), v.getBigUint64(24, true)];
  };
  /** Lets time pass, signals or not. */
  const pause = (ms: number): void => {
    const end = now() + BigInt(ms) * MS;
    while (now() < end);
  };

  afterEach(() => {
    for (let id = 0; id < TIMER_COUNT; id++) call("timer_delete", id);
    while (kernel.signals.take(0, ~0n));
  });

  it("should send nothing before their time and one signal after it", () => {
    kernel.signals.setAction(SIGUSR1, { handler: 0x1000, flags: 0, restorer: 0, mask: 0n });
    const id = create(1, 0);
    expect(set(id, 0, 0n, 1000n * MS)).toBe(0);
    expireTimers(kernel);
    expect(taken()).toBeNull();
    expect(set(id, 0, 0n, 1n * MS)).toBe(0);
    pause(5);
    expireTimers(kernel);
    expireTimers(kernel);
    expect(taken()).toEqual([SIGUSR1, -2, id, 0, 0x1122334455667788n]);
    expect(taken()).toBeNull();
    expect(call("timer_gettime", id, BASE)).toBe(0);
    expect([time(0), time(16)]).toEqual([0n, 0n]);
  });

  it("should count the expiries that one signal stands for", () => {
    const id = create(1, 0);
    set(id, 0, 2n * MS, 2n * MS);
    pause(11);
    expireTimers(kernel);
    pause(4);
    expireTimers(kernel);
    const overrun = call("timer_getoverrun", id);
    expect(overrun).toBeGreaterThanOrEqual(5);
    expect(taken()?.[3]).toBe(overrun);
    expect(taken()).toBeNull();
    call("timer_gettime", id, BASE);
    expect(time(0)).toBe(2n * MS);
    expect(time(16)).toBeGreaterThan(0n);
    expect(time(16)).toBeLessThanOrEqual(2n * MS);
  });

  it("should all be seen when they expire together", () => {
    const ids = [create(1, 0), create(0, 0, 34), create(7, 0, 34)];
    for (const id of ids) set(id, 0, 0n, 1n * MS);
    pause(5);
    expireTimers(kernel);
    expect([taken()?.[2], taken()?.[2], taken()?.[2]]).toEqual(ids);
  });

  it("should signal the thread they name and no other", () => {
    const id = create(1, 4, 35, 900001);
    set(id, 0, 0n, 1n);
    pause(2);
    expireTimers(kernel);
    expect(taken()).toBeNull();
    expect(kernel.signals.take(1, ~0n)?.signal).toBe(35);
    expect(create(1, 4, 35, 900002)).toBe(-EINVAL);
  });

  it("should tell their time without a signal when that is asked", () => {
    const id = create(0, 1);
    const later = now(0) + 500n * MS;
    expect(set(id, 1, 0n, later)).toBe(0);
    call("timer_gettime", id, BASE);
    expect(time(16)).toBeGreaterThan(0n);
    expect(time(16)).toBeLessThanOrEqual(500n * MS);
    set(id, 1, 0n, 1n);
    expireTimers(kernel);
    expect(taken()).toBeNull();
    call("timer_gettime", id, BASE);
    expect(time(16)).toBe(0n);
  });

  it("should give the settings before, and be disarmed by zero", () => {
    const id = create(1, 0);
    set(id, 0, 7n, 400n * MS);
    machine.words(600, 0, 0, 0, 0);
    expect(call("timer_settime", id, 0, BASE + 600, BASE + 640)).toBe(0);
    expect(time(640)).toBe(7n);
    expect(time(656)).toBeGreaterThan(300n * MS);
    pause(1);
    expireTimers(kernel);
    expect(taken()).toBeNull();
  });

  it("should take their waiting signal along when deleted", () => {
    const id = create(1, 0);
    set(id, 0, 0n, 1n);
    pause(1);
    expireTimers(kernel);
    expect(state.i32[H.queueCount]).toBe(1);
    expect(call("timer_delete", id)).toBe(0);
    expect(state.i32[H.queueCount]).toBe(0);
    expect(call("timer_gettime", id, BASE)).toBe(-EINVAL);
  });

  it("should refuse what Linux refuses and leave no row behind", () => {
    const used = (): number => Array.from({ length: TIMER_COUNT }, (_, i) => state.i32[(OFFSET.timers >> 2) + i * 16]!).filter((host) => host !== 0).length;
    expect(create(1, 9)).toBe(-EINVAL);
    expect(create(1, 0, 65)).toBe(-EINVAL);
    expect(create(99, 0)).toBe(-EINVAL);
    expect(create(5, 0)).toBe(-95);
    expect(call("timer_create", 1, 64, BASE)).toBe(-EFAULT);
    expect(call("timer_create", 1, event(0), 64)).toBe(-EFAULT);
    expect(used()).toBe(0);
    for (const id of [-1, 0, 255, 256, 2 ** 31 - 1]) expect(call("timer_gettime", id, BASE)).toBe(-EINVAL);
    const id = create(1, 0);
    expect(call("timer_settime", id, 0, machine.words(600, 0, 0, 0, -1), 0)).toBe(-EINVAL);
    expect(call("timer_settime", id, 0, 0, 0)).toBe(-EINVAL);
  });

  it("should run out at 256", () => {
    for (let i = 0; i < TIMER_COUNT; i++) expect(create(1, 1)).toBe(i);
    expect(create(1, 1)).toBe(-EAGAIN);
  });

  it("should default to SIGALRM with their number as value", () => {
    expect(call("timer_create", 1, 0, BASE)).toBe(0);
    kernel.signals.setAction(14, { handler: 0x1000, flags: 0, restorer: 0, mask: 0n });
    const id = machine.i32(0);
    set(id, 0, 0n, 1n);
    pause(1);
    expireTimers(kernel);
    expect(taken()).toEqual([14, -2, id, 0, BigInt(id)]);
  });
});
