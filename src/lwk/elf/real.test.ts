/** Programs of this machine, and freshly built ones, beside what `readelf` and the running kernel say about them. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeFiles, MemoryModel } from "./fakes.testing.ts";
import { hostFiles } from "./files.ts";
import { chooseLayout } from "./layout.ts";
import { type LoadedProgram, loadProgram } from "./load.ts";
import { nearestSymbol } from "./symbols.ts";

const layout = chooseLayout(null);
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
let directory = "";

function gcc(name: string, source: string, ...options: string[]): string {
  const path = join(directory, name);
  execFileSync("gcc", ["-O1", "-x", "c", "-o", path, "-", ...options], { input: source });
  return path;
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "margay-elf-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

interface Shown {
  readonly type: string;
  readonly offset: number;
  readonly vaddr: number;
  readonly filesz: number;
  readonly memsz: number;
  readonly flags: string;
}

/** `readelf -lW`: an independent reader of the same headers. */
function readelf(path: string): { headers: Shown[]; entry: number } {
  const text = execFileSync("readelf", ["-lW", path], { encoding: "utf8" });
  const row = /^ {2}([A-Z_]+) +0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+) 0x([0-9a-f]+) ([R ][W ][E ])/gm;
  const headers = [...text.matchAll(row)].map((m) => ({
    type: m[1]!,
    offset: Number.parseInt(m[2]!, 16),
    vaddr: Number.parseInt(m[3]!, 16),
    filesz: Number.parseInt(m[4]!, 16),
    memsz: Number.parseInt(m[5]!, 16),
    flags: m[6]!,
  }));
  return { headers, entry: Number.parseInt(/Entry point 0x([0-9a-f]+)/.exec(text)![1]!, 16) };
}

function loadReal(path: string): { program: LoadedProgram; target: MemoryModel } {
  const loader = "/lib64/ld-linux-x86-64.so.2";
  const files = new FakeFiles({ [path]: readFileSync(path), [loader]: readFileSync(loader) });
  const target = new MemoryModel({ mmapBase: layout.mmapBase, files: files.byDescriptor });
  return { program: loadProgram(target, files, { path, argv: [path], envp: [], layout, auxv }), target };
}

/** Every byte and every right of each PT_LOAD as readelf shows it. */
function compare(path: string, target: MemoryModel, bias: number): void {
  const bytes = readFileSync(path);
  const loads = readelf(path).headers.filter((h) => h.type === "LOAD");
  expect(loads.length).toBeGreaterThan(0);
  for (const h of loads) {
    const seen = target.peek(bias + h.vaddr, h.memsz);
    expect(Buffer.from(seen.subarray(0, h.filesz)).equals(bytes.subarray(h.offset, h.offset + h.filesz))).toBe(true);
    expect(seen.subarray(h.filesz).every((b) => b === 0)).toBe(true);
    const prot = (h.flags.includes("R") ? 1 : 0) | (h.flags.includes("W") ? 2 : 0) | (h.flags.includes("E") ? 4 : 0);
    expect(target.areaAt(bias + h.vaddr)?.prot).toBe(prot);
    expect(target.areaAt(bias + h.vaddr + h.memsz - 1)?.prot).toBe(h.memsz > h.filesz ? prot | 3 : prot);
  }
}

