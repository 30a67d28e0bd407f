import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EBADF, EFAULT, EINVAL, EPIPE } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { EMSGSIZE, ENOBUFS, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_NOSIGNAL, MSG_WAITFORONE } from "../../abi/socket.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import { descriptorCalls } from "./descriptors.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { ioCalls } from "./io.ts";
import { controlMessages, messageCalls } from "./messages.ts";
import { socketCalls } from "./sockets.ts";

const calls = { ...ioCalls, ...socketCalls, ...messageCalls, ...descriptorCalls };
const AF_UNIX = 1;
const AF_INET = 2;
const STREAM = 1;
const DGRAM = 2;

let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);
const hostDescriptors = (): number => {
  let open = 0;
  for (let fd = 0; fd < 400; fd++) if (m.kernel.sys(NR.fcntl, fd, 1) >= 0) open++;
  return open;
};
const pair = (type: number): [number, number] => {
  expect(sys("socketpair", AF_UNIX, type, 0, BASE)).toBe(0);
  return [m.i32(0), m.i32(4)];
};
/** A msghdr at `at` with one iovec and control data. */
const message = (at: number, data: number, length: number, control = 0, controlLength = 0, name = 0, nameLength = 0): number => {
  m.words(at + 64, data, length);
  return m.words(at, name, nameLength, BASE + at + 64, 1, control, controlLength, 0);
};
const rights = (at: number, ...fds: number[]): number => {
  m.words(at, 16 + fds.length * 4);
  m.ints(at + 8, 1, 1, ...fds);
  return BASE + at;
};

beforeEach(() => {
  m = new FakeMachine(64);
});
afterEach(() => m.close());

describe("control messages", () => {
  it("should find none outside the buffer, whatever it holds", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.tuple(fc.nat(200), fc.nat(80))), (bytes, lengths) => {
        for (const [at, length] of lengths) if (at + 8 <= bytes.length) bytes.set([length, 0, 0, 0, 0, 0, 0, 0], at & ~7);
        const { messages } = controlMessages(bytes);
        let last = 0;
        for (const found of messages) {
          expect(found.header).toBeGreaterThanOrEqual(last);
          expect(found.start).toBe(found.header + 16);
          expect(found.end).toBeGreaterThanOrEqual(found.start);
          expect(found.end).toBeLessThanOrEqual(bytes.length);
          last = found.end;
        }
      }),
    );
  });
});

describe("descriptors in messages", () => {
  it("should reach the other side under new numbers, with the flag asked for", () => {
    const [a, b] = pair(STREAM);
    sys("pipe2", BASE + 16, 0);
    const [r, w] = [m.i32(16), m.i32(20)];
    m.put(1000, "hello");
    expect(sys("sendmsg", a, message(2000, BASE + 1000, 5, rights(3000, r, w), 24), 0)).toBe(5);
    expect(sys("recvmsg", b, message(4000, BASE + 5000, 100, BASE + 6000, 100), MSG_CMSG_CLOEXEC)).toBe(5);
    expect(m.bytes(5000, 5).toString()).toBe("hello");
    expect(m.kernel.mem.u64(BASE + 4000 + 40)).toBe(24);
    expect(m.kernel.mem.u64(BASE + 6000)).toBe(24);
    const [r2, w2] = [m.i32(6016), m.i32(6020)];
    expect([r, w, a, b]).not.toContain(r2);
    expect(m.kernel.fds.flags(r2!)).toBe(FD_CLOEXEC);
    expect(sys("write", w2!, BASE + 1000, 5)).toBe(5);
    expect(sys("read", r, BASE + 7000, 5)).toBe(5);
  });

  it("should be refused when they are not open", () => {
    const [a] = pair(STREAM);
    expect(sys("sendmsg", a, message(2000, BASE, 1, rights(3000, 200), 20), 0)).toBe(-EBADF);
    expect(sys("sendmsg", a, message(2000, BASE, 1, rights(3000, -1), 20), 0)).toBe(-EBADF);
  });

  it("should be cut off, and closed, when the table is full", () => {
    const [a, b] = pair(STREAM);
    const before = hostDescriptors();
    expect(sys("sendmsg", a, message(2000, BASE, 1, rights(3000, a, a, a), 28), 0)).toBe(1);
    m.limit(m.kernel.state, 3);
    expect(sys("recvmsg", b, message(4000, BASE + 5000, 100, BASE + 6000, 100), 0)).toBe(1);
    expect(m.i32(4000 + 48) & MSG_CTRUNC).toBe(MSG_CTRUNC);
    expect(m.kernel.mem.u64(BASE + 4000 + 40)).toBe(20);
    expect(m.kernel.fds.open().length).toBe(3);
    expect(hostDescriptors()).toBe(before + 1);
  });

  it("should survive hostile control data", () => {
    const [a] = pair(DGRAM);
    expect(sys("sendmsg", a, message(2000, BASE, 1, BASE + 3000, 1), 0)).toBe(1); // less than a header: none
    expect(sys("sendmsg", a, message(2000, BASE, 1, BASE + 3000, 1 << 30), 0)).toBe(-ENOBUFS);
    expect(sys("sendmsg", a, message(2000, BASE, 1, 64, 32), 0)).toBe(-EFAULT);
    m.words(3000, 1n << 63n);
    expect(sys("sendmsg", a, message(2000, BASE, 1, BASE + 3000, 64), 0)).toBe(-EINVAL);
    m.words(2000, 0, 0, BASE, 4096, 0, 0, 0);
    expect(sys("sendmsg", a, BASE + 2000, 0)).toBe(-EMSGSIZE);
    expect(sys("sendmsg", a, 64, 0)).toBe(-EFAULT);
  });
});

