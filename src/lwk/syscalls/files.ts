/** Opening, looking at and changing files. */
import { E2BIG, EACCES, EINVAL, EPERM } from "../../abi/errno.ts";
import {
  AT_EACCESS,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  MFD_CLOEXEC,
  O_CLOEXEC,
  O_CREAT,
  O_NOFOLLOW,
  O_TRUNC,
  O_WRONLY,
  OPEN_HOW_SIZE,
  XATTR_LIST_MAX,
  XATTR_SIZE_MAX,
} from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { AT_STATX_SYNC_TYPE, STAT, STATFS_SIZE, STATX, STATX_RESERVED } from "../../abi/stat.ts";
import { putString } from "../../host/memory.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import type { Kernel } from "../kernel.ts";
import type { VirtualNode } from "../virtual/index.ts";
import { buffer, DIRFD, FD, filled, forward, INT, input, LENGTH, output, PATH, PATH_OR_NULL, TEXT, UINT, WORD } from "./forward.ts";
import { hostWait, Passage, ROOM } from "./marshal.ts";
import { hostDirectory, isVirtual, lookUp } from "./paths.ts";
import { accessNode, follow, nodeOf, openNode, readlinkNode, statOf, statxOf } from "./virtual-files.ts";

// ---- open ---------------------------------------------------------------------------------------------------------

/** What a path names once synthetic links are followed, except the last one when `nofollow`. */
function target(k: Kernel, dirfd: number, path: string, nofollow: boolean): VirtualNode | string {
  const found = lookUp(k, dirfd, path);
  return typeof found === "string" || nofollow ? found : follow(k, found);
}

/** Device of the host's /proc, once known. */
let procDevice = -1n;

/**
 * Gives a host descriptor just opened to the guest. Links of the host's file system lead past the synthetic files: procfs's `mem` files, which are margay's own
 * memory or another process's, are refused wherever they were reached from (ptrace, which Linux asks for them, is refused too).
 */
function admit(k: Kernel, host: number, flags: number): number {
  const { scratch } = k;
  const device = (): bigint => scratch.view.getBigUint64(ROOM.structs, true);
  if (procDevice < 0n) {
    const found = k.sys(NR.stat, putString(scratch, "/proc/self", ROOM.path), scratch.address + ROOM.structs);
    procDevice = found === 0 ? device() : 0n;
  }
  if (k.sys(NR.fstat, host, scratch.address + ROOM.structs) === 0 && device() === procDevice) {
    const name = putString(scratch, `/proc/self/fd/${host}`, ROOM.path);
    const length = k.sys(NR.readlink, name, scratch.address + ROOM.secondPath, 4096);
    if (length > 0 && scratch.buffer.toString("latin1", ROOM.secondPath, ROOM.secondPath + length).endsWith("/mem")) {
      k.sys(NR.close, host);
      return -EACCES;
    }
  }
  return k.fds.add(host, flags & O_CLOEXEC ? FD_CLOEXEC : 0);
}

/** open and openat. The host's descriptor is always close-on-exec; the guest's own flag is in the table. */
function openFile(k: Kernel, dirfd: number, path: string, flags: number, mode: number): number {
  const found = target(k, dirfd, path, (flags & O_NOFOLLOW) !== 0);
  if (typeof found !== "string") return openNode(k, found, flags);
  const name = putString(k.scratch, found, ROOM.path);
  const host = hostWait(k, NR.openat, hostDirectory(k, dirfd), name, flags | O_CLOEXEC, mode);
  return host < 0 ? host : admit(k, host, flags);
}

