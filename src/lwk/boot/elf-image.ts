/**
 * A small ELF64 shared object: what a dynamic linker needs to find versioned functions by name, and nothing else.
 *
 * Sources: System V gABI chapters 4 and 5 (headers, hash table), the Linux Standard Base 5 chapter 10 (symbol versions, .eh_frame),
 * "GNU Hash ELF Sections" (A. Roberts) for DT_GNU_HASH. All addresses are offsets from the image's first byte.
 */

export interface ImageFunction {
  name: string;
  /** Offset and bytes in `text`. */
  start: number;
  size: number;
  weak: boolean;
}

export interface ImageParts {
  soname: string;
  /** The only symbol version. */
  version: string;
  rodata: Uint8Array;
  /** Leaf code that never moves the stack pointer, placed at `textOffset`. */
  text: Uint8Array;
  textOffset: number;
  functions: readonly ImageFunction[];
}

const EHDR = 64;
const PHDR = 56;
const SHDR = 64;
const SYM = 24;
/** Offset of the read-only data: right behind the program headers, so that code can be assembled before the rest is known. */
export const RODATA_OFFSET = EHDR + 3 * PHDR;

const SHT = { progbits: 1, strtab: 3, hash: 5, dynamic: 6, dynsym: 11, gnuHash: 0x6fff_fff6, verdef: 0x6fff_fffd, versym: 0x6fff_ffff } as const;
const SHF_ALLOC = 2;
const SHF_EXECINSTR = 4;
const DT = { hash: 4, strtab: 5, symtab: 6, strsz: 10, syment: 11, soname: 14, gnuHash: 0x6fff_fef5, versym: 0x6fff_fff0, verdef: 0x6fff_fffc, verdefnum: 0x6fff_fffd } as const;

interface Section {
  name: string;
  type: number;
  flags: number;
  offset: number;
  bytes: Uint8Array;
  link: number;
  info: number;
  align: number;
  entry: number;
}

/** Hash of the classic symbol table and of versions (gABI, figure 5-13). */
export function elfHash(name: string): number {
  let h = 0;
  for (const byte of Buffer.from(name)) {
    h = ((h << 4) >>> 0) + byte;
    const high = h & 0xf000_0000;
    if (high !== 0) h ^= high >>> 24;
    h = (h & ~high) >>> 0;
  }
  return h >>> 0;
}

/** Hash of DT_GNU_HASH (Bernstein's, times 33). */
export function gnuHash(name: string): number {
  let h = 5381;
  for (const byte of Buffer.from(name)) h = (Math.imul(h, 33) + byte) >>> 0;
  return h;
}

/** Build the image. Throws when the parts before the text do not fit below `textOffset`. */
export function sharedObject(parts: ImageParts): Uint8Array {
  const buckets = 3;
  // DT_GNU_HASH wants symbols in order of their bucket.
  const functions = [...parts.functions].sort((x, y) => (gnuHash(x.name) % buckets) - (gnuHash(y.name) % buckets));
  const names = functions.map((f) => f.name);
  const strings = stringTable([...names, parts.soname, parts.version]);

  const sections: Section[] = [];
  let end = RODATA_OFFSET;
  const place = (name: string, type: number, bytes: Uint8Array, more: Partial<Section> = {}): Section => {
    const align = more.align ?? 8;
    const offset = more.offset ?? Math.ceil(end / align) * align;
    if (offset < end) throw new Error(`${name} does not fit: the sections before it end at 0x${end.toString(16)}`);
    const section: Section = { name, type, flags: SHF_ALLOC, offset, bytes, link: 0, info: 0, align, entry: 0, ...more };
    section.offset = offset;
    sections.push(section);
    end = offset + bytes.length;
    return section;
  };
  // Section numbers, fixed by the order of the calls below; 0 is the null section.
  const DYNSYM = 4;
  const DYNSTR = 5;
  const TEXT = 11;

  place(".rodata", SHT.progbits, parts.rodata, { offset: RODATA_OFFSET });
  const hash = place(".hash", SHT.hash, hashTable(names, buckets), { link: DYNSYM, entry: 4 });
  const gnu = place(".gnu.hash", SHT.gnuHash, gnuHashTable(names, buckets), { link: DYNSYM });
  const symbols = symbolTable(functions, strings.offsets, TEXT, parts.textOffset);
  const dynsym = place(".dynsym", SHT.dynsym, symbols, { link: DYNSTR, info: 1, entry: SYM });
  const dynstr = place(".dynstr", SHT.strtab, strings.bytes, { align: 1 });
  const versym = place(".gnu.version", SHT.versym, versionIndexes(names.length), { link: DYNSYM, align: 2, entry: 2 });
  const verdefBytes = versionDefinitions(parts.soname, parts.version, strings.offsets);
  const verdef = place(".gnu.version_d", SHT.verdef, verdefBytes, { link: DYNSTR, info: 2 });
  const dynamicBytes = pairs([
    [DT.soname, strings.at(parts.soname)],
    [DT.hash, hash.offset],
    [DT.gnuHash, gnu.offset],
    [DT.strtab, dynstr.offset],
    [DT.symtab, dynsym.offset],
    [DT.strsz, dynstr.bytes.length],
    [DT.syment, SYM],
    [DT.versym, versym.offset],
    [DT.verdef, verdef.offset],
    [DT.verdefnum, 2],
    [0, 0],
  ]);
  const dynamic = place(".dynamic", SHT.dynamic, dynamicBytes, { link: DYNSTR, entry: 16 });
  const frameHeader = place(".eh_frame_hdr", SHT.progbits, new Uint8Array(20), { align: 4 });
  const frame = place(".eh_frame", SHT.progbits, new Uint8Array(FRAME_BYTES));
  const text = place(".text", SHT.progbits, parts.text, { offset: parts.textOffset, flags: SHF_ALLOC | SHF_EXECINSTR, align: 16 });
  frame.bytes = callFrames(frame.offset, text.offset, text.bytes.length);
  frameHeader.bytes = callFrameHeader(frameHeader.offset, frame.offset, text.offset);

  const sectionNames = stringTable([...sections.map((s) => s.name), ".shstrtab"]);
  place(".shstrtab", SHT.strtab, sectionNames.bytes, { flags: 0, align: 1 });
  const headersAt = Math.ceil(end / 8) * 8;
  const image = new Uint8Array(headersAt + (sections.length + 1) * SHDR);
  for (const section of sections) image.set(section.bytes, section.offset);
  image.set(fileHeader(headersAt, sections.length + 1), 0);
  const rx = 5;
  const r = 4;
  image.set(programHeader(1, rx, 0, image.length, 0x1000), EHDR); // PT_LOAD
  image.set(programHeader(2, r, dynamic.offset, dynamic.bytes.length, 8), EHDR + PHDR); // PT_DYNAMIC
  image.set(programHeader(0x6474_e550, r, frameHeader.offset, frameHeader.bytes.length, 4), EHDR + 2 * PHDR); // PT_GNU_EH_FRAME
  for (const [i, section] of sections.entries()) image.set(sectionHeader(section, sectionNames.at(section.name)), headersAt + (i + 1) * SHDR);
  return image;
}

