// Bad input: one line that says what is wrong, the right exit code (125 margay cannot, 126 PROGRAM cannot be executed, 127 not found),
// nothing left behind.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { binary, build } from "../programs/build.mjs";
import { inFreshDirectory } from "../programs/compare.mjs";
import { assertRefused, leavingNothing, margayRun } from "./tools.mjs";

before(async () => {
  await build(["tiny", "args", "exits"]);
});

/** A test in a fresh directory; `make` writes the program there and answers the arguments of `margay run`. */
function refused(name, code, pattern, make) {
  test(`should say so and exit ${code} for ${name}`, async () => {
    await inFreshDirectory(async (dir) => {
      const args = await make((file) => join(dir, file), dir);
      assertRefused(await leavingNothing((env) => margayRun(args, { cwd: dir, env, timeout: 30 })), code, pattern);
    });
  });
}

const executable = (path, content) => {
  writeFileSync(path, content);
  chmodSync(path, 0o755);
  return path;
};

/** Our smallest program with bytes changed. */
function changed(path, change) {
  const image = readFileSync(binary("tiny", "static"));
  return executable(path, change(image) ?? image);
}
const headers = (image) => ({ offset: Number(image.readBigUInt64LE(32)), size: image.readUInt16LE(54), count: image.readUInt16LE(56) });
/** Calls `edit` with the file offset of each PT_LOAD header. */
function loads(image, edit) {
  const { offset, size, count } = headers(image);
  for (let i = 0, n = 0; i < count; i++) {
    const at = offset + i * size;
    if (image.readUInt32LE(at) === 1) edit(at, n++);
  }
}

// Files that are no programs
refused("no such file", 127, /absent/, (at) => [at("absent")]);
refused("no such command on the path", 127, /margay-absent-command/, () => ["margay-absent-command"]);
refused("an empty name", 127, /./, () => ["--", ""]);
refused("a directory", 126, /directory/i, (_at, dir) => [dir]);
refused("a file without execute permission", 126, /permission/i, (at) => {
  writeFileSync(at("plain"), readFileSync(binary("tiny", "static")), { mode: 0o644 });
  return [at("plain")];
});
refused("a text file that is no script", 126, /ELF|format/i, (at) => [executable(at("text"), "just some text\n")]);
refused("an empty file", 126, /./, (at) => [executable(at("empty"), "")]);
refused("a file that is shorter than an ELF header", 126, /./, (at) => [changed(at("short"), (image) => image.subarray(0, 40))]);
refused("a device", 126, /./, () => ["/dev/null"]);
// Shells differ on the next two (dash 127, bash and env 126): nothing was found that could be executed.
refused("a loop of symbolic links", 127, /circle|loop/, (at) => {
  symlinkSync("b", at("a"));
  symlinkSync("a", at("b"));
  return [at("a")];
});
refused("a path through a file", 127, /no such|not a directory/i, (at) => {
  writeFileSync(at("file"), "");
  return [at("file/program")];
});

// ELF files for somebody else
refused("a program for another architecture", 126, /aarch64|ARM|architecture|machine/i, (at) => [
  changed(at("arm"), (image) => {
    image.writeUInt16LE(183, 18);
  }),
]);
refused("a 32-bit program", 126, /32/, (at) => [
  changed(at("class32"), (image) => {
    image[4] = 1;
  }),
]);
refused("a big-endian program", 126, /endian/i, (at) => [
  changed(at("msb"), (image) => {
    image[5] = 2;
  }),
]);
refused("an object file", 126, /./, (at) => [
  changed(at("object"), (image) => {
    image.writeUInt16LE(1, 16);
  }),
]);
refused("a core file", 126, /./, (at) => [
  changed(at("core"), (image) => {
    image.writeUInt16LE(4, 16);
  }),
]);

// Truncated and hostile ELF files
refused("a program cut off within its segments", 126, /./, (at) => [changed(at("cut"), (image) => image.subarray(0, 0x1000))]);
refused("program headers beyond the end of the file", 126, /./, (at) => [
  changed(at("phoff"), (image) => {
    image.writeBigUInt64LE(1n << 40n, 32);
  }),
]);
refused("program headers of a wrong size", 126, /./, (at) => [
  changed(at("phentsize"), (image) => {
    image.writeUInt16LE(20, 54);
  }),
]);
refused("65535 program headers", 126, /./, (at) => [
  changed(at("phnum"), (image) => {
    image.writeUInt16LE(65535, 56);
  }),
]);
refused("no segment to load", 126, /./, (at) => [
  changed(at("noload"), (image) => loads(image, (header) => image.writeUInt32LE(0, header))),
]);
refused("a segment of 2^62 bytes", 126, /./, (at) => [
  changed(at("memsz"), (image) => loads(image, (header) => image.writeBigUInt64LE(1n << 62n, header + 40))),
]);
refused("a segment with more in the file than in memory", 126, /./, (at) => [
  changed(at("filesz"), (image) => loads(image, (header) => image.writeBigUInt64LE(1n, header + 40))),
]);
refused("a segment at an address of the kernel", 126, /./, (at) => [
  changed(at("vaddr"), (image) =>
    loads(image, (header) => image.writeBigUInt64LE(0xffffffff80000000n + (image.readBigUInt64LE(header + 16) & 0xfffn), header + 16)),
  ),
]);
refused("a segment at an address of margay's", 126, /./, (at) => [
  changed(at("lwk"), (image) =>
    loads(image, (header) => image.writeBigUInt64LE(0x7ff000000000n + (image.readBigUInt64LE(header + 16) & 0xfffn), header + 16)),
  ),
]);
refused("overlapping segments", 126, /./, (at) => [
  changed(at("overlap"), (image) =>
    loads(image, (header) => image.writeBigUInt64LE(0x400000n + (image.readBigUInt64LE(header + 8) & 0xfffn), header + 16)),
  ),
]);

