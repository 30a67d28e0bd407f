/**
 * What the headers of an ELF program say, checked. Nothing here touches guest memory: an `ElfImage` is a plan that
 * segments.ts can carry out without further doubts about the file.
 *
 * Checks follow Linux's fs/binfmt_elf.c; docs/loader.md lists where this is stricter (truncated files, overlapping segments,
 * interpreters with an interpreter) and why.
 */
import {
  EHDR_ENTRY_OFF,
  EHDR_MACHINE_OFF,
  EHDR_PHENTSIZE_OFF,
  EHDR_PHNUM_OFF,
  EHDR_PHOFF_OFF,
  EHDR_SIZE,
  EHDR_TYPE_OFF,
  EHDR_VERSION_OFF,
  EI_CLASS,
  EI_DATA,
  EI_VERSION,
  ELF_MAGIC,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ELFDATA2MSB,
  EM_X86_64,
  ET_CORE,
  ET_DYN,
  ET_EXEC,
  ET_REL,
  EV_CURRENT,
  MACHINE_NAMES,
  PATH_MAX,
  PF_R,
  PF_W,
  PF_X,
  PHDR_ALIGN_OFF,
  PHDR_FILESZ_OFF,
  PHDR_FLAGS_OFF,
  PHDR_MEMSZ_OFF,
  PHDR_OFFSET_OFF,
  PHDR_SIZE,
  PHDR_TABLE_MAX,
  PHDR_TYPE_OFF,
  PHDR_VADDR_OFF,
  PN_XNUM,
  PT_GNU_STACK,
  PT_INTERP,
  PT_LOAD,
} from "../../abi/elf.ts";
import { PAGE_SIZE, PROT_EXEC, PROT_READ, PROT_WRITE } from "../../abi/mman.ts";
import { type ErrorCode, MargayError } from "../../host/error.ts";
import { MMAP_MIN_ADDR, USER_END } from "./layout.ts";
import { hex, pageDown, pageOffset, pageUp, readU64, shown, viewOf } from "./numbers.ts";
import type { LoadFile } from "./target.ts";

/** One PT_LOAD with memsz > 0. Addresses are as in the file, without the load bias; all in bytes. */
export interface Segment {
  readonly vaddr: number;
  readonly memsz: number;
  readonly offset: number;
  readonly filesz: number;
  /** PROT_* bits. */
  readonly prot: number;
}

export interface ElfImage {
  /** true for ET_DYN: the image may stand anywhere. */
  readonly relocatable: boolean;
  /** Entry point without bias. */
  readonly entry: number;
  readonly phnum: number;
  /** Address of the program headers without bias; null when no segment holds them. */
  readonly phdrVaddr: number | null;
  /** Ascending, not overlapping, at least one. Two neighbours may share a page. */
  readonly segments: readonly Segment[];
  /** Page-aligned bounds of all segments, without bias. */
  readonly low: number;
  readonly high: number;
  /** The greatest alignment a segment asks for: a power of two, at least a page. */
  readonly alignment: number;
  /** PT_INTERP as a byte string. */
  readonly interpreter: string | null;
  /** PT_GNU_STACK has PF_X. Without PT_GNU_STACK an x86-64 stack is not executable. */
  readonly execStack: boolean;
}

/** A program header, as far as the loader looks at it. */
interface ProgramHeader {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: number;
  readonly filesz: number;
  readonly memsz: number;
  readonly align: number;
}

/** Whether the first bytes of a file are ELF's. */
export function isElf(head: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, i) => head[i] === byte);
}

/**
 * Reads and checks the headers of `file`. `head` holds the first bytes of the file, as many as the caller has read already.
 * Throws MargayError E_NOT_ELF, E_WRONG_ARCH or E_BAD_ELF.
 */
export function readImage(file: LoadFile, head: Uint8Array): ElfImage {
  if (!isElf(head)) throw fail(file, "E_NOT_ELF", "not an ELF file");
  if (head.length < EHDR_SIZE)
    throw fail(file, "E_BAD_ELF", `truncated: the ELF header needs ${EHDR_SIZE} bytes and the file has ${file.size}`);
  const view = viewOf(head);
  checkMachine(file, head, view);

  const headers = readProgramHeaders(file, head, view);
  const relocatable = view.getUint16(EHDR_TYPE_OFF, true) === ET_DYN;
  const segments = checkSegments(file, headers, relocatable);
  const entry = readU64(view, EHDR_ENTRY_OFF);
  if (entry >= USER_END) throw fail(file, "E_BAD_ELF", `entry point ${hex(entry)} is outside the address space`);

  const phoff = readU64(view, EHDR_PHOFF_OFF);
  const holder = segments.find((s) => s.offset <= phoff && phoff < s.offset + s.filesz);
  const first = segments[0] as Segment;
  const last = segments[segments.length - 1] as Segment;
  const stack = headers.findLast((h) => h.type === PT_GNU_STACK);
  return {
    relocatable,
    entry,
    phnum: headers.length,
    phdrVaddr: holder === undefined ? null : holder.vaddr + (phoff - holder.offset),
    segments,
    low: pageDown(first.vaddr),
    high: pageUp(last.vaddr + last.memsz),
    alignment: greatestAlignment(headers),
    interpreter: readInterpreter(file, head, headers),
    execStack: stack !== undefined && (stack.flags & PF_X) !== 0,
  };
}

