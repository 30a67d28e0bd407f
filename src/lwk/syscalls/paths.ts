/** Paths and directory descriptors of the guest, on their way to the host. The host process's working directory is the guest's. */
import { EBADF } from "../../abi/errno.ts";
import { AT_FDCWD } from "../../abi/fcntl.ts";
import { FILE_KIND } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { type VirtualNode, virtualPath } from "../virtual/index.ts";

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

/**
 * What a guest path names: a synthetic file, or the path that the host shall look at. `dirfd` is the guest's. An empty path is the host's
 * business. Throws EBADF for a relative path from a synthetic directory that is none any more.
 */
export function lookUp(k: Kernel, dirfd: number, path: string): VirtualNode | string {
  if (path === "" || !mayBeVirtual(path)) return path;
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
