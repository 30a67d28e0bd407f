/**
 * Hostile files: whatever the bytes are, the loader loads or throws MargayError, asks the address space only for ranges that are
 * in order (the memory model throws an ordinary Error otherwise), leaves no file open and does bounded work.
 */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as E from "../../abi/elf.ts";
import { MargayError } from "../../host/error.ts";
import { FakeFiles, MemoryModel } from "./fakes.testing.ts";
import { chooseLayout } from "./layout.ts";
import { loadProgram } from "./load.ts";
import { type HeaderSpec, makeElf } from "./make-elf.testing.ts";
import { writeU64 } from "./numbers.ts";
import { nearestSymbol } from "./symbols.ts";

const layout = chooseLayout(null);
const auxv = { hwcap: 1, hwcap2: 2, minSigStackSize: 3376, uid: 0, euid: 0, gid: 0, egid: 0, random: new Uint8Array(16), vdso: null };
const LIMIT = 2 ** 36;

/** Loads `bytes`, perhaps with an interpreter; returns "loaded" or the code of the MargayError. */
function attempt(bytes: Uint8Array, interpreter?: Uint8Array): string {
  const files = new FakeFiles({ "/p": bytes, ...(interpreter && { "/ld": interpreter }) });
  const target = new MemoryModel({ mmapBase: layout.mmapBase, files: files.byDescriptor, limit: LIMIT });
  let outcome = "loaded";
  try {
    const p = loadProgram(target, files, { path: "/p", argv: ["p"], envp: [], layout, auxv });
    expect(p.stackPointer % 16).toBe(0);
    expect(p.programBreak % 4096).toBe(0);
    for (const n of [p.entry, p.programBreak, p.codeStart, p.codeEnd, p.dataStart, p.dataEnd])
      expect(Number.isSafeInteger(n) && n >= 0).toBe(true);
  } catch (error) {
    if (!(error instanceof MargayError)) throw error;
    expect(error.code).not.toBe("E_INTERNAL");
    expect(error.what).not.toMatch(/NaN|Infinity|undefined/);
    outcome = error.code;
  }
  expect(files.openCount).toBe(0);
  expect(target.committed()).toBeLessThanOrEqual(LIMIT);
  expect(target.calls).toBeLessThan(5000);
  return outcome;
}

/** 64-bit values where checks break: small, near pages, near the ends of the address space and of the number range. */
const nasty = fc.oneof(
  fc.nat(0x20000),
  fc.nat(64).map((n) => n * 4096),
  fc.constantFrom(0, 1, -1, -4096, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 47, 2 ** 53, 2 ** 63, 0x7f7f_ffff_f000, 0x7f80_0000_0000, 0x40_0000),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(Number),
);

const header: fc.Arbitrary<HeaderSpec> = fc.record(
  {
    type: fc.oneof(
      { weight: 4, arbitrary: fc.constant(E.PT_LOAD) },
      { weight: 1, arbitrary: fc.constantFrom(E.PT_INTERP, E.PT_TLS, E.PT_GNU_STACK, E.PT_PHDR, 0x7fff_ffff) },
    ),
    flags: fc.nat(15),
    offset: nasty,
    vaddr: nasty,
    filesz: nasty,
    memsz: nasty,
    align: nasty,
  },
  { requiredKeys: [] },
);

/** Segments that are nearly right: page-congruent, small, often neighbours. */
const plausible: fc.Arbitrary<HeaderSpec> = fc
  .record({
    page: fc.nat(12),
    offsetPage: fc.nat(12),
    within: fc.nat(4095),
    filesz: fc.nat(0x3000),
    more: fc.oneof(fc.constant(0), fc.nat(0x4000)),
    flags: fc.nat(7),
  })
  .map((r) => ({
    type: E.PT_LOAD,
    flags: r.flags,
    vaddr: r.page * 4096 + r.within,
    offset: r.offsetPage * 4096 + r.within,
    filesz: r.filesz,
    memsz: r.filesz + r.more,
    align: 4096,
  }));

