import { describe, expect, it } from "vitest";
import { AT_BASE, AT_ENTRY, AT_PHDR } from "../../abi/auxv.ts";
import * as E from "../../abi/elf.ts";
import { PROT_NONE } from "../../abi/mman.ts";
import { FakeFiles, MemoryModel, type MemoryModelOptions } from "./fakes.testing.ts";
import { chooseLayout } from "./layout.ts";
import { type LoadedProgram, loadProgram } from "./load.ts";
import { load, makeElf } from "./make-elf.testing.ts";
import { readU64, viewOf } from "./numbers.ts";

const layout = chooseLayout(null);
const RW = E.PF_R | E.PF_W;

interface Loaded extends LoadedProgram {
  readonly target: MemoryModel;
  readonly files: FakeFiles;
}

function run(
  contents: Readonly<Record<string, Uint8Array | string>>,
  path = "/p",
  argv = ["p"],
  options: Partial<MemoryModelOptions> = {},
): Loaded {
  const files = new FakeFiles(contents);
  const target = new MemoryModel({ mmapBase: layout.mmapBase, files: files.byDescriptor, ...options });
  const auxv = {
    hwcap: 1,
    hwcap2: 2,
    minSigStackSize: 3376,
    uid: 0,
    euid: 0,
    gid: 0,
    egid: 0,
    random: new Uint8Array(16),
    vdso: layout.vdso,
  };
  try {
    return { ...loadProgram(target, files, { path, argv, envp: ["E=1"], layout, auxv }), target, files };
  } finally {
    expect(files.openCount).toBe(0);
  }
}

function auxValue(loaded: Loaded, type: number): number {
  const view = viewOf(loaded.auxvBytes);
  for (let at = 0; at < view.byteLength; at += 16) if (readU64(view, at) === type) return readU64(view, at + 8);
  throw new Error(`no auxv entry ${type}`);
}

/** The arguments that a loaded program will see. */
function argvOf(loaded: Loaded): string[] {
  const text = Buffer.from(loaded.target.peek(loaded.argStart, loaded.argEnd - loaded.argStart)).toString("latin1");
  return text.split("\0").slice(0, -1);
}

const fails = (code: string, what: RegExp = /./) => expect.objectContaining({ code, what: expect.stringMatching(what) });

