/**
 * futex(2). The word is in guest memory, which is this process's memory, so waiting and waking are the host's own futexes on the word's host
 * address. Priority-inheriting ones are built here, because their words hold the guest's thread ids.
 * Waits that a private FUTEX_WAKE can end are counted (futex-waiters.ts), because the stub answers wakes of words that nobody waits for.
 */
import { EAGAIN, EDEADLK, EFAULT, EINTR, EINVAL, ENOSYS, EPERM, ERESTARTSYS, ESRCH, ETIMEDOUT } from "../abi/errno.ts";
import { NR } from "../abi/nr.ts";
import type { Call } from "./call.ts";
import { futexWaiters } from "./futex-waiters.ts";
import { GuestError } from "./guest-error.ts";
import type { Kernel } from "./kernel.ts";
import { T } from "./state.ts";

const WAIT = 0;
const WAKE = 1;
const REQUEUE = 3;
const CMP_REQUEUE = 4;
const WAKE_OP = 5;
const LOCK_PI = 6;
const UNLOCK_PI = 7;
const TRYLOCK_PI = 8;
const WAIT_BITSET = 9;
const WAKE_BITSET = 10;
const LOCK_PI2 = 13;
const PRIVATE = 128;
const CLOCK_REALTIME = 256;
const FUTEX_WAITERS = 0x80000000;
const FUTEX_OWNER_DIED = 0x40000000;
const TID_MASK = 0x3fffffff;
const ANY = 0xffffffff;
/** End of the addresses that Linux takes for user space (less one page that nobody can map). */
const TASK_SIZE = 2 ** 47;
const MONOTONIC = 1;

/** Host address of the 32-bit word at `va`; `write` when the operation changes it. */
function word(k: Kernel, va: number, write: boolean): number {
  if (va % 4 !== 0) throw new GuestError(EINVAL);
  const gpa = k.mem.locate(va, write);
  if (gpa < 0) throw new GuestError(EFAULT);
  return k.space.memory.hostAddress(gpa);
}

/** A word as an Int32Array of one element for Atomics; only for words in block memory. */
function atomicWord(k: Kernel, va: number): Int32Array {
  if (va % 4 !== 0) throw new GuestError(EINVAL);
  const gpa = k.mem.locate(va, true);
  if (gpa < 0) throw new GuestError(EFAULT);
  const { memory } = k.space;
  if (memory.inArena(gpa)) throw new GuestError(ENOSYS);
  const chunk = memory.chunk(gpa);
  return new Int32Array(chunk.buffer, chunk.byteOffset + memory.chunkOffset(gpa), 1);
}

/** Reads a timespec in guest memory: nanoseconds. Throws EINVAL for what the kernel refuses. */
function timespec(k: Kernel, va: number): bigint {
  const seconds = k.mem.big(va);
  const nanoseconds = k.mem.big(va + 8);
  if (BigInt.asIntN(64, seconds) < 0n || nanoseconds >= 1_000_000_000n) throw new GuestError(EINVAL);
  return seconds * 1_000_000_000n + nanoseconds;
}

/** Now on host clock `clock` in nanoseconds. */
export function hostNow(k: Kernel, clock: number): bigint {
  k.sys(NR.clock_gettime, clock, k.scratch.address);
  return k.scratch.view.getBigInt64(0, true) * 1_000_000_000n + k.scratch.view.getBigInt64(8, true);
}

function putTimespec(k: Kernel, at: number, ns: bigint): number {
  k.scratch.view.setBigInt64(at, ns / 1_000_000_000n, true);
  k.scratch.view.setBigInt64(at + 8, ns % 1_000_000_000n, true);
  return k.scratch.address + at;
}

export function futex(c: Call): number {
  const k = c.kernel;
  const va = c.num(0);
  const operation = c.int(1);
  const command = operation & ~(PRIVATE | CLOCK_REALTIME);
  /** PRIVATE or 0: which waiters and wakers can meet. */
  const scope = operation & PRIVATE;
  const value = c.u32(2);
  switch (command) {
    case WAIT:
      return wait(c, va, value, ANY, c.num(3), true, operation & CLOCK_REALTIME, scope);
    case WAIT_BITSET:
      return wait(c, va, value, c.u32(5), c.num(3), false, operation & CLOCK_REALTIME, scope);
    case WAKE:
      return wake(k, va, WAKE | scope, c.int(2), ANY);
    case WAKE_BITSET:
      return wake(k, va, WAKE_BITSET | scope, c.int(2), c.u32(5));
    case REQUEUE:
    case CMP_REQUEUE:
      return requeue(k, va, command | scope, c.int(2), c.int(3), c.num(4), c.u32(5));
    case WAKE_OP:
      return k.sys(NR.futex, word(k, va, false), command | scope, c.int(2), c.int(3), word(k, c.num(4), true), c.u32(5));
    case LOCK_PI:
    case LOCK_PI2:
      return lockPi(c, va, c.num(3), command === LOCK_PI || (operation & CLOCK_REALTIME) !== 0, scope);
    case TRYLOCK_PI:
      return tryLockPi(k, va) ? 0 : -EAGAIN;
    case UNLOCK_PI:
      return unlockPi(k, va, scope);
    default:
      return -ENOSYS;
  }
}

/** A private futex is its address and nothing else, so waking looks at no memory: where nothing is mapped, nobody waits. The stub says the same. */
function wake(k: Kernel, va: number, operation: number, count: number, bitset: number): number {
  if (va % 4 !== 0 || bitset === 0) return -EINVAL;
  if (operation & PRIVATE && va < TASK_SIZE && k.mem.locate(va, false) < 0) return 0;
  return k.sys(NR.futex, word(k, va, false), operation, count, 0, 0, bitset);
}

