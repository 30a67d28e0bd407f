/** System calls on scheduling: which virtual CPUs a thread may use and how it stands to others. A guest thread is a host thread, so the host's scheduler does the work. */
import { EINVAL, EPERM, ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { IOPRIO_WHO_PROCESS, PRIO_PROCESS, SCHED_ATTR } from "../../abi/sched.ts";
import type { Call, Family, Handler } from "../call.ts";
import type { Kernel } from "../kernel.ts";
import { H, OFFSET, T } from "../state.ts";
import { forward, INT } from "./forward.ts";
import { hostThreadOf } from "./host-thread.ts";
import { ROOM } from "./marshal.ts";
import { numaCalls } from "./numa.ts";

/** Words of an affinity mask in the thread record: 1024 CPUs. */
const MASK_WORDS = 32;
/** Bytes of the host's masks that we look at: 8192 CPUs, Linux's most. */
const HOST_MASK_BYTES = 1024;

/** How a thread is pinned (T.pinned). */
const PINNED = { FREE: 0, BY_MARGAY: 1, BY_PROGRAM: 2 } as const;

/** The host's number for a thread id of the guest; ids of other processes are the host's own. */
function hostTid(k: Kernel, tid: number): number {
  if (tid === 0) return 0;
  const slot = k.threads.slotOf(tid);
  return slot < 0 ? tid : hostThreadOf(k, slot);
}

/** Slot of a thread of the program (0: the calling one), -1 for another process. */
function slotOf(k: Kernel, tid: number): number {
  return tid === 0 ? k.slot : k.threads.slotOf(tid);
}

/** Bytes of the mask that the virtual node's CPUs fill, in whole longs as the kernel's own. */
function maskBytes(k: Kernel): number {
  return Math.ceil(k.state.i32[H.cpuCount]! / 64) * 8;
}

/** Mask bytes of virtual CPUs. */
function maskOf(k: Kernel, cpus: Iterable<number>): Uint8Array {
  const mask = new Uint8Array(maskBytes(k));
  for (const cpu of cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  return mask;
}

/** Virtual numbers of the host CPUs in a host mask. */
function virtualCpus(k: Kernel, hostMask: Uint8Array): number[] {
  const cpus: number[] = [];
  for (let cpu = 0; cpu < k.state.i32[H.cpuCount]!; cpu++) {
    const host = k.state.i32[(OFFSET.cpus >> 2) + cpu]!;
    if (hostMask[host >> 3]! & (1 << (host & 7))) cpus.push(cpu);
  }
  return cpus;
}

function getaffinity(c: Call): number {
  const { kernel: k } = c;
  const bytes = maskBytes(k);
  if (c.num(1) * 8 < k.state.i32[H.cpuCount]! || c.num(1) % 8 !== 0) return -EINVAL;
  const slot = slotOf(k, c.int(0));
  let cpus: number[];
  if (slot >= 0) cpus = k.threads.allowed(k.state.thread(slot));
  else {
    const result = k.sys(NR.sched_getaffinity, c.int(0), HOST_MASK_BYTES, k.scratch.address + ROOM.structs);
    if (result < 0) return result;
    cpus = virtualCpus(k, k.scratch.u8.slice(ROOM.structs, ROOM.structs + result));
  }
  const length = Math.min(c.num(1), bytes);
  k.mem.write(c.num(2), maskOf(k, cpus).subarray(0, length));
  return length;
}

/** sched_setaffinity(2): the thread's host thread moves to the host CPUs behind the virtual ones. CPUs that are not there are left out, as in Linux. */
function setaffinity(c: Call): number {
  const { kernel: k } = c;
  const { state } = k;
  const mask = new Uint8Array(MASK_WORDS * 4);
  const length = Math.min(c.num(1), mask.length);
  mask.set(k.mem.bytes(c.num(2), length));
  const slot = slotOf(k, c.int(0));
  // Only to say whether there is such a process: another one is not moved from inside a virtual node.
  if (slot < 0) return k.sys(NR.sched_getaffinity, c.int(0), HOST_MASK_BYTES, k.scratch.address + ROOM.structs) < 0 ? -ESRCH : -EPERM;
  const count = state.i32[H.cpuCount]!;
  const cpus: number[] = [];
  for (let cpu = 0; cpu < count; cpu++) if (mask[cpu >> 3]! & (1 << (cpu & 7))) cpus.push(cpu);
  if (cpus.length === 0) return -EINVAL;

  const record = state.thread(slot);
  const before = state.u32.slice(record + T.affinity, record + T.affinity + MASK_WORDS);
  const pinned = state.i32[record + T.pinned]!;
  for (let i = 0; i < MASK_WORDS; i++) state.u32[record + T.affinity + i] = 0;
  for (const cpu of cpus) state.u32[record + T.affinity + (cpu >> 5)]! |= 1 << (cpu & 31);
  Atomics.store(state.i32, record + T.pinned, PINNED.BY_PROGRAM);
  // A thread just made has no host thread yet; that one will go by the record when it starts (Threads.place).
  const host = Atomics.load(state.i32, record + T.hostTid);
  const result = host ? k.threads.applyAffinity(host, cpus) : 0;
  if (result < 0) {
    state.u32.set(before, record + T.affinity);
    state.i32[record + T.pinned] = pinned;
    return result;
  }
  if (!cpus.includes(state.i32[record + T.cpu]!)) {
    state.i32[record + T.cpu] = cpus[0]!;
    if (host) k.threads.writeThreadPage(slot);
  }
  return 0;
}

/** Virtual CPU that the calling thread is on: known when it may use one only, else asked of the host. */
export function currentCpu(k: Kernel): number {
  const { state, record } = k;
  const known = state.i32[record + T.cpu]!;
  if (state.i32[record + T.pinned] === PINNED.BY_MARGAY) return known;
  if (k.sys(NR.getcpu, k.scratch.address + ROOM.structs, 0, 0) < 0) return known;
  const host = k.scratch.i32[ROOM.structs >> 2]!;
  for (let cpu = 0; cpu < state.i32[H.cpuCount]!; cpu++) if (state.i32[(OFFSET.cpus >> 2) + cpu] === host) return cpu;
  return known;
}

function getcpu(c: Call): number {
  const { kernel: k } = c;
  const cpu = currentCpu(k);
  if (c.num(0)) k.mem.setU32(c.num(0), cpu);
  if (c.num(1)) k.mem.setU32(c.num(1), k.state.u32[(OFFSET.cpuNodes >> 2) + cpu]!);
  return 0;
}

/** A call whose first argument is a thread and whose second is `size` bytes that the host reads or fills. */
function onThread(nr: number, size: number, direction: "in" | "out" | "none", pointer = 1): Handler {
  return (c) => {
    const { kernel: k } = c;
    const at = ROOM.structs;
    const tid = c.int(0);
    if (tid < 0) return -EINVAL;
    const va = c.num(pointer);
    if (direction !== "none" && !va) return -EINVAL;
    const host = hostTid(k, tid);
    if (direction === "in") k.scratch.u8.set(k.mem.bytes(va, size), at);
    const address = direction === "none" ? c.int(1) : k.scratch.address + at;
    const result = pointer === 1 ? k.sys(nr, host, address) : k.sys(nr, host, c.int(1), address);
    if (result >= 0 && direction === "out") k.mem.write(va, k.scratch.u8.slice(at, at + size));
    return result;
  };
}

/** sched_setattr(2), sched_getattr(2): structures that grow; the part that we know goes to the host. */
function setattr(c: Call): number {
  const { kernel: k } = c;
  const va = c.num(1);
  if (!va || c.int(0) < 0) return -EINVAL;
  const size = k.mem.u32(va) || SCHED_ATTR.size;
  if (size < SCHED_ATTR.size || size > 4096) return -EINVAL;
  const host = hostTid(k, c.int(0));
  k.scratch.u8.set(k.mem.bytes(va, size), ROOM.structs);
  k.scratch.view.setUint32(ROOM.structs, size, true);
  return k.sys(NR.sched_setattr, host, k.scratch.address + ROOM.structs, c.u32(2));
}

function getattr(c: Call): number {
  const { kernel: k } = c;
  const size = c.u32(2);
  if (!c.num(1) || c.int(0) < 0 || size < SCHED_ATTR.size || size > 4096) return -EINVAL;
  const host = hostTid(k, c.int(0));
  const at = ROOM.structs;
  k.scratch.u8.fill(0, at, at + size);
  const result = k.sys(NR.sched_getattr, host, k.scratch.address + at, size, c.u32(3));
  if (result >= 0) k.mem.write(c.num(1), k.scratch.u8.slice(at, at + size));
  return result;
}

/** A call on (what kind, who) with one more integer: when the kind is a process, who may be a thread of ours. */
function onWhom(nr: number, processKind: number): Handler {
  return (c) => {
    const who = c.int(0) === processKind ? hostTid(c.kernel, c.int(1)) : c.int(1);
    return c.kernel.sys(nr, c.int(0), who, c.int(2));
  };
}

const HOST_THREAD = "of the host thread";

export const scheduleCalls: Family = {
  ...numaCalls,
  sched_yield: ["guest", "in the stub, without an exit, unless there are more threads than CPUs", forward(NR.sched_yield, [])],
  sched_getaffinity: ["lwk", "virtual CPUs", getaffinity],
  sched_setaffinity: ["lwk", "virtual CPUs; other processes are not moved", setaffinity],
  getcpu: ["guest", "in the vDSO, without an exit; virtual CPU and node", getcpu],
  sched_get_priority_max: ["forwarded", "", forward(NR.sched_get_priority_max, [INT])],
  sched_get_priority_min: ["forwarded", "", forward(NR.sched_get_priority_min, [INT])],
  sched_getscheduler: ["forwarded", HOST_THREAD, onThread(NR.sched_getscheduler, 0, "none")],
  sched_setscheduler: ["forwarded", HOST_THREAD, onThread(NR.sched_setscheduler, 4, "in", 2)],
  sched_getparam: ["forwarded", HOST_THREAD, onThread(NR.sched_getparam, 4, "out")],
  sched_setparam: ["forwarded", HOST_THREAD, onThread(NR.sched_setparam, 4, "in")],
  sched_rr_get_interval: ["forwarded", HOST_THREAD, onThread(NR.sched_rr_get_interval, 16, "out")],
  sched_getattr: ["forwarded", HOST_THREAD, getattr],
  sched_setattr: ["forwarded", HOST_THREAD, setattr],
  getpriority: ["forwarded", HOST_THREAD, onWhom(NR.getpriority, PRIO_PROCESS)],
  setpriority: ["forwarded", HOST_THREAD, onWhom(NR.setpriority, PRIO_PROCESS)],
  ioprio_get: ["forwarded", HOST_THREAD, onWhom(NR.ioprio_get, IOPRIO_WHO_PROCESS)],
  ioprio_set: ["forwarded", HOST_THREAD, onWhom(NR.ioprio_set, IOPRIO_WHO_PROCESS)],
};
