/** The table of mappings (VMAs): sorted rows in the shared state. Callers hold the memory lock. */
import { H, MAPPING_LIMIT, OFFSET, type State, V } from "../state.ts";

/** What is behind a mapping: zero memory in blocks; a file's bytes copied into blocks; host-mapped file in the arena; pages of the LWK. */
export const KIND = { ANON: 0, COPY: 1, ARENA: 2, BOOT: 3 } as const;

/** Mapping flags: shared; pages come at the first fault; a stack; may be made writable; has been writable; memory not reserved; locked. */
export const VF = { SHARED: 1, LAZY: 2, STACK: 4, MAYWRITE: 8, DIRTIED: 16, NORESERVE: 32, LOCKED: 64 } as const;

/** Labels that /proc/self/maps shows. */
export const NAME = { NONE: 0, HEAP: 1, STACK: 2, VDSO: 3, VVAR: 4 } as const;

/** A mapping as a value, for making new rows and for reports. */
export interface Mapping {
  start: number;
  end: number;
  prot: number;
  flags: number;
  kind: number;
  /** Index of the mapped file plus one; 0: none. */
  file: number;
  offset: number;
  gpa: number;
  validEnd: number;
  name: number;
}

export class Mappings {
  private readonly state: State;
  private readonly base = OFFSET.mappings >> 2;

  constructor(state: State) {
    this.state = state;
  }

  get count(): number {
    return this.state.i32[H.mappingCount]!;
  }

  /** First word of row `index`. */
  row(index: number): number {
    return this.base + index * V.size;
  }

  start(index: number): number {
    return this.state.getU64(this.row(index) + V.start);
  }

  end(index: number): number {
    return this.state.getU64(this.row(index) + V.end);
  }

  get(index: number): Mapping {
    const { state } = this;
    const row = this.row(index);
    return {
      start: state.getU64(row + V.start),
      end: state.getU64(row + V.end),
      prot: state.u32[row + V.prot]!,
      flags: state.u32[row + V.flags]!,
      kind: state.u32[row + V.kind]!,
      file: state.u32[row + V.file]!,
      offset: state.getU64(row + V.offset),
      gpa: state.getU64(row + V.gpa),
      validEnd: state.getU64(row + V.validEnd),
      name: state.u32[row + V.name]!,
    };
  }

  put(index: number, m: Mapping): void {
    const { state } = this;
    const row = this.row(index);
    state.setU64(row + V.start, m.start);
    state.setU64(row + V.end, m.end);
    state.u32[row + V.prot] = m.prot;
    state.u32[row + V.flags] = m.flags;
    state.u32[row + V.kind] = m.kind;
    state.u32[row + V.file] = m.file;
    state.setU64(row + V.offset, m.offset);
    state.setU64(row + V.gpa, m.gpa);
    state.setU64(row + V.validEnd, m.validEnd);
    state.u32[row + V.name] = m.name;
  }

  /** Index of the first mapping that ends above `address`; `count` when there is none. */
  find(address: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.end(middle) > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The mapping that holds `address`, or null. */
  at(address: number): Mapping | null {
    const index = this.find(address);
    return index < this.count && this.start(index) <= address ? this.get(index) : null;
  }

  /** True when nothing is mapped in [start, end). */
  free(start: number, end: number): boolean {
    const index = this.find(start);
    return index >= this.count || this.start(index) >= end;
  }

  /** False when the table is full. */
  get room(): boolean {
    return this.count < MAPPING_LIMIT - 2;
  }

  private insertRow(index: number, m: Mapping): void {
    const end = this.row(this.count);
    this.state.u32.copyWithin(this.row(index + 1), this.row(index), end);
    this.state.i32[H.mappingCount]!++;
    this.put(index, m);
  }

  /** Adds a mapping where nothing is; joins it with equal neighbours. */
  insert(m: Mapping): void {
    const index = this.find(m.start);
    this.insertRow(index, m);
    this.join(index);
    if (index > 0) this.join(index - 1);
  }

  /** Takes rows [from, to) out. */
  remove(from: number, to: number): void {
    if (to <= from) return;
    this.state.u32.copyWithin(this.row(from), this.row(to), this.row(this.count));
    this.state.i32[H.mappingCount]! -= to - from;
  }

  /** Makes `address` a border between mappings when it lies inside one. */
  splitAt(address: number): void {
    const index = this.find(address);
    if (index >= this.count) return;
    const m = this.get(index);
    if (m.start >= address) return;
    this.put(index, { ...m, end: address });
    const distance = address - m.start;
    this.insertRow(index + 1, {
      ...m,
      start: address,
      offset: m.kind === KIND.ANON ? 0 : m.offset + distance,
      gpa: m.kind === KIND.ARENA ? m.gpa + distance : 0,
    });
  }

  /** Joins rows `index` and `index + 1` when they describe one mapping. */
  join(index: number): void {
    if (index + 1 >= this.count) return;
    const a = this.get(index);
    const b = this.get(index + 1);
    if (a.end !== b.start || a.prot !== b.prot || a.flags !== b.flags || a.kind !== b.kind || a.file !== b.file || a.name !== b.name)
      return;
    if (a.kind === KIND.BOOT) return;
    if (a.kind !== KIND.ANON && (b.offset - a.offset !== b.start - a.start || a.validEnd !== b.validEnd)) return;
    if (a.kind === KIND.ARENA && b.gpa - a.gpa !== b.start - a.start) return;
    this.put(index, { ...a, end: b.end });
    this.remove(index + 1, index + 2);
  }

  /** Joins everything that can be joined around [start, end). */
  joinAround(start: number, end: number): void {
    let index = Math.max(0, this.find(start) - 1);
    while (index + 1 < this.count && this.start(index) <= end) {
      const before = this.count;
      this.join(index);
      if (this.count === before) index++;
    }
  }

  /** Start of the highest gap of `length` bytes below `ceiling` and above `floor`, aligned; -1 when there is none. */
  gap(length: number, floor: number, ceiling: number, alignment: number): number {
    let index = this.find(ceiling - 1);
    let top = ceiling;
    if (index < this.count && this.start(index) < ceiling) top = this.start(index);
    for (index -= 1; ; index--) {
      const bottom = index >= 0 ? this.end(index) : 0;
      const start = Math.floor((top - length) / alignment) * alignment;
      if (start >= bottom && start >= floor) return start;
      if (index < 0 || bottom <= floor) return -1;
      top = this.start(index);
    }
  }
}
