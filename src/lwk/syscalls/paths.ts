/** Paths and directory descriptors of the guest, on their way to the host. The host process's working directory is the guest's. */
import { EBADF } from "../../abi/errno.ts";
import { AT_FDCWD } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { putString } from "../../host/memory.ts";
import { FD_OUTSIDE, FILE_KIND } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { H } from "../state.ts";
import { type VirtualNode, virtualPath } from "../virtual/index.ts";
import { ROOM } from "./marshal.ts";

/** Host descriptor for a guest dirfd. -1 when it is not open: Linux looks at it only for relative paths, and so does the host. */
export function hostDirectory(k: Kernel, dirfd: number): number {
  return dirfd === AT_FDCWD ? AT_FDCWD : k.fds.peek(dirfd);
}

/** False for absolute paths that no synthetic file can have: neither /proc, /sys nor /dev, and no detour in it. */
function mayBeVirtual(path: string): boolean {
  if (path.charCodeAt(0) !== 47) return true;
  const second = path.charCodeAt(1);
  if (second === 112 || second === 115 || second === 100) return path.startsWith("/proc") || path.startsWith("/sys") || path.startsWith("/dev");
  return second === 47 || second === 46 || path.includes("..");
}

/** Whether a directory of the host (AT_FDCWD: the working directory) lies outside the trees that hold synthetic files. */
function liesOutside(k: Kernel, dirfd: number): boolean {
  const { scratch } = k;
  const at = scratch.address + ROOM.path;
  const length =
    dirfd === AT_FDCWD ? k.sys(NR.getcwd, at, 4096) - 1 : k.sys(NR.readlink, putString(scratch, `/proc/self/fd/${k.fds.peek(dirfd)}`, ROOM.secondPath), at, 4096);
  if (length < 1 || scratch.u8[ROOM.path] !== 47) return false;
  return !/^\/((proc|sys|dev)(\/|$)|$)/.test(scratch.buffer.toString("latin1", ROOM.path, ROOM.path + length));
}

/** True for a relative path that stays below a directory without synthetic files. The directory is looked at once and remembered. */
function staysOutside(k: Kernel, dirfd: number, path: string): boolean {
  if (path.charCodeAt(0) === 47 || path.includes("..")) return false;
  if (dirfd === AT_FDCWD) {
    if (!k.state.i32[H.cwdOutside] && liesOutside(k, dirfd)) k.state.i32[H.cwdOutside] = 1;
    return k.state.i32[H.cwdOutside] === 1;
  }
  if (k.fds.peek(dirfd) < 0 || isVirtual(k, dirfd)) return false;
  const flags = k.fds.flags(dirfd);
  if (flags & FD_OUTSIDE) return true;
  if (!liesOutside(k, dirfd)) return false;
  k.fds.setFlags(dirfd, flags | FD_OUTSIDE);
  return true;
}

/**
 * What a guest path names: a synthetic file, or the path that the host shall look at. `dirfd` is the guest's. An empty path is the host's
 * business. Throws EBADF for a relative path from a synthetic directory that is none any more.
 */
export function lookUp(k: Kernel, dirfd: number, path: string): VirtualNode | string {
  if (path === "" || !mayBeVirtual(path) || staysOutside(k, dirfd, path)) return path;
  const answer = virtualPath(k, dirfd, path);
  if (answer !== null) return answer;
  if (dirfd !== AT_FDCWD && path.charCodeAt(0) !== 47 && k.fds.peek(dirfd) < 0) throw new GuestError(EBADF);
  return path;
}

/** The path for a host call that does not treat synthetic files: they answer `errno`. */
export function hostPath(k: Kernel, dirfd: number, path: string, errno: number): string {
  const answer = lookUp(k, dirfd, path);
  if (typeof answer !== "string") throw new GuestError(errno);
  return answer;
}

/** True when the guest descriptor is a synthetic file or directory. */
export function isVirtual(k: Kernel, fd: number): boolean {
  const kind = k.fds.kind(fd);
  return kind === FILE_KIND.VIRTUAL_FILE || kind === FILE_KIND.VIRTUAL_DIRECTORY;
}
