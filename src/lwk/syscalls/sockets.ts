/** Sockets: making, naming and connecting them, their options, and data without control messages. */
import { EFAULT, EINTR, EINVAL, ERESTARTSYS } from "../../abi/errno.ts";
import { MAX_RW_COUNT, O_CLOEXEC } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { MSG_NOSIGNAL, MSG_WAITALL, MSGHDR, SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF, SO_RCVTIMEO, SO_SNDTIMEO, SOCKADDR_MAX, SOL_SOCKET } from "../../abi/socket.ts";
import type { Call, Family } from "../call.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { addPair } from "./descriptors.ts";
import { buffer, FD, forward, INT, LENGTH } from "./forward.ts";
import { checkRange, gather, hostWait, Passage, putVector, ROOM } from "./marshal.ts";
import { withWriteSignal } from "./write-signals.ts";

/** Most bytes of an option's value. The host's own longest ones are a few pages; nobody asks for more. */
const OPTION_MAX = 32768;

/** Most bytes that one host call sends. */
const SEND_BATCH = 16 << 20;
/** Most bytes of a guest buffer that one receive looks at. No datagram is longer; a stream may give less than asked for. */
const RECEIVE_BATCH = 1 << 20;

/**
 * What a signal does to a blocked socket call: restart it, or, when the socket has a time-out of its own for this direction, EINTR
 * (sock_intr_errno).
 */
function onSignal(k: Kernel, host: number, option: number, result: number): number {
  if (result !== -ERESTARTSYS) return result;
  const { scratch } = k;
  const at = ROOM.structs;
  scratch.u32[(at + 16) >> 2] = 16;
  if (k.sys(NR.getsockopt, host, SOL_SOCKET, option, scratch.address + at, scratch.address + at + 16) < 0) return result;
  return scratch.view.getBigInt64(at, true) === 0n && scratch.view.getBigInt64(at + 8, true) === 0n ? result : -EINTR;
}

/** A blocking receive-like call; see hostWait. */
export function receiveWait(k: Kernel, nr: number, host: number, b: number, c: number, d = 0, e = 0, f = 0): number {
  return onSignal(k, host, SO_RCVTIMEO, hostWait(k, nr, host, b, c, d, e, f));
}

/** A blocking send-like call; EPIPE brings SIGPIPE unless `flags` hold MSG_NOSIGNAL. */
export function sendWait(k: Kernel, flags: number, nr: number, host: number, b: number, c: number, d = 0, e = 0, f = 0): number {
  const result = onSignal(k, host, SO_SNDTIMEO, hostWait(k, nr, host, b, c, d, e, f));
  return flags & MSG_NOSIGNAL ? result : withWriteSignal(k, result);
}

// ---- addresses ----------------------------------------------------------------------------------------------------

/** Room for an address that the host fills, and for its length after it: scratch offset of SOCKADDR_MAX bytes and a u32. */
function addressRoom(passage: Passage): number {
  return passage.room(SOCKADDR_MAX + 8);
}

/** Gives the address at scratch offset `at` to the guest as Linux does: cut off to the guest's room, with its full length. */
export function giveAddress(k: Kernel, at: number, length: number, va: number, lengthVa: number, room: number): void {
  const shown = Math.min(length, room, SOCKADDR_MAX);
  if (shown > 0) k.mem.write(va, k.scratch.u8.subarray(at, at + shown));
  k.mem.setU32(lengthVa, length);
}

/** The guest's int of how much room it has for an address. Throws EINVAL for a negative one. */
function addressLength(k: Kernel, va: number): number {
  const room = k.mem.i32(va);
  if (room < 0) throw new GuestError(EINVAL);
  return room;
}

function accept(c: Call, flags: number): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const va = c.num(1);
  const lengthVa = c.num(2);
  const room = va ? addressLength(k, lengthVa) : 0;
  const at = addressRoom(new Passage(k));
  const { scratch } = k;
  const lengthAt = at + SOCKADDR_MAX;
  scratch.u32[lengthAt >> 2] = SOCKADDR_MAX;
  const result = receiveWait(k, NR.accept4, host, va ? scratch.address + at : 0, va ? scratch.address + lengthAt : 0, flags | O_CLOEXEC);
  if (result < 0) return result;
  const length = scratch.u32[lengthAt >> 2]!;
  if (va) {
    try {
      giveAddress(k, at, length, va, lengthVa, room);
    } catch (error) {
      k.sys(NR.close, result);
      throw error;
    }
  }
  return k.fds.add(result, flags & O_CLOEXEC ? FD_CLOEXEC : 0);
}

