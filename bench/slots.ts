/**
 * Where a running margay keeps its guest's memory: the slot table of the LWK's state, read from outside through /proc/PID/mem. The state is plain
 * data with a written layout (src/lwk/state.ts); this is one use of that.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { H, OFFSET, S, STATE_SIZE, STATE_VERSION } from "../src/lwk/state.ts";
import { BLOCK_GPA } from "../src/vmm/guest-memory.ts";
import type { Range } from "./smaps.ts";

/** Reads `length` bytes at `address` of another process. */
type ReadMemory = (address: number, length: number) => Buffer;

const word = (header: Buffer, index: number): number => header.readInt32LE(index * 4);
const word64 = (header: Buffer, index: number): number => Number(header.readBigUInt64LE(index * 4));

/** Host address ranges of all memory slots, given the state's address. */
export function slotRanges(read: ReadMemory, state: number): Range[] {
  const header = read(state, 4096);
  const arenaGpa = word64(header, H.arenaGpa);
  const table = read(state + OFFSET.slots, Math.max(1, word(header, H.slotCount)) * S.size * 4);
  return Array.from({ length: word(header, H.slotCount) }, (_, i) => {
    const gpa = word64(table, i * S.size + S.gpa);
    const length = word64(table, i * S.size + S.bytes);
    if (gpa >= arenaGpa) return { start: word64(header, H.arenaBase) + gpa - arenaGpa, length };
    if (gpa >= BLOCK_GPA) return { start: word64(header, H.blockBase) + gpa - BLOCK_GPA, length };
    return { start: word64(header, H.tableBase) + gpa, length };
  });
}

/** Address of the state: the mapping of its size whose header carries the version and `pid`. Throws when there is none. */
export function findState(read: ReadMemory, maps: string, pid: number): number {
  for (const match of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw-s /gm)) {
    const start = Number.parseInt(match[1] as string, 16);
    if (Number.parseInt(match[2] as string, 16) - start !== STATE_SIZE) continue;
    const header = read(start, 4096);
    if (word(header, H.version) === STATE_VERSION && word(header, H.pid) === pid) return start;
  }
  throw new Error(`process ${pid} has no LWK state`);
}

/** Host address ranges of the guest memory of the margay process `pid`. */
export function guestRanges(pid: number): Range[] {
  const fd = openSync(`/proc/${pid}/mem`, "r");
  try {
    const read: ReadMemory = (address, length) => {
      const bytes = Buffer.alloc(length);
      if (readSync(fd, bytes, 0, length, address) !== length)
        throw new Error(`cannot read ${length} bytes at 0x${address.toString(16)} of process ${pid}`);
      return bytes;
    };
    return slotRanges(read, findState(read, readFileSync(`/proc/${pid}/maps`, "utf8"), pid));
  } finally {
    closeSync(fd);
  }
}
