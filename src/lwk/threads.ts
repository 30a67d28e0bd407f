/** Guest threads: records in the shared state, each carried by a host thread with a vCPU of its own. Host threads are kept and used again. */
import { EAGAIN } from "../abi/errno.ts";
import { NR } from "../abi/nr.ts";
import type { Gate } from "../host/gate.ts";
import { kick } from "../host/signals.ts";
import type { GuestMemory } from "../vmm/guest-memory.ts";
import { R } from "../vmm/vcpu.ts";
import {
  THREAD_CPU,
  THREAD_EGID,
  THREAD_EUID,
  THREAD_GID,
  THREAD_NODE,
  THREAD_PID,
  THREAD_PPID,
  THREAD_TID,
  THREAD_UID,
  THREAD_YIELD_EXITS,
} from "./boot/layout.ts";
import type { Kernel } from "./kernel.ts";
import { H, OFFSET, type State, T, THREAD } from "./state.ts";

/** What clone(2) says about a thread to be made. Addresses are the guest's; 0: none. */
export interface ThreadRequest {
  readonly stack: number;
  readonly tls: number | null;
  readonly clearChildTid: number;
}

/** Values of T.parked besides 0, at work: the host thread waits for a guest thread; there is no host thread. */
const PARKED = 1;
const NO_HOST_THREAD = 2;
/** A Worker and its vCPU need 4 descriptors; others are being started at the same time and have not taken theirs yet. */
const WORKER_DESCRIPTORS = 48;
const F_DUPFD_CLOEXEC = 1030;

export class Threads {
  private readonly state: State;
  private readonly gate: Gate;
  private readonly memory: GuestMemory;
  /** Starts a host thread (a Worker) for slot `slot`. */
  private readonly spawn: (slot: number) => void;

  constructor(state: State, gate: Gate, memory: GuestMemory, spawn: (slot: number) => void) {
    this.state = state;
    this.gate = gate;
    this.memory = memory;
    this.spawn = spawn;
  }

