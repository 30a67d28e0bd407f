import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { EAGAIN, EBADF, EFAULT, EINVAL, EISDIR, EPIPE, ERESTARTSYS, ESPIPE } from "../../abi/errno.ts";
import { signalBit, SIGPIPE, SIGUSR1 } from "../../abi/signal.ts";
import { FILE_KIND } from "../descriptors.ts";
import { makeInfo } from "../signals.ts";
import { descriptorCalls } from "./descriptors.ts";
import { eventCalls } from "./events.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { fileCalls } from "./files.ts";
import { ioCalls } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "margay-io-"));
afterAll(() => rmSync(dir, { recursive: true }));
const handler = (name: string) => (ioCalls[name] ?? fileCalls[name] ?? descriptorCalls[name] ?? eventCalls[name])![2];

let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(handler(name), ...args);
const pattern = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
const open = (path: string, flags: number): number => sys("open", m.put(0, path), flags, 0o600);

beforeEach(() => {
  m = new FakeMachine(512);
});
afterEach(() => m.close());

describe("read and write", () => {
  it.each([
    ["in one piece", false],
    ["in scattered pages", true],
  ])("should move a small and a large buffer that lies %s", (_, scattered) => {
    if (scattered) m.scatter();
    for (const length of [0, 1, 5000, 65536, 65537, 1_500_000]) {
      const path = join(dir, `f${length}${scattered}`);
      const fd = open(path, 0o102);
      const data = pattern(length);
      m.put(8192 + 123, data);
      expect(sys("write", fd, BASE + 8192 + 123, length)).toBe(length);
      expect(readFileSync(path).equals(data)).toBe(true);
      m.put(8192, new Uint8Array(length));
      expect(sys("pread64", fd, BASE + 8192 + 11, length + 100, 0)).toBe(length);
      expect(m.bytes(8192 + 11, length).equals(data)).toBe(true);
      expect(sys("lseek", fd, 0, 1)).toBe(length);
    }
  });

  it("should move the good part of a buffer, and answer EFAULT where there is none", () => {
    writeFileSync(join(dir, "long"), pattern(20000));
    const fd = open(join(dir, "long"), 2);
    m.unmap(5);
    m.protect(8);
    expect(sys("read", fd, BASE + 5 * 4096 - 100, 5000)).toBe(100);
    expect(m.bytes(5 * 4096 - 100, 100).equals(pattern(20000).subarray(0, 100))).toBe(true);
    expect(sys("read", fd, BASE + 5 * 4096, 10)).toBe(-EFAULT);
    expect(sys("read", fd, BASE + 8 * 4096, 10)).toBe(-EFAULT);
    expect(sys("pwrite64", fd, BASE + 8 * 4096, 10, 0)).toBe(10);
    expect(sys("lseek", fd, 0, 1)).toBe(100);
    expect(sys("pread64", fd, BASE + 5 * 4096, 10, 20000)).toBe(0); // the end of the file needs no buffer
  });

  it("should refuse what Linux refuses", () => {
    const fd = open(join(dir, "refuse"), 0o102);
    expect(sys("read", 77, BASE, 1)).toBe(-EBADF);
    expect(sys("read", fd, BASE, -1n)).toBe(-EINVAL);
    expect(sys("read", fd, BASE, 1n << 62n)).toBe(-EFAULT);
    expect(sys("read", fd, 1n << 60n, 1)).toBe(-EFAULT);
    expect(sys("pread64", fd, BASE, 1, -5)).toBe(-EINVAL);
    expect(sys("lseek", fd, -5, 0)).toBe(-EINVAL);
    expect(sys("lseek", fd, (1n << 62n) + 1n, 0)).toBeLessThan(0);
    m.kernel.fds.add(m.kernel.sys(319, m.kernel.scratch.address, 0), 0, FILE_KIND.VIRTUAL_DIRECTORY, 1, 90);
    expect(sys("read", 90, BASE, 10)).toBe(-EISDIR);
  });

  it("should keep a word for an eventfd whole though it lies on two pages", () => {
    m.scatter();
    const fd = sys("eventfd2", 0, 0);
    m.put(4092, new Uint8Array([5, 0, 0, 0, 0, 0, 0, 0]));
    expect(sys("write", fd, BASE + 4092, 8)).toBe(8);
    expect(sys("read", fd, BASE + 8188, 8)).toBe(8);
    expect(m.bytes(8188, 8)[0]).toBe(5);
  });
});

