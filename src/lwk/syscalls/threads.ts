/** System calls on threads. */
import { E2BIG, EINVAL, ENOSYS, EPERM, ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import type { Call, Family } from "../call.ts";
import { futex, leaveRobustList } from "../futex.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { USER_END } from "../mm/address-space.ts";
import { T } from "../state.ts";
import type { EndNode } from "../thread-loop.ts";
import { ThreadEnded } from "../thread-ended.ts";

const CLONE_VM = 0x100;
const CLONE_SIGHAND = 0x800;
const CLONE_VFORK = 0x4000;
const CLONE_THREAD = 0x10000;
const CLONE_SETTLS = 0x80000;
const CLONE_PARENT_SETTID = 0x100000;
const CLONE_CHILD_CLEARTID = 0x200000;
const CLONE_CHILD_SETTID = 0x1000000;
const CLONE_ARGS_SIZE_MIN = 64;
const ANY_SIGNAL = 2n ** 64n - 1n;

interface CloneArguments {
  flags: number;
  stack: number;
  parentTid: number;
  childTid: number;
  tls: number;
}

function makeThread(c: Call, a: CloneArguments): number {
  const { kernel } = c;
  const thread = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
  if ((a.flags & thread) !== thread || a.flags & CLONE_VFORK) {
    // A thread group without shared signal handlers, or handlers without shared memory, is EINVAL on Linux; the rest are processes.
    if (a.flags & CLONE_THREAD && !(a.flags & CLONE_SIGHAND)) return -EINVAL;
    if (a.flags & CLONE_SIGHAND && !(a.flags & CLONE_VM)) return -EINVAL;
    return -ENOSYS;
  }
  if (a.flags & CLONE_SETTLS && a.tls >= USER_END) return -EPERM;
  if (a.flags & CLONE_PARENT_SETTID) kernel.mem.u32(a.parentTid);
  return kernel.threads.create(
    kernel,
    { stack: a.stack, tls: a.flags & CLONE_SETTLS ? a.tls : null, clearChildTid: a.flags & CLONE_CHILD_CLEARTID ? a.childTid : 0 },
    (tid) => {
      try {
        if (a.flags & CLONE_PARENT_SETTID) kernel.mem.setU32(a.parentTid, tid);
        if (a.flags & CLONE_CHILD_SETTID) kernel.mem.setU32(a.childTid, tid);
      } catch (error) {
        if (!(error instanceof GuestError)) throw error; // Linux ignores a bad address here too
      }
    },
  );
}

function clone(c: Call): number {
  return makeThread(c, { flags: c.u32(0), stack: c.num(1), parentTid: c.num(2), childTid: c.num(3), tls: c.num(4) });
}

function clone3(c: Call): number {
  const { mem } = c.kernel;
  const va = c.num(0);
  const size = c.num(1);
  if (size < CLONE_ARGS_SIZE_MIN) return -EINVAL;
  if (size > 4096) return -E2BIG;
  for (let at = 88; at < size; at += 8) if (mem.u64(va + at) !== 0) return -E2BIG;
  const stack = mem.u64(va + 40);
  const stackSize = mem.u64(va + 48);
  if ((stack === 0) !== (stackSize === 0)) return -EINVAL;
  const flags = mem.u64(va);
  if (flags >= 2 ** 34) return -EINVAL;
  return makeThread(c, {
    flags: flags % 2 ** 32,
    stack: stack + stackSize,
    parentTid: mem.u64(va + 24),
    childTid: mem.u64(va + 16),
    tls: mem.u64(va + 56),
  });
}

/** exit(2): the thread's last words to others, then its host thread is free. The last thread ends the program. */
function exit(c: Call, end: EndNode): number {
  const { kernel } = c;
  const code = c.int(0) & 0xff;
  leaveRobustList(kernel);
  // Marked ended before its signals are dropped and before anybody who joins it is woken: nothing reaches it then, nothing is left for the slot's next thread.
  const left = kernel.threads.ended(kernel.slot);
  kernel.signals.forget(kernel.slot);
  kernel.signals.retarget(ANY_SIGNAL);
  clearTid(kernel);
  if (left === 0) end(code, "");
  throw new ThreadEnded();
}

/** CLONE_CHILD_CLEARTID: zero into the thread's id and a wake for who joins it. */
function clearTid(k: Kernel): void {
  const { state, record } = k;
  const clear = state.getU64(record + T.clearChildTid);
  if (!clear) return;
  state.setU64(record + T.clearChildTid, 0);
  try {
    k.mem.setU32(clear, 0);
    k.sys(NR.futex, k.space.memory.hostAddress(k.mem.locate(clear, true)), 1, 1, 0, 0, 0);
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
  }
}

/** The calls that end threads need to know how the virtual node ends. */
export function threadCalls(end: EndNode): Family {
  return {
    clone: ["partial", "threads; processes come later", clone],
    clone3: ["partial", "threads; processes come later", clone3],
    exit: ["lwk", "", (c) => exit(c, end)],
    exit_group: ["lwk", "", (c) => end(c.int(0) & 0xff, "")],
    set_tid_address: [
      "lwk",
      "",
      (c) => {
        c.kernel.state.setU64(c.kernel.record + T.clearChildTid, c.num(0));
        return c.kernel.tid;
      },
    ],
    set_robust_list: [
      "lwk",
      "",
      (c) => {
        if (c.num(1) !== 24) return -EINVAL;
        c.kernel.state.setU64(c.kernel.record + T.robustList, c.num(0));
        return 0;
      },
    ],
    get_robust_list: [
      "lwk",
      "",
      (c) => {
        const { kernel } = c;
        const slot = c.int(0) === 0 ? kernel.slot : kernel.threads.slotOf(c.int(0));
        if (slot < 0) return -ESRCH;
        kernel.mem.setU64(c.num(1), kernel.state.getU64(kernel.state.thread(slot) + T.robustList));
        kernel.mem.setU64(c.num(2), 24);
        return 0;
      },
    ],
    futex: ["lwk", "priority inheritance keeps mutual exclusion but no priorities; FUTEX_WAIT_REQUEUE_PI is not there", futex],
    futex_waitv: ["none", "", () => -ENOSYS],
    futex_wake: ["none", "", () => -ENOSYS],
    futex_wait: ["none", "", () => -ENOSYS],
    futex_requeue: ["none", "", () => -ENOSYS],
  };
}