/** getsockname, getpeername. */
function nameOf(c: Call, nr: number): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const room = addressLength(k, c.num(2));
  const at = addressRoom(new Passage(k));
  const lengthAt = at + SOCKADDR_MAX;
  k.scratch.u32[lengthAt >> 2] = SOCKADDR_MAX;
  const result = k.sys(nr, host, k.scratch.address + at, k.scratch.address + lengthAt);
  if (result >= 0) giveAddress(k, at, k.scratch.u32[lengthAt >> 2]!, c.num(1), c.num(2), room);
  return result;
}

// ---- options ------------------------------------------------------------------------------------------------------

/** setsockopt. Options whose value holds a pointer (BPF filters) are refused: EINVAL. */
function setOption(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const level = c.int(1);
  const name = c.int(2);
  const length = c.int(4);
  if (level === SOL_SOCKET && (name === SO_ATTACH_FILTER || name === SO_ATTACH_REUSEPORT_CBPF)) return -EINVAL;
  if (length < 0 || length > OPTION_MAX) return -EINVAL;
  const at = c.num(3) ? new Passage(k).input(c.num(3), length) : 0;
  return k.sys(NR.setsockopt, host, level, name, at, length);
}

function getOption(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const va = c.num(3);
  const lengthVa = c.num(4);
  const room = k.mem.i32(lengthVa);
  if (room < 0) return -EINVAL;
  const size = Math.min(room, OPTION_MAX);
  const passage = new Passage(k);
  const at = passage.room(size);
  const lengthAt = passage.room(8);
  // Some options read the guest's buffer too (a protocol's table, a command): it goes along as far as it is readable.
  const readable = va && size ? Math.min(size, k.mem.segments(va, size, false)) : 0;
  if (readable > 0) k.mem.read(va, k.scratch.u8.subarray(at, at + readable));
  k.scratch.u32[lengthAt >> 2] = size;
  const result = k.sys(NR.getsockopt, host, c.int(1), c.int(2), va ? k.scratch.address + at : 0, k.scratch.address + lengthAt);
  if (result < 0) return result;
  const length = Math.min(k.scratch.u32[lengthAt >> 2]!, size);
  if (va && length > 0) k.mem.write(va, k.scratch.u8.subarray(at, at + length));
  k.mem.setU32(lengthVa, k.scratch.u32[lengthAt >> 2]!);
  return result;
}

// ---- data ---------------------------------------------------------------------------------------------------------

/**
 * Puts a struct msghdr for the gathered ranges at a fresh place of the scratch buffer. Returns its offset; the caller adds name and control
 * messages.
 */
export function putMessage(k: Kernel, passage: Passage): number {
  const at = passage.room(MSGHDR.size);
  const count = putVector(k, 1024);
  const { view, u8, address } = k.scratch;
  u8.fill(0, at, at + MSGHDR.size);
  view.setBigUint64(at + MSGHDR.iov, BigInt(address + ROOM.vector), true);
  view.setBigUint64(at + MSGHDR.iovLength, BigInt(count), true);
  return at;
}

/** Sets name and its length in the struct msghdr at scratch offset `message`. */
export function setName(k: Kernel, message: number, at: number, length: number): void {
  k.scratch.view.setBigUint64(message + MSGHDR.name, at ? BigInt(k.scratch.address + at) : 0n, true);
  k.scratch.view.setUint32(message + MSGHDR.nameLength, length, true);
}

function sendto(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const va = c.num(1);
  const length = Math.min(c.num(2), MAX_RW_COUNT);
  const flags = c.int(3);
  const nameLength = c.int(5);
  checkRange(va, length);
  if (length > SEND_BATCH && !c.num(4)) return sendBatches(k, host, va, length, flags);
  const passage = new Passage(k);
  if (c.num(4) && (nameLength < 0 || nameLength > SOCKADDR_MAX)) return -EINVAL;
  const name = c.num(4) ? passage.copy(c.num(4), nameLength) : 0;
  gather(k, va, length, false);
  const { segmentAddress, segmentLength } = k.mem;
  if (segmentAddress.length <= 1) {
    return sendWait(k, flags, NR.sendto, host, segmentAddress[0] ?? 0, segmentLength[0] ?? 0, flags, name ? k.scratch.address + name : 0, name ? nameLength : 0);
  }
  const message = putMessage(k, passage);
  setName(k, message, name, name ? nameLength : 0);
  return sendWait(k, flags, NR.sendmsg, host, k.scratch.address + message, flags);
}

