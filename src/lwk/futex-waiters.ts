/**
 * How many threads wait on futexes, in buckets by the word's address, in pages that ring 3 can read: where nobody waits, the stub itself answers
 * a private FUTEX_WAKE with 0 (boot/stub.ts). libgomp wakes once per barrier, also when all its threads spin.
 *
 * No wake-up is lost, for the reason that Linux's own hb_waiters_inc and hb_waiters_pending (kernel/futex) give, which is Dekker's:
 *
 *     waiter (here)                      waker (the program, then the stub)
 *     count += 1                         word = new
 *     full barrier                       full barrier
 *     look at word: old? sleep           look at count: 0? nobody to wake
 *
 * In whatever order the four happen, the waker sees a count of at least 1 or the waiter sees the new word. Atomics.add is the waiter's barrier, `mfence`
 * the waker's. Having seen a count, the waker exits and the host's futex decides; two words that share a bucket cost an exit and nothing else.
 *
 * Only waits that a private FUTEX_WAKE can end are counted. The counts tell what host threads do at this moment, not what the program
 * asked for: with no thread in a call (after a checkpoint is read back), all of them are 0.
 */
import { viewMemory } from "../host/gate.ts";
import { WAITERS_MASK, WAITERS_SIZE } from "./boot/layout.ts";
import { H, type State } from "./state.ts";

/** Set once a waiter has been moved to a word of the bucket: nothing tells when it leaves, so wakes in this bucket exit for ever. */
const MOVED_HERE = 0x80000000 | 0;

export class FutexWaiters {
  private readonly counts: Int32Array;

  /** `counts`: WAITERS_SIZE bytes, all zero at the virtual node's start. */
  constructor(counts: Int32Array) {
    this.counts = counts;
  }

  /** A wait on the word at guest address `va` begins: before the host compares the word. */
  enter(va: number): void {
    Atomics.add(this.counts, bucket(va), 1);
  }

  /** That wait is over, whatever ended it. */
  leave(va: number): void {
    Atomics.sub(this.counts, bucket(va), 1);
  }

  /** Waiters of another word have been moved to the word at `va`. Between `enter` and `leave`, so that the bucket is at no moment 0. */
  moved(va: number): void {
    Atomics.or(this.counts, bucket(va), MOVED_HERE);
  }
}

/** Index of the count for the word at `va`; the stub finds the same one at byte `va & WAITERS_MASK` of the pages. */
function bucket(va: number): number {
  return (va & WAITERS_MASK) >> 2;
}

const views = new WeakMap<State, FutexWaiters>();

/** This thread's view of the virtual node's counts. */
export function futexWaiters(state: State): FutexWaiters {
  let waiters = views.get(state);
  if (!waiters) {
    waiters = new FutexWaiters(new Int32Array(viewMemory(state.getU64(H.waiters), WAITERS_SIZE)));
    views.set(state, waiters);
  }
  return waiters;
}