describe("vectors", () => {
  it("should gather and scatter many parts over many pages", () => {
    m.scatter();
    const fd = open(join(dir, "vec"), 0o102);
    const vector: number[] = [];
    let expected = Buffer.alloc(0);
    for (let i = 0; i < 40; i++) {
      const part = pattern(i * 700);
      vector.push(m.put(200_000 + i * 30_000, part), part.length);
      expected = Buffer.concat([expected, part]);
    }
    const va = m.words(100_000, ...vector);
    expect(sys("writev", fd, va, 40)).toBe(expected.length);
    expect(readFileSync(join(dir, "vec")).equals(expected)).toBe(true);
    for (let i = 0; i < 40; i++) m.put(200_000 + i * 30_000, new Uint8Array(i * 700));
    expect(sys("preadv", fd, va, 40, 0)).toBe(expected.length);
    expect(m.bytes(200_000 + 39 * 30_000, 39 * 700).equals(pattern(39 * 700))).toBe(true);
    expect(sys("preadv2", fd, va, 40, -1, 0, 0)).toBe(0);
    expect(sys("preadv2", fd, va, 40, 5, 0, 0)).toBe(expected.length - 5);
  });

  it("should refuse bad counts and lengths before anything moves", () => {
    const fd = open(join(dir, "vec2"), 0o102);
    const va = m.words(4096, BASE, 10, BASE, -1);
    expect(sys("writev", fd, va, 1025)).toBe(-EINVAL);
    expect(sys("writev", fd, va, -1)).toBe(-EINVAL);
    expect(sys("writev", fd, va, 2)).toBe(-EINVAL);
    expect(sys("writev", fd, m.words(4096, BASE, 10, 1n << 50n, 1), 2)).toBe(-EFAULT);
    expect(sys("writev", fd, 64, 1)).toBe(-EFAULT);
    expect(sys("writev", fd, va, 0)).toBe(0);
    expect(readFileSync(join(dir, "vec2")).length).toBe(0);
  });

  it("should stop at the first part that is not there", () => {
    const fd = open(join(dir, "vec3"), 0o102);
    m.unmap(9);
    const va = m.words(4096, BASE + 8192, 10, BASE + 9 * 4096, 10, BASE + 8192, 10);
    expect(sys("writev", fd, va, 3)).toBe(10);
  });
});

describe("pipes", () => {
  const pipe = (flags = 0): [number, number] => {
    expect(sys("pipe2", BASE + 64, flags)).toBe(0);
    return [m.i32(64), m.i32(68)];
  };

  it("should return from a read when a signal is there, and go on after a wake-up without one", () => {
    const [r, w] = pipe();
    m.kernel.signals.setAction(SIGUSR1, { handler: 0x1234, flags: 0, restorer: 0, mask: 0n });
    m.wake();
    sys("write", w, BASE, 3);
    m.wake();
    expect(sys("read", r, BASE, 10)).toBe(3);
    m.kernel.signals.send(0, SIGUSR1, makeInfo(SIGUSR1, 0));
    expect(sys("read", r, BASE, 10)).toBe(-ERESTARTSYS);
  });

  it("should send SIGPIPE with EPIPE", () => {
    const [r, w] = pipe();
    sys("close", r);
    expect(sys("write", w, BASE, 1)).toBe(-EPIPE);
    expect(m.kernel.signals.pendingMask(0)).toBe(signalBit(SIGPIPE));
  });

  it("should splice with offsets in scattered memory", () => {
    m.scatter();
    const [r, w] = pipe(0o4000);
    writeFileSync(join(dir, "splice"), pattern(3000));
    const fd = open(join(dir, "splice"), 0);
    m.words(4092, 1000); // across two pages
    expect(sys("splice", fd, BASE + 4092, w, 0, 500, 0)).toBe(500);
    expect(m.bytes(4092, 8).readBigUInt64LE()).toBe(1500n);
    expect(sys("read", r, BASE + 8192, 5000)).toBe(500);
    expect(m.bytes(8192, 500).equals(pattern(3000).subarray(1000, 1500))).toBe(true);
    expect(sys("read", r, BASE, 1)).toBe(-EAGAIN);
    expect(sys("pread64", r, BASE, 1, 0)).toBe(-ESPIPE);
  });

  it("should leave nothing open when the two numbers cannot be told", () => {
    const before = m.kernel.fds.open().length;
    expect(sys("pipe2", 64, 0)).toBe(-EFAULT);
    expect(m.kernel.fds.open().length).toBe(before);
    m.limit(m.kernel.state, before + 1);
    expect(sys("pipe2", BASE, 0)).toBe(-24);
    expect(m.kernel.fds.open().length).toBe(before);
  });
});

describe("getrandom", () => {
  it("should fill scattered pages", () => {
    m.scatter();
    expect(sys("getrandom", BASE, 20000, 0)).toBe(20000);
    for (let i = 0; i < 20000; i += 1000) expect(m.bytes(i, 1000).some((b) => b !== 0)).toBe(true);
    expect(sys("getrandom", 64, 8, 0)).toBe(-EFAULT);
    expect(sys("getrandom", BASE, 0, 0)).toBe(0);
    expect(sys("getrandom", BASE, 8, 0xff)).toBe(-EINVAL);
  });
});