/** A long send on a connected socket, batch by batch, until the socket takes no more. A datagram is never so long: the first batch says so. */
function sendBatches(k: Kernel, host: number, va: number, length: number, flags: number): number {
  for (let total = 0; ; ) {
    const batch = Math.min(SEND_BATCH, length - total);
    gather(k, va + total, batch, false);
    const message = putMessage(k, new Passage(k));
    const result = sendWait(k, flags, NR.sendmsg, host, k.scratch.address + message, flags);
    if (result < 0) return total > 0 ? total : result;
    total += result;
    if (result < batch || total === length) return total;
  }
}

function recvfrom(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const va = c.num(1);
  const length = Math.min(c.num(2), MAX_RW_COUNT);
  const flags = c.int(3);
  const nameVa = c.num(4);
  checkRange(va, length);
  const passage = new Passage(k);
  const name = nameVa ? addressRoom(passage) : 0;
  gather(k, va, flags & MSG_WAITALL ? length : Math.min(length, RECEIVE_BATCH), true);
  const { segmentAddress, segmentLength } = k.mem;
  if (segmentAddress.length <= 1 && !nameVa) return receiveWait(k, NR.recvfrom, host, segmentAddress[0] ?? 0, segmentLength[0] ?? 0, flags);
  const message = putMessage(k, passage);
  setName(k, message, name, name ? SOCKADDR_MAX : 0);
  const result = receiveWait(k, NR.recvmsg, host, k.scratch.address + message, flags);
  if (result >= 0 && nameVa) {
    const room = c.num(5) ? addressLength(k, c.num(5)) : 0;
    if (!c.num(5)) throw new GuestError(EFAULT);
    giveAddress(k, name, k.scratch.view.getUint32(message + MSGHDR.nameLength, true), nameVa, c.num(5), room);
  }
  return result;
}

function socketpair(c: Call): number {
  const k = c.kernel;
  const type = c.int(1);
  const at = ROOM.structs;
  const result = k.sys(NR.socketpair, c.int(0), type | O_CLOEXEC, c.int(2), k.scratch.address + at);
  return result < 0 ? result : addPair(k, at, c.num(3), type & O_CLOEXEC ? FD_CLOEXEC : 0);
}

/** connect(2): an address of more than SOCKADDR_MAX bytes is the host's EINVAL. */
function connect(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  const length = c.int(2);
  if (length < 0 || length > SOCKADDR_MAX) return -EINVAL;
  return onSignal(k, host, SO_SNDTIMEO, hostWait(k, NR.connect, host, new Passage(k).input(c.num(1), length), length));
}

export const socketCalls: Family = {
  socket: ["forwarded", "", forward(NR.socket, [INT, INT, INT], { opens: { flags: 1 } })],
  socketpair: ["forwarded", "", socketpair],
  bind: ["forwarded", "", forward(NR.bind, [FD, buffer(2, SOCKADDR_MAX), LENGTH])],
  listen: ["forwarded", "", forward(NR.listen, [FD, INT])],
  connect: ["forwarded", "", connect],
  accept: ["forwarded", "", (c) => accept(c, 0)],
  accept4: ["forwarded", "", (c) => accept(c, c.int(3))],
  getsockname: ["forwarded", "", (c) => nameOf(c, NR.getsockname)],
  getpeername: ["forwarded", "", (c) => nameOf(c, NR.getpeername)],
  shutdown: ["forwarded", "", forward(NR.shutdown, [FD, INT])],
  setsockopt: ["partial", "no options whose value holds a pointer (BPF filters): EINVAL", setOption],
  getsockopt: ["forwarded", "values up to 32 KiB", getOption],
  sendto: ["forwarded", "", sendto],
  recvfrom: ["forwarded", "", recvfrom],
};
