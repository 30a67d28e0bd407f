/**
 * Moving data: read, write and their relatives. The host moves bytes to and from guest memory itself, without a copy of ours. A long
 * transfer goes in batches; the batch of a read is small, so that a large buffer is not brought in for a few bytes.
 */
import { EBADF, EFAULT, EINVAL, EISDIR, ESPIPE } from "../../abi/errno.ts";
import { F_GETFL, IOV_MAX, MAX_RW_COUNT, O_ACCMODE } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { S_IFBLK, S_IFCHR, S_IFMT, S_IFREG, STAT } from "../../abi/stat.ts";
import type { Call, Family, Handler } from "../call.ts";
import { FILE_KIND } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { USER_END } from "../mm/address-space.ts";
import { FD, forward, INT, inout, UINT, WORD } from "./forward.ts";
import { checkRange, gather, hostWait, putVector, ROOM, word } from "./marshal.ts";
import { readSignals } from "./signalfd.ts";
import { withWriteSignal } from "./write-signals.ts";

const READ_BATCH = 1 << 20;
const WRITE_BATCH = 16 << 20;
/** Up to here a buffer that is in pieces on the host goes through the scratch buffer: what is read or written stays one piece for the file behind it. */
const BOUNCE_LIMIT = ROOM.end - ROOM.data;

interface Direction {
  readonly writes: boolean;
  readonly batch: number;
  /** Host calls: one buffer, several; the same at a position; several with flags. */
  readonly one: number;
  readonly many: number;
  readonly oneAt: number;
  readonly manyAt: number;
  readonly manyFlags: number;
}

const READ: Direction = { writes: false, batch: READ_BATCH, one: NR.read, many: NR.readv, oneAt: NR.pread64, manyAt: NR.preadv, manyFlags: NR.preadv2 };
const WRITE: Direction = { writes: true, batch: WRITE_BATCH, one: NR.write, many: NR.writev, oneAt: NR.pwrite64, manyAt: NR.pwritev, manyFlags: NR.pwritev2 };

/** Where in the file: null is the descriptor's own position. */
type Position = number | bigint | null;

/** The guest's buffers of one call. One per host thread, used again: calls of a thread do not overlap. */
class Parts {
  count = 0;
  readonly va: number[] = [];
  readonly length: number[] = [];

  clear(): void {
    this.count = 0;
  }

  add(va: number, length: number): void {
    this.va[this.count] = va;
    this.length[this.count++] = length;
  }
}

const parts = new Parts();

/**
 * Reads a guest array of struct iovec into `parts`, as import_iovec does: throws EINVAL for a bad count or a negative length, EFAULT for a bad
 * pointer or range; cuts off at MAX_RW_COUNT bytes. Returns the bytes in all.
 */
export function readVector(k: Kernel, va: number, count: number): number {
  if (count < 0 || count > IOV_MAX) throw new GuestError(EINVAL);
  parts.clear();
  if (count === 0) return 0;
  const raw = k.mem.bytes(va, count * 16);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  const u64 = (at: number): number => view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
  for (let i = 0; i < count; i++) if (view.getInt32(i * 16 + 12, true) < 0) throw new GuestError(EINVAL);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const base = u64(i * 16);
    const length = u64(i * 16 + 8);
    checkRange(base, length);
    const taken = Math.min(length, MAX_RW_COUNT - total);
    total += taken;
    if (taken > 0) parts.add(base, taken);
  }
  return total;
}

/** The parts that `readVector` found: [address, length] each. */
export function* vectorOf(): Generator<readonly [number, number]> {
  for (let i = 0; i < parts.count; i++) yield [parts.va[i]!, parts.length[i]!];
}

/** One host call for the gathered ranges. */
function move(k: Kernel, host: number, d: Direction, position: Position, flags: number): number {
  const { segmentAddress, segmentLength } = k.mem;
  if (segmentAddress.length <= 1 && flags === 0) {
    const address = segmentAddress[0] ?? 0;
    const length = segmentLength[0] ?? 0;
    return position === null ? hostWait(k, d.one, host, address, length) : hostWait(k, d.oneAt, host, address, length, position);
  }
  const count = putVector(k, IOV_MAX);
  const vector = k.scratch.address + ROOM.vector;
  if (flags !== 0) return hostWait(k, d.manyFlags, host, vector, count, position ?? -1, 0, flags);
  return position === null ? hostWait(k, d.many, host, vector, count) : hostWait(k, d.manyAt, host, vector, count, position);
}

