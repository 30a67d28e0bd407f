/** Guest-physical memory as the host sees it: three linear ranges, so that an address is translated with one addition. */
import { viewMemory } from "../host/gate.ts";

/** Guest-physical start of the block pool. Below lie the boot pages and page tables (slot 0, from 0). */
export const BLOCK_GPA = 0x1_0000_0000;
/** Least bytes of slot 0: boot pages, page tables. */
export const TABLE_SIZE_MIN = 256 * 1024 * 1024;

export interface MemoryLayout {
  /** Host address of guest-physical 0 (slot 0). */
  readonly tableHost: number;
  /** Bytes of slot 0, at most 4 GiB. */
  readonly tableSize: number;
  readonly blockHost: number;
  readonly blockSize: number;
  readonly arenaHost: number;
  /** Guest-physical start of the file arena: half of what the CPU can address. */
  readonly arenaGpa: number;
  readonly arenaSize: number;
}

const CHUNK = 0x20_0000;
/** Bytes of slot 0 that a thread sees at first, and how close to their end (in pages) it looks at all. */
const TABLE_VIEW = 4 * 1024 * 1024;
const TABLE_HEADROOM = 512;

/**
 * One thread's views of guest-physical memory, made when first needed and kept small: V8 counts the bytes under a view as its own and starts
 * collecting garbage for every 64 MiB of them.
 */
export class GuestMemory {
  readonly layout: MemoryLayout;
  /** Slot 0 as 32-bit words: table page `n` starts at word `n * 1024`. */
  tables: Uint32Array;
  tableBytes: Uint8Array;
  private readonly chunks: (Uint8Array | undefined)[] = [];

  constructor(layout: MemoryLayout) {
    this.layout = layout;
    const tables = viewMemory(layout.tableHost, Math.min(TABLE_VIEW, layout.tableSize));
    this.tables = new Uint32Array(tables);
    this.tableBytes = new Uint8Array(tables);
  }

  /** Called before work on the tables, with the number of table pages in use: makes sure that this thread sees them and as many more as one operation can take. */
  seeTables(pages: number, more = TABLE_HEADROOM): void {
    if ((pages + more) * 4096 <= this.tableBytes.length || this.tableBytes.length === this.layout.tableSize) return;
    const tables = viewMemory(this.layout.tableHost, this.layout.tableSize);
    this.tables = new Uint32Array(tables);
    this.tableBytes = new Uint8Array(tables);
  }

  /** Host address of a guest-physical address; 0 when no slot can hold it. */
  hostAddress(gpa: number): number {
    const layout = this.layout;
    if (gpa >= layout.arenaGpa) return gpa - layout.arenaGpa < layout.arenaSize ? layout.arenaHost + (gpa - layout.arenaGpa) : 0;
    if (gpa >= BLOCK_GPA) return gpa - BLOCK_GPA < layout.blockSize ? layout.blockHost + (gpa - BLOCK_GPA) : 0;
    return gpa < layout.tableSize ? layout.tableHost + gpa : 0;
  }

  /** True when the address lies in the file arena, which JavaScript must not touch: a truncated file would be a SIGBUS of margay itself. */
  inArena(gpa: number): boolean {
    return gpa >= this.layout.arenaGpa;
  }

  /** The 2 MiB of block memory that hold `gpa`; the byte is at `chunkOffset(gpa)`. Only for addresses in the block pool. */
  chunk(gpa: number): Uint8Array {
    const index = Math.floor((gpa - BLOCK_GPA) / CHUNK);
    let chunk = this.chunks[index];
    if (!chunk) {
      const length = Math.min(CHUNK, this.layout.blockSize - index * CHUNK);
      if (index < 0 || length <= 0) throw new RangeError(`guest-physical address 0x${gpa.toString(16)} is outside the block pool`);
      chunk = new Uint8Array(viewMemory(this.layout.blockHost + index * CHUNK, length));
      this.chunks[index] = chunk;
    }
    return chunk;
  }

  chunkOffset(gpa: number): number {
    return (gpa - BLOCK_GPA) % CHUNK;
  }
}