// Interpreters
const interpreter = (image, path) => {
  const { offset, size, count } = headers(image);
  for (let i = 0; i < count; i++) {
    const at = offset + i * size;
    if (image.readUInt32LE(at) !== 3) continue;
    const start = Number(image.readBigUInt64LE(at + 8));
    image.fill(0, start, start + Number(image.readBigUInt64LE(at + 32)));
    image.write(path, start);
  }
  return image;
};
refused("a missing interpreter", 127, /ld-absent/, (at) => [
  executable(at("program"), interpreter(readFileSync(binary("args", "dynamic")), "/lib/ld-absent.so")),
]);
refused("an interpreter that is no ELF file", 126, /./, (at) => [
  executable(at("program"), interpreter(readFileSync(binary("args", "dynamic")), "/etc/services")),
]);
refused("a script with a missing interpreter", 127, /absent/, (at) => [executable(at("script"), "#!/absent/interpreter\n")]);
refused("a script that is its own interpreter", 126, /./, (at) => [executable(at("script"), `#!${at("script")}\n`)]);
refused("scripts that interpret each other", 126, /./, (at) => {
  executable(at("a"), `#!${at("b")}\n`);
  return [executable(at("b"), `#!${at("a")}\n`)];
});
refused("a script whose first line names nothing", 126, /./, (at) => [executable(at("script"), "#!\n")]);

// Options
refused("no program", 125, /program/i, () => []);
refused("an unknown option", 125, /--frobnicate/, () => ["--frobnicate", "/bin/true"]);
refused("an unknown page policy", 125, /1G\/3K/, () => ["--pages", "1G/3K", "/bin/true"]);
refused("CPUs that do not exist", 125, /4095|CPU/, () => ["--cpus", "4095", "/bin/true"]);
refused("a list of CPUs that is none", 125, /CPU/i, () => ["--cpus", "one", "/bin/true"]);
refused("a NUMA node that does not exist", 125, /node/i, () => ["--numa", "999", "/bin/true"]);
refused("more memory than there is", 125, /memory|1000T/i, () => ["--mem", "1000T", "/bin/true"]);
refused("a size that is none", 125, /lots/, () => ["--mem", "lots", "/bin/true"]);
refused("too little memory for the program", 125, /memory|1M/i, () => ["--mem", "1M", "/bin/true"]);
refused("a time that is none", 125, /soon/, () => ["--timeout", "soon", "/bin/true"]);
refused("a working directory that does not exist", 125, /absent/, () => ["--workdir", "/absent", "/bin/true"]);
refused("a statistics file that cannot be written", 125, /absent/, () => ["--stats=/absent/file.json", "/bin/true"]);
refused("an environment variable without a name", 125, /./, () => ["--env", "=x", "/bin/true"]);

const poolIsEmpty = /^HugePages_Free: +0$/m.test(readFileSync("/proc/meminfo", "utf8"));
test("should say so and exit 125 for huge pages from pools that have none", {
  skip: poolIsEmpty ? false : "the pools of this machine have room",
}, async () => {
  assertRefused(await leavingNothing((env) => margayRun(["--hugetlb", "/bin/true"], { env })), 125, /huge/i);
});

// And what looks strange but is good
test("should run a script with its interpreter and one argument", async () => {
  await inFreshDirectory(async (dir) => {
    const script = executable(join(dir, "script"), `#!${binary("args", "static")} one argument\n`);
    const result = await margayRun([script, "second"], { cwd: dir, env: {} });
    assert.equal(result.code, 4, result.stderr.toString());
    assert.equal(
      result.stdout.toString().split("\n").slice(0, 4).join("|"),
      `argv[0]=<${binary("args", "static")}>|argv[1]=<one argument>|argv[2]=<${script}>|argv[3]=<second>`,
    );
  });
});
test("should find a program by the path", async () => {
  await inFreshDirectory(async (dir) => {
    mkdirSync(join(dir, "bin"));
    copyFileSync(binary("tiny", "static"), join(dir, "bin", "tiny-program"));
    chmodSync(join(dir, "bin", "tiny-program"), 0o755);
    const result = await margayRun(["tiny-program"], { cwd: dir, env: { PATH: `/absent:${join(dir, "bin")}` } });
    assert.equal(result.code, 42, result.stderr.toString());
  });
});
