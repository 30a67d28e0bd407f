import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EBADF, EFAULT, EINVAL, EMFILE, ENOTTY } from "../../abi/errno.ts";
import * as F from "../../abi/fcntl.ts";
import { H } from "../state.ts";
import { descriptorCalls } from "./descriptors.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { fileCalls } from "./files.ts";
import { ioCalls } from "./io.ts";
import { ioctlCalls } from "./ioctl.ts";

const calls = { ...ioCalls, ...fileCalls, ...descriptorCalls, ...ioctlCalls };
let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);
const memfd = (): number => sys("memfd_create", m.put(0, "x"), 2);

beforeEach(() => {
  m = new FakeMachine(16);
});
afterEach(() => m.close());

describe("the descriptor table", () => {
  it("should give the lowest free number, share positions, and stop at the limit", () => {
    const fd = memfd();
    expect(fd).toBe(0);
    expect(sys("dup", fd)).toBe(1);
    expect(sys("fcntl", fd, F.F_DUPFD_CLOEXEC, 10)).toBe(10);
    expect(sys("fcntl", 10, F.F_GETFD)).toBe(1);
    expect(sys("dup3", fd, 5, F.O_CLOEXEC)).toBe(5);
    expect(sys("dup2", 5, 6)).toBe(6);
    expect(sys("fcntl", 6, F.F_GETFD)).toBe(0);
    expect(sys("write", fd, BASE, 3)).toBe(3);
    expect(sys("lseek", 6, 0, 1)).toBe(3);
    expect(sys("close", 1)).toBe(0);
    expect(sys("close", 1)).toBe(-EBADF);
    expect(sys("dup", 6)).toBe(1);
    expect(sys("dup2", fd, fd)).toBe(fd);
    expect(sys("dup3", fd, fd, 0)).toBe(-EINVAL);
    expect(sys("dup3", fd, 7, 1)).toBe(-EINVAL);
    expect(sys("dup2", fd, 256)).toBe(-EBADF);
    expect(sys("dup2", fd, -1)).toBe(-EBADF);
    expect(sys("dup2", 99, 3)).toBe(-EBADF);
    expect(sys("fcntl", fd, F.F_DUPFD, 256)).toBe(-EINVAL);
    m.limit(m.kernel.state, 2);
    expect(sys("dup", fd)).toBe(-EMFILE);
  });

  it("should close and mark ranges", () => {
    const fd = memfd();
    for (const to of [3, 4, 7, 200]) sys("dup2", fd, to);
    expect(sys("close_range", 4, 0xffffffff, F.CLOSE_RANGE_CLOEXEC)).toBe(0);
    expect(m.kernel.fds.open()).toEqual([0, 3, 4, 7, 200]);
    expect([0, 3, 4, 7, 200].map((n) => m.kernel.fds.flags(n))).toEqual([0, 0, 1, 1, 1]);
    expect(sys("close_range", 3, 7, 0)).toBe(0);
    expect(m.kernel.fds.open()).toEqual([0, 200]);
    expect(sys("close_range", 5, 4, 0)).toBe(-EINVAL);
    expect(sys("close_range", 5, 6, 1)).toBe(-EINVAL);
  });
});

describe("fcntl", () => {
  it("should pass locks, seals and sizes to the host", () => {
    const fd = memfd();
    sys("ftruncate", fd, 100);
    const lock = new Uint8Array(32);
    lock[0] = 1; // F_WRLCK
    expect(sys("fcntl", fd, F.F_OFD_SETLK, m.put(100, lock))).toBe(0);
    expect(sys("fcntl", fd, F.F_OFD_SETLKW, m.put(100, lock))).toBe(0);
    expect(sys("fcntl", fd, F.F_GETLK, m.put(100, lock))).toBe(0);
    expect(m.i32(100) & 0xffff).toBe(1); // held by the open file, in the way of the process
    expect(sys("fcntl", fd, F.F_GETLK, 64)).toBe(-EFAULT);
    expect(sys("fcntl", fd, F.F_ADD_SEALS, 4)).toBe(0);
    expect(sys("fcntl", fd, F.F_GET_SEALS)).toBe(4);
    expect(sys("fcntl", fd, F.F_GETFL) & 3).toBe(2);
    expect(sys("fcntl", fd, 4242, 0)).toBe(-EINVAL);
    expect(sys("fcntl", 99, F.F_GETFD)).toBe(-EBADF);
  });
});

describe("ioctl", () => {
  it("should pass known requests with their structures and refuse others, counted", () => {
    m.scatter();
    sys("pipe2", BASE, 0);
    const [r, w] = [m.i32(0), m.i32(4)];
    sys("write", w, BASE, 7);
    expect(sys("ioctl", r, 0x541b, BASE + 4094)).toBe(0); // FIONREAD into two pages
    expect(m.i32(4094)).toBe(7);
    expect(sys("ioctl", r, 0x541b, 64)).toBe(-EFAULT);
    expect(sys("ioctl", r, 0x5401, BASE)).toBe(-ENOTTY);
    expect(sys("ioctl", r, 0x5421, m.ints(100, 1))).toBe(0); // FIONBIO
    expect(sys("fcntl", r, F.F_GETFL) & F.O_NONBLOCK).toBe(F.O_NONBLOCK);
    expect(sys("ioctl", r, 0x5451)).toBe(0); // FIOCLEX
    expect(sys("fcntl", r, F.F_GETFD)).toBe(1);
    const before = m.kernel.state.i32[H.unknownCalls]!;
    expect(sys("ioctl", r, 0xdeadbeef, BASE)).toBe(-ENOTTY);
    expect(m.kernel.state.i32[H.unknownCalls]).toBe(before + 1);
    expect(sys("ioctl", 77, 0x5401, BASE)).toBe(-EBADF);
  });

  it("should list the network interfaces through the pointer inside", () => {
    // A socket is wanted, and this test's families have none: an unconnected one made by the host.
    const host = m.kernel.sys(41, 2, 2, 0);
    const fd = m.kernel.fds.add(host, 0);
    m.ints(8000, 400, 0);
    m.words(8008, BASE + 9000);
    expect(sys("ioctl", fd, 0x8912, BASE + 8000)).toBe(0);
    expect(m.i32(8000) % 40).toBe(0);
    expect(m.i32(8000)).toBeGreaterThan(0);
    expect(m.bytes(9000, 16).toString()).toMatch(/^[a-z]/);
    expect(m.bytes(8008, 8).readBigUInt64LE()).toBe(BigInt(BASE + 9000));
  });
});
