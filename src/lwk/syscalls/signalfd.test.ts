import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EAGAIN, EFAULT, EINVAL, ERESTARTSYS, ESPIPE } from "../../abi/errno.ts";
import { F_GETFL, F_SETFL, O_NONBLOCK } from "../../abi/fcntl.ts";
import { POLLIN } from "../../abi/poll.ts";
import { SI_USER, SIGCHLD, SIGUSR1, SIGUSR2, SIGWINCH, signalBit } from "../../abi/signal.ts";
import { makeInfo } from "../signals.ts";
import { descriptorCalls } from "./descriptors.ts";
import { eventCalls } from "./events.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { ioCalls } from "./io.ts";
import { pollCalls } from "./poll.ts";
import { signalFileCalls, signalRecord } from "./signalfd.ts";

const calls = { ...ioCalls, ...pollCalls, ...eventCalls, ...descriptorCalls, ...signalFileCalls };
let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);
const set = (...signals: number[]): number => m.words(0, signals.reduce((mask, s) => mask | signalBit(s), 0n));
const send = (signal: number): number => m.kernel.signals.send(-1, signal, makeInfo(signal, SI_USER, { pid: 77, uid: 5, value: 9n }));
const ready = (fd: number): boolean => sys("poll", m.ints(100, fd, POLLIN), 1, 0) === 1;
const make = (...signals: number[]): number => sys("signalfd4", -1, set(...signals), 8, O_NONBLOCK);

beforeEach(() => {
  m = new FakeMachine(16);
  m.kernel.signals.setMask(0, signalBit(SIGUSR1) | signalBit(SIGUSR2) | signalBit(SIGWINCH));
});
afterEach(() => m.close());

describe("signalfd", () => {
  it("should be readable while a signal of its set waits, for poll and epoll", () => {
    const fd = make(SIGUSR1, SIGUSR2);
    const epoll = sys("epoll_create1", 0);
    sys("epoll_ctl", epoll, 1, fd, m.words(200, 1, 0));
    expect(sys("read", fd, BASE + 1000, 128)).toBe(-EAGAIN);
    expect(ready(fd)).toBe(false);
    send(SIGUSR2);
    send(SIGUSR1);
    expect(ready(fd)).toBe(true);
    expect(sys("epoll_wait", epoll, BASE + 300, 4, 0)).toBe(1);
    expect(sys("read", fd, BASE + 1000, 128 + 100)).toBe(128);
    expect(m.i32(1000)).toBe(SIGUSR1);
    expect(ready(fd)).toBe(true);
    expect(sys("read", fd, BASE + 1000, 1280)).toBe(128);
    expect([m.i32(1000), m.i32(1012), m.i32(1016), m.i32(1044)]).toEqual([SIGUSR2, 77, 5, 9]);
    expect(ready(fd)).toBe(false);
    expect(m.kernel.signals.pendingMask(0)).toBe(0n);
  });

  it("should get signals that would be ignored, and those that waited before it was made", () => {
    send(SIGUSR1);
    const fd = make(SIGUSR1, SIGWINCH);
    expect(ready(fd)).toBe(true);
    send(SIGWINCH);
    expect(sys("read", fd, BASE + 1000, 1280)).toBe(256);
    sys("close", fd);
    m.kernel.signals.setMask(0, signalBit(SIGUSR1) | signalBit(SIGUSR2)); // an ignored signal that is blocked would wait, as on Linux
    expect(send(SIGWINCH)).toBe(0);
    expect(m.kernel.signals.pendingMask(0)).toBe(0n);
  });

  it("should take another set, and block or not as told", () => {
    const fd = make(SIGUSR1);
    send(SIGUSR2);
    expect(ready(fd)).toBe(false);
    expect(sys("signalfd4", fd, set(SIGUSR2), 8, 0)).toBe(fd);
    expect(ready(fd)).toBe(true);
    expect(sys("fcntl", fd, F_GETFL) & O_NONBLOCK).toBe(O_NONBLOCK);
    expect(sys("fcntl", fd, F_SETFL, 0)).toBe(0);
    expect(sys("fcntl", fd, F_GETFL) & O_NONBLOCK).toBe(0);
    expect(sys("read", fd, BASE + 1000, 128)).toBe(128);
    m.kernel.signals.setAction(10, { handler: 0x1000, flags: 0, restorer: 0, mask: 0n });
    m.kernel.signals.setMask(0, 0n);
    m.kernel.signals.send(0, SIGUSR1, makeInfo(SIGUSR1, 0));
    expect(sys("read", fd, BASE + 1000, 128)).toBe(-ERESTARTSYS); // another signal, with a handler
  });

  it("should refuse what Linux refuses, and come and go without end", () => {
    const fd = make(SIGUSR1);
    expect(sys("read", fd, BASE, 127)).toBe(-EINVAL);
    expect(sys("write", fd, BASE, 128)).toBe(-EINVAL);
    expect(sys("pread64", fd, BASE, 128, 0)).toBe(-ESPIPE);
    expect(sys("signalfd4", -1, BASE, 16, 0)).toBe(-EINVAL);
    expect(sys("signalfd4", -1, BASE, 8, 1)).toBe(-EINVAL);
    expect(sys("signalfd4", -1, 64, 8, 0)).toBe(-EFAULT);
    expect(sys("signalfd4", sys("epoll_create1", 0), BASE, 8, 0)).toBe(-EINVAL);
    for (let i = 0; i < 70; i++) expect(sys("close", make(SIGUSR1))).toBe(0);
    for (let i = 0; i < 70; i++) {
      const next = make(SIGUSR1);
      expect(next).toBeGreaterThanOrEqual(0);
      sys("dup2", next, 100); // the one before goes here
      sys("close", next);
    }
  });

  it("should say of a child what wait would", () => {
    const info = makeInfo(SIGCHLD, 1, { pid: 12, uid: 3, value: 7n });
    const record = new DataView(signalRecord(SIGCHLD, info).buffer);
    expect([0, 8, 12, 16, 40, 44].map((at) => record.getInt32(at, true))).toEqual([SIGCHLD, 1, 12, 3, 7, 0]);
  });
});
