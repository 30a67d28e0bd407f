/** Signals: actions, masks, the queue of those that wait. All in the shared state, guarded by the signal lock. */
import { EAGAIN } from "../abi/errno.ts";
import { defaultAction, SI_KERNEL, SI_USER, SIGKILL, SIGNAL_COUNT, SIGRTMIN, SIGSTOP, signalBit } from "../abi/signal.ts";
import type { Gate } from "../host/gate.ts";
import { kick } from "../host/signals.ts";
import { ringSignalFiles, signalFileWants } from "./signal-files.ts";
import { H, OFFSET, Q, type State, T, THREAD } from "./state.ts";

/** An action as sigaction(2) sets it. handler: 0 = default, 1 = ignore. */
export interface Action {
  handler: number;
  flags: number;
  restorer: number;
  mask: bigint;
}

/** A signal taken from the queue: number and its 128 bytes of siginfo. */
export interface Pending {
  readonly signal: number;
  readonly info: Uint8Array;
}

const UNBLOCKABLE = signalBit(SIGKILL) | signalBit(SIGSTOP);

/** Host signal of all POSIX timers' alarm clocks (syscalls/timers.ts). */
export const TIMER_SIGNAL = 63;

/** Makes siginfo bytes: signal, code, and up to three 32-bit words and one 64-bit word at offset 16 as the signal's kind needs. */
export function makeInfo(
  signal: number,
  code: number,
  fields: { pid?: number; uid?: number; address?: number; value?: bigint } = {},
): Uint8Array {
  const info = new Uint8Array(128);
  const view = new DataView(info.buffer);
  view.setInt32(0, signal, true);
  view.setInt32(8, code, true);
  if (fields.address !== undefined) view.setBigUint64(16, BigInt(fields.address), true);
  if (fields.pid !== undefined) view.setInt32(16, fields.pid, true);
  if (fields.uid !== undefined) view.setUint32(20, fields.uid, true);
  if (fields.value !== undefined) view.setBigUint64(24, fields.value, true);
  return info;
}

export class Signals {
  private readonly state: State;
  private readonly gate: Gate;

  constructor(state: State, gate: Gate) {
    this.state = state;
    this.gate = gate;
  }

  private actionWord(signal: number): number {
    return (OFFSET.actions >> 2) + signal * 8;
  }

  /** The action of `signal`, whole: another thread may be setting it. */
  action(signal: number): Action {
    const { state } = this;
    state.lock(H.lockSignals);
    const action = this.readAction(signal);
    state.unlock(H.lockSignals);
    return action;
  }

  private readAction(signal: number): Action {
    const { state } = this;
    const at = this.actionWord(signal);
    return { handler: state.getU64(at), flags: state.u32[at + 2]!, restorer: state.getU64(at + 4), mask: state.getBig(at + 6) };
  }

  setAction(signal: number, action: Action): void {
    const { state } = this;
    const at = this.actionWord(signal);
    state.lock(H.lockSignals);
    state.setU64(at, action.handler);
    state.u32[at + 2] = action.flags;
    state.setU64(at + 4, action.restorer);
    state.setBig(at + 6, action.mask);
    if (this.ignored(signal)) this.discard(signal);
    state.unlock(H.lockSignals);
  }

  /** True when a signal with today's action would do nothing. */
  ignored(signal: number): boolean {
    const { handler } = this.readAction(signal);
    return handler === 1 || (handler === 0 && (defaultAction(signal) === "ignore" || defaultAction(signal) === "continue"));
  }

  mask(slot: number): bigint {
    return this.state.getBig(this.state.thread(slot) + T.signalMask);
  }

  /** Sets a thread's mask. What it blocks from now on and had perhaps been woken for goes to another thread. */
  setMask(slot: number, mask: bigint): void {
    const word = this.state.thread(slot) + T.signalMask;
    const before = this.state.getBig(word);
    const next = mask & ~UNBLOCKABLE;
    this.publish(word, next);
    this.retarget(next & ~before);
  }