/** Whether to go on after a full batch of a read: where a native read would, and where it cannot block. */
function readsOn(k: Kernel, host: number): boolean {
  const at = ROOM.structs;
  if (k.sys(NR.fstat, host, k.scratch.address + at) < 0) return false;
  const format = k.scratch.view.getUint32(at + STAT.mode, true) & S_IFMT;
  return format === S_IFREG || format === S_IFBLK || format === S_IFCHR;
}

/** Moves everything in `parts`, batch by batch. Returns the bytes moved, or -errno when none were. */
function transfer(k: Kernel, host: number, d: Direction, position: Position, flags: number): number {
  const { mem } = k;
  let total = 0;
  let index = 0;
  let offset = 0;
  for (;;) {
    mem.segmentAddress.length = 0;
    mem.segmentLength.length = 0;
    let bytes = 0;
    let good = true;
    while (good && index < parts.count && bytes < d.batch && mem.segmentAddress.length < IOV_MAX - 1) {
      const length = Math.min(parts.length[index]! - offset, d.batch - bytes);
      const before = mem.segmentAddress.length;
      good = gather(k, parts.va[index]! + offset, length, !d.writes, true);
      if (mem.segmentAddress.length > IOV_MAX && before > 0) {
        // No room for all of this part: it starts the next batch.
        mem.segmentAddress.length = before;
        mem.segmentLength.length = before;
        good = true;
        break;
      }
      bytes += length;
      offset += length;
      if (offset === parts.length[index]) {
        index++;
        offset = 0;
      }
    }
    const result = move(k, host, d, position, flags);
    if (result < 0) return total > 0 ? total : result;
    total += result;
    if (!good || result < bytes || index >= parts.count) return total;
    if (!d.writes && !readsOn(k, host)) return total;
    if (typeof position === "number") position += result;
    else if (position !== null) position += BigInt(result);
  }
}

/** One buffer that lies in pieces on the host, through the scratch buffer. */
function bounced(k: Kernel, host: number, d: Direction, va: number, length: number, position: Position): number {
  const { scratch, mem } = k;
  const data = scratch.u8.subarray(ROOM.data, ROOM.data + length);
  if (d.writes) mem.read(va, data);
  const address = scratch.address + ROOM.data;
  const result = position === null ? hostWait(k, d.one, host, address, length) : hostWait(k, d.oneAt, host, address, length, position);
  if (!d.writes && result > 0) mem.write(va, data.subarray(0, result));
  return result;
}

/** read, write, pread64, pwrite64. The common case, a buffer in one piece, allocates nothing. */
function single(c: Call, d: Direction, position: Position): number {
  const k = c.kernel;
  const fd = c.int(0);
  const host = k.fds.peek(fd);
  if (host < 0) return -EBADF;
  const va = c.num(1);
  const kind = k.fds.kind(fd);
  if (kind === FILE_KIND.VIRTUAL_DIRECTORY) return d.writes ? -EBADF : -EISDIR;
  if (kind === FILE_KIND.SIGNALS) return position !== null ? -ESPIPE : d.writes ? -EINVAL : readSignals(k, fd, va, c.num(2));
  const length = c.num(2);
  if (length >= 2 ** 63) return -EINVAL;
  if (!(va + length <= USER_END)) return -EFAULT;
  if (length <= d.batch) {
    const good = gather(k, va, length, !d.writes);
    if (k.mem.segmentAddress.length <= 1) return move(k, host, d, position, 0);
    if (good && length <= BOUNCE_LIMIT) return bounced(k, host, d, va, length, position);
  }
  parts.clear();
  parts.add(va, Math.min(length, MAX_RW_COUNT));
  return transfer(k, host, d, position, 0);
}

/** readv, writev, preadv, pwritev and their second forms. */
function vectored(c: Call, d: Direction, position: Position, flags: number): number {
  const k = c.kernel;
  const fd = c.int(0);
  const host = k.fds.host(fd);
  if (k.fds.kind(fd) === FILE_KIND.VIRTUAL_DIRECTORY) return d.writes ? -EBADF : -EISDIR;
  readVector(k, c.num(1), vectorCount(c, 2));
  if (k.fds.kind(fd) === FILE_KIND.SIGNALS) return d.writes || parts.count === 0 ? -EINVAL : readSignals(k, fd, parts.va[0]!, parts.length[0]!);
  return transfer(k, host, d, position, flags);
}

