/** Descriptors that tell of events: epoll, eventfd, timerfd, inotify. */
import { EINTR, EINVAL } from "../../abi/errno.ts";
import { O_CLOEXEC } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { EPOLL_CTL_DEL, EPOLL_EVENT_SIZE } from "../../abi/poll.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import { FD, forward, INT, input, output, PATH, UINT } from "./forward.ts";
import { Passage } from "./marshal.ts";
import { setTemporaryMask } from "./signals.ts";
import { Countdown } from "./timeout.ts";

/** Most events that one call brings: more come with the next. */
const EVENTS = 4096;

/** epoll_ctl: the guest's 64 bits of data go to the host untouched and come back so. */
function epollControl(c: Call): number {
  const k = c.kernel;
  const epoll = k.fds.host(c.int(0));
  const host = k.fds.host(c.int(2));
  const operation = c.int(1);
  const event = operation === EPOLL_CTL_DEL ? 0 : new Passage(k).input(c.num(3), EPOLL_EVENT_SIZE);
  return k.sys(NR.epoll_ctl, epoll, operation, host, event);
}

/** epoll_wait and its relatives. `mask` (NULL: none) is in force while they wait. `fine`: nanoseconds matter. */
function epollWait(c: Call, time: (c: Call) => Countdown, mask: number, maskSize: number, fine: boolean): number {
  const k = c.kernel;
  const epoll = k.fds.host(c.int(0));
  const va = c.num(1);
  const wanted = c.int(2);
  if (wanted <= 0 || wanted > Math.floor(0x7fff_ffff / EPOLL_EVENT_SIZE)) return -EINVAL;
  const countdown = time(c);
  // What is taken out of an epoll set must reach the guest: no more events than there is memory for.
  const covered = k.mem.segments(va, Math.min(wanted, EVENTS) * EPOLL_EVENT_SIZE, true);
  const count = Math.max(1, Math.floor(covered / EPOLL_EVENT_SIZE));
  const passage = new Passage(k);
  const into = passage.filled(va, count * EPOLL_EVENT_SIZE);
  setTemporaryMask(c, mask, maskSize);
  // A signal that the new mask lets through ends the call, but events that are there already come first.
  const now = mask !== 0 && k.attention();
  for (;;) {
    const result = now
      ? k.sys(NR.epoll_wait, epoll, into, count, 0)
      : fine
        ? k.wait(NR.epoll_pwait2, epoll, into, count, countdown.leftTimespec(k), 0, 8)
        : k.wait(NR.epoll_wait, epoll, into, count, countdown.leftMilliseconds());
    if (result > 0) passage.finish(result * EPOLL_EVENT_SIZE);
    if (now && result === 0) return -EINTR;
    if (result !== -EINTR || k.interrupted()) return result;
  }
}

const milliseconds = (c: Call): Countdown => Countdown.milliseconds(c.int(3));

/** A call that makes a descriptor from a value (where it has one) and flags, of which O_CLOEXEC's bit is the guest's. */
function make(c: Call, nr: number, flags: number, value?: number): number {
  const { sys, fds } = c.kernel;
  const host = value === undefined ? sys(nr, flags | O_CLOEXEC) : sys(nr, value, flags | O_CLOEXEC);
  return host < 0 ? host : fds.add(host, flags & O_CLOEXEC ? FD_CLOEXEC : 0);
}

export const eventCalls: Family = {
  epoll_create: ["forwarded", "", (c) => (c.int(0) <= 0 ? -EINVAL : make(c, NR.epoll_create1, 0))],
  epoll_create1: ["forwarded", "", (c) => make(c, NR.epoll_create1, c.int(0))],
  epoll_ctl: ["forwarded", "", epollControl],
  epoll_wait: ["forwarded", "at most 4096 events at a time", (c) => epollWait(c, milliseconds, 0, 0, false)],
  epoll_pwait: ["forwarded", "at most 4096 events at a time", (c) => epollWait(c, milliseconds, c.num(4), c.num(5), false)],
  epoll_pwait2: ["forwarded", "at most 4096 events at a time", (c) => epollWait(c, () => Countdown.timespec(c.kernel, c.num(3)), c.num(4), c.num(5), true)],
  eventfd: ["forwarded", "", (c) => make(c, NR.eventfd2, 0, c.u32(0))],
  eventfd2: ["forwarded", "", (c) => make(c, NR.eventfd2, c.int(1), c.u32(0))],
  timerfd_create: ["forwarded", "", (c) => make(c, NR.timerfd_create, c.int(1), c.int(0))],
  timerfd_settime: ["forwarded", "", forward(NR.timerfd_settime, [FD, INT, input(32), output(32)])],
  timerfd_gettime: ["forwarded", "", forward(NR.timerfd_gettime, [FD, output(32)])],
  inotify_init: ["forwarded", "", (c) => make(c, NR.inotify_init1, 0)],
  inotify_init1: ["forwarded", "", (c) => make(c, NR.inotify_init1, c.int(0))],
  inotify_add_watch: ["forwarded", "synthetic files never change", forward(NR.inotify_add_watch, [FD, PATH, UINT], { virtual: null })],
  inotify_rm_watch: ["forwarded", "", forward(NR.inotify_rm_watch, [FD, INT])],
};