describe("loadProgram on real programs", () => {
  it("should load /bin/true and its dynamic loader as readelf sees them", () => {
    const { program, target } = loadReal("/bin/true");
    compare("/bin/true", target, layout.pieBase);
    const ld = program.interpreterPath!;
    const bias = program.entry - readelf(ld).entry;
    compare(ld, target, bias);
    expect(bias).toBeGreaterThan(program.programBreak);
  });

  const source = "int data[5000] = {1}; int bss[100000]; __thread int t = 3; int main(void) { return data[1] + bss[7] + t - 3; }";
  it.each([
    ["static", ["-static"]],
    ["static-PIE", ["-static-pie"]],
    ["PIE", []],
    ["fixed and dynamic", ["-no-pie"]],
    ["with text and data in one file page", ["-static", "-Wl,-z,noseparate-code"]],
    ["aligned to 2M", ["-Wl,-z,max-page-size=0x200000", "-Wl,-z,common-page-size=0x200000"]],
  ])("should load a program linked %s as readelf sees it", (name, options) => {
    const path = gcc(`p-${name.replaceAll(" ", "-")}`, source, ...options);
    const { program, target } = loadReal(path);
    const { headers } = readelf(path);
    const dynamic = headers.some((h) => h.type === "INTERP");
    const fixed = execFileSync("readelf", ["-hW", path], { encoding: "utf8" }).includes("EXEC");
    compare(path, target, fixed ? 0 : layout.pieBase);
    expect(program.interpreterPath === null).toBe(!dynamic);
    const end = Math.max(...headers.filter((h) => h.type === "LOAD").map((h) => h.vaddr + h.memsz));
    expect(program.programBreak).toBe(Math.ceil((end + (fixed ? 0 : layout.pieBase)) / 4096) * 4096);
  });

  it("should compute the bounds that this kernel shows for the same program", () => {
    // A fixed program prints its own /proc/self/stat; brk is left out because the kernel moves it by chance.
    const path = gcc(
      "stat",
      '#include <stdio.h>\nint main(void) { static char b[4096]; FILE *f = fopen("/proc/self/stat", "r"); fputs(fgets(b, 4096, f), stdout); return 0; }',
      "-static",
      "-no-pie",
    );
    const fields = execFileSync(path, { encoding: "utf8" }).split(") ")[1]!.split(" ");
    const { program } = loadReal(path);
    // proc(5): field 26 startcode, 27 endcode, 45 start_data, 46 end_data; the first one here is field 3.
    const native = [26, 27, 45, 46].map((n) => Number(fields[n - 3]));
    expect([program.codeStart, program.codeEnd, program.dataStart, program.dataEnd]).toEqual(native);
  });
});

describe("hostFiles", () => {
  it("should open a program by its real path and read it", () => {
    const link = join(directory, "link");
    symlinkSync("/bin/true", link);
    const file = hostFiles.open(link);
    try {
      const bytes = readFileSync("/bin/true");
      expect(file.path).toBe(realpathSync("/bin/true"));
      expect(file.size).toBe(bytes.length);
      expect(Buffer.from(file.read(100, 1000)).equals(bytes.subarray(100, 1100))).toBe(true);
      expect(file.read(file.size - 10, 100).length).toBe(10);
      expect(file.read(file.size + 10, 100).length).toBe(0);
    } finally {
      file.close();
    }
    expect(() => file.read(0, 1)).toThrow();
  });

  it("should open a file whose name is not UTF-8", () => {
    const name = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xe9])]);
    writeFileSync(name, "x", { mode: 0o755 });
    const file = hostFiles.open(name.toString("latin1"));
    expect(file.path).toBe(name.toString("latin1"));
    file.close();
  });

  it.each([
    ["a missing file", () => join(directory, "nope"), "E_NOT_FOUND"],
    ["a path through a file", () => "/bin/true/x", "E_NOT_FOUND"],
    ["an empty path", () => "", "E_NOT_FOUND"],
    ["a path with NUL", () => "/bin/true\0x", "E_NOT_FOUND"],
    ["a path of 5,000 bytes", () => `/${"x".repeat(5000)}`, "E_NOT_FOUND"],
    ["a directory", () => directory, "E_IS_DIRECTORY"],
    ["a device", () => "/dev/null", "E_NOT_FILE"],
    ["a file without execute permission", () => plain("plain", 0o644), "E_NOT_EXECUTABLE"],
    ["a pipe without a writer", () => pipe(), "E_NOT_FILE"],
    ["a link to itself", () => loop(), "E_NOT_FOUND"],
  ])("should refuse %s", (_, path, code) => {
    expect(() => hostFiles.open(path())).toThrow(expect.objectContaining({ code }));
  });

  function plain(name: string, mode: number): string {
    const path = join(directory, name);
    writeFileSync(path, "x");
    chmodSync(path, mode);
    return path;
  }

  function pipe(): string {
    const path = join(directory, "pipe");
    execFileSync("mkfifo", [path]);
    return path;
  }

  function loop(): string {
    mkdirSync(join(directory, "d"));
    symlinkSync("loop", join(directory, "d", "loop"));
    return join(directory, "d", "loop");
  }
});

