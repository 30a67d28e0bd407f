/** Messages with control data: sendmsg, recvmsg and their plural forms. Descriptors in SCM_RIGHTS are translated in both directions. */
import { EINVAL } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { CMSGHDR, EMSGSIZE, ENOBUFS, MMSG_MAX, MMSGHDR, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_WAITFORONE, MSGHDR, SCM_PIDFD, SCM_RIGHTS, SOCKADDR_MAX, SOL_SOCKET } from "../../abi/socket.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { readVector, vectorOf } from "./io.ts";
import { gather, Passage } from "./marshal.ts";
import { putMessage, receiveWait, sendWait, setName } from "./sockets.ts";
import { Countdown } from "./timeout.ts";

/** Most bytes of control data in one message: more than the host's own limit (net.core.optmem_max) lets through. */
const CONTROL_MAX = 32768;

/** One control message: where its data start and end in the buffer that was searched. */
export interface ControlMessage {
  readonly level: number;
  readonly type: number;
  readonly header: number;
  readonly start: number;
  readonly end: number;
}

/** The control messages in `bytes`, as CMSG_FIRSTHDR and CMSG_NXTHDR find them. Stops at the first that does not fit; `whole` is false then. */
export function controlMessages(bytes: Uint8Array): { messages: ControlMessage[]; whole: boolean } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: ControlMessage[] = [];
  let at = 0;
  while (at + CMSGHDR.size <= bytes.length) {
    const length = view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
    if (length < CMSGHDR.size || at + length > bytes.length) return { messages, whole: false };
    messages.push({ level: view.getInt32(at + CMSGHDR.level, true), type: view.getInt32(at + CMSGHDR.type, true), header: at, start: at + CMSGHDR.size, end: at + length });
    at += Math.ceil(length / 8) * 8;
  }
  return { messages, whole: true };
}

const carriesDescriptors = (m: ControlMessage): boolean => m.level === SOL_SOCKET && (m.type === SCM_RIGHTS || m.type === SCM_PIDFD);

/** Turns the guest's descriptors in outgoing control data into the host's, in place. Throws EBADF. */
export function descriptorsOut(k: Kernel, control: Uint8Array): void {
  const view = new DataView(control.buffer, control.byteOffset, control.length);
  for (const m of controlMessages(control).messages) {
    if (m.level !== SOL_SOCKET || m.type !== SCM_RIGHTS) continue;
    for (let at = m.start; at + 4 <= m.end; at += 4) view.setInt32(at, k.fds.host(view.getInt32(at, true)), true);
  }
}

/**
 * Gives descriptors in incoming control data to the guest, in place. When the guest's table is full the message is cut short, as Linux does:
 * returns the bytes of control data that are left and whether some were lost.
 */
export function descriptorsIn(k: Kernel, control: Uint8Array, flags: number): { length: number; truncated: boolean } {
  const view = new DataView(control.buffer, control.byteOffset, control.length);
  const guestFlags = flags & MSG_CMSG_CLOEXEC ? FD_CLOEXEC : 0;
  const { messages } = controlMessages(control);
  let length = control.length;
  let truncated = false;
  for (const m of messages) {
    if (!carriesDescriptors(m)) continue;
    for (let at = m.start; at + 4 <= m.end; at += 4) {
      const host = view.getInt32(at, true);
      if (host < 0) continue;
      const fd = truncated ? -1 : k.fds.add(host, guestFlags);
      if (truncated) k.sys(NR.close, host);
      else if (fd < 0) {
        truncated = true;
        if (at > m.start) view.setUint32(m.header, at - m.header, true);
        length = at > m.start ? at : m.header;
      } else view.setInt32(at, fd, true);
    }
  }
  return { length, truncated };
}

/** A guest's struct msghdr, copied once: another thread's changes do not matter any more. */
interface GuestMessage {
  readonly va: number;
  readonly name: number;
  readonly nameLength: number;
  readonly control: number;
  readonly controlLength: number;
}

/** Reads the msghdr at `va` and its iovec (into the shared list of parts). Throws EFAULT, EINVAL, EMSGSIZE as Linux does. */
function readMessage(k: Kernel, va: number): GuestMessage {
  const raw = k.mem.bytes(va, MSGHDR.size);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  const u64 = (at: number): number => view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
  const name = u64(MSGHDR.name);
  const nameLength = view.getInt32(MSGHDR.nameLength, true);
  if (nameLength < 0) throw new GuestError(EINVAL);
  const count = u64(MSGHDR.iovLength);
  if (count > 1024) throw new GuestError(EMSGSIZE);
  readVector(k, u64(MSGHDR.iov), count);
  return { va, name, nameLength: name ? Math.min(nameLength, SOCKADDR_MAX) : 0, control: u64(MSGHDR.control), controlLength: u64(MSGHDR.controlLength) };
}

/** Gathers the parts that `readMessage` left. */
function gatherParts(k: Kernel, write: boolean): void {
  k.mem.segmentAddress.length = 0;
  k.mem.segmentLength.length = 0;
  for (const [va, length] of vectorOf()) if (!gather(k, va, length, write, true)) return;
}

