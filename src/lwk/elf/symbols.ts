/**
 * Names for addresses in fault reports, from .symtab or, in stripped files, .dynsym. The file may be anything: what it says is
 * checked, the work is bounded, and the worst answer is null.
 */
import {
  EHDR_PHENTSIZE_OFF,
  EHDR_PHNUM_OFF,
  EHDR_PHOFF_OFF,
  EHDR_SHENTSIZE_OFF,
  EHDR_SHNUM_OFF,
  EHDR_SHOFF_OFF,
  EHDR_SIZE,
  EI_CLASS,
  EI_DATA,
  ELFCLASS64,
  ELFDATA2LSB,
  PHDR_FILESZ_OFF,
  PHDR_OFFSET_OFF,
  PHDR_SIZE,
  PHDR_TABLE_MAX,
  PHDR_TYPE_OFF,
  PHDR_VADDR_OFF,
  PT_LOAD,
  SHDR_ADDR_OFF,
  SHDR_LINK_OFF,
  SHDR_OFFSET_OFF,
  SHDR_SIZE,
  SHDR_SIZE_OFF,
  SHDR_TYPE_OFF,
  SHN_LORESERVE,
  SHN_UNDEF,
  SHT_DYNSYM,
  SHT_STRTAB,
  SHT_SYMTAB,
  STB_LOCAL,
  STB_WEAK,
  STT_FUNC,
  STT_GNU_IFUNC,
  STT_NOTYPE,
  STT_OBJECT,
  SYM_INFO_OFF,
  SYM_NAME_OFF,
  SYM_SHNDX_OFF,
  SYM_SIZE,
  SYM_SIZE_OFF,
  SYM_VALUE_OFF,
} from "../../abi/elf.ts";
import { MargayError } from "../../host/error.ts";
import { isElf } from "./image.ts";
import { readU64, viewOf } from "./numbers.ts";

/** What is needed of a file: a LoadFile has it. */
export interface ByteReader {
  readonly size: number;
  read(offset: number, length: number): Uint8Array;
}

export interface NearestSymbol {
  /** As in the file, not demangled; control characters replaced by "?". */
  readonly name: string;
  /** Bytes from the symbol to the address. */
  readonly offset: number;
}

/** An address: as the file's headers say it (runtime address minus load bias), or as the offset of its byte in the file. */
export type SymbolPlace = { readonly vaddr: number } | { readonly fileOffset: number };

/** Bounds on the work for one look-up; Chromium's symbol table has about a million entries. */
const MAX_SECTIONS = 65536;
const MAX_SYMBOLS = 2 ** 21;
const MAX_NAME = 512;
const SYMBOLS_PER_READ = 32768;

/**
 * The symbol that `place` lies in: one whose size covers it, or else the nearest one below in the same section that has no size
 * (labels of hand-written assembly). null when there is none, or the file is no ELF64 file, has no sections or is damaged.
 */
export function nearestSymbol(file: ByteReader, place: SymbolPlace): NearestSymbol | null {
  try {
    return search(file, place);
  } catch (error) {
    // A report about a fault must not fail because a file cannot be read.
    if (error instanceof MargayError) return null;
    throw error;
  }
}