describe("loadProgram: segments", () => {
  it("should put a static-PIE at the layout's base and start it at its own entry", () => {
    const p = run({ "/p": makeElf({ entry: 0x123 }) });
    expect(p.entry).toBe(layout.pieBase + 0x123);
    expect(p.interpreterPath).toBeNull();
    expect(auxValue(p, AT_BASE)).toBe(0);
    expect(auxValue(p, AT_ENTRY)).toBe(p.entry);
    expect(auxValue(p, AT_PHDR)).toBe(layout.pieBase + 64);
    expect(p.target.areaAt(layout.pieBase)).toMatchObject({ prot: 5, path: "/p", offset: 0 });
  });

  it("should put a fixed program where it says", () => {
    const p = run({ "/p": makeElf({ type: E.ET_EXEC, entry: 0x40_0100, headers: [load({ vaddr: 0x40_0000 })] }) });
    expect(p.entry).toBe(0x40_0100);
    expect([...p.target.peek(0x40_0100, 4)]).toEqual([...makeElf().subarray(0x100, 0x104)]);
  });

  it("should place a prelinked PIE by its lowest segment", () => {
    const p = run({ "/p": makeElf({ entry: 0x70_0010, headers: [load({ vaddr: 0x70_0000 })] }) });
    expect(p.entry).toBe(layout.pieBase + 0x10);
  });

  it("should honour a segment's alignment", () => {
    const p = run({ "/p": makeElf({ headers: [load({ align: 2 ** 30 })] }) });
    expect((p.entry - 0x100) % 2 ** 30).toBe(0);
    expect(p.entry).toBeLessThanOrEqual(layout.pieBase + 0x100);
  });

  it("should zero bss from the last file byte on and keep the bytes before it", () => {
    const data = load({ vaddr: 0x2000, offset: 0x1000, filesz: 0x123, memsz: 0x3000, flags: RW });
    const p = run({ "/p": makeElf({ headers: [load({}), data] }) });
    const at = layout.pieBase + 0x2000;
    expect(p.target.peek(at, 0x123).every((b) => b !== 0)).toBe(true);
    expect(p.target.peek(at + 0x123, 0x3000 - 0x123).every((b) => b === 0)).toBe(true);
    expect(p.target.areaAt(at)).toMatchObject({ prot: 3, path: "/p", offset: 0x1000 });
    expect(p.target.areaAt(at + 0x1000)).toMatchObject({ prot: 3, path: null, end: at + 0x3000 });
    expect(p.programBreak).toBe(at + 0x3000);
  });

  it("should leave the rest of the last page as it is in the file when there is no bss", () => {
    const p = run({ "/p": makeElf({ headers: [load({ filesz: 0x123 })] }) });
    expect(p.target.peek(layout.pieBase + 0x123, 0x100).every((b) => b !== 0)).toBe(true);
  });

  it("should map bss writable and, for an executable segment, executable", () => {
    const p = run({ "/p": makeElf({ headers: [load({ memsz: 0x2000 })] }) });
    expect(p.target.areaAt(layout.pieBase + 0x1000)?.prot).toBe(7);
  });

  it("should leave holes between segments unmapped", () => {
    const p = run({ "/p": makeElf({ headers: [load({}), load({ vaddr: 0x10_0000 })] }) });
    expect(p.target.areaAt(layout.pieBase + 0x1000)).toBeUndefined();
    expect(p.target.areaAt(layout.pieBase + 0x10_0000)).toBeDefined();
  });

  it("should keep all bytes of segments that share a page", () => {
    // Text ends and data starts in the middle of page 1, as a linker without page-separated code lays them out.
    const text = load({ filesz: 0x1800 });
    const data = load({ vaddr: 0x1800, offset: 0x1800, filesz: 0x400, memsz: 0x500, flags: RW });
    const late = load({ vaddr: 0x1d00, filesz: 0, memsz: 0x1000, flags: RW });
    const bytes = makeElf({ headers: [text, data, late] });
    const p = run({ "/p": bytes });
    const seen = p.target.peek(layout.pieBase, 0x3000);
    expect(Buffer.from(seen.subarray(0, 0x1c00)).equals(bytes.subarray(0, 0x1c00))).toBe(true);
    expect(seen.subarray(0x1c00).every((b) => b === 0)).toBe(true);
  });

  it("should zero bss that runs into the first page of the next segment", () => {
    const first = load({ filesz: 0x100, memsz: 0x2200, flags: RW });
    const second = load({ vaddr: 0x2200, offset: 0x3200, filesz: 0x100, flags: RW });
    const p = run({ "/p": makeElf({ headers: [first, second] }) });
    expect(p.target.peek(layout.pieBase + 0x100, 0x2100).every((b) => b === 0)).toBe(true);
    expect(p.target.peek(layout.pieBase + 0x2200, 0x100).every((b) => b !== 0)).toBe(true);
  });

  it("should report the bounds that /proc/self/stat shows", () => {
    const text = load({ vaddr: 0x1000, offset: 0x1000, filesz: 0x800 });
    const data = load({ vaddr: 0x3000, offset: 0x2000, filesz: 0x300, memsz: 0x900, flags: RW });
    const p = run({ "/p": makeElf({ headers: [load({ flags: E.PF_R }), text, data] }) });
    const from = (n: number) => n - layout.pieBase;
    expect([p.codeStart, p.codeEnd, p.dataStart, p.dataEnd].map(from)).toEqual([0x1000, 0x1800, 0x3000, 0x3300]);
  });
});

