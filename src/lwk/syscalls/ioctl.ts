/** ioctl: an allow-list by request number. A request that is not on it could hold pointers of its own, and is answered ENOTTY. */
import { EFAULT, ENOTTY } from "../../abi/errno.ts";
import { O_CLOEXEC } from "../../abi/fcntl.ts";
import * as I from "../../abi/ioctl.ts";
import { NR } from "../../abi/nr.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import { H } from "../state.ts";
import { setCloseOnExec } from "./descriptors.ts";
import { hostWait, Passage, word } from "./marshal.ts";

/** FICLONERANGE: the source descriptor stands inside the structure. */
function cloneRange(c: Call, host: number): number {
  const k = c.kernel;
  const at = new Passage(k).copy(c.num(2), I.CLONE_RANGE_SIZE);
  const source = k.fds.host(Number(BigInt.asIntN(32, k.scratch.view.getBigInt64(at, true))));
  k.scratch.view.setBigInt64(at, BigInt(source), true);
  return k.sys(NR.ioctl, host, I.FICLONERANGE, k.scratch.address + at);
}

/** SIOCGIFCONF: struct ifconf holds a length and a pointer to that many bytes of struct ifreq; NULL asks for the length. */
function interfaceList(c: Call, host: number): number {
  const k = c.kernel;
  const va = c.num(2);
  const passage = new Passage(k);
  const length = Math.min(k.mem.i32(va), 1024 * I.IFREQ_SIZE);
  const list = k.mem.u64(va + 8);
  const direct = list && length > 0 ? passage.output(list, length) : 0;
  if (list && length < 0) throw new GuestError(EFAULT);
  const at = passage.room(I.IFCONF_SIZE);
  k.scratch.view.setInt32(at, length, true);
  k.scratch.view.setBigUint64(at + 8, BigInt(direct), true);
  const result = k.sys(NR.ioctl, host, I.SIOCGIFCONF, k.scratch.address + at);
  passage.finish(result);
  if (result >= 0) k.mem.setU32(va, k.scratch.view.getUint32(at, true));
  return result;
}

/** ioctl(2). */
export function ioctl(c: Call): number {
  const k = c.kernel;
  const fd = c.int(0);
  const host = k.fds.host(fd);
  const request = c.u32(1);
  switch (request) {
    case I.FIOCLEX:
    case I.FIONCLEX:
      setCloseOnExec(k, fd, request === I.FIOCLEX);
      return 0;
    case I.FICLONE:
      return k.sys(NR.ioctl, host, request, k.fds.host(c.int(2)));
    case I.FICLONERANGE:
      return cloneRange(c, host);
    case I.SIOCGIFCONF:
      return interfaceList(c, host);
    case I.TIOCGPTPEER: {
      const peer = hostWait(k, NR.ioctl, host, request, c.int(2) | O_CLOEXEC);
      return peer < 0 ? peer : k.fds.add(peer, c.int(2) & O_CLOEXEC ? FD_CLOEXEC : 0);
    }
  }
  const shape = I.IOCTLS.get(request);
  if (!shape) {
    Atomics.add(k.state.i32, H.unknownCalls, 1);
    return -ENOTTY;
  }
  const [direction, size] = shape;
  if (direction === "none") return hostWait(k, NR.ioctl, host, request, word(c, 2));
  const passage = new Passage(k);
  const va = c.num(2);
  const at = direction === "in" ? passage.input(va, size) : passage.output(va, size, direction === "inout");
  const result = hostWait(k, NR.ioctl, host, request, at);
  passage.finish(result);
  return result;
}

export const ioctlCalls: Family = {
  ioctl: ["partial", "terminals, FIONREAD and FIONBIO, network interfaces, block devices, file flags and clones; other requests: ENOTTY, counted", ioctl],
};