  /** Slot of the living thread `tid`, -1 when there is none. */
  slotOf(tid: number): number {
    const { state } = this;
    for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
      const record = state.thread(slot);
      const phase = state.i32[record + T.state]!;
      if (state.i32[record + T.tid] === tid && phase !== THREAD.FREE && phase !== THREAD.EXITED) return slot;
    }
    return -1;
  }

  alive(tid: number): boolean {
    return this.slotOf(tid) >= 0;
  }

  /** Slots of living threads. */
  living(): number[] {
    const { state } = this;
    const result: number[] = [];
    for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
      const phase = state.i32[state.thread(slot) + T.state]!;
      if (phase !== THREAD.FREE && phase !== THREAD.EXITED) result.push(slot);
    }
    return result;
  }

  /** Makes a thread that starts where the calling one is, with `rax` 0. Returns [tid, slot], or -EAGAIN. `prepare` runs before the thread can. */
  create(k: Kernel, request: ThreadRequest, prepare: (tid: number) => void): number {
    const { state } = this;
    state.lock(H.lockThreads);
    let slot = this.parkedSlot(PARKED);
    const fresh = slot < 0;
    if (fresh) slot = this.parkedSlot(NO_HOST_THREAD);
    if (slot < 0) {
      if (state.i32[H.slotsInUse]! >= state.threadLimit) {
        state.unlock(H.lockThreads);
        return -EAGAIN;
      }
      slot = state.i32[H.slotsInUse]!++;
    }
    const record = state.thread(slot);
    const tid = state.i32[H.nextTid]!++;
    // Whoever sees the thread must not see its slot's last one's id and mask.
    state.i32[record + T.tid] = tid;
    state.setBig(record + T.signalMask, k.signals.mask(k.slot));
    Atomics.store(state.i32, record + T.state, THREAD.STARTING);
    state.i32[record + T.parked] = 0;
    const alive = ++state.i32[H.threadsAlive]!;
    state.i32[H.peakThreads] = Math.max(state.i32[H.peakThreads]!, alive);
    state.unlock(H.lockThreads);

    for (let r = 0; r < 18; r++) state.setBig(record + T.startRegs + r * 2, k.vcpu.big(r));
    state.setU64(record + T.startRegs + R.rax * 2, 0);
    state.setBig(record + T.startRegs + R.rip * 2, k.vcpu.big(R.rcx));
    if (request.stack) state.setU64(record + T.startRegs + R.rsp * 2, request.stack);
    const bases = k.vcpu.segmentBases();
    state.setBig(record + T.fsBase, request.tls === null ? bases.fs : BigInt(request.tls));
    state.setBig(record + T.gsBase, bases.gs);
    state.setU64(record + T.clearChildTid, request.clearChildTid);
    state.setU64(record + T.robustList, 0);
    state.setU64(record + T.altStackSize, 0);
    state.u32[record + T.altStackFlags] = 2;
    state.i32[record + T.hasSavedMask] = 0;
    state.u32.copyWithin(record + T.affinity, k.record + T.affinity, k.record + T.affinity + 32);
    state.u32.copyWithin(record + T.name, k.record + T.name, k.record + T.name + 4);
    state.i32[record + T.pinned] = state.i32[k.record + T.pinned] === 2 ? 2 : 0;
    state.u8.set(k.vcpu.xsave(4096), OFFSET.fpu + slot * 4096);
    state.i32[record + T.hasFpu] = 1;
    prepare(tid);
    this.updateYield();

    Atomics.store(state.i32, record + T.assignment, 1);
    if (fresh) {
      if (!this.start(k, slot)) return this.takeBack(slot);
    } else k.sys(NR.futex, state.address + (record + T.assignment) * 4, 1, 1, 0, 0, 0);
    return tid;
  }

  /**
   * Starts the host thread for `slot`. False when the host has none to give (RLIMIT_NPROC, the control group's pids.max) or too few descriptors: a Worker
   * without descriptors for its event loop dies without a word, and the guest thread would never run.
   */
  private start(k: Kernel, slot: number): boolean {
    const { state } = this;
    const probe: number[] = [];
    while (probe.length < WORKER_DESCRIPTORS) {
      const fd = k.sys(NR.fcntl, state.i32[H.vmFd]!, F_DUPFD_CLOEXEC, 3);
      if (fd < 0) break;
      probe.push(fd);
    }
    for (const fd of probe) k.sys(NR.close, fd);
    if (probe.length < WORKER_DESCRIPTORS) return false;
    try {
      this.spawn(slot);
      return true;
    } catch {
      return false; // ERR_WORKER_INIT_FAILED: no thread
    }
  }

  /** Undoes `create` for a thread that cannot be started; its slot waits for better times. Returns -EAGAIN. */
  private takeBack(slot: number): number {
    const { state } = this;
    const record = state.thread(slot);
    state.lock(H.lockThreads);
    state.i32[record + T.state] = THREAD.EXITED;
    state.i32[record + T.assignment] = 0;
    state.i32[record + T.parked] = NO_HOST_THREAD;
    state.i32[H.threadsAlive]!--;
    state.unlock(H.lockThreads);
    this.updateYield();
    return -EAGAIN;
  }

  /** A slot without work whose host thread is in `phase` (PARKED, NO_HOST_THREAD); lowest first, because low slots are pinned one to one. */
  private parkedSlot(phase: number): number {
    const { state } = this;
    for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
      const record = state.thread(slot);
      if (state.i32[record + T.parked] === phase && state.i32[record + T.assignment] === 0) return slot;
    }
    return -1;
  }

  /** Fills a thread's page, which the stub and the vDSO read. */
  writeThreadPage(slot: number): void {
    const { state } = this;
    const record = state.thread(slot);
    this.memory.seeTables(state.i32[H.nextTablePage]!, 0);
    const word = state.i32[record + T.threadPage]! * 1024;
    const { tables } = this.memory;
    const cpu = state.i32[record + T.cpu]!;
    tables[word + THREAD_TID / 4] = state.i32[record + T.tid]!;
    tables[word + THREAD_PID / 4] = state.i32[H.pid]!;
    tables[word + THREAD_PPID / 4] = state.i32[H.ppid]!;
    tables[word + THREAD_UID / 4] = state.i32[H.uid]!;
    tables[word + THREAD_EUID / 4] = state.i32[H.euid]!;
    tables[word + THREAD_GID / 4] = state.i32[H.gid]!;
    tables[word + THREAD_EGID / 4] = state.i32[H.egid]!;
    tables[word + THREAD_CPU / 4] = cpu;
    tables[word + THREAD_NODE / 4] = state.i32[(OFFSET.cpuNodes >> 2) + cpu]!;
    tables[word + THREAD_YIELD_EXITS / 4] = state.i32[H.threadsAlive]! > state.i32[H.cpuCount]! ? 1 : 0;
  }

  /** sched_yield leaves the guest only while there are more threads than CPUs. */
  private updateYield(): void {
    const { state } = this;
    const value = state.i32[H.threadsAlive]! > state.i32[H.cpuCount]! ? 1 : 0;
    this.memory.seeTables(state.i32[H.nextTablePage]!, 0);
    for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
      const page = state.i32[state.thread(slot) + T.threadPage]!;
      if (page) this.memory.tables[page * 1024 + THREAD_YIELD_EXITS / 4] = value;
    }
  }

  /** Marks the calling thread ended. Returns how many live on. */
  ended(slot: number): number {
    const { state } = this;
    state.lock(H.lockThreads);
    state.i32[state.thread(slot) + T.state] = THREAD.EXITED;
    const alive = --state.i32[H.threadsAlive]!;
    state.unlock(H.lockThreads);
    this.updateYield();
    return alive;
  }

  /**
   * Pins the calling host thread: where CPUs were named, slots below the CPU count one to one; the others float over all CPUs of the virtual node. What the
   * program itself has said (sched_setaffinity) goes before both. Without named CPUs nothing is pinned: several virtual nodes on one machine would meet on CPU 0.
   */
  place(slot: number): void {
    const { state } = this;
    const record = state.thread(slot);
    const count = state.i32[H.cpuCount]!;
    if (state.i32[record + T.pinned] !== 2) {
      state.i32[record + T.pinned] = state.i32[H.pin] && slot < count ? 1 : 0;
      state.i32[record + T.cpu] = slot % count;
    }
    const allowed = this.allowed(record);
    if (state.i32[record + T.pinned] === 2 && !allowed.includes(state.i32[record + T.cpu]!)) state.i32[record + T.cpu] = allowed[0] ?? 0;
    this.applyAffinity(0, state.i32[record + T.pinned] === 1 ? [slot] : allowed);
  }

  /** Virtual CPUs of a thread's affinity mask. */
  allowed(record: number): number[] {
    const { state } = this;
    const result: number[] = [];
    for (let cpu = 0; cpu < state.i32[H.cpuCount]!; cpu++)
      if (state.u32[record + T.affinity + (cpu >> 5)]! & (1 << (cpu & 31))) result.push(cpu);
    return result;
  }

  /** sched_setaffinity of a host thread (0: the calling one) to the host CPUs behind virtual CPUs. Returns 0 or -errno. */
  applyAffinity(hostTid: number, cpus: readonly number[]): number {
    const { state, gate } = this;
    const mask = new Uint8Array(1024);
    for (const cpu of cpus) {
      const host = state.i32[(OFFSET.cpus >> 2) + cpu]!;
      mask[host >> 3]! |= 1 << (host & 7);
    }
    const at = state.address + OFFSET.texts + 0x80000 + gate.slot * 128;
    state.u8.set(mask.subarray(0, 128), OFFSET.texts + 0x80000 + gate.slot * 128);
    return gate.sys(NR.sched_setaffinity, hostTid, 128, at);
  }

  /** Wakes every other thread, so that each looks at what has changed. */
  kickOthers(slot: number): void {
    for (const other of this.living()) if (other !== slot) kick(this.gate, other, this.state.i32[this.state.thread(other) + T.hostTid]!);
  }
}
