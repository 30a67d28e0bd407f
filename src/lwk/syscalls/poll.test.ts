import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EBADF, EFAULT, EINTR, EINVAL, ERESTARTNOHAND } from "../../abi/errno.ts";
import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI } from "../../abi/poll.ts";
import { SIGUSR1, signalBit } from "../../abi/signal.ts";
import { makeInfo } from "../signals.ts";
import { descriptorCalls } from "./descriptors.ts";
import { eventCalls } from "./events.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { ioCalls } from "./io.ts";
import { pollCalls, selectAnswer, selectWishes } from "./poll.ts";

const calls = { ...ioCalls, ...pollCalls, ...eventCalls, ...descriptorCalls };
let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);
const pipe = (): [number, number] => {
  expect(sys("pipe2", BASE, 0)).toBe(0);
  return [m.i32(0), m.i32(4)];
};
const entry = (fd: number, events: number): [number, number] => [fd, events];
const revents = (at: number, i: number): number => m.i32(at + i * 8 + 4) >>> 16;
const pendingSignal = (): void => {
  m.kernel.signals.setAction(SIGUSR1, { handler: 0x1234, flags: 0, restorer: 0, mask: 0n });
  m.kernel.signals.send(0, SIGUSR1, makeInfo(SIGUSR1, 0));
};

beforeEach(() => {
  m = new FakeMachine(64);
});
afterEach(() => m.close());

describe("poll", () => {
  it("should translate descriptors, and answer for those that are not open", () => {
    m.scatter();
    const [r, w] = pipe();
    const va = m.ints(4090, ...entry(r, POLLIN), ...entry(w, POLLOUT), ...entry(-3, POLLIN), ...entry(200, POLLIN));
    expect(sys("poll", va, 4, 0)).toBe(2);
    expect([0, 1, 2, 3].map((i) => revents(4090, i))).toEqual([0, POLLOUT, 0, POLLNVAL]);
    sys("close", w);
    expect(sys("poll", va, 1, -1)).toBe(1);
    expect(revents(4090, 0)).toBe(POLLHUP);
    expect(m.i32(4090)).toBe(r);
  });

  it("should wait as long as asked although it is woken", () => {
    const [r] = pipe();
    const va = m.ints(4096, ...entry(r, POLLIN));
    const start = performance.now();
    m.wake();
    expect(sys("poll", va, 1, 30)).toBe(0);
    expect(performance.now() - start).toBeGreaterThanOrEqual(29);
  });

  it("should refuse more entries than descriptors are allowed, and bad memory", () => {
    expect(sys("poll", BASE, 257, 0)).toBe(-EINVAL);
    expect(sys("poll", BASE, 0xffffffff, 0)).toBe(-EINVAL);
    expect(sys("poll", 64, 1, 0)).toBe(-EFAULT);
    expect(sys("ppoll", BASE, 0, m.words(100, 0, 1_000_000_000), 0, 8)).toBe(-EINVAL);
    expect(sys("ppoll", BASE, 0, m.words(100, -1, 0), 0, 8)).toBe(-EINVAL);
  });

  it("should give way to a signal that the temporary mask lets through, but not before what is ready", () => {
    const [r, w] = pipe();
    const va = m.ints(4096, ...entry(r, POLLIN));
    m.kernel.signals.setMask(0, signalBit(SIGUSR1));
    pendingSignal();
    m.words(100, 0, 20_000_000);
    expect(sys("ppoll", va, 1, BASE + 100, 0, 8)).toBe(0);
    m.words(200, 0);
    m.words(100, 5, 0);
    expect(sys("ppoll", va, 1, BASE + 100, BASE + 200, 8)).toBe(-ERESTARTNOHAND);
    sys("write", w, BASE, 1);
    m.kernel.signals.setMask(0, signalBit(SIGUSR1));
    expect(sys("ppoll", va, 1, BASE + 100, BASE + 200, 8)).toBe(1);
    expect(sys("ppoll", va, 1, BASE + 100, BASE + 200, 16)).toBe(-EINVAL);
  });
});

