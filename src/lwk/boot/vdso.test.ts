import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { elfHash, gnuHash, RODATA_OFFSET, sharedObject } from "./elf-image.ts";
import { VDSO_MAX_SIZE } from "./layout.ts";
import { disassemble, expected } from "./objdump.testing.ts";
import { VDSO_TEXT_OFFSET, vdsoImage } from "./vdso.ts";
import { VDSO_FUNCTIONS, vdsoProgram } from "./vdso-code.ts";

const image = vdsoImage();
const view = new DataView(image.buffer, image.byteOffset, image.length);
const u64 = (at: number): number => Number(view.getBigUint64(at, true));
const u32 = (at: number): number => view.getUint32(at, true);
const u16 = (at: number): number => view.getUint16(at, true);
const text = (at: number): string => Buffer.from(image.subarray(at, image.indexOf(0, at))).toString("latin1");

let dir = "";
let file = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "margay-vdso-"));
  file = join(dir, "vdso.so");
  writeFileSync(file, image);
});
afterAll(() => rmSync(dir, { recursive: true }));

/** The dynamic section as a dynamic linker finds it: program headers only. */
function dynamic(): Map<number, number> {
  const tags = new Map<number, number>();
  for (let i = 0; i < u16(56); i++) {
    const header = u64(32) + i * 56;
    if (u32(header) !== 2) continue;
    for (let at = u64(header + 16); u64(at) !== 0; at += 16) tags.set(u64(at), u64(at + 8));
  }
  return tags;
}

const tag = (n: number): number => dynamic().get(n) ?? Number.NaN;
const symbolName = (i: number): string => text(tag(5) + u32(tag(6) + i * 24));

/** Version name of a symbol, found as musl's checkver and Go's vdsoFindVersion do: the Verdef chain, the base entry skipped. */
function symbolVersion(i: number): string | undefined {
  const index = u16(tag(0x6fff_fff0) + 2 * i) & 0x7fff;
  for (let def = tag(0x6fff_fffc); ; def += u32(def + 16)) {
    if ((u16(def + 2) & 1) === 0 && u16(def + 4) === index) return text(tag(5) + u32(def + u32(def + 12)));
    if (u32(def + 16) === 0) return undefined;
  }
}

/** Symbol number by DT_HASH (gABI), as musl and older Go. */
function lookUpHash(name: string): number {
  const at = tag(4);
  const buckets = u32(at);
  for (let i = u32(at + 8 + (elfHash(name) % buckets) * 4); i !== 0; i = u32(at + 8 + (buckets + i) * 4)) if (symbolName(i) === name) return i;
  return 0;
}

/** Symbol number by DT_GNU_HASH, as glibc: Bloom filter first. */
function lookUpGnu(name: string): number {
  const at = tag(0x6fff_fef5);
  const [buckets, first, bloomSize, shift] = [u32(at), u32(at + 4), u32(at + 8), u32(at + 12)];
  const h = gnuHash(name);
  const word = view.getBigUint64(at + 16 + (Math.floor(h / 64) % bloomSize) * 8, true);
  if (((word >> BigInt(h % 64)) & (word >> BigInt((h >>> shift) % 64)) & 1n) === 0n) return 0;
  const heads = at + 16 + bloomSize * 8;
  let i = u32(heads + (h % buckets) * 4);
  if (i === 0) return 0;
  for (; ; i++) {
    const value = u32(heads + buckets * 4 + (i - first) * 4);
    if ((value | 1) >>> 0 === (h | 1) >>> 0 && symbolName(i) === name) return i;
    if ((value & 1) === 1) return 0;
  }
}

describe("vDSO image", () => {
  test("should fit its three pages and load as one read-execute segment from 0", () => {
    expect(image.length).toBeLessThanOrEqual(VDSO_MAX_SIZE);
    expect(u32(64)).toBe(1);
    expect(u32(68)).toBe(5);
    expect([u64(72), u64(80), u64(96), u64(104)]).toEqual([0, 0, image.length, image.length]);
  });

  test("should compute the published hashes", () => {
    expect(elfHash("LINUX_2.6")).toBe(0x3ae75f6); // Go runtime, vdso_linux_amd64.go
    expect(elfHash("__vdso_gettimeofday")).toBe(0x315ca59);
    expect(elfHash("__vdso_clock_gettime")).toBe(0xd35ec75);
    expect(gnuHash("__vdso_gettimeofday")).toBe(0xb01bca00);
    expect(gnuHash("__vdso_clock_gettime")).toBe(0x6e43a318);
  });

  test.each(VDSO_FUNCTIONS.flatMap((f) => [`__vdso_${f}`, f]))("should let every kind of parser find %s@LINUX_2.6", (name) => {
    const i = lookUpHash(name);
    expect(i).toBeGreaterThan(0);
    expect(lookUpGnu(name)).toBe(i);
    expect(symbolVersion(i)).toBe("LINUX_2.6");
    const symbol = tag(6) + i * 24;
    expect(view.getUint8(symbol + 4)).toBe(name.startsWith("__") ? 0x12 : 0x22);
    const labels = vdsoProgram(VDSO_TEXT_OFFSET, RODATA_OFFSET).labels;
    expect(u64(symbol + 8)).toBe(VDSO_TEXT_OFFSET + (labels.get(name.replace("__vdso_", "")) ?? Number.NaN));
  });

  test("should not find a name that is not there", () => {
    for (const name of ["__vdso_getrandom", "__vdso_sgx_enter_enclave", "", "tim"]) {
      expect(lookUpHash(name)).toBe(0);
      expect(lookUpGnu(name)).toBe(0);
    }
  });

  test("should please readelf without a warning", () => {
    const result = execFileSync("sh", ["-c", 'readelf -aW "$1" 2>&1', "sh", file], { encoding: "utf8" });
    expect(result).not.toMatch(/warning|error/i);
    expect(result).toContain("Library soname: [linux-vdso.so.1]");
    for (const name of VDSO_FUNCTIONS) expect(result).toMatch(new RegExp(`FUNC +GLOBAL DEFAULT +\\d+ __vdso_${name}@@LINUX_2\\.6`));
  });

  test("should say how to unwind from every byte of code", () => {
    const frames = execFileSync("readelf", ["-wF", file], { encoding: "utf8" });
    const textEnd = VDSO_TEXT_OFFSET + vdsoProgram(VDSO_TEXT_OFFSET, RODATA_OFFSET).code.length;
    expect(frames).toContain(`pc=${VDSO_TEXT_OFFSET.toString(16).padStart(16, "0")}..${textEnd.toString(16).padStart(16, "0")}`);
    expect(frames).toMatch(/rsp\+8 +c-8/);
  });

  test("should decode to what the listing says, and move no stack pointer", () => {
    const program = vdsoProgram(VDSO_TEXT_OFFSET, RODATA_OFFSET);
    const decoded = disassemble(program.code);
    for (const [address, line] of expected(program)) expect(`${address}: ${decoded.get(address)}`).toBe(`${address}: ${line}`);
    for (const { text: line } of program.listing) expect(line).not.toMatch(/push|pop|call |%rsp|%rbx|%rbp|%r1[2-5]/);
  });

  test("should refuse sections that would run into the code", () => {
    const parts = { soname: "s", version: "v", rodata: new Uint8Array(8), text: new Uint8Array(8), functions: [] };
    expect(() => sharedObject({ ...parts, textOffset: 0x200 })).toThrow(".text does not fit");
  });
});
