/**
 * Test doubles of the loader: an address space and a file system in plain memory. The address space checks every
 * request against the rules a real one would enforce and throws an ordinary Error on a violation, which no
 * test takes for a MargayError.
 */
import { EEXIST, ENOMEM } from "../../abi/errno.ts";
import { MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, PAGE_SIZE, PROT_NONE } from "../../abi/mman.ts";
import { MargayError } from "../../host/error.ts";
import { MMAP_MIN_ADDR, USER_END } from "./layout.ts";
import { pageUp } from "./numbers.ts";
import type { LoadFile, LoadHost, LoadTarget } from "./target.ts";

/** One mapping; `end` exclusive. */
export interface Area {
  readonly start: number;
  readonly end: number;
  readonly prot: number;
  readonly fd: number;
  readonly offset: number;
  readonly path: string | null;
}

export interface MemoryModelOptions {
  readonly mmapBase: number;
  /** Files by descriptor. */
  readonly files: ReadonlyMap<number, Uint8Array>;
  /** Bytes with rights that may be mapped at once; more is -ENOMEM. Default 64 GiB: it is a model, nothing is allocated. */
  readonly limit?: number;
}

/** An address space as lists: areas in ascending order, and the pages that were written. */
export class MemoryModel implements LoadTarget {
  areas: Area[] = [];
  /** Calls so far, for tests that bound the work. */
  calls = 0;
  private readonly pages = new Map<number, Uint8Array>();
  private readonly options: MemoryModelOptions;

  constructor(options: MemoryModelOptions) {
    this.options = options;
  }

