/** Waiting for several descriptors: poll and select, both by the host's ppoll on translated descriptors. */
import { EBADF, EFAULT, EINTR, EINVAL, ERESTARTNOHAND } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { POLLFD_SIZE, POLLNVAL, SELECT_EXCEPT, SELECT_READ, SELECT_WRITE } from "../../abi/poll.ts";
import { viewMemory } from "../../host/gate.ts";
import { mapAnonymous, RESERVE } from "../../host/memory.ts";
import type { Call, Family } from "../call.ts";
import type { Kernel } from "../kernel.ts";
import { DESCRIPTOR_COUNT } from "../state.ts";
import { ROOM } from "./marshal.ts";
import { setTemporaryMask } from "./signals.ts";
import { Countdown } from "./timeout.ts";

/** A descriptor that the host never has open: it answers POLLNVAL, as it would for a closed one. */
const CLOSED = 0x7fff_ffff;

/** Host memory for an array of struct pollfd: i32 descriptor at word 2i, events (low) and revents (high half) in word 2i + 1. */
interface PollArray {
  readonly address: number;
  readonly words: Int32Array;
}

const SMALL = (ROOM.end - ROOM.structs) / POLLFD_SIZE;
let large: PollArray | null = null;

/** Room for `count` entries: in the scratch buffer, or, for thousands, in a mapping that this host thread keeps. */
function pollArray(k: Kernel, count: number): PollArray {
  if (count <= SMALL) return { address: k.scratch.address + ROOM.structs, words: k.scratch.i32.subarray(ROOM.structs >> 2, ROOM.end >> 2) };
  if (!large) {
    const address = mapAnonymous(k.sys, DESCRIPTOR_COUNT * POLLFD_SIZE, 3, RESERVE);
    large = { address, words: new Int32Array(viewMemory(address, DESCRIPTOR_COUNT * POLLFD_SIZE)) };
  }
  return large;
}

/** Waits on the host. `interrupted` is the answer to a signal; `now`: do not wait, a signal is there already. */
function waitFor(k: Kernel, array: PollArray, count: number, countdown: Countdown, now: boolean): number {
  const rest = now ? new Countdown(0n) : countdown;
  for (;;) {
    const call = now ? k.sys : k.wait;
    const result = call(NR.ppoll, array.address, count, rest.leftTimespec(k), 0, 8);
    if (now && result === 0) return -ERESTARTNOHAND;
    if (result !== -EINTR) return result;
    if (k.interrupted()) return -ERESTARTNOHAND;
  }
}

// ---- poll ---------------------------------------------------------------------------------------------------------

function poll(c: Call, countdown: Countdown, mask: number, maskSize: number): number {
  const k = c.kernel;
  const va = c.num(0);
  const count = c.u32(1);
  if (count > k.fds.limit) return -EINVAL;
  const bytes = k.mem.bytes(va, count * POLLFD_SIZE);
  const guest = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  setTemporaryMask(c, mask, maskSize);
  const array = pollArray(k, count);
  for (let i = 0; i < count; i++) {
    const fd = guest.getInt32(i * POLLFD_SIZE, true);
    const host = k.fds.peek(fd);
    array.words[i * 2] = fd < 0 ? -1 : host < 0 ? CLOSED : host;
    array.words[i * 2 + 1] = guest.getUint16(i * POLLFD_SIZE + 4, true);
  }
  const result = waitFor(k, array, count, countdown, mask !== 0 && k.attention());
  if (result < 0) return result;
  for (let i = 0; i < count; i++) guest.setUint16(i * POLLFD_SIZE + 6, array.words[i * 2 + 1]! >>> 16, true);
  k.mem.write(va, bytes);
  return result;
}

function ppoll(c: Call): number {
  const k = c.kernel;
  const countdown = Countdown.timespec(k, c.num(2));
  const result = poll(c, countdown, c.num(3), c.num(4));
  if (result !== -EFAULT) countdown.giveBack(k, c.num(2), 1n);
  return result;
}

// ---- select -------------------------------------------------------------------------------------------------------

