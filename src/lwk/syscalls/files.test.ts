import { existsSync, mkdtempSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { E2BIG, EBADF, EEXIST, EFAULT, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, ERANGE } from "../../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_DIRECTORY } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { STAT, STATX } from "../../abi/stat.ts";
import { descriptorCalls } from "./descriptors.ts";
import { directoryCalls } from "./directories.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { fileCalls } from "./files.ts";
import { ioCalls } from "./io.ts";

const calls = { ...ioCalls, ...fileCalls, ...directoryCalls, ...descriptorCalls };
const dir = mkdtempSync(join(tmpdir(), "margay-files-"));
afterAll(() => rmSync(dir, { recursive: true }));

let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);
const at = (name: string): string => join(dir, name);

beforeEach(() => {
  m = new FakeMachine(64);
  m.scatter();
});
afterEach(() => m.close());

describe("open", () => {
  it("should keep the host's descriptor from other programs, whatever the guest wants", () => {
    writeFileSync(at("a"), "content");
    const path = m.put(4090, at("a"));
    const plain = sys("open", path, 0);
    const closed = sys("openat", AT_FDCWD, path, O_CLOEXEC);
    for (const fd of [plain, closed]) expect(m.kernel.sys(NR.fcntl, m.kernel.fds.host(fd), 1)).toBe(1);
    expect([m.kernel.fds.flags(plain), m.kernel.fds.flags(closed)]).toEqual([0, 1]);
    const directory = sys("open", m.put(8000, dir), O_DIRECTORY);
    expect(sys("openat", directory, m.put(8000, "a"), 0)).toBe(directory + 1);
    expect(sys("openat", 99, m.put(8000, "a"), 0)).toBe(-EBADF);
    expect(sys("openat", 99, path, 0)).toBe(directory + 2);
    expect(sys("open", 64, 0)).toBe(-EFAULT);
    expect(sys("open", m.put(8000, "x".repeat(5000)), 0)).toBe(-ENAMETOOLONG);
    expect(sys("open", m.put(8000, ""), 0)).toBe(-ENOENT);
  });

  it("should check openat2's structure as Linux does", () => {
    const path = m.put(0, at("a"));
    expect(sys("openat2", AT_FDCWD, path, m.words(4092, O_CLOEXEC, 0, 0), 24)).toBe(0);
    expect(m.kernel.fds.flags(0)).toBe(1);
    expect(sys("openat2", AT_FDCWD, path, m.words(4092, 0, 0, 0, 0), 32)).toBe(1);
    expect(sys("openat2", AT_FDCWD, path, m.words(4092, 0, 0, 0, 1), 32)).toBe(-E2BIG);
    expect(sys("openat2", AT_FDCWD, path, m.words(4092, 1n << 40n, 0, 0), 24)).toBe(-EINVAL);
    expect(sys("openat2", AT_FDCWD, path, BASE + 4092, 16)).toBe(-EINVAL);
    expect(sys("openat2", AT_FDCWD, path, BASE + 4092, 1n << 60n)).toBe(-E2BIG);
  });
});

describe("stat", () => {
  it("should write the host's answer across pages, and nothing for a bad pointer", () => {
    writeFileSync(at("s"), "12345");
    const inode = BigInt(statSync(at("s")).ino);
    const path = m.put(0, at("s"));
    const va = BASE + 8192 - 50;
    expect(sys("stat", path, va)).toBe(0);
    expect(m.bytes(8192 - 50 + STAT.ino, 8).readBigUInt64LE()).toBe(inode);
    expect(m.bytes(8192 - 50 + 48, 8).readBigUInt64LE()).toBe(5n);
    const fd = sys("open", path, 0);
    for (const call of ["fstat", "newfstatat", "statx"] as const) {
      m.put(8192 - 50, new Uint8Array(256));
      const empty = m.put(1000, "");
      const result = call === "fstat" ? sys(call, fd, va) : call === "newfstatat" ? sys(call, fd, empty, va, AT_EMPTY_PATH) : sys(call, fd, empty, AT_EMPTY_PATH, 0x7ff, va);
      expect(result).toBe(0);
      expect(m.bytes(8192 - 50 + (call === "statx" ? STATX.ino : STAT.ino), 8).readBigUInt64LE()).toBe(inode);
    }
    expect(sys("newfstatat", fd, 0, va, AT_EMPTY_PATH)).toBe(0);
    expect(sys("stat", path, 64)).toBe(-EFAULT);
    expect(sys("fstat", 99, va)).toBe(-EBADF);
    expect(sys("lstat", m.put(0, at("none")), va)).toBe(-ENOENT);
  });

  it("should read links and check access", () => {
    symlinkSync("target-of-the-link", at("link"));
    expect(sys("readlink", m.put(0, at("link")), BASE + 4090, 100)).toBe(18);
    expect(m.bytes(4090, 18).toString()).toBe("target-of-the-link");
    expect(sys("readlink", BASE, BASE + 4090, 3)).toBe(3);
    expect(sys("readlink", BASE, BASE + 4090, 0)).toBe(-EINVAL);
    expect(sys("readlink", BASE, BASE + 4090, -1)).toBe(-EINVAL);
    expect(sys("access", BASE, 0)).toBe(-ENOENT);
    expect(sys("faccessat2", AT_FDCWD, BASE, 0, AT_SYMLINK_NOFOLLOW)).toBe(0);
    expect(sys("access", BASE, 8)).toBe(-EINVAL);
    expect(sys("faccessat2", AT_FDCWD, BASE, 0, 0x4000)).toBe(-EINVAL);
  });
});