/** One message out. Returns bytes sent or -errno. */
function sendOne(k: Kernel, host: number, va: number, flags: number): number {
  const guest = readMessage(k, va);
  if (guest.controlLength > CONTROL_MAX) return -ENOBUFS;
  const { scratch } = k;
  const passage = new Passage(k);
  const name = guest.nameLength ? passage.copy(guest.name, guest.nameLength) : 0;
  const control = guest.control && guest.controlLength ? passage.copy(guest.control, guest.controlLength) : 0;
  if (control) descriptorsOut(k, scratch.u8.subarray(control, control + guest.controlLength));
  gatherParts(k, false);
  const message = putMessage(k, passage);
  setName(k, message, name, guest.nameLength);
  if (control) {
    scratch.view.setBigUint64(message + MSGHDR.control, BigInt(scratch.address + control), true);
    scratch.view.setBigUint64(message + MSGHDR.controlLength, BigInt(guest.controlLength), true);
  }
  return sendWait(k, flags, NR.sendmsg, host, scratch.address + message, flags);
}

/** One message in. Returns bytes received or -errno. */
function receiveOne(k: Kernel, host: number, va: number, flags: number): number {
  const guest = readMessage(k, va);
  const { scratch } = k;
  const passage = new Passage(k);
  const name = guest.name ? passage.room(SOCKADDR_MAX) : 0;
  const controlLength = guest.control ? Math.min(guest.controlLength, CONTROL_MAX) : 0;
  const control = controlLength ? passage.room(controlLength) : 0;
  gatherParts(k, true);
  const message = putMessage(k, passage);
  setName(k, message, name, name ? SOCKADDR_MAX : 0);
  if (control) {
    scratch.view.setBigUint64(message + MSGHDR.control, BigInt(scratch.address + control), true);
    scratch.view.setBigUint64(message + MSGHDR.controlLength, BigInt(controlLength), true);
  }
  const result = receiveWait(k, NR.recvmsg, host, scratch.address + message, flags | MSG_CMSG_CLOEXEC);
  if (result < 0) return result;

  let messageFlags = scratch.view.getUint32(message + MSGHDR.flags, true) & ~MSG_CMSG_CLOEXEC;
  const received = Number(scratch.view.getBigUint64(message + MSGHDR.controlLength, true));
  const data = scratch.u8.subarray(control, control + (control ? Math.min(received, controlLength) : 0));
  const { length, truncated } = descriptorsIn(k, data, flags);
  if (truncated) messageFlags |= MSG_CTRUNC;
  if (length > 0) k.mem.write(guest.control, data.subarray(0, length));
  if (name) {
    const full = scratch.view.getUint32(message + MSGHDR.nameLength, true);
    const shown = Math.min(full, guest.nameLength);
    if (shown > 0) k.mem.write(guest.name, scratch.u8.subarray(name, name + shown));
    k.mem.setU32(va + MSGHDR.nameLength, full);
  }
  k.mem.setU64(va + MSGHDR.controlLength, length);
  k.mem.setU32(va + MSGHDR.flags, messageFlags | (flags & MSG_CMSG_CLOEXEC));
  return result;
}

/** Moves up to `count` messages with `one`; an error after the first counts as the end. `more` is asked before each further one. */
function several(k: Kernel, va: number, count: number, one: (at: number, done: number) => number, more: () => boolean): number {
  let done = 0;
  while (done < Math.min(count, MMSG_MAX)) {
    const at = va + done * MMSGHDR.size;
    let result: number;
    try {
      result = one(at, done);
      if (result >= 0) k.mem.setU32(at + MMSGHDR.length, result);
    } catch (error) {
      if (done === 0 || !(error instanceof GuestError)) throw error;
      return done;
    }
    if (result < 0) return done > 0 ? done : result;
    done++;
    if (!more()) break;
  }
  return done;
}

function sendmmsg(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const flags = c.int(3);
  return several(k, c.num(1), c.u32(2), (at) => sendOne(k, host, at, flags), () => true);
}

/** recvmmsg: the time-out is looked at after each message, as Linux does (and as recvmmsg(2) calls a bug). */
function recvmmsg(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const flags = c.int(3);
  const countdown = Countdown.timespec(k, c.num(4));
  const result = several(
    k,
    c.num(1),
    c.u32(2),
    (at, done) => receiveOne(k, host, at, (flags & ~MSG_WAITFORONE) | (done > 0 && flags & MSG_WAITFORONE ? MSG_DONTWAIT : 0)),
    () => countdown.left() !== 0n,
  );
  if (result > 0) countdown.giveBack(k, c.num(4), 1n);
  return result;
}

export const messageCalls: Family = {
  sendmsg: ["forwarded", "SCM_RIGHTS translated; control data up to 32 KiB", (c) => sendOne(c.kernel, c.kernel.fds.host(c.int(0)), c.num(1), c.int(2))],
  recvmsg: ["forwarded", "SCM_RIGHTS translated; control data up to 32 KiB", (c) => receiveOne(c.kernel, c.kernel.fds.host(c.int(0)), c.num(1), c.int(2))],
  sendmmsg: ["forwarded", "", sendmmsg],
  recvmmsg: ["forwarded", "", recvmmsg],
};
