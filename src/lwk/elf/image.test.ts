import { describe, expect, it } from "vitest";
import * as E from "../../abi/elf.ts";
import { FakeFiles } from "./fakes.testing.ts";
import { type ElfImage, readImage } from "./image.ts";
import { USER_END } from "./layout.ts";
import { type ElfSpec, load, makeElf } from "./make-elf.testing.ts";
import { writeU64 } from "./numbers.ts";

/** Reads `bytes` as the loader does, with the first page as head. */
function read(bytes: Uint8Array): ElfImage {
  const file = new FakeFiles({ "/p": bytes }).open("/p");
  return readImage(file, file.read(0, 4096));
}

const image = (spec: ElfSpec): ElfImage => read(makeElf(spec));

/** The bytes of a good ELF file with some of them changed. */
function changed(change: (bytes: Uint8Array, view: DataView) => void, spec: ElfSpec = {}): Uint8Array {
  const bytes = makeElf(spec);
  change(bytes, new DataView(bytes.buffer));
  return bytes;
}

describe("readImage", () => {
  it("should read a position-independent program", () => {
    const data = load({ vaddr: 0x2800, offset: 0x1800, filesz: 0x100, memsz: 0x3000, flags: E.PF_R | E.PF_W, align: 0x200000 });
    expect(image({ headers: [load({}), data], interpreter: "/lib64/ld.so", entry: 0x123 })).toEqual({
      relocatable: true,
      entry: 0x123,
      phnum: 3,
      phdrVaddr: 64,
      segments: [
        { vaddr: 0, memsz: 4096, offset: 0, filesz: 4096, prot: 5 },
        { vaddr: 0x2800, memsz: 0x3000, offset: 0x1800, filesz: 0x100, prot: 3 },
      ],
      low: 0,
      high: 0x6000,
      alignment: 0x200000,
      interpreter: "/lib64/ld.so",
      execStack: false,
    });
  });

  it("should find the program headers by the segment that holds them", () => {
    const high = load({ vaddr: 0x40_0000 });
    expect(image({ type: E.ET_EXEC, headers: [high] }).phdrVaddr).toBe(0x40_0040);
    expect(image({ headers: [load({ offset: 0x1000 })] }).phdrVaddr).toBeNull();
  });

  it("should take segments in any order and sort them", () => {
    const segments = image({ headers: [load({ vaddr: 0x8000 }), load({ vaddr: 0 })] }).segments;
    expect(segments.map((s) => s.vaddr)).toEqual([0, 0x8000]);
  });

  it("should pass over segments without memory and alignments that are no power of two", () => {
    const odd = image({ headers: [load({ align: 0x3000 }), load({ vaddr: 0x100, filesz: 0, memsz: 0 })] });
    expect(odd.segments.length).toBe(1);
    expect(odd.alignment).toBe(4096);
  });

  it.each([
    [E.PF_R | E.PF_W, false],
    [E.PF_R | E.PF_W | E.PF_X, true],
  ])("should read PT_GNU_STACK with flags %i", (flags, execStack) => {
    expect(image({ headers: [load({}), { type: E.PT_GNU_STACK, flags }] }).execStack).toBe(execStack);
  });

  it("should take the first of two interpreters and stop at its first NUL", () => {
    const second = { type: E.PT_INTERP, offset: 0, filesz: 4 };
    expect(image({ interpreter: "/a\0b", headers: [load({}), second] }).interpreter).toBe("/a");
  });

  it("should read program headers that lie behind the first page", () => {
    const far = changed((bytes, view) => {
      bytes.copyWithin(0x9000, 64, 64 + 56);
      writeU64(view, E.EHDR_PHOFF_OFF, 0x9000);
    });
    expect(read(far).segments.length).toBe(1);
  });

  const foreign: readonly [string, Uint8Array][] = [
    ["32-bit", changed((b) => b.fill(E.ELFCLASS32, E.EI_CLASS, E.EI_CLASS + 1))],
    ["big-endian", changed((b) => b.fill(E.ELFDATA2MSB, E.EI_DATA, E.EI_DATA + 1))],
    ["AArch64", makeElf({ machine: 183 })],
    ["an unknown machine", makeElf({ machine: 0xabcd })],
  ];
  it.each(foreign)("should refuse a program for %s as E_WRONG_ARCH", (_, bytes) => {
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: "E_WRONG_ARCH" }));
  });

  it("should name the architecture", () => {
    expect(() => image({ machine: 183 })).toThrow(/AArch64/);
  });

  it.each([
    ["text", Buffer.from("hello")] as const,
    ["nothing", new Uint8Array(0)] as const,
    ["a magic cut short", Buffer.from("\x7fEL")] as const,
  ])("should refuse %s as E_NOT_ELF", (_, bytes) => {
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: "E_NOT_ELF" }));
  });

  const header = (h: Parameters<typeof load>[0], type: number = E.ET_DYN): Uint8Array => makeElf({ type, headers: [load(h)] });
  const bad: readonly [string, Uint8Array, RegExp][] = [
    ["a header cut short", makeElf().subarray(0, 63), /truncated/],
    ["an unknown class", changed((b) => b.fill(7, E.EI_CLASS, E.EI_CLASS + 1)), /class 7/],
    ["an unknown byte order", changed((b) => b.fill(0, E.EI_DATA, E.EI_DATA + 1)), /byte order 0/],
    ["an unknown ident version", changed((b) => b.fill(2, E.EI_VERSION, E.EI_VERSION + 1)), /version/],
    ["an unknown version", changed((_, v) => v.setUint32(E.EHDR_VERSION_OFF, 2, true)), /version 2/],
    ["an object file", makeElf({ type: E.ET_REL }), /object file/],
    ["a core dump", makeElf({ type: E.ET_CORE }), /core dump/],
    ["an unknown type", makeElf({ type: 0xff00 }), /type 65280/],
    ["no program headers", changed((_, v) => v.setUint16(E.EHDR_PHNUM_OFF, 0, true)), /no program headers/],
    ["program headers of a wrong size", changed((_, v) => v.setUint16(E.EHDR_PHENTSIZE_OFF, 32, true)), /32 bytes/],
    ["1171 program headers", changed((_, v) => v.setUint16(E.EHDR_PHNUM_OFF, 1171, true)), /Linux allows 1170/],
    ["PN_XNUM", changed((_, v) => v.setUint16(E.EHDR_PHNUM_OFF, E.PN_XNUM, true)), /65535 or more/],
    ["program headers behind the end", changed((_, v) => writeU64(v, E.EHDR_PHOFF_OFF, 65536 - 55)), /truncated: the program headers/],
    ["program headers at 2^64 - 1", changed((_, v) => writeU64(v, E.EHDR_PHOFF_OFF, -1)), /more than 2\^53/],
    ["an entry point in the kernel", makeElf({ entry: USER_END }), /entry point/],
    ["no segments", makeElf({ headers: [{ type: E.PT_TLS }] }), /no loadable segments/],
    ["more bytes in the file than in memory", header({ filesz: 4096, memsz: 4095 }), /in memory/],
    ["a file part behind the end of the file", header({ offset: 61440, filesz: 4097, memsz: 8192 }), /truncated: segment/],
    ["a file offset that wraps", header({ offset: -4096, filesz: 8192 }), /truncated: segment/],
    ["a file part of 2^63 bytes", header({ filesz: 2 ** 63, memsz: 2 ** 63 }), /does not fit/],
    ["address and offset that differ within a page", header({ vaddr: 0x10, filesz: 16 }), /differ within a page/],
    ["a segment in the kernel", header({ vaddr: USER_END, filesz: 0, memsz: 1 }), /address space/],
    ["a segment that reaches into the kernel", header({ vaddr: USER_END - 4096, filesz: 0, memsz: 4097 }), /address space/],
    ["an address that wraps", header({ vaddr: -4096, filesz: 0, memsz: 8192 }), /address space/],
    ["2^64 - 1 bytes of memory", header({ memsz: -1 }), /address space/],
    ["a fixed segment at 0", header({ vaddr: 0 }, E.ET_EXEC), /nothing may be mapped/],
    ["overlapping segments", makeElf({ headers: [load({}), load({ vaddr: 0xfff, filesz: 0, memsz: 1 })] }), /overlap/],
    ["segments that overlap in bss only", makeElf({ headers: [load({ memsz: 0x2001 }), load({ vaddr: 0x2000 })] }), /overlap/],
    ["an interpreter path of one byte", makeElf({ headers: [load({}), { type: E.PT_INTERP, filesz: 1 }] }), /interpreter's path has/],
    ["an interpreter path of 4097 bytes", makeElf({ headers: [load({}), { type: E.PT_INTERP, filesz: 4097 }] }), /interpreter's path has/],
    ["an interpreter path without NUL", makeElf({ headers: [load({}), { type: E.PT_INTERP, offset: 0x900, filesz: 8 }] }), /end with NUL/],
    ["an empty interpreter path", makeElf({ interpreter: "\0" }), /empty/],
    [
      "an interpreter path behind the end",
      makeElf({ headers: [load({}), { type: E.PT_INTERP, offset: 65530, filesz: 8 }] }),
      /truncated: the interp/,
    ],
  ];
  it.each(bad)("should refuse %s as E_BAD_ELF", (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: "E_BAD_ELF", what: expect.stringMatching(message) }));
  });

  it("should refuse a program that lost its end at any byte of its headers or segments", () => {
    const whole = makeElf({
      interpreter: "/lib64/ld.so",
      headers: [load({}), load({ vaddr: 0x1000, offset: 0x1000, filesz: 0x800 })],
      size: 0x1800,
    });
    for (let length = 0; length < whole.length; length += 97) {
      expect(() => read(whole.subarray(0, length))).toThrow(expect.objectContaining({ name: "MargayError" }));
    }
    expect(read(whole).segments.length).toBe(2);
  });
});