/** An iovec count: unsigned long on the way in, so that -1 is as bad as 1025. */
function vectorCount(c: Call, i: number): number {
  return Math.min(c.num(i), IOV_MAX + 1);
}

function positionOf(c: Call): Position {
  const position = word(c, 3);
  if (position < 0) throw new GuestError(EINVAL);
  return position;
}

const writing =
  (handler: Handler): Handler =>
  (c) =>
    withWriteSignal(c.kernel, handler(c));

/** vmsplice: like writev into a pipe, or readv from it, with flags of its own. */
function vmsplice(c: Call): number {
  const k = c.kernel;
  const host = k.fds.host(c.int(0));
  readVector(k, c.num(1), vectorCount(c, 2));
  // Whether the pages are read or written depends on the end of the pipe; both directions need readable memory, and a pipe's read end writes it.
  const write = (k.sys(NR.fcntl, host, F_GETFL) & O_ACCMODE) === 0;
  k.mem.segmentAddress.length = 0;
  k.mem.segmentLength.length = 0;
  for (let i = 0; i < parts.count; i++) if (!gather(k, parts.va[i]!, parts.length[i]!, write, true)) break;
  const count = putVector(k, IOV_MAX);
  return withWriteSignal(k, hostWait(k, NR.vmsplice, host, k.scratch.address + ROOM.vector, count, c.u32(3)));
}

/** getrandom: one host call per piece of the buffer; interrupted ones return what they have. */
function getrandom(c: Call): number {
  const k = c.kernel;
  const va = c.num(0);
  const length = Math.min(c.num(1), MAX_RW_COUNT);
  const flags = c.u32(2);
  checkRange(va, length);
  let total = 0;
  do {
    const good = gather(k, va + total, Math.min(length - total, READ_BATCH), true);
    const { segmentAddress, segmentLength } = k.mem;
    for (let i = 0; i < Math.max(1, segmentAddress.length); i++) {
      const wanted = segmentLength[i] ?? 0;
      const result = hostWait(k, NR.getrandom, segmentAddress[i] ?? 0, wanted, flags);
      if (result < 0) return total > 0 ? total : result;
      total += result;
      if (result < wanted) return total;
    }
    if (!good) return total;
  } while (total < length);
  return total;
}

const blocks = { blocks: true, writes: true } as const;

export const ioCalls: Family = {
  read: ["forwarded", "", (c) => single(c, READ, null)],
  write: ["forwarded", "an append of more than 16 MiB is not atomic", writing((c) => single(c, WRITE, null))],
  pread64: ["forwarded", "", (c) => single(c, READ, positionOf(c))],
  pwrite64: ["forwarded", "", writing((c) => single(c, WRITE, positionOf(c)))],
  readv: ["forwarded", "", (c) => vectored(c, READ, null, 0)],
  writev: ["forwarded", "", writing((c) => vectored(c, WRITE, null, 0))],
  preadv: ["forwarded", "", (c) => vectored(c, READ, positionOf(c), 0)],
  pwritev: ["forwarded", "", writing((c) => vectored(c, WRITE, positionOf(c), 0))],
  preadv2: ["forwarded", "", (c) => vectored(c, READ, secondPosition(c), c.int(5))],
  pwritev2: ["forwarded", "", writing((c) => vectored(c, WRITE, secondPosition(c), c.int(5)))],
  lseek: ["forwarded", "", (c) => c.kernel.sys(NR.lseek, c.kernel.fds.host(c.int(0)), word(c, 1), c.int(2))],
  sendfile: ["forwarded", "", forward(NR.sendfile, [FD, FD, inout(8), WORD], blocks)],
  splice: ["forwarded", "", forward(NR.splice, [FD, inout(8), FD, inout(8), WORD, UINT], blocks)],
  tee: ["forwarded", "", forward(NR.tee, [FD, FD, WORD, UINT], blocks)],
  vmsplice: ["forwarded", "at most 1024 pieces of memory at a time", vmsplice],
  copy_file_range: ["forwarded", "", forward(NR.copy_file_range, [FD, inout(8), FD, inout(8), WORD, UINT], blocks)],
  readahead: ["forwarded", "", forward(NR.readahead, [FD, WORD, WORD])],
  fadvise64: ["forwarded", "", forward(NR.fadvise64, [FD, WORD, WORD, INT])],
  getrandom: ["forwarded", "", getrandom],
};

/** preadv2 and pwritev2: -1 means the descriptor's own position. */
function secondPosition(c: Call): Position {
  return c.long(3) === -1 ? null : positionOf(c);
}