describe("loadProgram on hostile files", () => {
  it("should survive any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, magic) => {
        if (magic) bytes.set(E.ELF_MAGIC.slice(0, bytes.length));
        attempt(bytes);
      }),
      { numRuns: 500 },
    );
  });

  it("should survive any #! line", () => {
    const text = fc.string({ unit: fc.constantFrom("/", "p", " ", "\t", "\n", "\0", "\r", "x", "\xff"), maxLength: 300 });
    fc.assert(
      fc.property(text, (line) => {
        attempt(Buffer.from(`#!${line}`, "latin1"));
      }),
      { numRuns: 500 },
    );
  });

  it("should survive any program headers, in programs and in interpreters", () => {
    const file = fc.record({
      type: fc.constantFrom(E.ET_EXEC, E.ET_DYN),
      entry: nasty,
      headers: fc.array(fc.oneof(header, plausible), { minLength: 1, maxLength: 6 }),
    });
    fc.assert(
      fc.property(file, file, fc.boolean(), (program, interpreter, dynamic) => {
        if (dynamic) attempt(makeElf({ ...program, interpreter: "/ld" }), makeElf(interpreter));
        else attempt(makeElf(program));
      }),
      { numRuns: 1500 },
    );
  });

  it("should load segments that are in order byte for byte, whatever pages they share", () => {
    let loaded = 0;
    fc.assert(
      fc.property(fc.array(plausible, { minLength: 1, maxLength: 4 }), (headers) => {
        const bytes = makeElf({ headers, size: 0x14000 });
        const files = new FakeFiles({ "/p": bytes });
        const target = new MemoryModel({ mmapBase: layout.mmapBase, files: files.byDescriptor });
        try {
          loadProgram(target, files, { path: "/p", argv: ["p"], envp: [], layout, auxv });
        } catch (error) {
          if (!(error instanceof MargayError)) throw error;
          return;
        }
        loaded++;
        const used = headers.filter((h) => (h.memsz ?? 0) > 0).sort((a, b) => a.vaddr! - b.vaddr!);
        const low = Math.floor(used[0]!.vaddr! / 4096) * 4096;
        used.forEach((h, i) => {
          const at = layout.pieBase - low + h.vaddr!;
          const seen = target.peek(at, h.memsz!);
          expect(seen.subarray(h.filesz).every((b) => b === 0)).toBe(true);
          // File bytes on a page that the next segment's file part replaces come from that part, on Linux too.
          const next = used.slice(i + 1).find((n) => n.filesz! > 0);
          const until = next === undefined ? h.filesz! : Math.min(h.filesz!, Math.max(0, Math.floor(next.vaddr! / 4096) * 4096 - h.vaddr!));
          expect(Buffer.from(seen.subarray(0, until)).equals(bytes.subarray(h.offset, h.offset! + until))).toBe(true);
        });
      }),
      { numRuns: 1500 },
    );
    // The property must not hold only because everything is refused.
    expect(loaded).toBeGreaterThan(200);
  });

  it.each(["/bin/true", "/lib64/ld-linux-x86-64.so.2"])("should survive damage to the headers of %s", (path) => {
    const whole = new Uint8Array(readFileSync(path));
    const phnum = new DataView(whole.buffer).getUint16(E.EHDR_PHNUM_OFF, true);
    const headersEnd = E.EHDR_SIZE + phnum * E.PHDR_SIZE;
    const outcomes = new Set<string>();
    const damage = fc.record({
      at: fc.nat(headersEnd - 8),
      value: nasty,
      width: fc.constantFrom(1, 2, 8),
      keep: fc.option(fc.nat(whole.length), { freq: 6 }),
    });
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 3 }), (changes) => {
        const bytes = whole.slice();
        const view = new DataView(bytes.buffer);
        let length = bytes.length;
        for (const { at, value, width, keep } of changes) {
          if (width === 8) writeU64(view, Math.floor(at / 8) * 8, value);
          else bytes.fill(value & 0xff, at, at + width);
          if (keep !== null) length = keep;
        }
        outcomes.add(attempt(bytes.subarray(0, length), whole));
      }),
      { numRuns: 700 },
    );
    expect([...outcomes]).toEqual(expect.arrayContaining(["E_BAD_ELF", "E_NOT_ELF", "E_WRONG_ARCH"]));
    expect(attempt(whole)).toBe(path === "/bin/true" ? "E_NO_INTERPRETER" : "loaded");
  });
});

describe("nearestSymbol on hostile files", () => {
  it("should survive damage and answer in bounded work", () => {
    const whole = new Uint8Array(readFileSync("/bin/true"));
    const view = new DataView(whole.buffer);
    const shoff = Number(view.getBigUint64(E.EHDR_SHOFF_OFF, true));
    const at = fc.oneof(
      fc.nat(E.EHDR_SIZE - 8),
      fc.nat(whole.length - shoff - 8).map((n) => shoff + n),
      fc.nat(whole.length - 8),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(at, nasty), { minLength: 1, maxLength: 4 }), nasty, fc.boolean(), (changes, place, byOffset) => {
        const bytes = whole.slice();
        for (const [where, value] of changes) writeU64(new DataView(bytes.buffer), where, value);
        let read = 0;
        const reader = {
          size: bytes.length,
          read: (offset: number, length: number) => {
            expect(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0).toBe(true);
            read += length;
            return bytes.subarray(offset, offset + length);
          },
        };
        const found = nearestSymbol(reader, byOffset ? { fileOffset: place } : { vaddr: place });
        expect(read).toBeLessThan(2 ** 26);
        if (found !== null) expect(found.offset >= 0 && found.name.length <= 512).toBe(true);
      }),
      { numRuns: 700 },
    );
  });

  it("should read at most 2^21 symbols of a table that claims 2^40 bytes", () => {
    const head = makeElf();
    const view = new DataView(head.buffer);
    const table = 0x4000;
    head.fill(0, table, table + 2 * E.SHDR_SIZE);
    writeU64(view, E.EHDR_SHOFF_OFF, table);
    view.setUint16(E.EHDR_SHENTSIZE_OFF, E.SHDR_SIZE, true);
    view.setUint16(E.EHDR_SHNUM_OFF, 2, true);
    view.setUint32(table + E.SHDR_TYPE_OFF, E.SHT_SYMTAB, true);
    writeU64(view, table + E.SHDR_SIZE_OFF, 2 ** 40);
    view.setUint32(table + E.SHDR_LINK_OFF, 1, true);
    view.setUint32(table + E.SHDR_SIZE + E.SHDR_TYPE_OFF, E.SHT_STRTAB, true);
    let read = 0;
    const reader = {
      size: 2 ** 41,
      read: (offset: number, length: number) => {
        read += length;
        return offset + length <= head.length ? head.subarray(offset, offset + length) : new Uint8Array(length);
      },
    };
    expect(nearestSymbol(reader, { vaddr: 0x1000 })).toBeNull();
    expect(read).toBeGreaterThan(2 ** 21 * E.SYM_SIZE);
    expect(read).toBeLessThan(2 ** 21 * E.SYM_SIZE + 65536);
  });
});
