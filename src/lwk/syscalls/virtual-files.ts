/** Synthetic files as descriptors and as struct stat. What they contain is src/lwk/virtual's business. */
import { EACCES, EEXIST, EINVAL, EISDIR, ELOOP, ENOTDIR } from "../../abi/errno.ts";
import { AT_FDCWD, MFD_CLOEXEC, O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDWR, O_TMPFILE } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { DT, S_IFDIR, S_IFLNK, S_IFREG, STAT, STATX, STATX_BASIC_STATS } from "../../abi/stat.ts";
import { putString } from "../../host/memory.ts";
import { FD_CLOEXEC, FILE_KIND } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { H } from "../state.ts";
import { type VirtualNode, virtualById } from "../virtual/index.ts";
import { ROOM } from "./marshal.ts";
import { lookUp } from "./paths.ts";

/** Links that one path may go through. */
const MAX_LINKS = 40;
/** Device number that synthetic files show: an unnamed one (major 0) that the host hardly reaches. */
const DEVICE_MINOR = 0xfffff;

/** Follows synthetic links. Returns a file or directory, or the host path where they lead. Throws ELOOP. */
export function follow(k: Kernel, node: VirtualNode): VirtualNode | string {
  let at: VirtualNode | string = node;
  for (let i = 0; i < MAX_LINKS; i++) {
    if (typeof at === "string" || at.kind !== "link" || !at.target) return at;
    at = lookUp(k, AT_FDCWD, at.target());
  }
  throw new GuestError(ELOOP);
}

/** Makes a memfd, filled with `contents`. Returns a host descriptor, opened again with `access` (O_RDONLY or O_RDWR), or -errno. */
function memoryFile(k: Kernel, contents: Uint8Array, access: number): number {
  const { scratch, sys } = k;
  const file = sys(NR.memfd_create, putString(scratch, "margay", ROOM.path), MFD_CLOEXEC);
  if (file < 0) return file;
  let result = 0;
  for (let done = 0; done < contents.length && result >= 0; done += result) {
    const piece = contents.subarray(done, done + (ROOM.end - ROOM.data));
    scratch.u8.set(piece, ROOM.data);
    result = sys(NR.pwrite64, file, scratch.address + ROOM.data, piece.length, done);
  }
  if (result >= 0) {
    const name = putString(scratch, `/proc/self/fd/${file}`, ROOM.path);
    result = sys(NR.openat, AT_FDCWD, name, access | O_CLOEXEC);
  }
  sys(NR.close, file);
  return result;
}

/** open(2) of a synthetic file or directory: a snapshot of what it says now. Returns the guest's descriptor or -errno. */
export function openNode(k: Kernel, node: VirtualNode, flags: number): number {
  if ((flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL)) return -EEXIST;
  if (node.kind === "link") return flags & O_NOFOLLOW && !(flags & O_PATH) ? -ELOOP : -EACCES;
  const directory = node.kind === "directory";
  const access = flags & O_PATH ? 0 : flags & O_ACCMODE;
  const guestFlags = flags & O_CLOEXEC ? FD_CLOEXEC : 0;
  if (directory) {
    if (access !== 0 || flags & O_CREAT || (flags & O_TMPFILE) === O_TMPFILE) return -EISDIR;
    const host = memoryFile(k, new Uint8Array(0), 0);
    return host < 0 ? host : k.fds.add(host, guestFlags, FILE_KIND.VIRTUAL_DIRECTORY, node.id);
  }
  if (flags & O_DIRECTORY) return -ENOTDIR;
  if (access !== 0 && !(node.mode & 0o222)) return -EACCES;
  const host = memoryFile(k, node.contents?.() ?? new Uint8Array(0), access === 0 ? 0 : O_RDWR);
  return host < 0 ? host : k.fds.add(host, guestFlags, FILE_KIND.VIRTUAL_FILE, node.id);
}

/** The node behind a synthetic descriptor: at least its kind and number. */
export function nodeOf(k: Kernel, fd: number): VirtualNode {
  const id = k.fds.aux(fd);
  const directory = k.fds.kind(fd) === FILE_KIND.VIRTUAL_DIRECTORY;
  return virtualById(k, id) ?? { kind: directory ? "directory" : "file", mode: directory ? 0o555 : 0o444, id };
}

/** st_mode: the node's permissions under its kind. */
function modeOf(node: VirtualNode): number {
  const format = node.kind === "directory" ? S_IFDIR : node.kind === "link" ? S_IFLNK : S_IFREG;
  return format | (node.mode & 0o7777);
}

function inodeOf(node: VirtualNode): number {
  return 0xf000_0000 + node.id;
}