interface Strings {
  bytes: Uint8Array;
  offsets: ReadonlyMap<string, number>;
  at(text: string): number;
}

function stringTable(texts: readonly string[]): Strings {
  const offsets = new Map<string, number>();
  let all = "\0";
  for (const text of texts) {
    if (offsets.has(text)) continue;
    offsets.set(text, all.length);
    all += `${text}\0`;
  }
  return { bytes: Buffer.from(all, "latin1"), offsets, at: (text) => offset(offsets, text) };
}

function offset(offsets: ReadonlyMap<string, number>, text: string): number {
  const at = offsets.get(text);
  if (at === undefined) throw new Error(`no string ${text} in the table`);
  return at;
}

function words(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function pairs(values: readonly (readonly [number, number])[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values.flat(), BigInt).buffer);
}

/** DT_HASH: nbucket, nchain, buckets, chains; symbol i + 1 is names[i]. */
function hashTable(names: readonly string[], buckets: number): Uint8Array {
  const heads = new Array<number>(buckets).fill(0);
  const chain = new Array<number>(names.length + 1).fill(0);
  for (const [i, name] of names.entries()) {
    const bucket = elfHash(name) % buckets;
    chain[i + 1] = heads[bucket];
    heads[bucket] = i + 1;
  }
  return words([buckets, names.length + 1, ...heads, ...chain]);
}

/** DT_GNU_HASH with a Bloom filter of one 64-bit word; symbol i + 1 is names[i], which are in order of their bucket. */
function gnuHashTable(names: readonly string[], buckets: number): Uint8Array {
  const bloomShift = 6;
  let bloom = 0n;
  const heads = new Array<number>(buckets).fill(0);
  const values: number[] = [];
  for (const [i, name] of names.entries()) {
    const h = gnuHash(name);
    bloom |= (1n << BigInt(h & 63)) | (1n << BigInt((h >>> bloomShift) & 63));
    const bucket = h % buckets;
    if (heads[bucket] === 0) heads[bucket] = i + 1;
    const last = i + 1 === names.length || gnuHash(names[i + 1]) % buckets !== bucket;
    values.push(((h & ~1) | (last ? 1 : 0)) >>> 0);
  }
  return words([buckets, 1, 1, bloomShift, Number(bloom & 0xffff_ffffn), Number(bloom >> 32n), ...heads, ...values]);
}

function symbolTable(functions: readonly ImageFunction[], names: ReadonlyMap<string, number>, textSection: number, textOffset: number): Uint8Array {
  const bytes = new Uint8Array((functions.length + 1) * SYM);
  const view = new DataView(bytes.buffer);
  for (const [i, f] of functions.entries()) {
    const at = (i + 1) * SYM;
    view.setUint32(at, offset(names, f.name), true);
    view.setUint8(at + 4, ((f.weak ? 2 : 1) << 4) | 2); // STB_WEAK or STB_GLOBAL, STT_FUNC
    view.setUint16(at + 6, textSection, true);
    view.setBigUint64(at + 8, BigInt(textOffset + f.start), true);
    view.setBigUint64(at + 16, BigInt(f.size), true);
  }
  return bytes;
}

