import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EACCES, EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, EPERM } from "../../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDWR } from "../../abi/fcntl.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, STAT, STATX } from "../../abi/stat.ts";
import { H } from "../state.ts";
import { descriptorCalls } from "./descriptors.ts";
import { directoryCalls } from "./directories.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { fileCalls } from "./files.ts";
import { ioCalls } from "./io.ts";

const calls = { ...ioCalls, ...fileCalls, ...directoryCalls, ...descriptorCalls };
const ONLINE = "/sys/devices/system/cpu/online";
const CPUS = "/sys/devices/system/cpu";

let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);
const path = (text: string): number => m.put(4090, text);
const open = (text: string, flags = 0): number => sys("open", path(text), flags);
const modeAt = (at: number): number => m.bytes(at, 4).readUInt32LE();

beforeEach(() => {
  m = new FakeMachine(32);
  m.scatter();
  m.kernel.state.i32[H.cpuCount] = 3;
  m.kernel.state.i32[H.nodeCount] = 1;
});
afterEach(() => m.close());

describe("a synthetic file", () => {
  it("should be read like a file, from any place, and never written", () => {
    const fd = open(ONLINE);
    expect(fd).toBe(0);
    expect(sys("read", fd, BASE + 8190, 100)).toBe(4);
    expect(m.bytes(8190, 4).toString()).toBe("0-2\n");
    expect(sys("pread64", fd, BASE + 8190, 100, 2)).toBe(2);
    expect(sys("lseek", fd, 0, 0)).toBe(0);
    expect(sys("read", sys("dup", fd), BASE + 8190, 1)).toBe(1);
    expect(sys("write", fd, BASE, 1)).toBe(-EBADF);
    expect(open(ONLINE, O_RDWR)).toBe(-EACCES);
    expect(open(ONLINE, O_CREAT | O_EXCL)).toBe(-EEXIST);
    expect(open(ONLINE, O_DIRECTORY)).toBe(-ENOTDIR);
    expect(sys("truncate", path(ONLINE), 0)).toBe(-EACCES);
    expect(sys("unlink", path(ONLINE))).toBe(-EPERM);
    expect(sys("mkdir", path(ONLINE), 0)).toBe(-EEXIST);
    expect(sys("access", path(ONLINE), 4)).toBe(0);
    expect(sys("access", path(ONLINE), 2)).toBe(-EACCES);
    expect(sys("readlink", path(ONLINE), BASE, 10)).toBe(-EINVAL);
    expect(open(`${CPUS}/none`)).toBe(-ENOENT);
    expect(open(`${CPUS}/../cpu/./online`)).toBeGreaterThan(0);
  });

  it("should have one identity by name and by descriptor", () => {
    const fd = open(ONLINE);
    sys("stat", path(ONLINE), BASE + 8150);
    sys("fstat", fd, BASE + 9150);
    sys("statx", fd, m.put(0, ""), AT_EMPTY_PATH, 0x7ff, BASE + 10150);
    expect(modeAt(8150 + STAT.mode)).toBe(S_IFREG | 0o444);
    expect(modeAt(9150 + STAT.mode)).toBe(S_IFREG | 0o444);
    expect(m.bytes(10150 + STATX.mode, 2).readUInt16LE()).toBe(S_IFREG | 0o444);
    const inode = m.bytes(8150 + STAT.ino, 8).readBigUInt64LE();
    expect(m.bytes(9150 + STAT.ino, 8).readBigUInt64LE()).toBe(inode);
    expect(m.bytes(10150 + STATX.ino, 8).readBigUInt64LE()).toBe(inode);
    // st_dev and stx_dev are the same number in two forms: minor number 0xfffff of major 0.
    expect(m.bytes(8150 + STAT.dev, 8).readBigUInt64LE()).toBe(0xfff000ffn);
    expect(m.bytes(10150 + STATX.devMinor, 4).readUInt32LE()).toBe(0xfffff);
  });
});