/** struct stat of a synthetic file: of size 0, changed now, as /proc shows its files. */
export function statOf(k: Kernel, node: VirtualNode): Uint8Array {
  const bytes = new Uint8Array(STAT.size);
  const v = new DataView(bytes.buffer);
  // dev_t: low 8 bits of the minor number, 12 bits of the major, the minor's upper bits.
  v.setBigUint64(STAT.dev, BigInt((DEVICE_MINOR & 0xff) | ((DEVICE_MINOR & 0xfff00) << 12)) & 0xffff_ffffn, true);
  v.setBigUint64(STAT.ino, BigInt(inodeOf(node)), true);
  v.setBigUint64(STAT.nlink, node.kind === "directory" ? 2n : 1n, true);
  v.setUint32(STAT.mode, modeOf(node), true);
  v.setUint32(STAT.uid, k.state.u32[H.euid]!, true);
  v.setUint32(STAT.gid, k.state.u32[H.egid]!, true);
  v.setBigUint64(STAT.blksize, 1024n, true);
  const now = Date.now();
  for (const at of [STAT.atime, STAT.mtime, STAT.ctime]) {
    v.setBigUint64(at, BigInt(Math.floor(now / 1000)), true);
    v.setUint32(at + 8, (now % 1000) * 1_000_000, true);
  }
  return bytes;
}

/** struct statx of a synthetic file. */
export function statxOf(k: Kernel, node: VirtualNode): Uint8Array {
  const bytes = new Uint8Array(STATX.size);
  const v = new DataView(bytes.buffer);
  v.setUint32(STATX.mask, STATX_BASIC_STATS, true);
  v.setUint32(STATX.blksize, 1024, true);
  v.setUint32(STATX.nlink, node.kind === "directory" ? 2 : 1, true);
  v.setUint32(STATX.uid, k.state.u32[H.euid]!, true);
  v.setUint32(STATX.gid, k.state.u32[H.egid]!, true);
  v.setUint16(STATX.mode, modeOf(node), true);
  v.setBigUint64(STATX.ino, BigInt(inodeOf(node)), true);
  v.setUint32(STATX.devMinor, DEVICE_MINOR, true);
  const now = Date.now();
  for (const at of [STATX.atime, STATX.ctime, STATX.mtime]) {
    v.setBigInt64(at, BigInt(Math.floor(now / 1000)), true);
    v.setUint32(at + 8, (now % 1000) * 1_000_000, true);
  }
  return bytes;
}

/**
 * getdents64 of a synthetic directory. The position of the descriptor's memfd counts entries, so that duplicates share it and lseek rewinds.
 * Old getdents differs only in where the type stands (`old`).
 */
export function directoryEntries(k: Kernel, fd: number, va: number, length: number, old: boolean): number {
  const host = k.fds.host(fd);
  const node = nodeOf(k, fd);
  const entries = [{ name: ".", kind: "directory" as const }, { name: "..", kind: "directory" as const }, ...(node.entries?.() ?? [])];
  let position = k.sys(NR.lseek, host, 0, 1);
  let used = 0;
  const first = position;
  const bytes = Buffer.alloc(Math.min(length, 32768));
  for (; position < entries.length; position++) {
    const entry = entries[position]!;
    const name = Buffer.from(entry.name, "latin1");
    const size = (19 + name.length + 1 + 7) & ~7;
    if (used + size > bytes.length) break;
    bytes.writeBigUInt64LE(BigInt(inodeOf(node)) * 0x1_0000n + BigInt(position + 1), used);
    bytes.writeBigInt64LE(BigInt(position + 1), used + 8);
    bytes.writeUInt16LE(size, used + 16);
    name.copy(bytes, used + (old ? 18 : 19));
    bytes[old ? used + size - 1 : used + 18] = DT[entry.kind];
    used += size;
  }
  if (used === 0) return first < entries.length ? -EINVAL : 0;
  k.mem.write(va, bytes.subarray(0, used));
  k.sys(NR.lseek, host, position, 0);
  return used;
}

/** Checks access(2)'s mode on a synthetic file: nobody may write or execute one unless its mode says so. */
export function accessNode(node: VirtualNode, mode: number): number {
  const missing = mode & ~(node.mode | (node.mode >> 3) | (node.mode >> 6)) & 7;
  return missing ? -EACCES : 0;
}

/** readlink of a synthetic link into guest memory. */
export function readlinkNode(k: Kernel, node: VirtualNode, va: number, size: number): number {
  if (node.kind !== "link" || !node.target) return -EINVAL;
  const bytes = Buffer.from(node.target(), "latin1").subarray(0, size);
  k.mem.write(va, bytes);
  return bytes.length;
}
