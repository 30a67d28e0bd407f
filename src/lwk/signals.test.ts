import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EAGAIN } from "../abi/errno.ts";
import {
  defaultAction,
  SI_KERNEL,
  SI_TKILL,
  SI_USER,
  SIGCHLD,
  SIGCONT,
  SIGHUP,
  SIGKILL,
  SIGNAL_COUNT,
  SIGRTMIN,
  SIGSEGV,
  SIGSTOP,
  SIGTERM,
  SIGUSR1,
  SIGUSR2,
  SIGWINCH,
  signalBit,
} from "../abi/signal.ts";
import { createGateArea, openGate, wakeIndex } from "../host/gate.ts";
import { makeInfo, type Pending, Signals, TIMER_SIGNAL } from "./signals.ts";
import { H, Q, State, T, THREAD } from "./state.ts";

const gate = openGate(createGateArea(), 0);
const HANDLER = { handler: 0x40_0000, flags: 0, restorer: 0, mask: 0n };
const IGNORE = { ...HANDLER, handler: 1 };
const ALL = 2n ** 64n - 1n;
let state: State;
let s: Signals;

const info = (signal: number, value = 0n): Uint8Array => makeInfo(signal, SI_USER, { pid: 12, uid: 34, value });
const value = (p: Pending | null): bigint => new DataView(p!.info.buffer, p!.info.byteOffset).getBigUint64(24, true);
const taken = (slot: number, allowed = ALL): number[] => {
  const result: number[] = [];
  for (let p = s.take(slot, allowed); p; p = s.take(slot, allowed)) result.push(p.signal);
  return result;
};
const woken = (): number[] => [0, 1, 2].filter((slot) => gate.wakeWords[wakeIndex(slot)]);

beforeEach(() => {
  state = State.create(gate.sys);
  s = new Signals(state, gate);
  state.i32[H.slotsInUse] = 3;
  for (let slot = 0; slot < 3; slot++) state.i32[state.thread(slot) + T.state] = THREAD.GUEST;
  for (let signal = 1; signal <= SIGNAL_COUNT; signal++) s.setAction(signal, HANDLER);
});
afterEach(() => {
  gate.wakeWords.fill(0);
  gate.signalBits.fill(0);
});

