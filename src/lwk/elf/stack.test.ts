import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AT_EXECFN, AT_NULL, AT_PLATFORM, AT_RANDOM, AT_RSEQ_ALIGN, AT_RSEQ_FEATURE_SIZE } from "../../abi/auxv.ts";
import { readU64, viewOf } from "./numbers.ts";
import { buildStack, type InitialStack, type StackInput } from "./stack.ts";

const TOP = 0x7f7f_ffe0_0000;

function input(change: Partial<StackInput> = {}): StackInput {
  return {
    argv: ["prog", "one"],
    envp: ["A=1", "B=2"],
    execfn: "/bin/prog",
    stackTop: TOP,
    stackLimit: TOP - 8 * 2 ** 20,
    stackPointerOffset: 0,
    aux: {
      hwcap: 0xbfeb_fbff,
      hwcap2: 2,
      minSigStackSize: 3376,
      uid: 1000,
      euid: 1001,
      gid: 100,
      egid: 101,
      random: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
      vdso: 0x7f80_0000_3000,
    },
    image: { phdr: 0x5555_5540_0040, phnum: 13, entry: 0x5555_5540_1234, interpreterBase: 0x7f00_0000_0000 },
    ...change,
  };
}

/** Reads a stack as a program's start-up code does: argc, argv, envp, auxv, following the pointers. */
function readBack(stack: InitialStack) {
  const view = viewOf(stack.bytes);
  let at = 0;
  const word = (): number => {
    at += 8;
    return readU64(view, at - 8);
  };
  const string = (address: number): string => {
    const from = address - stack.stackPointer;
    return Buffer.from(stack.bytes.subarray(from, stack.bytes.indexOf(0, from))).toString("latin1");
  };
  const list = (): string[] => {
    const out: string[] = [];
    for (let p = word(); p !== 0; p = word()) out.push(string(p));
    return out;
  };
  const argc = word();
  const argv = list();
  const envp = list();
  const auxStart = at;
  const auxv: [number, number][] = [];
  for (let type = word(); type !== AT_NULL; type = word()) auxv.push([type, word()]);
  return { argc, argv, envp, auxv, auxBytes: stack.bytes.subarray(auxStart, at + 8), string };
}