/** The three sets of one select call as bytes, each a multiple of 8 long; null where the guest gave NULL. */
export type SelectSets = readonly (Uint8Array | null)[];
const MEANING = [SELECT_READ, SELECT_WRITE, SELECT_EXCEPT] as const;

const has = (set: Uint8Array | null, fd: number): boolean => set !== null && (set[fd >> 3]! & (1 << (fd & 7))) !== 0;

/** What select's sets ask for, as pairs of descriptor and poll events, ascending. Bits from `count` on do not count. */
export function selectWishes(sets: SelectSets, count: number): { fd: number; events: number }[] {
  const wishes: { fd: number; events: number }[] = [];
  for (let fd = 0; fd < count; fd++) {
    if ((fd & 7) === 0 && sets.every((set) => !set?.[fd >> 3])) {
      fd += 7;
      continue;
    }
    let events = 0;
    for (let i = 0; i < 3; i++) if (has(sets[i]!, fd)) events |= MEANING[i]!;
    if (events) wishes.push({ fd, events });
  }
  return wishes;
}

/** Turns poll's answer for one descriptor into bits of the result sets. Returns how many bits were set. */
export function selectAnswer(asked: SelectSets, result: SelectSets, fd: number, revents: number): number {
  let bits = 0;
  for (let i = 0; i < 3; i++) {
    if (!has(asked[i]!, fd) || !(revents & MEANING[i]!)) continue;
    result[i]![fd >> 3]! |= 1 << (fd & 7);
    bits++;
  }
  return bits;
}

function select(c: Call, countdown: Countdown, mask: number, maskSize: number): number {
  const k = c.kernel;
  if (c.int(0) < 0) return -EINVAL;
  const count = Math.min(c.int(0), DESCRIPTOR_COUNT);
  const size = Math.ceil(count / 64) * 8;
  const pointers = [c.num(1), c.num(2), c.num(3)];
  const sets: SelectSets = pointers.map((va) => (va ? k.mem.bytes(va, size) : null));
  const wishes = selectWishes(sets, count);
  setTemporaryMask(c, mask, maskSize);
  const array = pollArray(k, wishes.length);
  for (const [i, { fd, events }] of wishes.entries()) {
    const host = k.fds.peek(fd);
    if (host < 0) return -EBADF;
    array.words[i * 2] = host;
    array.words[i * 2 + 1] = events;
  }
  const result: SelectSets = sets.map((set) => set && new Uint8Array(size));
  let total = 0;
  for (;;) {
    const ready = waitFor(k, array, wishes.length, countdown, mask !== 0 && k.attention());
    if (ready < 0) return ready;
    for (let i = 0; i < wishes.length; i++) {
      const revents = array.words[i * 2 + 1]! >>> 16;
      if (!revents) continue;
      if (revents & POLLNVAL) return -EBADF;
      const bits = selectAnswer(sets, result, wishes[i]!.fd, revents);
      total += bits;
      // Poll reports errors that select was not asked about: such a descriptor no longer counts.
      if (bits === 0) array.words[i * 2] = -1;
    }
    if (ready === 0 || total > 0) break;
  }
  for (let i = 0; i < 3; i++) if (pointers[i]) k.mem.write(pointers[i]!, result[i]!);
  return total;
}

function selectTimeval(c: Call): number {
  const countdown = Countdown.timeval(c.kernel, c.num(4));
  const result = select(c, countdown, 0, 0);
  countdown.giveBack(c.kernel, c.num(4), 1000n);
  return result;
}

/** pselect6: the sixth argument points to the mask's address and size. */
function pselect6(c: Call): number {
  const k = c.kernel;
  const pair = c.num(5);
  const countdown = Countdown.timespec(k, c.num(4));
  const result = select(c, countdown, pair ? k.mem.u64(pair) : 0, pair ? k.mem.u64(pair + 8) : 0);
  countdown.giveBack(k, c.num(4), 1n);
  return result;
}

export const pollCalls: Family = {
  poll: ["forwarded", "", (c) => poll(c, Countdown.milliseconds(c.int(2)), 0, 0)],
  ppoll: ["forwarded", "", ppoll],
  select: ["forwarded", "", selectTimeval],
  pselect6: ["forwarded", "", pselect6],
};