describe("loadProgram: stack", () => {
  it("should map the whole stack with a guard below and put argc at the stack pointer", () => {
    const p = run({ "/p": makeElf() }, "/p", ["p", "a", "b"]);
    expect(p.target.areaAt(layout.stackLimit)).toMatchObject({ start: layout.stackLimit, end: layout.stackTop, prot: 3, path: "[stack]" });
    expect(p.target.areaAt(layout.stackLimit - 1)).toMatchObject({ prot: PROT_NONE, start: layout.stackLimit - 4096 });
    expect(readU64(viewOf(p.target.peek(p.stackPointer, 8)), 0)).toBe(3);
    expect(p.stackStart).toBe(p.stackPointer);
  });

  it("should make the stack executable only when the program asks for it", () => {
    const elf = makeElf({ headers: [load({}), { type: E.PT_GNU_STACK, flags: RW | E.PF_X }] });
    const p = run({ "/p": elf });
    expect(p.execStack).toBe(true);
    expect(p.target.areaAt(layout.stackLimit)?.prot).toBe(7);
  });
});

describe("loadProgram: interpreter", () => {
  const dynamic = makeElf({ interpreter: "/ld", entry: 0x123 });

  it("should start in the interpreter, mapped apart, and tell it both entry points", () => {
    const ld = makeElf({
      entry: 0x40,
      headers: [load({}), load({ vaddr: 0x5000, offset: 0x1000, filesz: 0x10, memsz: 0x800, flags: RW })],
    });
    const p = run({ "/p": dynamic, "/ld": ld });
    const base = layout.mmapBase - 0x6000;
    expect(p.entry).toBe(base + 0x40);
    expect(p.interpreterPath).toBe("/ld");
    expect(auxValue(p, AT_BASE)).toBe(base);
    expect(auxValue(p, AT_ENTRY)).toBe(layout.pieBase + 0x123);
    expect(p.target.areaAt(base + 0x3000)).toBeUndefined();
    expect(p.target.areaAt(base + 0x5000)).toMatchObject({ path: "/ld", prot: 3 });
    expect(p.programBreak).toBe(layout.pieBase + 0x1000);
  });

  it("should honour an interpreter's alignment and give back what that cost", () => {
    const p = run({ "/p": dynamic, "/ld": makeElf({ headers: [load({ vaddr: 0x1000, align: 2 ** 21 })] }) });
    const base = auxValue(p, AT_BASE);
    expect(base % 2 ** 21).toBe(0);
    expect(p.target.areas.filter((a) => a.path === null && a.prot === PROT_NONE).length).toBe(1);
  });

  it("should take an interpreter with fixed addresses", () => {
    const p = run({ "/p": dynamic, "/ld": makeElf({ type: E.ET_EXEC, entry: 0x80_0004, headers: [load({ vaddr: 0x80_0000 })] }) });
    expect(p.entry).toBe(0x80_0004);
    expect(auxValue(p, AT_BASE)).toBe(0);
  });

  it.each([
    ["is missing", {}, "E_NO_INTERPRETER"],
    ["is the program itself", { "/ld": dynamic }, "E_INTERPRETER_LOOP"],
    ["is a script", { "/ld": "#!/p\n" }, "E_NOT_ELF"],
    ["is for another machine", { "/ld": makeElf({ machine: 183 }) }, "E_WRONG_ARCH"],
    ["has an entry point that its load bias pushes out", { "/ld": makeElf({ entry: 0x7f7f_0000_0000 }) }, "E_BAD_ELF"],
    ["is as large as the address space", { "/ld": makeElf({ headers: [load({ memsz: 0x7f7f_ffff_0000 })] }) }, "E_NO_MEMORY"],
    ["wants an impossible alignment", { "/ld": makeElf({ headers: [load({ align: 2 ** 50 })] }) }, "E_BAD_ELF"],
  ])("should refuse a program whose interpreter %s", (_, files, code) => {
    expect(() => run({ "/p": dynamic, ...files })).toThrow(fails(code));
  });

  it("should refuse a fixed interpreter on top of the program", () => {
    const fixed = (interpreter?: string) =>
      makeElf({ type: E.ET_EXEC, headers: [load({ vaddr: 0x40_0000 })], ...(interpreter && { interpreter }) });
    expect(() => run({ "/p": fixed("/ld"), "/ld": fixed() })).toThrow(fails("E_BAD_ELF", /is taken/));
  });
});