describe("a synthetic directory", () => {
  const list = (fd: number, size: number): string[] => {
    const names: string[] = [];
    for (;;) {
      const n = sys("getdents64", fd, BASE + 12280, size);
      expect(n).toBeGreaterThanOrEqual(0);
      if (n === 0) return names;
      const bytes = m.bytes(12280, n);
      for (let p = 0; p < n; p += bytes.readUInt16LE(p + 16)) names.push(`${bytes.toString("latin1", p + 19, bytes.indexOf(0, p + 19))}:${bytes[p + 18]}`);
    }
  };

  it("should list its entries in pieces of any size, again after a rewind", () => {
    const fd = open(CPUS, O_DIRECTORY);
    expect(sys("getdents64", fd, BASE, 20)).toBe(-EINVAL);
    const all = list(fd, 4000);
    expect(all.slice(0, 2)).toEqual([".:4", "..:4"]);
    expect(all).toContain("cpu2:4");
    expect(all).not.toContain("cpu3:4");
    expect(all).toContain("online:8");
    expect(new Set(all).size).toBe(all.length);
    sys("lseek", fd, 0, 0);
    expect(list(fd, 48)).toEqual(all);
    expect(sys("read", fd, BASE, 10)).toBe(-EISDIR);
    expect(open(CPUS, O_RDWR)).toBe(-EISDIR);
    sys("fstat", fd, BASE + 8150);
    expect(modeAt(8150 + STAT.mode) & S_IFMT).toBe(S_IFDIR);
  });

  it("should be a place to start from", () => {
    const fd = open(CPUS, O_DIRECTORY);
    const file = sys("openat", fd, path("online"), 0);
    expect(sys("read", file, BASE + 8190, 100)).toBe(4);
    expect(sys("openat", fd, path("none"), 0)).toBe(-ENOENT);
    expect(sys("faccessat", fd, path("cpu1"), 0)).toBe(0);
    expect(sys("faccessat", fd, path("cpu7"), 0)).toBe(-ENOENT);
  });
});

describe("a synthetic link", () => {
  it("should be read or followed, as asked", () => {
    expect(sys("readlink", path("/dev/stdin"), BASE + 8190, 100)).toBe(15);
    expect(m.bytes(8190, 15).toString()).toBe("/proc/self/fd/0");
    expect(sys("readlinkat", AT_FDCWD, path("/dev/stdin"), BASE + 8190, 5)).toBe(5);
    sys("newfstatat", AT_FDCWD, path("/dev/stdin"), BASE + 8150, AT_SYMLINK_NOFOLLOW);
    expect(modeAt(8150 + STAT.mode) & S_IFMT).toBe(S_IFLNK);
    expect(open("/dev/stdin", O_NOFOLLOW)).toBe(-ELOOP);
    expect(open("/dev/stdin")).toBe(-ENOENT); // descriptor 0 is not open
    const fd = sys("memfd_create", path("m"), 0);
    sys("write", fd, BASE, 7);
    expect(open("/dev/stdin")).toBe(1);
    expect(sys("lseek", 1, 0, 2)).toBe(7);
    expect(open("/proc/self/fd/250")).toBe(-ENOENT);
  });
});

describe("a relative path", () => {
  it("should reach synthetic files from a directory that holds some, after the descriptor's number was another's too", () => {
    const plain = open("/tmp", O_DIRECTORY);
    expect(sys("openat", plain, path("no-such-name"), 0)).toBe(-ENOENT);
    expect(sys("openat", plain, path(`..${ONLINE}`), 0)).toBeGreaterThan(plain);
    sys("close", plain);
    const system = open("/sys/devices/system", O_DIRECTORY);
    expect(system).toBe(plain);
    const fd = sys("openat", system, path("cpu/online"), 0);
    expect(sys("read", fd, BASE + 8190, 100)).toBe(4);
    const root = open("/", O_DIRECTORY);
    expect(sys("faccessat", root, path(`${CPUS.slice(1)}/cpu2`), 0)).toBe(0);
    expect(sys("faccessat", root, path(`${CPUS.slice(1)}/cpu3`), 0)).toBe(-ENOENT);
  });
});