/** Null symbol: local; all others: version 2. */
function versionIndexes(symbols: number): Uint8Array {
  return new Uint8Array(Uint16Array.from([0, ...new Array<number>(symbols).fill(2)]).buffer);
}

/** Version 1 is the file itself (VER_FLG_BASE), 2 the one that symbols carry. Each Verdef (20 bytes) has one Verdaux (8). */
function versionDefinitions(soname: string, version: string, names: ReadonlyMap<string, number>): Uint8Array {
  const bytes = new Uint8Array(56);
  const view = new DataView(bytes.buffer);
  for (const [i, name] of [soname, version].entries()) {
    const at = i * 28;
    view.setUint16(at, 1, true); // vd_version
    view.setUint16(at + 2, i === 0 ? 1 : 0, true); // vd_flags
    view.setUint16(at + 4, i + 1, true); // vd_ndx
    view.setUint16(at + 6, 1, true); // vd_cnt
    view.setUint32(at + 8, elfHash(name), true);
    view.setUint32(at + 12, 20, true); // vd_aux
    view.setUint32(at + 16, i === 0 ? 28 : 0, true); // vd_next
    view.setUint32(at + 20, offset(names, name), true);
  }
  return bytes;
}

const CIE_BYTES = 24;
const FDE_BYTES = 24;
const FRAME_BYTES = CIE_BYTES + FDE_BYTES + 4;

/** .eh_frame: one CIE, one FDE over the whole text (CFA = rsp + 8, return address at CFA - 8), terminator. */
function callFrames(at: number, text: number, textSize: number): Uint8Array {
  const bytes = new Uint8Array(FRAME_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, CIE_BYTES - 4, true);
  // id 0, version 1, "zR", code alignment 1, data alignment -8, return column 16, one augmentation byte: pc-relative sdata4;
  // DW_CFA_def_cfa rsp(7)+8, DW_CFA_offset column 16 at CFA - 8, nops.
  bytes.set([0, 0, 0, 0, 1, 0x7a, 0x52, 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0], 4);
  view.setUint32(CIE_BYTES, FDE_BYTES - 4, true);
  view.setUint32(CIE_BYTES + 4, CIE_BYTES + 4, true); // back to the CIE
  view.setInt32(CIE_BYTES + 8, text - (at + CIE_BYTES + 8), true);
  view.setUint32(CIE_BYTES + 12, textSize, true);
  return bytes; // no augmentation data, nops, zero terminator
}

/** .eh_frame_hdr: version 1, encodings, pointer to .eh_frame, a sorted table of one FDE (both relative to the header). */
function callFrameHeader(at: number, frame: number, text: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  bytes.set([1, 0x1b, 0x03, 0x3b]);
  view.setInt32(4, frame - (at + 4), true);
  view.setUint32(8, 1, true);
  view.setInt32(12, text - at, true);
  view.setInt32(16, frame + CIE_BYTES - at, true);
  return bytes;
}

function fileHeader(sectionHeadersAt: number, sectionCount: number): Uint8Array {
  const bytes = new Uint8Array(EHDR);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]); // ELF64, little-endian, current, System V
  view.setUint16(16, 3, true); // ET_DYN
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(EHDR), true);
  view.setBigUint64(40, BigInt(sectionHeadersAt), true);
  view.setUint16(52, EHDR, true);
  view.setUint16(54, PHDR, true);
  view.setUint16(56, 3, true);
  view.setUint16(58, SHDR, true);
  view.setUint16(60, sectionCount, true);
  view.setUint16(62, sectionCount - 1, true); // .shstrtab is the last
  return bytes;
}

function programHeader(type: number, flags: number, at: number, size: number, align: number): Uint8Array {
  const bytes = new Uint8Array(PHDR);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, flags, true);
  for (const [field, value] of [at, at, at, size, size, align].entries()) view.setBigUint64(8 + field * 8, BigInt(value), true);
  return bytes;
}

function sectionHeader(s: Section, name: number): Uint8Array {
  const bytes = new Uint8Array(SHDR);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name, true);
  view.setUint32(4, s.type, true);
  view.setBigUint64(8, BigInt(s.flags), true);
  view.setBigUint64(16, BigInt(s.flags & SHF_ALLOC ? s.offset : 0), true);
  view.setBigUint64(24, BigInt(s.offset), true);
  view.setBigUint64(32, BigInt(s.bytes.length), true);
  view.setUint32(40, s.link, true);
  view.setUint32(44, s.info, true);
  view.setBigUint64(48, BigInt(s.align), true);
  view.setBigUint64(56, BigInt(s.entry), true);
  return bytes;
}
