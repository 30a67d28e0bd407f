/** One host thread's hold on the virtual node: the shared state, guest memory, the host gate, its vCPU. Handlers reach everything through it. */
import type { Gate, Sys } from "../host/gate.ts";
import { wakeIndex } from "../host/gate.ts";
import { createScratch, type Scratch } from "../host/memory.ts";
import type { Vcpu } from "../vmm/vcpu.ts";
import { Descriptors } from "./descriptors.ts";
import type { AddressSpace } from "./mm/address-space.ts";
import { GuestWindow } from "./mm/window.ts";
import { Signals } from "./signals.ts";
import { C, H, type State, T } from "./state.ts";
import { expireTimers } from "./syscalls/timers.ts";
import type { Threads } from "./threads.ts";

export interface KernelParts {
  readonly gate: Gate;
  readonly scratch: Scratch;
  readonly state: State;
  readonly space: AddressSpace;
  readonly vcpu: Vcpu;
  readonly threads: Threads;
}

export class Kernel {
  readonly gate: Gate;
  /** Host call that does not block for long. */
  readonly sys: Sys;
  /** Host call that may block: use it inside `Call.blocking`. */
  readonly wait: Sys;
  readonly scratch: Scratch;
  readonly state: State;
  readonly space: AddressSpace;
  /** Guest memory. */
  readonly mem: GuestWindow;
  readonly fds: Descriptors;
  readonly signals: Signals;
  readonly threads: Threads;
  readonly vcpu: Vcpu;
  /** This thread: slot number, first word of its record, first word of its counters. */
  readonly slot: number;
  readonly record: number;
  readonly counters: number;

  constructor(parts: KernelParts) {
    this.gate = parts.gate;
    this.sys = parts.gate.sys;
    this.wait = parts.gate.wait;
    this.scratch = parts.scratch;
    this.state = parts.state;
    this.space = parts.space;
    this.vcpu = parts.vcpu;
    this.threads = parts.threads;
    this.slot = parts.gate.slot;
    this.record = parts.state.thread(this.slot);
    this.counters = parts.state.counters(this.slot);
    this.mem = new GuestWindow(parts.space, parts.gate, parts.scratch);
    this.fds = new Descriptors(parts.state, parts.gate.sys);
    this.signals = new Signals(parts.state, parts.gate);
  }

  private trace: Scratch | null = null;

  /** A buffer of its own for trace lines: handlers' scratch bytes must survive them. */
  get traceBuffer(): Uint8Array {
    this.trace ??= createScratch(this.gate);
    return this.trace.u8;
  }

  get traceAddress(): number {
    this.trace ??= createScratch(this.gate);
    return this.trace.address;
  }

  /** Process id as the program sees it. */
  get pid(): number {
    return this.state.i32[H.pid]!;
  }

  /** Thread id of this thread. */
  get tid(): number {
    return this.state.i32[this.record + T.tid]!;
  }

  /** This thread was woken: clears the wake word, takes in signals from outside, and says whether something now waits for the thread. */
  interrupted(): boolean {
    Atomics.store(this.gate.wakeWords, wakeIndex(this.slot), 0);
    this.state.u32[this.counters + C.kicks]!++;
    if (this.slot === 0 && this.signals.drainExternal()) expireTimers(this);
    return this.attention();
  }

  /** True when a signal can be delivered to this thread now, or the virtual node stops. */
  attention(): boolean {
    if (this.state.i32[H.stopping] || this.state.i32[H.timedOut]) return true;
    return (this.signals.pendingMask(this.slot) & ~this.signals.mask(this.slot)) !== 0n;
  }
}