describe("several messages", () => {
  it("should go and come with their lengths, and stop without waiting when told so", () => {
    m.scatter();
    const [a, b] = pair(DGRAM);
    for (let i = 0; i < 3; i++) {
      m.put(4090 + i * 100, `datagram ${i}`);
      m.words(8000 + i * 64, 0, 0, BASE + 9000 + i * 16, 1, 0, 0, 0, 0);
      m.words(9000 + i * 16, BASE + 4090 + i * 100, 10);
    }
    expect(sys("sendmmsg", a, BASE + 8000, 3, 0)).toBe(3);
    expect(m.i32(8000 + 64 + 56)).toBe(10);
    for (let i = 0; i < 5; i++) {
      m.words(12000 + i * 64, 0, 0, BASE + 13000 + i * 16, 1, 0, 0, 0, 0);
      m.words(13000 + i * 16, BASE + 16380 + i * 100, 100);
    }
    expect(sys("recvmmsg", b, BASE + 12000, 5, MSG_WAITFORONE, 0)).toBe(3);
    expect(m.bytes(16580, 10).toString()).toBe("datagram 2");
    expect(m.i32(12000 + 128 + 56)).toBe(10);
  });
});

describe("sockets", () => {
  it("should tell addresses cut off to the room given", () => {
    const server = sys("socket", AF_INET, STREAM, 0);
    m.put(0, new Uint8Array([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    expect(sys("bind", server, BASE, 16)).toBe(0);
    expect(sys("bind", server, BASE, 1000)).toBe(-EINVAL);
    expect(sys("bind", server, BASE, -1)).toBe(-EINVAL);
    expect(sys("bind", server, 64, 16)).toBe(-EFAULT);
    expect(sys("listen", server, 5)).toBe(0);
    m.put(100, new Uint8Array(32).fill(0xee));
    m.ints(200, 6);
    expect(sys("getsockname", server, BASE + 100, BASE + 200)).toBe(0);
    expect(m.i32(200)).toBe(16);
    expect([...m.bytes(104, 4)]).toEqual([127, 0, 0xee, 0xee]);
    m.ints(200, 16);
    sys("getsockname", server, BASE, BASE + 200);
    m.ints(200, -1);
    expect(sys("getsockname", server, BASE + 100, BASE + 200)).toBe(-EINVAL);

    const client = sys("socket", AF_INET, STREAM, 0);
    expect(sys("connect", client, BASE, 16)).toBe(0);
    m.ints(200, 16);
    const peer = sys("accept4", server, BASE + 100, BASE + 200, 0o2000000);
    expect(peer).toBeGreaterThan(client);
    expect(m.kernel.fds.flags(peer)).toBe(FD_CLOEXEC);
    expect([...m.bytes(104, 4)]).toEqual([127, 0, 0, 1]);
    m.ints(300, 4);
    expect(sys("getsockopt", peer, 1, 3, BASE + 304, BASE + 300)).toBe(0);
    expect(m.i32(304)).toBe(STREAM);
    expect(sys("getsockopt", peer, 1, 3, BASE + 304, 64)).toBe(-EFAULT);
    m.ints(304, 1);
    expect(sys("setsockopt", peer, 1, 9, BASE + 304, 4)).toBe(0);
    expect(sys("setsockopt", peer, 1, 26, BASE + 304, 16)).toBe(-EINVAL);
  });

  it("should give a datagram of scattered pages and its sender's name", () => {
    m.scatter();
    const [a, b] = [sys("socket", AF_INET, DGRAM, 0), sys("socket", AF_INET, DGRAM, 0)];
    m.put(0, new Uint8Array([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    sys("bind", b, BASE, 16);
    m.ints(100, 16);
    sys("getsockname", b, BASE, BASE + 100);
    const data = Buffer.alloc(20000, "scatter ");
    m.put(5000, data);
    expect(sys("sendto", a, BASE + 5000, 20000, 0, BASE, 16)).toBe(20000);
    m.ints(100, 16);
    expect(sys("recvfrom", b, BASE + 100_001, 30000, 0, BASE + 200, BASE + 100)).toBe(20000);
    expect(m.bytes(100_001, 20000).equals(data)).toBe(true);
    expect([...m.bytes(204, 4)]).toEqual([127, 0, 0, 1]);
  });

  it("should send SIGPIPE unless MSG_NOSIGNAL is there", () => {
    const [a, b] = pair(STREAM);
    sys("close", b);
    expect(sys("sendto", a, BASE, 1, MSG_NOSIGNAL, 0, 0)).toBe(-EPIPE);
    expect(m.kernel.signals.pendingMask(0)).toBe(0n);
    expect(sys("sendto", a, BASE, 1, 0, 0, 0)).toBe(-EPIPE);
    expect(m.kernel.signals.pendingMask(0)).not.toBe(0n);
  });
});