function openat2(c: Call): number {
  const k = c.kernel;
  const size = c.num(3);
  if (size < OPEN_HOW_SIZE) return -EINVAL;
  if (size > 4096) return -E2BIG;
  const path = k.mem.string(c.num(1));
  const how = k.mem.bytes(c.num(2), size);
  if (how.subarray(OPEN_HOW_SIZE).some((byte) => byte !== 0)) return -E2BIG;
  const view = new DataView(how.buffer, how.byteOffset, OPEN_HOW_SIZE);
  const flags = view.getUint32(0, true);
  if (view.getUint32(4, true) !== 0) return -EINVAL;
  const found = target(k, c.int(0), path, (flags & O_NOFOLLOW) !== 0);
  if (typeof found !== "string") return openNode(k, found, flags);
  view.setUint32(0, (flags | O_CLOEXEC) >>> 0, true);
  k.scratch.u8.set(how.subarray(0, OPEN_HOW_SIZE), ROOM.structs);
  const name = putString(k.scratch, found, ROOM.path);
  const host = hostWait(k, NR.openat2, hostDirectory(k, c.int(0)), name, k.scratch.address + ROOM.structs, OPEN_HOW_SIZE);
  return host < 0 ? host : admit(k, host, flags);
}

// ---- stat ---------------------------------------------------------------------------------------------------------

/** fstat: the host writes into guest memory where it lies in one piece. */
function fstat(k: Kernel, fd: number, va: number): number {
  const host = k.fds.host(fd);
  if (isVirtual(k, fd)) {
    k.mem.write(va, statOf(k, nodeOf(k, fd)));
    return 0;
  }
  const direct = k.mem.host(va, STAT.size, true);
  if (direct >= 0) return k.sys(NR.fstat, host, direct);
  const result = k.sys(NR.fstat, host, k.scratch.address + ROOM.structs);
  if (result === 0) k.mem.write(va, k.scratch.u8.subarray(ROOM.structs, ROOM.structs + STAT.size));
  return result;
}

function statPath(k: Kernel, dirfd: number, path: string, va: number, flags: number): number {
  if (path === "" && flags & AT_EMPTY_PATH && dirfd !== AT_FDCWD) return fstat(k, dirfd, va);
  const found = target(k, dirfd, path, (flags & AT_SYMLINK_NOFOLLOW) !== 0);
  if (typeof found !== "string") {
    k.mem.write(va, statOf(k, found));
    return 0;
  }
  const direct = k.mem.host(va, STAT.size, true);
  const name = putString(k.scratch, found, ROOM.path);
  const result = k.sys(NR.newfstatat, hostDirectory(k, dirfd), name, direct >= 0 ? direct : k.scratch.address + ROOM.structs, flags);
  if (direct < 0 && result === 0) k.mem.write(va, k.scratch.u8.subarray(ROOM.structs, ROOM.structs + STAT.size));
  return result;
}

/** newfstatat; a NULL path with AT_EMPTY_PATH means the descriptor itself, as since Linux 6.11. */
function newfstatat(c: Call): number {
  const k = c.kernel;
  const va = c.num(1);
  const flags = c.int(3);
  return statPath(k, c.int(0), va === 0 && flags & AT_EMPTY_PATH ? "" : k.mem.string(va), c.num(2), flags);
}

function statx(c: Call): number {
  const k = c.kernel;
  const dirfd = c.int(0);
  const flags = c.int(2);
  const mask = c.u32(3);
  const va = c.num(4);
  const path = c.num(1) === 0 && flags & AT_EMPTY_PATH ? "" : k.mem.string(c.num(1));
  const own = path === "" && (flags & AT_EMPTY_PATH) !== 0 && dirfd !== AT_FDCWD && isVirtual(k, dirfd);
  const found = own ? nodeOf(k, dirfd) : target(k, dirfd, path, (flags & AT_SYMLINK_NOFOLLOW) !== 0);
  if (typeof found !== "string") {
    if (mask & STATX_RESERVED || (flags & AT_STATX_SYNC_TYPE) === AT_STATX_SYNC_TYPE) return -EINVAL;
    k.mem.write(va, statxOf(k, found));
    return 0;
  }
  const passage = new Passage(k);
  const into = passage.output(va, STATX.size);
  const result = k.sys(NR.statx, hostDirectory(k, dirfd), putString(k.scratch, found, ROOM.path), flags, mask, into);
  passage.finish(result);
  return result;
}

// ---- access, readlink ---------------------------------------------------------------------------------------------