/** Class, byte order, machine, version and type: is this a linked program for this processor at all? */
function checkMachine(file: LoadFile, head: Uint8Array, view: DataView): void {
  const bits = head[EI_CLASS];
  const order = head[EI_DATA];
  if (order === ELFDATA2MSB) throw fail(file, "E_WRONG_ARCH", "a big-endian program");
  if (order !== ELFDATA2LSB) throw fail(file, "E_BAD_ELF", `unknown byte order ${order}`);
  const machine = view.getUint16(EHDR_MACHINE_OFF, true);
  const name = MACHINE_NAMES[machine] ?? `machine number ${machine}`;
  if (bits === ELFCLASS32) throw fail(file, "E_WRONG_ARCH", machine === EM_X86_64 ? "an x32 program" : `a 32-bit program for ${name}`);
  if (bits !== ELFCLASS64) throw fail(file, "E_BAD_ELF", `unknown ELF class ${bits}`);
  if (machine !== EM_X86_64) throw fail(file, "E_WRONG_ARCH", `a program for ${name}`);
  const version = view.getUint32(EHDR_VERSION_OFF, true);
  if (head[EI_VERSION] !== EV_CURRENT || version !== EV_CURRENT) throw fail(file, "E_BAD_ELF", `unknown ELF version ${version}`);
  const type = view.getUint16(EHDR_TYPE_OFF, true);
  if (type === ET_REL) throw fail(file, "E_BAD_ELF", "an object file", "link it into a program first");
  if (type === ET_CORE) throw fail(file, "E_BAD_ELF", "a core dump, not a program");
  if (type !== ET_EXEC && type !== ET_DYN) throw fail(file, "E_BAD_ELF", `unknown ELF type ${type}`);
}

function readProgramHeaders(file: LoadFile, head: Uint8Array, ehdr: DataView): readonly ProgramHeader[] {
  const entrySize = ehdr.getUint16(EHDR_PHENTSIZE_OFF, true);
  const count = ehdr.getUint16(EHDR_PHNUM_OFF, true);
  if (count === 0) throw fail(file, "E_BAD_ELF", "no program headers", "only linked programs can run");
  if (entrySize !== PHDR_SIZE) throw fail(file, "E_BAD_ELF", `program headers of ${entrySize} bytes, not ${PHDR_SIZE}`);
  const bytes = count * PHDR_SIZE;
  // Linux refuses PN_XNUM by the same rule: 65,535 headers are more than 64 KiB.
  if (bytes > PHDR_TABLE_MAX) {
    throw fail(
      file,
      "E_BAD_ELF",
      `${count === PN_XNUM ? "65535 or more" : count} program headers; Linux allows ${Math.floor(PHDR_TABLE_MAX / PHDR_SIZE)}`,
    );
  }
  const table = viewOf(readExactly(file, head, readU64(ehdr, EHDR_PHOFF_OFF), bytes, "the program headers"));
  const headers: ProgramHeader[] = [];
  for (let at = 0; at < bytes; at += PHDR_SIZE) {
    headers.push({
      type: table.getUint32(at + PHDR_TYPE_OFF, true),
      flags: table.getUint32(at + PHDR_FLAGS_OFF, true),
      offset: readU64(table, at + PHDR_OFFSET_OFF),
      vaddr: readU64(table, at + PHDR_VADDR_OFF),
      filesz: readU64(table, at + PHDR_FILESZ_OFF),
      memsz: readU64(table, at + PHDR_MEMSZ_OFF),
      align: readU64(table, at + PHDR_ALIGN_OFF),
    });
  }
  return headers;
}

/**
 * The loadable segments in ascending order. Each lies in the file and in user space, and no two claim the same byte. The
 * gABI demands ascending order in the file too; Linux does not (since 5.18), so neither does this.
 */