describe("names", () => {
  it("should take two paths, one from each end of memory", () => {
    writeFileSync(at("old"), "");
    const [a, b] = [m.put(4080, at("old")), m.put(12270, at("new"))];
    expect(sys("rename", a, b)).toBe(0);
    expect(existsSync(at("new"))).toBe(true);
    expect(sys("link", b, a)).toBe(0);
    expect(sys("symlink", m.put(0, "caf\xe9"), m.put(500, at("soft")))).toBe(0);
    expect(readlinkSync(at("soft"), { encoding: "buffer" }).toString("latin1")).toBe("caf\xe9");
    expect(sys("mkdir", m.put(0, at("new")), 0o700)).toBe(-EEXIST);
    expect(sys("unlink", b)).toBe(0);
    expect(sys("unlinkat", AT_FDCWD, a, 0)).toBe(0);
    expect(sys("rename", 64, b)).toBe(-EFAULT);
    expect(sys("utimensat", AT_FDCWD, m.put(0, at("a")), m.words(4088, 1000, 5, 2000, 6), 0)).toBe(0);
    expect(statSync(at("a"), { bigint: true }).mtimeNs).toBe(2_000_000_000_006n);
  });

  it("should list a directory piece by piece, losing nothing to a bad buffer", () => {
    for (let i = 0; i < 50; i++) writeFileSync(at(`entry-${i}`), "");
    const fd = sys("open", m.put(0, dir), O_DIRECTORY);
    expect(sys("getdents64", fd, 64, 1000)).toBe(-EFAULT);
    expect(sys("getdents64", fd, BASE + 4000, 10)).toBe(-EINVAL);
    m.unmap(3);
    const names = new Set<string>();
    for (;;) {
      const n = sys("getdents64", fd, BASE + 8192, 100_000); // only one page of it is there
      expect(n).toBeGreaterThanOrEqual(0);
      if (n === 0) break;
      const bytes = m.bytes(8192, n);
      for (let p = 0; p < n; p += bytes.readUInt16LE(p + 16)) names.add(bytes.toString("latin1", p + 19, bytes.indexOf(0, p + 19)));
    }
    for (let i = 0; i < 50; i++) expect(names.has(`entry-${i}`)).toBe(true);
    expect(names.has(".")).toBe(true);
    const file = sys("open", m.put(0, at("a")), 0);
    expect(sys("getdents64", file, BASE, 100)).toBe(-ENOTDIR);
  });

  it("should tell the working directory with its NUL", () => {
    const cwd = process.cwd();
    expect(sys("getcwd", BASE + 4090, 4096)).toBe(cwd.length + 1);
    expect(m.bytes(4090, cwd.length + 1).toString()).toBe(`${cwd}\0`);
    expect(sys("getcwd", BASE, 2)).toBe(-ERANGE);
    expect(sys("getcwd", 64, 4096)).toBe(-EFAULT);
  });
});

describe("attributes", () => {
  it("should carry values of any size across pages", () => {
    const path = m.put(0, at("a"));
    const name = m.put(500, "user.margay");
    const value = Buffer.alloc(3000, "value");
    const set = sys("setxattr", path, name, m.put(6000, value), value.length, 0);
    if (set === -95) return; // a file system without them
    expect(set).toBe(0);
    expect(sys("getxattr", path, name, 0, 0)).toBe(3000);
    expect(sys("getxattr", path, name, BASE + 20_000, 3000)).toBe(3000);
    expect(m.bytes(20_000, 3000).equals(value)).toBe(true);
    expect(sys("getxattr", path, name, BASE + 20_000, 10)).toBe(-ERANGE);
    expect(sys("getxattr", path, name, BASE + 20_000, 1n << 50n)).toBe(3000);
    expect(sys("setxattr", path, name, BASE, 1n << 50n, 0)).toBe(-E2BIG);
    expect(sys("listxattr", path, BASE + 20_000, 100)).toBeGreaterThanOrEqual(12);
    expect(sys("removexattr", path, name)).toBe(0);
  });
});
