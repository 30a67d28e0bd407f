/** Builds small ELF files for tests, good and bad ones. */
import * as E from "../../abi/elf.ts";
import { writeU64 } from "./numbers.ts";

export interface HeaderSpec {
  readonly type?: number;
  readonly flags?: number;
  readonly offset?: number;
  readonly vaddr?: number;
  readonly filesz?: number;
  readonly memsz?: number;
  readonly align?: number;
}

export interface ElfSpec {
  readonly type?: number;
  readonly machine?: number;
  readonly entry?: number;
  readonly headers?: readonly HeaderSpec[];
  /** Bytes of the file; default 64 KiB. */
  readonly size?: number;
  /** Path for a PT_INTERP, which is then added in front. */
  readonly interpreter?: string;
}

const INTERPRETER_AT = 0x800;
/** What no header occupies: bytes that are never 0 and tell their place modulo 251. */
const PATTERN = Uint8Array.from({ length: 2 ** 17 }, (_, i) => (i % 251) + 1);

/** The bytes of an ELF file. Defaults: a PIE with one r-x segment at 0 that holds the first page. */
export function makeElf(spec: ElfSpec = {}): Uint8Array {
  const bytes = PATTERN.slice(0, spec.size ?? 65536);
  const view = new DataView(bytes.buffer);
  const headers: HeaderSpec[] = [...(spec.headers ?? [load({})])];
  if (spec.interpreter !== undefined) {
    const path = Buffer.from(`${spec.interpreter}\0`, "latin1");
    bytes.set(path, INTERPRETER_AT);
    headers.unshift({ type: E.PT_INTERP, offset: INTERPRETER_AT, filesz: path.length, memsz: path.length });
  }
  bytes.fill(0, 0, E.EHDR_SIZE);
  bytes.set(E.ELF_MAGIC, 0);
  bytes[E.EI_CLASS] = E.ELFCLASS64;
  bytes[E.EI_DATA] = E.ELFDATA2LSB;
  bytes[E.EI_VERSION] = E.EV_CURRENT;
  view.setUint16(E.EHDR_TYPE_OFF, spec.type ?? E.ET_DYN, true);
  view.setUint16(E.EHDR_MACHINE_OFF, spec.machine ?? E.EM_X86_64, true);
  view.setUint32(E.EHDR_VERSION_OFF, E.EV_CURRENT, true);
  writeU64(view, E.EHDR_ENTRY_OFF, spec.entry ?? 0x100);
  writeU64(view, E.EHDR_PHOFF_OFF, E.EHDR_SIZE);
  view.setUint16(E.EHDR_EHSIZE_OFF, E.EHDR_SIZE, true);
  view.setUint16(E.EHDR_PHENTSIZE_OFF, E.PHDR_SIZE, true);
  view.setUint16(E.EHDR_PHNUM_OFF, headers.length, true);
  headers.forEach((h, i) => {
    const at = E.EHDR_SIZE + i * E.PHDR_SIZE;
    view.setUint32(at + E.PHDR_TYPE_OFF, h.type ?? E.PT_LOAD, true);
    view.setUint32(at + E.PHDR_FLAGS_OFF, h.flags ?? E.PF_R | E.PF_X, true);
    writeU64(view, at + E.PHDR_OFFSET_OFF, h.offset ?? 0);
    writeU64(view, at + E.PHDR_VADDR_OFF, h.vaddr ?? 0);
    writeU64(view, at + E.PHDR_FILESZ_OFF, h.filesz ?? 0);
    writeU64(view, at + E.PHDR_MEMSZ_OFF, h.memsz ?? h.filesz ?? 0);
    writeU64(view, at + E.PHDR_ALIGN_OFF, h.align ?? 4096);
  });
  return bytes;
}

/** A PT_LOAD; default r-x, the file's first page at address 0. */
export function load(h: HeaderSpec): HeaderSpec {
  return { type: E.PT_LOAD, filesz: 4096, ...h, memsz: h.memsz ?? h.filesz ?? 4096 };
}