/** Wakes `count` waiters of the word at `va` and moves `limit` more to the word at `target`, which from then on counts as waited for. */
function requeue(k: Kernel, va: number, operation: number, count: number, limit: number, target: number, value: number): number {
  const from = word(k, va, false);
  const to = word(k, target, false);
  const waiters = operation & PRIVATE ? futexWaiters(k.state) : null;
  waiters?.enter(target);
  try {
    // The result counts those woken and those moved: more than were to be woken means that some were moved.
    const result = k.sys(NR.futex, from, operation, count, limit, to, value);
    if (result > Math.max(count, 0)) waiters?.moved(target);
    return result;
  } finally {
    waiters?.leave(target);
  }
}

function wait(
  c: Call,
  va: number,
  value: number,
  bitset: number,
  timeout: number,
  relative: boolean,
  realtime: number,
  scope: number,
): number {
  const k = c.kernel;
  if (bitset === 0) return -EINVAL;
  const host = word(k, va, false);
  const clock = realtime && !relative ? 0 : MONOTONIC;
  let deadline = -1n;
  if (timeout) deadline = timespec(k, timeout) + (relative ? hostNow(k, clock) : 0n);
  const waiters = scope ? futexWaiters(k.state) : null;
  waiters?.enter(va);
  try {
    return c.blocking(
      () =>
        k.wait(
          NR.futex,
          host,
          WAIT_BITSET | scope | (clock === 0 ? CLOCK_REALTIME : 0),
          value,
          deadline < 0n ? 0 : putTimespec(k, 0, deadline),
          0,
          bitset,
        ),
      // A relative time-out would start anew: Linux restarts it by a restart block; here the wait ends with EINTR, which futex(2) allows.
      deadline >= 0n && relative ? -EINTR : -ERESTARTSYS,
    );
  } finally {
    waiters?.leave(va);
  }
}

/** Takes the lock word when it is free or its owner died. */
function tryLockPi(k: Kernel, va: number): boolean {
  const cell = atomicWord(k, va);
  for (;;) {
    const old = Atomics.load(cell, 0) >>> 0;
    if ((old & TID_MASK) === k.tid) throw new GuestError(EDEADLK);
    if ((old & TID_MASK) !== 0) return false;
    const wanted = (k.tid | (old & (FUTEX_WAITERS | FUTEX_OWNER_DIED))) >>> 0;
    if (Atomics.compareExchange(cell, 0, old | 0, wanted | 0) === (old | 0)) return true;
  }
}

function lockPi(c: Call, va: number, timeout: number, realtime: boolean, scope: number): number {
  const k = c.kernel;
  const deadline = timeout ? timespec(k, timeout) : -1n;
  const host = word(k, va, true);
  for (let waited = false; ; waited = true) {
    if (tryLockPi(k, va)) {
      // Others may still sleep on the word: the bit makes the unlock come here and wake the next.
      if (waited) Atomics.or(atomicWord(k, va), 0, FUTEX_WAITERS | 0);
      return 0;
    }
    const cell = atomicWord(k, va);
    const old = Atomics.load(cell, 0);
    if (!((old >>> 0) & TID_MASK)) continue;
    if (!k.threads.alive((old >>> 0) & TID_MASK)) return -ESRCH;
    const marked = old | FUTEX_WAITERS | 0;
    if (Atomics.compareExchange(cell, 0, old, marked) !== old) continue;
    const result = c.blocking(() =>
      k.wait(
        NR.futex,
        host,
        WAIT_BITSET | scope | (realtime ? CLOCK_REALTIME : 0),
        marked >>> 0,
        deadline < 0n ? 0 : putTimespec(k, 0, deadline),
        0,
        ANY,
      ),
    );
    if (result === -ETIMEDOUT || result === -ERESTARTSYS || result === -EINTR) return result;
  }
}

function unlockPi(k: Kernel, va: number, scope: number): number {
  const cell = atomicWord(k, va);
  const old = Atomics.load(cell, 0) >>> 0;
  if ((old & TID_MASK) !== k.tid) return -EPERM;
  Atomics.store(cell, 0, 0);
  k.sys(NR.futex, word(k, va, true), WAKE | scope, 1, 0, 0, 0);
  return 0;
}

/**
 * A thread ends: every robust mutex that it holds is marked, and one waiter of each woken. Source: kernel/futex/core.c, exit_robust_list.
 * Bounded, because the list is the program's and may be a ring.
 */
export function leaveRobustList(k: Kernel): void {
  const head = k.state.getU64(k.record + T.robustList);
  if (!head) return;
  try {
    const offset = k.mem.i64(head + 8);
    const pending = k.mem.u64(head + 16);
    let entry = k.mem.u64(head);
    for (let i = 0; i < 2048 && entry !== head && entry !== 0; i++) {
      const at = entry - (entry % 2);
      const next = k.mem.u64(at);
      if (entry !== pending) release(k, at + offset, entry % 2 === 1);
      entry = next;
    }
    if (pending) release(k, pending - (pending % 2) + offset, pending % 2 === 1);
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
  }
}

function release(k: Kernel, va: number, pi: boolean): void {
  const cell = atomicWord(k, va);
  for (;;) {
    const old = Atomics.load(cell, 0);
    if (((old >>> 0) & TID_MASK) !== k.tid) return;
    const marked = (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED | 0;
    if (Atomics.compareExchange(cell, 0, old, marked) !== old) continue;
    if (old & FUTEX_WAITERS || pi) k.sys(NR.futex, word(k, va, true), WAKE, 1, 0, 0, 0);
    return;
  }
}
