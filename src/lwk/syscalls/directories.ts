/** Names in directories: making, removing, listing them, and the working directory. */
import { EEXIST, ENOTDIR, EPERM } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { putString } from "../../host/memory.ts";
import type { Call, Family, Handler } from "../call.ts";
import { FILE_KIND } from "../descriptors.ts";
import { H } from "../state.ts";
import { pathOf } from "../virtual/node.ts";
import { DIRFD, forward, INT, PATH, TEXT, UINT, WORD } from "./forward.ts";
import { BAD_ADDRESS, Passage, ROOM } from "./marshal.ts";
import { directoryEntries } from "./virtual-files.ts";

/** Most bytes of directory entries that one call brings when they go by the scratch buffer. */
const ENTRIES = 32768;

/** getdents, getdents64: entries are consumed by reading them, so the whole buffer must be writable first. */
function listDirectory(c: Call, nr: number): number {
  const k = c.kernel;
  const fd = c.int(0);
  const host = k.fds.host(fd);
  const va = c.num(1);
  const length = Math.min(c.u32(2), 1 << 20);
  if (k.fds.kind(fd) === FILE_KIND.VIRTUAL_DIRECTORY) return directoryEntries(k, fd, va, length, nr === NR.getdents);
  if (k.fds.kind(fd) === FILE_KIND.VIRTUAL_FILE) return -ENOTDIR;
  const passage = new Passage(k);
  const covered = length === 0 ? 0 : k.mem.segments(va, length, true);
  const whole = covered === length && k.mem.segmentAddress.length === 1;
  if (whole) return k.sys(nr, host, k.mem.segmentAddress[0]!, length);
  if (covered === 0) return k.sys(nr, host, BAD_ADDRESS, length);
  const size = Math.min(covered, ENTRIES);
  const result = k.sys(nr, host, passage.filled(va, size), size);
  passage.finish(result);
  return result;
}

/** getcwd: the host's working directory is the program's. The result counts the final NUL. */
function getcwd(c: Call): number {
  const k = c.kernel;
  const at = ROOM.structs;
  const result = k.sys(NR.getcwd, k.scratch.address + at, Math.min(c.num(1), 4096));
  if (result > 0) k.mem.write(c.num(0), k.scratch.u8.subarray(at, at + result));
  return result;
}

/** fchdir: a synthetic directory has a name, and the host a directory of that name. */
function fchdir(c: Call): number {
  const k = c.kernel;
  const fd = c.int(0);
  const host = k.fds.host(fd);
  if (k.fds.kind(fd) !== FILE_KIND.VIRTUAL_DIRECTORY) return k.sys(NR.fchdir, host);
  return k.sys(NR.chdir, putString(k.scratch, pathOf(k, k.fds.aux(fd)), ROOM.path));
}

/** What was known of the working directory holds no longer. */
const moving =
  (handler: Handler): Handler =>
  (c) => {
    try {
      return handler(c);
    } finally {
      c.kernel.state.i32[H.cwdOutside] = 0;
    }
  };

/** Synthetic directories take no new names, and theirs cannot go. */
const fixed = { virtual: EPERM } as const;
const exists = { virtual: EEXIST } as const;

export const directoryCalls: Family = {
  getdents: ["forwarded", "", (c) => listDirectory(c, NR.getdents)],
  getdents64: ["forwarded", "", (c) => listDirectory(c, NR.getdents64)],
  getcwd: ["forwarded", "", getcwd],
  chdir: ["forwarded", "", moving(forward(NR.chdir, [PATH], { virtual: null }))],
  fchdir: ["forwarded", "", moving(fchdir)],
  mkdir: ["forwarded", "", forward(NR.mkdir, [PATH, UINT], exists)],
  mkdirat: ["forwarded", "", forward(NR.mkdirat, [DIRFD, PATH, UINT], exists)],
  rmdir: ["forwarded", "", forward(NR.rmdir, [PATH], fixed)],
  unlink: ["forwarded", "", forward(NR.unlink, [PATH], fixed)],
  unlinkat: ["forwarded", "", forward(NR.unlinkat, [DIRFD, PATH, INT], fixed)],
  rename: ["forwarded", "", forward(NR.rename, [PATH, PATH], fixed)],
  renameat: ["forwarded", "", forward(NR.renameat, [DIRFD, PATH, DIRFD, PATH], fixed)],
  renameat2: ["forwarded", "", forward(NR.renameat2, [DIRFD, PATH, DIRFD, PATH, UINT], fixed)],
  link: ["forwarded", "", forward(NR.link, [PATH, PATH], fixed)],
  linkat: ["forwarded", "", forward(NR.linkat, [DIRFD, PATH, DIRFD, PATH, INT], fixed)],
  symlink: ["forwarded", "", forward(NR.symlink, [TEXT, PATH], exists)],
  symlinkat: ["forwarded", "", forward(NR.symlinkat, [TEXT, DIRFD, PATH], exists)],
  mknod: ["forwarded", "", forward(NR.mknod, [PATH, UINT, WORD], exists)],
  mknodat: ["forwarded", "", forward(NR.mknodat, [DIRFD, PATH, UINT, WORD], exists)],
};
