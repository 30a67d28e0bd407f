/**
 * Guest page tables, four levels, edited from outside. Source: AMD64 APM vol. 2, section 5.3; Intel SDM vol. 3A, section 4.5.
 *
 * Every page directory is followed by a companion page: for entry `i` word `2i` is the page table bound to that 2 MiB window (0: none yet),
 * word `2i + 1` the block that the window owns, plus one (0: none). A table page is never given back to another window: PVM's shadow
 * paging keeps it linked where it once was.
 */

export const PTE_PRESENT = 1;
export const PTE_WRITE = 2;
export const PTE_USER = 4;
export const PTE_ACCESSED = 0x20;
export const PTE_DIRTY = 0x40;
export const PTE_LARGE = 0x80;
/** Software bit: the entry holds memory with content, present or not (PROT_NONE keeps it). */
export const PTE_HELD = 0x200;
/** Software bit: an entry of the file arena without rights (PROT_NONE). */
export const PTE_HOLLOW = 0x400;
/** Execute-disable, in the high word. */
export const PTE_NX_HIGH = 0x8000_0000;

const ADDRESS_LOW = 0xffff_f000;
const ADDRESS_HIGH = 0x000f_ffff;
const TABLE_LINK = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED;
const TWO_32 = 0x1_0000_0000;
export const WINDOW = 0x20_0000;
export const COMPANION_WORDS = 1024;

/** Whoever holds the words of slot 0; the array is replaced when it grows. */
export interface TableView {
  readonly tables: Uint32Array;
  /** Makes sure that the first `pages + more` pages are seen. */
  seeTables(pages: number, more: number): void;
}

/** The 64-bit entries are read and written as two words; the low word, which holds the present bit, is written last. */
export class PageTables {
  private readonly memory: TableView;
  private readonly root: number;
  private readonly allocate: (pages: number) => number;
  /** Writes a top-level entry into every vCPU's copy of the root. */
  private readonly publishTop: (index: number, low: number, high: number) => void;

  private get tables(): Uint32Array {
    return this.memory.tables;
  }

  /** Result of `translate`: guest-physical address, low-word bits, and whether code may run there. */
  gpa = 0;
  flags = 0;
  executable = false;

  constructor(
    memory: TableView,
    root: number,
    allocate: (pages: number) => number,
    publishTop: (index: number, low: number, high: number) => void,
  ) {
    this.memory = memory;
    this.root = root;
    this.allocate = allocate;
    this.publishTop = publishTop;
  }

  /** New table pages, seen by this thread. The array may be another one afterwards. */
  private take(pages: number): number {
    const page = this.allocate(pages);
    this.memory.seeTables(page + pages, 0);
    return page;
  }

  private next(word: number, pages: number, create: boolean, top: number): number {
    const tables = this.tables;
    const low = tables[word]!;
    if (low & PTE_PRESENT) return low >>> 12;
    if (!create) return 0;
    const page = this.take(pages);
    tables[word + 1] = 0;
    tables[word] = ((page << 12) | TABLE_LINK) >>> 0;
    if (top >= 0) this.publishTop(top, tables[word]!, 0);
    return page;
  }

  /** Word index of the page-directory entry for `va`, or -1 when there is none and `create` is false. */
  directoryEntry(va: number, create: boolean): number {
    const top = Math.floor(va / 0x80_0000_0000) & 511;
    const pdpt = this.next(this.root * 1024 + top * 2, 1, create, top);
    if (!pdpt) return -1;
    const directory = this.next(pdpt * 1024 + (Math.floor(va / 0x4000_0000) & 511) * 2, 2, create, -1);
    if (!directory) return -1;
    return directory * 1024 + (Math.floor(va / WINDOW) & 511) * 2;
  }

  /** Page table bound to the window of directory entry `entry`; made (and, for a large entry, filled) when `create`. 0 when there is none. Links it. */
  tableOf(entry: number, create: boolean): number {
    const tables = this.tables;
    const low = tables[entry]!;
    if (low & PTE_PRESENT && !(low & PTE_LARGE)) return low >>> 12;
    if (low & PTE_HELD || low & PTE_PRESENT) return create ? this.split(entry) : 0;
    if (!create) return 0;
    const page = this.boundTable(entry);
    this.tables.fill(0, page * 1024, page * 1024 + 1024);
    tables[entry + 1] = 0;
    tables[entry] = ((page << 12) | TABLE_LINK) >>> 0;
    return page;
  }

  private boundTable(entry: number): number {
    let page = this.tables[entry + COMPANION_WORDS]!;
    if (!page) {
      page = this.take(1);
      this.tables[entry + COMPANION_WORDS] = page;
    }
    return page;
  }

  /** Turns a 2M entry into 512 small ones with the same rights and memory. */
  private split(entry: number): number {
    const page = this.boundTable(entry);
    const tables = this.tables;
    const low = tables[entry]!;
    const high = tables[entry + 1]!;
    const bits = low & 0xfff & ~PTE_LARGE;
    const base = low & 0xffe0_0000;
    for (let i = 0; i < 512; i++) {
      tables[page * 1024 + i * 2 + 1] = high;
      tables[page * 1024 + i * 2] = (base | (i << 12) | bits) >>> 0;
    }
    tables[entry + 1] = 0;
    tables[entry] = ((page << 12) | TABLE_LINK) >>> 0;
    return page;
  }

  /**
   * Writes a leaf entry at word `word`. A present one is made absent first: other vCPUs walk the tables meanwhile, and half of the old entry with half of the
   * new one would name somebody else's memory, even the page tables. Who meets the absent entry faults, waits for the memory lock and tries again.
   */
  setLeaf(word: number, gpa: number, low: number, high: number): void {
    if (this.tables[word]! & PTE_PRESENT) this.tables[word] = 0;
    this.tables[word + 1] = (Math.floor(gpa / TWO_32) | high) >>> 0;
    this.tables[word] = ((gpa % TWO_32) | low) >>> 0;
  }

  clear(word: number): void {
    this.tables[word] = 0;
    this.tables[word + 1] = 0;
  }

  /** Word index of the leaf entry that maps `va` (2M or 4K), or -1 when no table reaches it. `this.flags` gets its low word. */
  leaf(va: number): number {
    const entry = this.directoryEntry(va, false);
    if (entry < 0) return -1;
    const low = this.tables[entry]!;
    this.flags = low;
    if (low & PTE_LARGE) return entry;
    if (!(low & PTE_PRESENT)) return -1;
    const word = (low >>> 12) * 1024 + (Math.floor(va / 4096) & 511) * 2;
    this.flags = this.tables[word]!;
    return word;
  }

  /** Walks to `va`. True when a present entry maps it; then `gpa`, `flags` and `executable` describe it. */
  translate(va: number): boolean {
    const word = this.leaf(va);
    if (word < 0 || !(this.flags & PTE_PRESENT)) return false;
    const high = this.tables[word + 1]!;
    this.executable = (high & PTE_NX_HIGH) === 0;
    const frame = (high & ADDRESS_HIGH) * TWO_32;
    this.gpa =
      this.flags & PTE_LARGE
        ? frame + ((this.flags & 0xffe0_0000) >>> 0) + (va % WINDOW)
        : frame + ((this.flags & ADDRESS_LOW) >>> 0) + (va % 4096);
    return true;
  }
}