function access(k: Kernel, nr: number, dirfd: number, path: string, mode: number, flags: number): number {
  if (mode & ~7) return -EINVAL;
  const found = target(k, dirfd, path, (flags & AT_SYMLINK_NOFOLLOW) !== 0);
  if (typeof found !== "string") return accessNode(found, mode);
  return k.sys(nr, hostDirectory(k, dirfd), putString(k.scratch, found, ROOM.path), mode, flags);
}

function readlink(k: Kernel, dirfd: number, path: string, va: number, size: number): number {
  if (size <= 0) return -EINVAL;
  const found = lookUp(k, dirfd, path);
  if (typeof found !== "string") return readlinkNode(k, found, va, size);
  const passage = new Passage(k);
  const length = Math.min(size, 4096);
  const into = passage.filled(va, length);
  const result = k.sys(NR.readlinkat, hostDirectory(k, dirfd), putString(k.scratch, found, ROOM.path), into, length);
  passage.finish(result);
  return result;
}

// ---- names of attributes, ownership, times ------------------------------------------------------------------------

const value = filled(3, XATTR_SIZE_MAX, true);
const list = filled(2, XATTR_LIST_MAX, true);
const newValue = buffer(3, XATTR_SIZE_MAX, true);
const denied = { virtual: EPERM } as const;
const blocks = { blocks: true } as const;

/** A file's path argument, which the guest gave as string number `i`. */
const path = (c: Call, i: number): string => c.kernel.mem.string(c.num(i));

/** memfd_create: the flag of its own for close-on-exec. */
const memfd = forward(NR.memfd_create, [TEXT, UINT], { opens: { flags: 1, bit: MFD_CLOEXEC } });

/** umask(2); the host's is the guest's. */
const umask = forward(NR.umask, [INT]);

/** An argument check that Linux makes before it looks for the file. */
function faccessat2(c: Call): number {
  const flags = c.int(3);
  if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_EACCESS)) return -EINVAL;
  if (flags & AT_EMPTY_PATH && path(c, 1) === "" && c.int(0) !== AT_FDCWD && isVirtual(c.kernel, c.int(0))) return accessNode(nodeOf(c.kernel, c.int(0)), c.int(2));
  return access(c.kernel, NR.faccessat2, c.int(0), path(c, 1), c.int(2), flags);
}

/** truncate(2) of a synthetic file is refused as open(2) for writing would be. */
const truncate = forward(NR.truncate, [PATH, WORD], { virtual: EACCES, writes: true });