  /** Sets the signals that thread `slot` waits for in sigtimedwait; 0: it waits no more. */
  setWaitMask(slot: number, mask: bigint): void {
    const word = this.state.thread(slot) + T.waitMask;
    const before = this.state.getBig(word);
    this.publish(word, mask);
    this.retarget(before & ~mask);
  }

  /**
   * Writes a mask so that it is seen before this thread looks at the queue. A sender queues first and looks at masks then: one of the two must see the other's
   * step, or a wake-up is lost. Atomics order what x86 alone would not, a load after a store.
   */
  private publish(word: number, mask: bigint): void {
    this.state.setBig(word, mask);
    Atomics.store(this.state.i32, word + 1, Number(BigInt.asIntN(32, mask >> 32n)));
  }

  /** Wakes others for the process's waiting signals among `signals`: who was woken for them will not take them (retarget_shared_pending in kernel/signal.c). */
  retarget(signals: bigint): void {
    const { state } = this;
    if (signals === 0n || !state.i32[H.queueCount]) return;
    for (let i = 0; i < Q.count; i++) {
      const at = this.entry(i);
      if (state.i32[at + Q.used] && state.i32[at + Q.target] === -1 && signals & signalBit(state.i32[at + Q.signal]!))
        this.wake(-1, state.i32[at + Q.signal]!);
    }
  }

  private entry(i: number): number {
    return (OFFSET.signalQueue >> 2) + i * Q.size;
  }

  /** Drops waiting instances of a signal. The signal lock is held. */
  private discard(signal: number): void {
    const { state } = this;
    for (let i = 0; i < Q.count; i++) {
      const at = this.entry(i);
      if (!state.i32[at + Q.used] || state.i32[at + Q.signal] !== signal) continue;
      state.i32[at + Q.used] = 0;
      Atomics.sub(state.i32, H.queueCount, 1);
    }
  }

  /**
   * Queues a signal for thread `target`, or -1 for the process (whichever thread does not block it), and wakes who should take it. Returns 0, or
   * -EAGAIN when the queue is full of real-time signals.
   */
  send(target: number, signal: number, info: Uint8Array): number {
    const { state } = this;
    state.lock(H.lockSignals);
    try {
      if (target >= 0 && state.i32[state.thread(target) + T.state] === THREAD.EXITED) return 0; // its slot's next thread must not find it
      // As sig_ignored: what is for the process is kept when the main thread blocks it.
      const mask = this.mask(Math.max(0, target));
      if (this.ignored(signal) && !(mask & signalBit(signal)) && !this.awaited(signal)) return 0;
      let free = -1;
      for (let i = Q.count - 1; i >= 0; i--) {
        const at = this.entry(i);
        if (!state.i32[at + Q.used]) free = i;
        else if (signal < SIGRTMIN && state.i32[at + Q.signal] === signal && state.i32[at + Q.target] === target) return 0;
      }
      if (free < 0) return -EAGAIN;
      const at = this.entry(free);
      state.i32[at + Q.signal] = signal;
      state.i32[at + Q.target] = target;
      state.i32[at + Q.sequence] = state.i32[H.queueSequence]!++;
      state.u8.set(info, (at + Q.info) * 4);
      state.i32[at + Q.used] = 1;
      Atomics.add(state.i32, H.queueCount, 1);
    } finally {
      state.unlock(H.lockSignals);
    }
    ringSignalFiles(state, this.gate.sys, signal);
    this.wake(target, signal);
    return 0;
  }