describe("loadProgram: scripts", () => {
  const sh = makeElf();

  it("should run a script's interpreter with the script in front of the arguments", () => {
    const p = run({ "/s": "#!/sh -e x\n", "/sh": sh }, "/s", ["called as", "1", "2"]);
    expect(argvOf(p)).toEqual(["/sh", "-e x", "/s", "1", "2"]);
    expect(p.exePath).toBe("/sh");
    const execfn = auxValue(p, 31);
    expect(Buffer.from(p.target.peek(execfn, 3)).toString()).toBe("/s\0");
  });

  it("should follow five scripts and refuse the sixth, as Linux", () => {
    const chain = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`/s${i + 1}`, `#!/s${i}\n`]));
    const p = run({ "/s0": sh, ...chain(5) }, "/s5", ["x", "y"]);
    expect(argvOf(p)).toEqual(["/s0", "/s1", "/s2", "/s3", "/s4", "/s5", "y"]);
    expect(() => run({ "/s0": sh, ...chain(6) }, "/s6")).toThrow(fails("E_INTERPRETER_LOOP"));
    expect(() => run({ "/s": "#!/s\n" }, "/s")).toThrow(fails("E_INTERPRETER_LOOP"));
  });

  it("should give an argument list that is empty one empty string", () => {
    expect(argvOf(run({ "/p": sh }, "/p", []))).toEqual([""]);
  });

  it("should name script and interpreter when the interpreter is missing, and see carriage returns", () => {
    expect(() => run({ "/s": "#!/nope -x\n" }, "/s")).toThrow(
      expect.objectContaining({ code: "E_NO_INTERPRETER", where: "/nope, interpreter of /s" }),
    );
    expect(() => run({ "/s": "#!/sh\r\n", "/sh": sh }, "/s")).toThrow(
      expect.objectContaining({ hint: expect.stringMatching(/Unix line ends/) }),
    );
  });

  it.each([
    ["", /empty/],
    ["echo hello\n", /neither/],
    ["#!\n", /names no interpreter/],
    [`#!/${"x".repeat(300)}\n`, /first 256 bytes/],
  ])("should refuse %j", (text, what) => {
    expect(() => run({ "/s": text }, "/s")).toThrow(fails("E_NOT_ELF", what));
  });
});

describe("loadProgram: refusals", () => {
  it("should say E_NOT_FOUND for a missing program", () => {
    expect(() => run({}, "/nope")).toThrow(fails("E_NOT_FOUND"));
  });

  it("should say E_NO_MEMORY for bss that the machine cannot hold", () => {
    const p = { "/p": makeElf({ headers: [load({ memsz: 2 ** 40 })] }) };
    expect(() => run(p)).toThrow(fails("E_NO_MEMORY"));
  });

  it("should refuse a fixed program on top of the stack", () => {
    const p = { "/p": makeElf({ type: E.ET_EXEC, headers: [load({ vaddr: layout.stackTop - 0x10000 })] }) };
    expect(() => run(p)).toThrow(fails("E_BAD_ELF", /is taken/));
  });

  it("should refuse it too when segments share a page and the upper one reaches the stack", () => {
    const below = layout.stackLimit - 0x10000;
    const headers = [load({ vaddr: below, filesz: 0x800 }), load({ vaddr: below + 0x800, filesz: 0, memsz: 0x20000 })];
    expect(() => run({ "/p": makeElf({ type: E.ET_EXEC, headers }) })).toThrow(fails("E_BAD_ELF", /is taken/));
  });

  it("should refuse an alignment that leaves no place", () => {
    expect(() => run({ "/p": makeElf({ headers: [load({ align: 2 ** 50 })] }) })).toThrow(fails("E_BAD_ELF", /aligned/));
  });

  it("should refuse an entry point that the load bias pushes out of the address space", () => {
    expect(() => run({ "/p": makeElf({ entry: 0x7000_0000_0000 }) })).toThrow(fails("E_BAD_ELF", /entry point/));
  });

  it("should do work in proportion to the headers, however many segments there are", () => {
    const headers = Array.from({ length: 400 }, (_, i) => load({ vaddr: i * 0x2000, filesz: 64, memsz: 0x1100, flags: RW }));
    const p = run({ "/p": makeElf({ headers, size: 2 ** 17 }) });
    expect(p.target.calls).toBeLessThan(400 * 2 + 10);
  });
});