export const fileCalls: Family = {
  open: ["forwarded", "", (c) => openFile(c.kernel, AT_FDCWD, path(c, 0), c.int(1), c.u32(2))],
  openat: ["forwarded", "", (c) => openFile(c.kernel, c.int(0), path(c, 1), c.int(2), c.u32(3))],
  openat2: ["forwarded", "RESOLVE flags do not hold for synthetic files", openat2],
  creat: ["forwarded", "", (c) => openFile(c.kernel, AT_FDCWD, path(c, 0), O_CREAT | O_WRONLY | O_TRUNC, c.u32(1))],
  memfd_create: ["forwarded", "", memfd],
  stat: ["forwarded", "", (c) => statPath(c.kernel, AT_FDCWD, path(c, 0), c.num(1), 0)],
  lstat: ["forwarded", "", (c) => statPath(c.kernel, AT_FDCWD, path(c, 0), c.num(1), AT_SYMLINK_NOFOLLOW)],
  fstat: ["forwarded", "", (c) => fstat(c.kernel, c.int(0), c.num(1))],
  newfstatat: ["forwarded", "", newfstatat],
  statx: ["forwarded", "", statx],
  statfs: ["forwarded", "", forward(NR.statfs, [PATH, output(STATFS_SIZE)], { virtual: null })],
  fstatfs: ["forwarded", "", forward(NR.fstatfs, [FD, output(STATFS_SIZE)])],
  access: ["forwarded", "", (c) => access(c.kernel, NR.faccessat, AT_FDCWD, path(c, 0), c.int(1), 0)],
  faccessat: ["forwarded", "", (c) => access(c.kernel, NR.faccessat, c.int(0), path(c, 1), c.int(2), 0)],
  faccessat2: ["forwarded", "", faccessat2],
  readlink: ["forwarded", "", (c) => readlink(c.kernel, AT_FDCWD, path(c, 0), c.num(1), c.int(2))],
  readlinkat: ["forwarded", "", (c) => readlink(c.kernel, c.int(0), path(c, 1), c.num(2), c.int(3))],
  truncate: ["forwarded", "", truncate],
  ftruncate: ["forwarded", "", forward(NR.ftruncate, [FD, WORD], { writes: true })],
  fallocate: ["forwarded", "", forward(NR.fallocate, [FD, INT, WORD, WORD], { blocks: true, writes: true })],
  sync: ["forwarded", "", forward(NR.sync, [], blocks)],
  fsync: ["forwarded", "", forward(NR.fsync, [FD], blocks)],
  fdatasync: ["forwarded", "", forward(NR.fdatasync, [FD], blocks)],
  syncfs: ["forwarded", "", forward(NR.syncfs, [FD], blocks)],
  sync_file_range: ["forwarded", "", forward(NR.sync_file_range, [FD, WORD, WORD, UINT], blocks)],
  flock: ["forwarded", "", forward(NR.flock, [FD, INT], blocks)],
  chmod: ["forwarded", "", forward(NR.chmod, [PATH, UINT], denied)],
  fchmod: ["forwarded", "", forward(NR.fchmod, [FD, UINT])],
  fchmodat: ["forwarded", "", forward(NR.fchmodat, [DIRFD, PATH, UINT], denied)],
  fchmodat2: ["forwarded", "ENOSYS on hosts before Linux 6.6", forward(NR.fchmodat2, [DIRFD, PATH, UINT, UINT], denied)],
  chown: ["forwarded", "", forward(NR.chown, [PATH, UINT, UINT], denied)],
  lchown: ["forwarded", "", forward(NR.lchown, [PATH, UINT, UINT], denied)],
  fchown: ["forwarded", "", forward(NR.fchown, [FD, UINT, UINT])],
  fchownat: ["forwarded", "", forward(NR.fchownat, [DIRFD, PATH, UINT, UINT, INT], denied)],
  utime: ["forwarded", "", forward(NR.utime, [PATH, input(16)], denied)],
  utimes: ["forwarded", "", forward(NR.utimes, [PATH, input(32)], denied)],
  futimesat: ["forwarded", "", forward(NR.futimesat, [DIRFD, PATH_OR_NULL, input(32)], denied)],
  utimensat: ["forwarded", "", forward(NR.utimensat, [DIRFD, PATH_OR_NULL, input(32), INT], denied)],
  umask: ["forwarded", "the host process's umask is the program's", umask],
  setxattr: ["forwarded", "", forward(NR.setxattr, [PATH, TEXT, newValue, LENGTH, INT], denied)],
  lsetxattr: ["forwarded", "", forward(NR.lsetxattr, [PATH, TEXT, newValue, LENGTH, INT], denied)],
  fsetxattr: ["forwarded", "", forward(NR.fsetxattr, [FD, TEXT, newValue, LENGTH, INT])],
  getxattr: ["forwarded", "", forward(NR.getxattr, [PATH, TEXT, value, LENGTH], { virtual: null })],
  lgetxattr: ["forwarded", "", forward(NR.lgetxattr, [PATH, TEXT, value, LENGTH], { virtual: null })],
  fgetxattr: ["forwarded", "", forward(NR.fgetxattr, [FD, TEXT, value, LENGTH])],
  listxattr: ["forwarded", "", forward(NR.listxattr, [PATH, list, LENGTH], { virtual: null })],
  llistxattr: ["forwarded", "", forward(NR.llistxattr, [PATH, list, LENGTH], { virtual: null })],
  flistxattr: ["forwarded", "", forward(NR.flistxattr, [FD, list, LENGTH])],
  removexattr: ["forwarded", "", forward(NR.removexattr, [PATH, TEXT], denied)],
  lremovexattr: ["forwarded", "", forward(NR.lremovexattr, [PATH, TEXT], denied)],
  fremovexattr: ["forwarded", "", forward(NR.fremovexattr, [FD, TEXT])],
};