describe("the queue", () => {
  it("should hold siginfo until it is taken", () => {
    expect(s.send(-1, SIGUSR1, info(SIGUSR1, 0x1122_3344_5566_7788n))).toBe(0);
    expect(s.pendingMask(0)).toBe(signalBit(SIGUSR1));
    const p = s.take(0, ALL);
    expect(p!.signal).toBe(SIGUSR1);
    expect(new Int32Array(p!.info.slice(0, 24).buffer)).toEqual(new Int32Array([SIGUSR1, 0, SI_USER, 0, 12, 34]));
    expect(value(p)).toBe(0x1122_3344_5566_7788n);
    expect(s.take(0, ALL)).toBeNull();
    expect([s.pendingMask(0), state.i32[H.queueCount]]).toEqual([0n, 0]);
  });

  it("should give the lowest number first, and the thread's own before the process's", () => {
    for (const signal of [SIGTERM, SIGHUP, 40, SIGUSR1]) s.send(-1, signal, info(signal));
    for (const signal of [50, SIGTERM, SIGUSR2]) s.send(1, signal, info(signal));
    expect(taken(1)).toEqual([SIGUSR2, SIGTERM, 50, SIGHUP, SIGUSR1, SIGTERM, 40]);
  });

  it("should keep one of each standard signal per target, with the first one's siginfo", () => {
    for (let i = 1n; i <= 3n; i++) s.send(-1, SIGUSR1, info(SIGUSR1, i));
    s.send(1, SIGUSR1, info(SIGUSR1, 9n));
    expect(state.i32[H.queueCount]).toBe(2);
    expect(value(s.take(1, ALL))).toBe(9n);
    expect(value(s.take(1, ALL))).toBe(1n);
    expect(s.take(1, ALL)).toBeNull();
  });

  it("should keep every real-time signal, oldest first, also when sequence numbers pass 2^31", () => {
    state.i32[H.queueSequence] = 2 ** 31 - 2;
    for (let i = 1n; i <= 5n; i++) s.send(-1, SIGRTMIN + 3, info(SIGRTMIN + 3, i));
    expect([1, 2, 3, 4, 5].map(() => value(s.take(0, ALL)))).toEqual([1n, 2n, 3n, 4n, 5n]);
  });

  it("should be full at some time, and say so", () => {
    for (let i = 0; i < Q.count; i++) expect(s.send(-1, 40, info(40))).toBe(0);
    expect(s.send(-1, 40, info(40))).toBe(-EAGAIN);
    expect(taken(0).length).toBe(Q.count);
    expect(s.send(-1, 40, info(40))).toBe(0);
  });

  it("should give nothing to other threads, or that is not asked for", () => {
    s.send(1, SIGUSR1, info(SIGUSR1));
    expect(s.take(0, ALL)).toBeNull();
    expect(s.pendingMask(0)).toBe(0n);
    expect(s.take(1, ~signalBit(SIGUSR1))).toBeNull();
    expect(taken(1)).toEqual([SIGUSR1]);
  });

  it("should forget what waits for a thread that has ended, and only that", () => {
    for (const target of [-1, 0, 1]) s.send(target, SIGUSR1, info(SIGUSR1));
    s.forget(1);
    expect(state.i32[H.queueCount]).toBe(2);
    expect(taken(1)).toEqual([SIGUSR1]);
    expect(taken(0)).toEqual([SIGUSR1]);
  });

  it("should agree with a list, whatever is sent and taken", () => {
    const step = fc.record({
      op: fc.constantFrom("send", "send", "take", "ignore"),
      target: fc.integer({ min: -1, max: 2 }),
      signal: fc.constantFrom(1, 10, 15, 17, 33, 40, 64),
      slot: fc.nat(2),
      mask: fc.oneof(fc.constant(ALL), fc.bigInt({ min: 0n, max: ALL })),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        for (let slot = 0; slot < 3; slot++) taken(slot);
        let model: { target: number; signal: number; id: bigint }[] = [];
        let id = 1n;
        for (const { op, target, signal, slot, mask } of steps) {
          if (op === "send") {
            s.send(target, signal, info(signal, id));
            if (signal >= SIGRTMIN || !model.some((m) => m.signal === signal && m.target === target)) model.push({ target, signal, id });
            id++;
          } else if (op === "ignore") {
            s.setAction(signal, IGNORE);
            s.setAction(signal, HANDLER);
            model = model.filter((m) => m.signal !== signal);
          } else {
            const mine = model.filter((m) => (m.target === slot || m.target === -1) && mask & signalBit(m.signal));
            mine.sort((a, b) => Number(b.target === slot) - Number(a.target === slot) || a.signal - b.signal || Number(a.id - b.id));
            const p = s.take(slot, mask);
            expect(p ? value(p) : 0n).toBe(mine[0]?.id ?? 0n);
            if (mine[0]) model = model.filter((m) => m !== mine[0]);
          }
          expect(state.i32[H.queueCount]).toBe(model.length);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("actions and masks", () => {
  it("should keep handlers above 4 GiB and all 64 bits of masks", () => {
    const action = { handler: 0x7fff_f7a1_2345, flags: 0x9400_0004, restorer: 0x7fff_f7a1_0000, mask: 0xffff_ffff_ffff_fff0n };
    s.setAction(64, action);
    expect(s.action(64)).toEqual(action);
    expect(s.action(63)).toEqual(HANDLER);
  });

  it("should never block SIGKILL and SIGSTOP", () => {
    s.setMask(2, ALL);
    expect(s.mask(2)).toBe(ALL & ~signalBit(SIGKILL) & ~signalBit(SIGSTOP));
    expect(s.mask(1)).toBe(0n);
  });

  it("should drop ignored signals at once, and those that wait when they become ignored", () => {
    s.setAction(SIGTERM, IGNORE);
    expect(s.send(-1, SIGTERM, info(SIGTERM))).toBe(0);
    expect(state.i32[H.queueCount]).toBe(0);
    s.send(-1, 40, info(40));
    s.send(1, 40, info(40));
    s.send(1, 41, info(41));
    s.setAction(40, IGNORE);
    expect(state.i32[H.queueCount]).toBe(1);
    expect(taken(1)).toEqual([41]);
  });

  it("should treat the default of SIGCHLD, SIGWINCH and SIGCONT as ignored, of others not", () => {
    const silent = [];
    for (let signal = 1; signal <= SIGNAL_COUNT; signal++) {
      s.setAction(signal, { ...HANDLER, handler: 0 });
      if (s.ignored(signal)) silent.push(signal);
    }
    expect(silent).toEqual([SIGCHLD, SIGCONT, 23, SIGWINCH]);
    expect(defaultAction(SIGSEGV)).toBe("core");
  });

  it("should keep an ignored signal that is blocked: the program may wait for it", () => {
    s.setAction(SIGCHLD, { ...HANDLER, handler: 0 });
    s.setMask(1, signalBit(SIGCHLD));
    s.send(1, SIGCHLD, info(SIGCHLD));
    expect(s.pendingMask(1)).toBe(signalBit(SIGCHLD));
    s.send(0, SIGCHLD, info(SIGCHLD));
    expect(s.pendingMask(0)).toBe(0n);
  });

  it("should keep an ignored signal to the process while its main thread blocks it", () => {
    s.setAction(SIGWINCH, { ...HANDLER, handler: 0 });
    s.setMask(0, signalBit(SIGWINCH));
    s.send(-1, SIGWINCH, info(SIGWINCH));
    expect(s.pendingMask(0)).toBe(signalBit(SIGWINCH));
  });

  it("should keep an ignored signal that some thread waits for", () => {
    s.setAction(SIGCHLD, IGNORE);
    state.setBig(state.thread(2) + T.waitMask, signalBit(SIGCHLD));
    s.send(-1, SIGCHLD, info(SIGCHLD));
    expect(taken(2, signalBit(SIGCHLD))).toEqual([SIGCHLD]);
  });
});

describe("waking", () => {
  it("should wake the thread that a signal is for, even one that blocks it", () => {
    s.setMask(1, signalBit(SIGUSR1));
    s.send(1, SIGUSR1, info(SIGUSR1));
    expect(woken()).toEqual([1]);
  });

  it("should wake one thread that does not block it, for the process", () => {
    s.setMask(0, signalBit(SIGUSR1));
    s.send(-1, SIGUSR1, info(SIGUSR1));
    expect(woken()).toEqual([1]);
  });

  it("should wake who waits for it in sigtimedwait, although it is blocked", () => {
    for (let slot = 0; slot < 3; slot++) s.setMask(slot, ALL);
    state.setBig(state.thread(2) + T.waitMask, signalBit(40));
    s.send(-1, 40, info(40));
    expect(woken()).toEqual([2]);
  });

  it("should pass over threads that are gone", () => {
    state.i32[state.thread(0) + T.state] = THREAD.EXITED;
    state.i32[state.thread(1) + T.state] = THREAD.FREE;
    s.send(-1, SIGUSR1, info(SIGUSR1));
    expect(woken()).toEqual([2]);
  });

  it("should wake nobody when all block it", () => {
    for (let slot = 0; slot < 3; slot++) s.setMask(slot, ALL);
    s.send(-1, SIGUSR1, info(SIGUSR1));
    expect(woken()).toEqual([]);
    expect(s.pendingMask(2)).toBe(signalBit(SIGUSR1));
  });
});

describe("signals from outside", () => {
  /** What the machine-code handler leaves behind. */
  function arrive(signal: number, code: number, pid: number, uid: number, low = 0, high = 0): void {
    gate.signalTable.set([code, 0, pid, uid, low, high], signal * 8);
    Atomics.or(gate.signalBits, signal >> 5, 1 << (signal & 31));
  }

  it("should enter the queue with their sender and value, each once", () => {
    arrive(SIGTERM, SI_USER, 4321, 1000, 7, 7);
    arrive(SIGNAL_COUNT, -1, 55, 66, 0x5566_7788, 0x1122_3344);
    expect(s.drainExternal()).toBe(false);
    expect([...gate.signalBits.slice(0, 3)]).toEqual([0, 0, 0]);
    const term = s.take(0, ALL)!;
    expect(new Int32Array(term.info.slice(0, 24).buffer)).toEqual(new Int32Array([SIGTERM, 0, SI_USER, 0, 4321, 1000]));
    expect(value(term)).toBe(0n);
    const last = s.take(0, ALL)!;
    expect([last.signal, value(last)]).toEqual([64, 0x1122_3344_5566_7788n]);
    s.drainExternal();
    expect(s.take(0, ALL)).toBeNull();
  });

  it("should keep the kernel's own code", () => {
    arrive(14, SI_KERNEL, 0, 0);
    s.drainExternal();
    expect(new Int32Array(s.take(0, ALL)!.info.slice(0, 12).buffer)[2]).toBe(SI_KERNEL);
    arrive(SIGUSR1, SI_TKILL, 1, 2);
    s.drainExternal();
    expect(new Int32Array(s.take(0, ALL)!.info.slice(0, 12).buffer)[2]).toBe(SI_TKILL);
  });

  it("should tell the timers' alarm clock and the time-out from the program's signals", () => {
    state.i32[H.timeoutSignal] = 61;
    arrive(TIMER_SIGNAL, -2, 0, 0);
    arrive(61, -2, 0, 0);
    expect(s.drainExternal()).toBe(true);
    expect(state.i32[H.timedOut]).toBe(1);
    expect(state.i32[H.queueCount]).toBe(0);
  });
});