  /** True when some thread waits for `signal` in sigtimedwait, or a signalfd wants it: then it is queued even if it would be ignored. */
  private awaited(signal: number): boolean {
    const { state } = this;
    for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++)
      if (state.getBig(state.thread(slot) + T.waitMask) & signalBit(signal)) return true;
    return signalFileWants(state, signal);
  }

  /** Kicks the thread that should take `signal`: `target`, or any that does not block it. */
  wake(target: number, signal: number): void {
    const { state } = this;
    const bit = signalBit(signal);
    let chosen = target;
    if (target < 0) {
      for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
        const record = state.thread(slot);
        const phase = state.i32[record + T.state]!;
        if (phase === THREAD.FREE || phase === THREAD.EXITED) continue;
        if ((this.mask(slot) & bit) === 0n || state.getBig(record + T.waitMask) & bit) {
          chosen = slot;
          break;
        }
      }
    }
    if (chosen >= 0) this.wakeSlot(chosen);
  }

  /** Makes thread `slot` look at what waits for it. */
  wakeSlot(slot: number): void {
    kick(this.gate, slot, this.state.i32[this.state.thread(slot) + T.hostTid]!);
  }

  /** Bits of all signals that wait for this thread or the process. */
  pendingMask(slot: number): bigint {
    const { state } = this;
    if (!state.i32[H.queueCount]) return 0n;
    let result = 0n;
    for (let i = 0; i < Q.count; i++) {
      const at = this.entry(i);
      if (!state.i32[at + Q.used]) continue;
      const target = state.i32[at + Q.target]!;
      if (target === slot || target === -1) result |= signalBit(state.i32[at + Q.signal]!);
    }
    return result;
  }

  /** Takes the next signal that `allowed` names for this thread: its own before the process's, lowest number first, oldest first. */
  take(slot: number, allowed: bigint): Pending | null {
    const { state } = this;
    if (!state.i32[H.queueCount]) return null;
    state.lock(H.lockSignals);
    try {
      let best = -1;
      let rank = Number.POSITIVE_INFINITY;
      for (let i = 0; i < Q.count; i++) {
        const at = this.entry(i);
        if (!state.i32[at + Q.used]) continue;
        const target = state.i32[at + Q.target]!;
        const signal = state.i32[at + Q.signal]!;
        if ((target !== slot && target !== -1) || !(allowed & signalBit(signal))) continue;
        // As dequeue_signal: the thread's own, then the process's; of each by number, then by age.
        const order = (target === slot ? 0 : 2 ** 48) + signal * 2 ** 40 + state.u32[at + Q.sequence]!;
        if (order < rank) {
          rank = order;
          best = at;
        }
      }
      if (best < 0) return null;
      const start = (best + Q.info) * 4;
      const pending = { signal: state.i32[best + Q.signal]!, info: state.u8.slice(start, start + 128) };
      state.i32[best + Q.used] = 0;
      Atomics.sub(state.i32, H.queueCount, 1);
      return pending;
    } finally {
      state.unlock(H.lockSignals);
    }
  }

  /** Drops what waits for a thread that is marked ended; from then on nothing is queued for it. */
  forget(slot: number): void {
    const { state } = this;
    state.lock(H.lockSignals);
    for (let i = 0; i < Q.count; i++) {
      const at = this.entry(i);
      if (state.i32[at + Q.used] && state.i32[at + Q.target] === slot) {
        state.i32[at + Q.used] = 0;
        Atomics.sub(state.i32, H.queueCount, 1);
      }
    }
    state.unlock(H.lockSignals);
  }

  /**
   * Moves signals that came to margay from outside into the queue. Only guest thread 0's host thread calls it. Returns true when the signal behind POSIX
   * timers was among them.
   */
  drainExternal(): boolean {
    let timers = false;
    const { gate } = this;
    for (let word = 0; word < 3; word++) {
      const bits = Atomics.exchange(gate.signalBits, word, 0) >>> 0;
      for (let bit = 0; bit < 32; bit++) {
        if (!(bits & (1 << bit))) continue;
        const signal = word * 32 + bit;
        if (signal < 1 || signal > SIGNAL_COUNT) continue;
        const at = signal * 8;
        const code = gate.signalTable[at]!;
        const info = makeInfo(signal, code === SI_KERNEL ? SI_KERNEL : code, {
          pid: gate.signalTable[at + 2]!,
          uid: gate.signalTable[at + 3]! >>> 0,
        });
        if (code !== SI_USER && code !== SI_KERNEL) new Int32Array(info.buffer).set(gate.signalTable.subarray(at + 4, at + 6), 6);
        if (signal === this.state.i32[H.timeoutSignal]) this.state.i32[H.timedOut] = 1;
        else if (signal === TIMER_SIGNAL) timers = true;
        else this.send(-1, signal, info);
      }
    }
    return timers;
  }
}