  mmap(addr: number, length: number, prot: number, flags: number, fd: number, offset: number, path: string | null): number {
    this.calls++;
    const fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0;
    if (!fixed && addr !== 0) throw new Error("the loader gives no hints");
    const size = pageUp(length);
    const start = fixed ? addr : this.freeBelow(this.options.mmapBase, size);
    if (start === null) return -ENOMEM;
    this.checkRange(start, size);
    if ((prot & ~7) !== 0) throw new Error(`prot ${prot}`);
    if ((flags & MAP_ANONYMOUS) !== 0 ? fd !== -1 : fd < 0) throw new Error(`descriptor ${fd} with flags ${flags}`);
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % PAGE_SIZE !== 0) throw new Error(`offset ${offset}`);
    if ((flags & MAP_FIXED_NOREPLACE) !== 0 && this.areas.some((a) => a.start < start + size && start < a.end)) return -EEXIST;
    if (prot !== PROT_NONE && this.committed() + size > (this.options.limit ?? 2 ** 36)) return -ENOMEM;
    this.remove(start, start + size);
    this.areas.push({ start, end: start + size, prot, fd, offset, path });
    this.areas.sort((a, b) => a.start - b.start);
    return start;
  }

  munmap(addr: number, length: number): number {
    this.calls++;
    this.checkRange(addr, pageUp(length));
    this.remove(addr, addr + pageUp(length));
    return 0;
  }

  mprotect(addr: number, length: number, prot: number): number {
    this.calls++;
    this.checkRange(addr, pageUp(length));
    const end = addr + pageUp(length);
    const inside = this.split(addr, end);
    for (const a of inside) this.areas[this.areas.indexOf(a)] = { ...a, prot };
    return 0;
  }

  poke(addr: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = addr + done;
      const page = at - (at % PAGE_SIZE);
      const part = bytes.subarray(done, done + PAGE_SIZE - (at - page));
      const content = this.pages.get(page) ?? this.page(page);
      content.set(part, at - page);
      this.pages.set(page, content);
      done += part.length;
    }
  }

  /** Guest memory as the program would see it; throws where nothing is mapped. */
  peek(addr: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = addr + done;
      const page = at - (at % PAGE_SIZE);
      const part = (this.pages.get(page) ?? this.page(page)).subarray(at - page, at - page + (length - done));
      out.set(part, done);
      done += part.length;
    }
    return out;
  }

  areaAt(addr: number): Area | undefined {
    return this.areas.find((a) => a.start <= addr && addr < a.end);
  }

  /** Bytes mapped with any rights. */
  committed(): number {
    return this.areas.reduce((sum, a) => sum + (a.prot === PROT_NONE ? 0 : a.end - a.start), 0);
  }

  /** What the mapping behind a page holds before anything is written to it. */
  private page(page: number): Uint8Array {
    const area = this.areaAt(page);
    if (area === undefined) throw new Error(`nothing is mapped at 0x${page.toString(16)}`);
    const bytes = new Uint8Array(PAGE_SIZE);
    if (area.fd < 0) return bytes;
    const from = area.offset + (page - area.start);
    const content = this.options.files.get(area.fd)?.subarray(from, from + PAGE_SIZE) ?? new Uint8Array(0);
    if (content.length === 0) throw new Error(`page 0x${page.toString(16)} lies behind the end of its file: SIGBUS`);
    bytes.set(content);
    return bytes;
  }

  private checkRange(start: number, size: number): void {
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(size)) throw new Error(`inexact range ${start} ${size}`);
    if (start % PAGE_SIZE !== 0 || size === 0) throw new Error(`range 0x${start.toString(16)} with ${size} bytes`);
    if (start < MMAP_MIN_ADDR || start + size > USER_END)
      throw new Error(`range 0x${start.toString(16)} with ${size} bytes is outside user space`);
  }

  private remove(start: number, end: number): void {
    const inside = new Set(this.split(start, end));
    this.areas = this.areas.filter((a) => !inside.has(a));
    for (const page of this.pages.keys()) if (page >= start && page < end) this.pages.delete(page);
  }

  /** Cuts areas at both bounds and returns those between them. */
  private split(start: number, end: number): Area[] {
    this.areas = this.areas.flatMap((a) => {
      const cuts = [a.start, ...[start, end].filter((c) => c > a.start && c < a.end), a.end];
      return cuts.slice(1).map((to, i) => ({ ...a, start: cuts[i]!, end: to, offset: a.fd < 0 ? 0 : a.offset + (cuts[i]! - a.start) }));
    });
    return this.areas.filter((a) => a.start >= start && a.end <= end);
  }

  private freeBelow(top: number, size: number): number | null {
    let end = top;
    for (const a of this.areas.toReversed()) {
      if (a.end <= end - size) break;
      if (a.start < end) end = a.start;
    }
    return end - size < MMAP_MIN_ADDR ? null : end - size;
  }
}

/** Files by path. Counts what is open, so that tests see leaks. */
export class FakeFiles implements LoadHost {
  readonly byDescriptor = new Map<number, Uint8Array>();
  private readonly contents: ReadonlyMap<string, Uint8Array>;
  private readonly opened = new Set<number>();
  private next = 1000;

  constructor(contents: Readonly<Record<string, Uint8Array | string>>) {
    this.contents = new Map(Object.entries(contents).map(([path, c]) => [path, typeof c === "string" ? Buffer.from(c, "latin1") : c]));
  }

  get openCount(): number {
    return this.opened.size;
  }

  open(path: string): LoadFile {
    const bytes = this.contents.get(path);
    if (bytes === undefined) throw new MargayError("E_NOT_FOUND", "no such program", { where: path });
    const fd = this.next++;
    this.opened.add(fd);
    this.byDescriptor.set(fd, bytes);
    return {
      path,
      fd,
      size: bytes.length,
      read: (offset, length) => {
        if (!this.opened.has(fd)) throw new Error("read after close");
        if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0)
          throw new Error(`read ${offset} ${length}`);
        return bytes.subarray(offset, offset + length);
      },
      close: () => {
        if (!this.opened.delete(fd)) throw new Error("closed twice");
      },
    };
  }
}