describe("buildStack", () => {
  it("should hold what a program's start-up code looks for", () => {
    const stack = buildStack(input());
    const seen = readBack(stack);
    expect(seen.argc).toBe(2);
    expect(seen.argv).toEqual(["prog", "one"]);
    expect(seen.envp).toEqual(["A=1", "B=2"]);
    const aux = new Map(seen.auxv);
    expect(seen.string(aux.get(AT_EXECFN)!)).toBe("/bin/prog");
    expect(seen.string(aux.get(AT_PLATFORM)!)).toBe("x86_64");
    const random = aux.get(AT_RANDOM)! - stack.stackPointer;
    expect([...stack.bytes.subarray(random, random + 16)]).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(Object.fromEntries(seen.auxv)).toMatchObject({
      3: 0x5555_5540_0040,
      4: 56,
      5: 13,
      6: 4096,
      7: 0x7f00_0000_0000,
      8: 0,
      9: 0x5555_5540_1234,
      11: 1000,
      12: 1001,
      13: 100,
      14: 101,
      16: 0xbfeb_fbff,
      17: 100,
      23: 0,
      26: 2,
      33: 0x7f80_0000_3000,
      51: 3376,
    });
    expect(Buffer.from(seen.auxBytes).equals(stack.auxvBytes)).toBe(true);
    expect(stack.stackPointer % 16).toBe(0);
  });

  it("should give the types in the order of this kernel, less rseq", () => {
    const native = viewOf(readFileSync("/proc/self/auxv"));
    const types: number[] = [];
    for (let at = 0; at < native.byteLength; at += 16) types.push(readU64(native, at));
    const left = [AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN];
    const known = types.slice(0, types.indexOf(AT_NULL)).filter((t) => !left.includes(t));
    expect(readBack(buildStack(input())).auxv.map(([t]) => t)).toEqual(known);
  });

  it("should place the strings as /proc/self/cmdline and environ expect", () => {
    const stack = buildStack(input());
    const slice = (from: number, to: number): string =>
      Buffer.from(stack.bytes.subarray(from - stack.stackPointer, to - stack.stackPointer)).toString("latin1");
    expect(slice(stack.argStart, stack.argEnd)).toBe("prog\0one\0");
    expect(slice(stack.envStart, stack.envEnd)).toBe("A=1\0B=2\0");
    expect(stack.envStart).toBe(stack.argEnd);
    // The kernel leaves eight zero bytes at the very top.
    expect([...stack.bytes.subarray(-8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(slice(stack.envEnd, stack.stackPointer + stack.bytes.length)).toBe("/bin/prog\0" + "\0".repeat(8));
  });

  it("should write a negative load bias as its two's complement", () => {
    const stack = buildStack(input({ image: { ...input().image, interpreterBase: -4096 } }));
    const at = stack.auxvBytes.length / 16;
    const view = viewOf(stack.auxvBytes);
    const base = Array.from({ length: at }, (_, i) => i * 16).find((o) => readU64(view, o) === 7)!;
    expect(view.getBigUint64(base + 8, true)).toBe(2n ** 64n - 4096n);
  });

  it("should leave AT_SYSINFO_EHDR out when there is no vDSO", () => {
    const seen = readBack(buildStack(input({ aux: { ...input().aux, vdso: null } })));
    expect(seen.auxv.some(([type]) => type === 33)).toBe(false);
  });

  it("should keep alignment and content for any strings", () => {
    const byteString = fc.array(fc.integer({ min: 1, max: 255 }), { maxLength: 50 }).map((a) => String.fromCharCode(...a));
    fc.assert(
      fc.property(fc.array(byteString, { maxLength: 20 }), fc.array(byteString, { maxLength: 20 }), fc.nat(511), (argv, envp, offset) => {
        const stack = buildStack(input({ argv, envp, stackPointerOffset: offset * 16 }));
        const seen = readBack(stack);
        expect(seen).toMatchObject({ argc: argv.length, argv, envp });
        expect(stack.stackPointer % 16).toBe(0);
        expect(stack.stackPointer + stack.bytes.length).toBe(TOP);
      }),
    );
  });

  it("should refuse one string above 128 KiB and take one below", () => {
    expect(() => buildStack(input({ argv: ["x".repeat(131072)] }))).toThrow(expect.objectContaining({ code: "E_ARGS_TOO_LONG" }));
    expect(() => buildStack(input({ envp: ["x".repeat(131072)] }))).toThrow(expect.objectContaining({ code: "E_ARGS_TOO_LONG" }));
    expect(buildStack(input({ argv: ["x".repeat(131071)] })).argEnd - buildStack(input({ argv: ["x".repeat(131071)] })).argStart).toBe(
      131072,
    );
  });

  it("should refuse more than a quarter of the stack, pointers included", () => {
    const strings = (count: number): string[] => new Array<string>(count).fill("x".repeat(1015));
    // 1,016 bytes and a pointer each: 2,048 of them are 2 MiB, a quarter of the stack, and the rest makes it too much.
    expect(() => buildStack(input({ argv: strings(2048) }))).toThrow(expect.objectContaining({ code: "E_ARGS_TOO_LONG" }));
    expect(buildStack(input({ argv: strings(2040) })).stackPointer % 16).toBe(0);
  });

  it("should refuse arguments that a tiny stack cannot hold although the limit allows them", () => {
    const tiny = input({ stackLimit: TOP - 65536, argv: new Array<string>(62).fill("x".repeat(1000)) });
    expect(() => buildStack(tiny)).toThrow(expect.objectContaining({ code: "E_ARGS_TOO_LONG" }));
  });

  it("should take characters above 255 for a mistake of the caller", () => {
    expect(() => buildStack(input({ argv: ["caf\u0113"] }))).toThrow(RangeError);
    expect(() => buildStack(input({ argv: ["a\0b"] }))).toThrow(RangeError);
  });
});