describe("nearestSymbol on real programs", () => {
  const source =
    "__attribute__((noinline)) int worker(int x) { return x * 3 + 1; }\nint main(int c, char **v) { (void)v; return worker(c); }";

  /** Defined functions with a size, by `nm`: an independent reader. */
  function functions(path: string, ...options: string[]): { name: string; value: number; size: number }[] {
    const rows = execFileSync("nm", ["-S", "--defined-only", ...options, path], { encoding: "utf8" }).split("\n");
    return rows
      .map((row) => /^([0-9a-f]+) ([0-9a-f]+) [tT] (\S+)$/.exec(row))
      .filter((m) => m !== null)
      .map((m) => ({ value: Number.parseInt(m[1]!, 16), size: Number.parseInt(m[2]!, 16), name: m[3]! }));
  }

  it("should name every function that nm lists, at its first and last byte", () => {
    const path = gcc("symbols", source);
    const file = hostFiles.open(path);
    const list = functions(path);
    expect(list.map((f) => f.name)).toContain("worker");
    for (const f of list) {
      expect(nearestSymbol(file, { vaddr: f.value })).toEqual({ name: f.name, offset: 0 });
      expect(nearestSymbol(file, { vaddr: f.value + f.size - 1 })).toEqual({ name: f.name, offset: f.size - 1 });
    }
    file.close();
  });

  it("should translate file offsets through the segments", () => {
    const path = gcc("offsets", source, "-no-pie");
    const file = hostFiles.open(path);
    const worker = functions(path).find((f) => f.name === "worker")!;
    const text = readelf(path).headers.find((h) => h.type === "LOAD" && h.flags.includes("E"))!;
    expect(nearestSymbol(file, { fileOffset: worker.value - text.vaddr + text.offset + 1 })).toEqual({ name: "worker", offset: 1 });
    expect(nearestSymbol(file, { fileOffset: file.size + 4096 })).toBeNull();
    file.close();
  });

  it("should fall back to dynamic symbols in a stripped library", () => {
    const libc = realpathSync("/lib/x86_64-linux-gnu/libc.so.6");
    const file = hostFiles.open(libc);
    const malloc = functions(libc, "-D").find((f) => f.name.startsWith("malloc@@"))!;
    expect(nearestSymbol(file, { vaddr: malloc.value + 3 })).toEqual({ name: "malloc", offset: 3 });
    file.close();
  });

  it("should use labels without size inside their section only", () => {
    const asm = 'void f(void); __asm__(".text\\nlabel: nop\\nnop\\nnop\\n"); int main(void) { return 0; }';
    const path = gcc("labels", asm, "-no-pie", "-s");
    const unstripped = gcc("labels2", asm, "-no-pie");
    const at = Number.parseInt(/([0-9a-f]+) t label/.exec(execFileSync("nm", [unstripped], { encoding: "utf8" }))![1]!, 16);
    const file = hostFiles.open(unstripped);
    expect(nearestSymbol(file, { vaddr: at + 2 })).toEqual({ name: "label", offset: 2 });
    expect(nearestSymbol(file, { vaddr: 0x10 })).toBeNull();
    expect(nearestSymbol(file, { vaddr: at + 0x1000_0000 })).toBeNull();
    file.close();
    const stripped = hostFiles.open(path);
    expect(nearestSymbol(stripped, { vaddr: at + 2 })).toBeNull();
    stripped.close();
  });
});