interface Section {
  readonly type: number;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

/** A symbol that may be the answer. */
interface Candidate {
  readonly value: number;
  readonly rank: number;
  readonly nameOffset: number;
}

function search(file: ByteReader, place: SymbolPlace): NearestSymbol | null {
  const head = bytesAt(file, 0, EHDR_SIZE);
  if (head === null || !isElf(head) || head[EI_CLASS] !== ELFCLASS64 || head[EI_DATA] !== ELFDATA2LSB) return null;
  const ehdr = viewOf(head);
  const vaddr = "vaddr" in place ? place.vaddr : vaddrOf(file, ehdr, place.fileOffset);
  if (vaddr === null) return null;
  const sections = readSections(file, ehdr);
  // A file has at most one table of each kind (gABI); a hostile one with thousands must not buy a search of each.
  for (const type of [SHT_SYMTAB, SHT_DYNSYM]) {
    const table = sections.find((section) => section.type === type);
    const found = table === undefined ? null : searchTable(file, sections, table, vaddr);
    if (found !== null) return found;
  }
  return null;
}

/** The address of a file byte, by the segment that maps it. */
function vaddrOf(file: ByteReader, ehdr: DataView, fileOffset: number): number | null {
  const count = ehdr.getUint16(EHDR_PHNUM_OFF, true);
  if (ehdr.getUint16(EHDR_PHENTSIZE_OFF, true) !== PHDR_SIZE || count * PHDR_SIZE > PHDR_TABLE_MAX) return null;
  const bytes = bytesAt(file, readU64(ehdr, EHDR_PHOFF_OFF), count * PHDR_SIZE);
  if (bytes === null) return null;
  const table = viewOf(bytes);
  for (let at = 0; at < bytes.length; at += PHDR_SIZE) {
    if (table.getUint32(at + PHDR_TYPE_OFF, true) !== PT_LOAD) continue;
    const offset = readU64(table, at + PHDR_OFFSET_OFF);
    if (fileOffset >= offset && fileOffset < offset + readU64(table, at + PHDR_FILESZ_OFF))
      return readU64(table, at + PHDR_VADDR_OFF) + (fileOffset - offset);
  }
  return null;
}

function readSections(file: ByteReader, ehdr: DataView): readonly Section[] {
  if (ehdr.getUint16(EHDR_SHENTSIZE_OFF, true) !== SHDR_SIZE) return [];
  const start = readU64(ehdr, EHDR_SHOFF_OFF);
  if (start === 0) return [];
  let count = ehdr.getUint16(EHDR_SHNUM_OFF, true);
  if (count === 0) {
    // 65,280 sections or more: the count is in the size field of section 0 (gABI).
    const first = bytesAt(file, start, SHDR_SIZE);
    if (first === null) return [];
    count = readU64(viewOf(first), SHDR_SIZE_OFF);
  }
  const bytes = bytesAt(file, start, Math.min(count, MAX_SECTIONS) * SHDR_SIZE);
  if (bytes === null) return [];
  const table = viewOf(bytes);
  const sections: Section[] = [];
  for (let at = 0; at < bytes.length; at += SHDR_SIZE) {
    sections.push({
      type: table.getUint32(at + SHDR_TYPE_OFF, true),
      address: readU64(table, at + SHDR_ADDR_OFF),
      offset: readU64(table, at + SHDR_OFFSET_OFF),
      size: readU64(table, at + SHDR_SIZE_OFF),
      link: table.getUint32(at + SHDR_LINK_OFF, true),
    });
  }
  return sections;
}

function searchTable(file: ByteReader, sections: readonly Section[], table: Section, vaddr: number): NearestSymbol | null {
  const names = sections[table.link];
  if (names === undefined || names.type !== SHT_STRTAB) return null;
  const count = Math.min(Math.floor(table.size / SYM_SIZE), MAX_SYMBOLS);
  let best: Candidate | null = null;
  for (let first = 0; first < count; first += SYMBOLS_PER_READ) {
    const bytes = bytesAt(file, table.offset + first * SYM_SIZE, Math.min(SYMBOLS_PER_READ, count - first) * SYM_SIZE);
    if (bytes === null) break;
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += SYM_SIZE) {
      const candidate = consider(view, at, sections, vaddr);
      if (candidate !== null && (best === null || isBetter(candidate, best))) best = candidate;
    }
  }
  if (best === null) return null;
  const name = nameAt(file, names, best.nameOffset);
  return name === null ? null : { name, offset: vaddr - best.value };
}

/** The symbol at `at` as an answer for `vaddr`, null when it is none. */
function consider(view: DataView, at: number, sections: readonly Section[], vaddr: number): Candidate | null {
  const value = readU64(view, at + SYM_VALUE_OFF);
  if (value > vaddr) return null;
  const info = view.getUint8(at + SYM_INFO_OFF);
  const kind = info & 15;
  if (kind !== STT_FUNC && kind !== STT_GNU_IFUNC && kind !== STT_NOTYPE && kind !== STT_OBJECT) return null;
  const shndx = view.getUint16(at + SYM_SHNDX_OFF, true);
  const nameOffset = view.getUint32(at + SYM_NAME_OFF, true);
  if (shndx === SHN_UNDEF || shndx >= SHN_LORESERVE || nameOffset === 0) return null;
  const size = readU64(view, at + SYM_SIZE_OFF);
  const covers = vaddr < value + size;
  if (!covers && (size !== 0 || kind === STT_OBJECT || !inSection(sections[shndx], vaddr))) return null;
  const binding = info >> 4;
  const rank = (covers ? 8 : 0) + (kind === STT_NOTYPE ? 0 : 4) + (binding === STB_LOCAL ? 0 : binding === STB_WEAK ? 1 : 2);
  return { value, rank, nameOffset };
}

/** Symbols that cover the address first, then the nearest, then functions before labels and global before weak before local names. */
function isBetter(a: Candidate, b: Candidate): boolean {
  if (a.rank >= 8 !== b.rank >= 8) return a.rank >= 8;
  return a.value !== b.value ? a.value > b.value : a.rank > b.rank;
}

function inSection(section: Section | undefined, vaddr: number): boolean {
  return section !== undefined && vaddr >= section.address && vaddr < section.address + section.size;
}

/** The NUL-terminated name, cut after MAX_NAME bytes. */
function nameAt(file: ByteReader, names: Section, offset: number): string | null {
  if (offset >= names.size) return null;
  const length = Math.min(MAX_NAME, names.size - offset, file.size - names.offset - offset);
  const bytes = bytesAt(file, names.offset + offset, length);
  if (bytes === null) return null;
  const end = bytes.indexOf(0);
  const name = Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("utf8");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  return name === "" ? null : name.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}

/** Exactly `length` bytes at `offset`, null where the file does not have them. */
function bytesAt(file: ByteReader, offset: number, length: number): Uint8Array | null {
  if (!(offset >= 0 && length >= 0 && offset + length <= file.size)) return null;
  const bytes = file.read(offset, length);
  return bytes.length < length ? null : bytes;
}