function checkSegments(file: LoadFile, headers: readonly ProgramHeader[], relocatable: boolean): readonly Segment[] {
  const segments: Segment[] = [];
  for (const h of headers) {
    if (h.type !== PT_LOAD) continue;
    const where = `segment at ${hex(h.vaddr)}`;
    if (h.filesz > h.memsz) throw fail(file, "E_BAD_ELF", `${where} has ${hex(h.filesz)} bytes in the file but ${hex(h.memsz)} in memory`);
    if (h.memsz === 0) continue;
    if (h.vaddr > USER_END || h.memsz > USER_END || h.vaddr + h.memsz > USER_END) {
      throw fail(
        file,
        "E_BAD_ELF",
        `${where} with ${hex(h.memsz)} bytes does not fit into the address space, which ends at ${hex(USER_END)}`,
      );
    }
    if (!relocatable && h.vaddr < MMAP_MIN_ADDR)
      throw fail(file, "E_BAD_ELF", `${where} is below ${hex(MMAP_MIN_ADDR)}, where nothing may be mapped`);
    if (h.filesz > 0) {
      if (h.offset > file.size || h.filesz > file.size - h.offset) {
        throw fail(
          file,
          "E_BAD_ELF",
          `truncated: ${where} needs ${hex(h.filesz)} bytes at offset ${hex(h.offset)} and the file has ${hex(file.size)}`,
        );
      }
      if (pageOffset(h.vaddr) !== pageOffset(h.offset)) {
        throw fail(file, "E_BAD_ELF", `${where} and its file offset ${hex(h.offset)} differ within a page, so it cannot be mapped`);
      }
    }
    segments.push({ vaddr: h.vaddr, memsz: h.memsz, offset: h.filesz > 0 ? h.offset : 0, filesz: h.filesz, prot: protectionOf(h.flags) });
  }
  if (segments.length === 0) throw fail(file, "E_BAD_ELF", "no loadable segments");
  segments.sort((a, b) => a.vaddr - b.vaddr);
  for (let i = 1; i < segments.length; i++) {
    const below = segments[i - 1] as Segment;
    const above = segments[i] as Segment;
    if (below.vaddr + below.memsz > above.vaddr)
      throw fail(file, "E_BAD_ELF", `segments at ${hex(below.vaddr)} and ${hex(above.vaddr)} overlap`);
  }
  return segments;
}

/** As Linux's maximum_alignment: values that are no power of two are passed over. */
function greatestAlignment(headers: readonly ProgramHeader[]): number {
  let greatest = PAGE_SIZE;
  for (const h of headers) {
    if (h.type === PT_LOAD && h.align > greatest && Number.isFinite(h.align) && Number.isInteger(Math.log2(h.align))) greatest = h.align;
  }
  return greatest;
}

/** The first PT_INTERP counts (fs/binfmt_elf.c). Its bytes must end with NUL; the path ends at the first one. */
function readInterpreter(file: LoadFile, head: Uint8Array, headers: readonly ProgramHeader[]): string | null {
  const h = headers.find((header) => header.type === PT_INTERP);
  if (h === undefined) return null;
  if (h.filesz < 2 || h.filesz > PATH_MAX)
    throw fail(file, "E_BAD_ELF", `the interpreter's path has ${hex(h.filesz)} bytes; 2 to ${PATH_MAX} are possible`);
  const bytes = readExactly(file, head, h.offset, h.filesz, "the interpreter's path");
  if (bytes[bytes.length - 1] !== 0) throw fail(file, "E_BAD_ELF", "the interpreter's path does not end with NUL");
  const path = Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString("latin1");
  if (path === "") throw fail(file, "E_BAD_ELF", "the interpreter's path is empty");
  return path;
}

function protectionOf(flags: number): number {
  return ((flags & PF_R) !== 0 ? PROT_READ : 0) | ((flags & PF_W) !== 0 ? PROT_WRITE : 0) | ((flags & PF_X) !== 0 ? PROT_EXEC : 0);
}

/** `length` bytes at `offset`, from `head` where it holds them. */
function readExactly(file: LoadFile, head: Uint8Array, offset: number, length: number, what: string): Uint8Array {
  if (offset <= head.length && length <= head.length - offset) return head.subarray(offset, offset + length);
  const bytes = offset > file.size || length > file.size - offset ? null : file.read(offset, length);
  if (bytes === null || bytes.length < length) {
    throw fail(file, "E_BAD_ELF", `truncated: ${what} should be at offset ${hex(offset)} and the file has ${hex(file.size)} bytes`);
  }
  return bytes;
}

function fail(file: LoadFile, code: ErrorCode, what: string, hint?: string): MargayError {
  return new MargayError(code, what, { where: shown(file.path), hint });
}