describe("select", () => {
  it("should be poll in other words", () => {
    const sets = [new Uint8Array(8), null, new Uint8Array(8)];
    sets[0]![1] = 0b101;
    sets[2]![1] = 0b100;
    sets[2]![7] = 0x80;
    expect(selectWishes(sets, 63).map((w) => w.fd)).toEqual([8, 10]);
    expect(selectWishes(sets, 64).map((w) => w.fd)).toEqual([8, 10, 63]);
    const result = [new Uint8Array(8), null, new Uint8Array(8)];
    expect(selectAnswer(sets, result, 8, POLLERR)).toBe(1);
    expect(selectAnswer(sets, result, 10, POLLIN | POLLPRI)).toBe(2);
    expect(selectAnswer(sets, result, 63, POLLHUP)).toBe(0);
    expect([result[0]![1], result[2]![1], result[2]![7]]).toEqual([0b101, 0b100, 0]);
  });

  it("should write back sets and the time left", () => {
    const [r, w] = pipe();
    const bit = (fd: number): bigint => 1n << BigInt(fd);
    m.words(1000, bit(r), 0);
    m.words(1100, bit(w), 0);
    m.words(1200, 1, 0);
    expect(sys("select", 64, BASE + 1000, BASE + 1100, 0, BASE + 1200)).toBe(1);
    expect(m.bytes(1000, 8).readBigUInt64LE()).toBe(0n);
    expect(m.bytes(1100, 8).readBigUInt64LE()).toBe(bit(w));
    expect(m.i32(1200)).toBe(0); // a little less than a second
    expect(m.i32(1208)).toBeGreaterThan(900_000);
    m.words(1000, bit(60), 0);
    expect(sys("select", 64, BASE + 1000, 0, 0, BASE + 1200)).toBe(-EBADF);
    expect(sys("select", 60, BASE + 1000, 0, 0, m.words(1300, 0, 0))).toBe(0); // beyond nfds
    expect(sys("select", -1, 0, 0, 0, 0)).toBe(-EINVAL);
    expect(sys("select", 64, 64, 0, 0, 0)).toBe(-EFAULT);
  });

  it("should not come back for a hang-up that nobody asked about", () => {
    const [r, w] = pipe();
    sys("close", w);
    m.words(1000, 1n << BigInt(r));
    const start = performance.now();
    expect(sys("pselect6", 64, 0, 0, BASE + 1000, m.words(1200, 0, 20_000_000), 0)).toBe(0);
    expect(performance.now() - start).toBeGreaterThanOrEqual(19);
  });
});

describe("epoll", () => {
  it("should bring the program's data back untouched", () => {
    m.scatter();
    const epoll = sys("epoll_create1", 0o2000000);
    expect(m.kernel.fds.flags(epoll)).toBe(1);
    const event = sys("eventfd", 1);
    m.put(4090, new Uint8Array([1, 0, 0, 0, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x92]));
    expect(sys("epoll_ctl", epoll, 1, event, BASE + 4090)).toBe(0);
    expect(sys("epoll_ctl", epoll, 1, epoll, BASE + 4090)).toBe(-EINVAL);
    expect(sys("epoll_ctl", epoll, 1, 99, BASE + 4090)).toBe(-EBADF);
    expect(sys("epoll_wait", epoll, BASE + 8180, 4, -1)).toBe(1);
    expect(m.bytes(8180, 12).equals(m.bytes(4090, 12))).toBe(true);
    expect(sys("epoll_wait", epoll, BASE, 0, 0)).toBe(-EINVAL);
    expect(sys("epoll_wait", epoll, BASE, 0x7fffffff, 0)).toBe(-EINVAL);
    expect(sys("epoll_wait", epoll, 64, 1, 0)).toBe(-EFAULT);
    expect(sys("epoll_ctl", epoll, 2, event, 0)).toBe(0);
    expect(sys("epoll_pwait2", epoll, BASE, 4, m.words(100, 0, 1_000_000), 0, 0)).toBe(0);
    pendingSignal();
    expect(sys("epoll_wait", epoll, BASE, 4, -1)).toBe(-EINTR);
  });
});
