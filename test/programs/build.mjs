// Builds the guest programs into .build/NAME.VARIANT. Idempotent: a binary newer than its source and the headers is kept, unless the
// command that makes it has changed.
// Run directly it builds everything and prints what it did; tests import `programs` and `build`.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "src");
/** Where the binaries are. */
export const out = join(here, ".build");

const common = [
  "-O2",
  "-g",
  "-Wall",
  "-Wextra",
  "-D_GNU_SOURCE",
  "-pthread",
  "-Wno-format-zero-length",
  "-Wno-unused-function",
  `-fmacro-prefix-map=${source}/=`,
];

/** Link variants: how the program reaches its libraries and whether it can be loaded anywhere. */
const links = {
  static: ["-static", "-no-pie", "-fno-pie"],
  "static-pie": ["-static-pie", "-fPIE"],
  dynamic: ["-pie", "-fPIE"],
  musl: ["-static", "-no-pie", "-fno-pie"],
};

/**
 * Debian's static libgfortran refers to pthreads by weak symbols, which pull nothing out of libc.a: without these names the
 * program natively jumps to address 0 when it closes a file.
 */
const fortranStatic = [
  "cond_broadcast",
  "cond_destroy",
  "cond_init",
  "cond_wait",
  "create",
  "getspecific",
  "join",
  "key_create",
  "key_delete",
]
  .concat(["mutex_destroy", "mutex_init", "mutex_lock", "mutex_trylock", "mutex_unlock", "self", "setspecific"])
  .map((name) => `-Wl,--undefined=pthread_${name}`);

const glibc = ["static", "static-pie", "dynamic"];
const everywhere = [...glibc, "musl"];

/**
 * The programs: `variants` are keys of `links`, or "go", or "shared" for a library that another program opens.
 * `flags` come after the common ones, `needs` are libraries built first.
 */
export const programs = [
  { name: "args", file: "args.c", variants: everywhere },
  { name: "tiny", file: "tiny.S", variants: ["static", "static-pie"], flags: ["-nostdlib"] },
  { name: "auxv", file: "auxv.c", variants: everywhere },
  { name: "exits", file: "exits.c", variants: everywhere, flags: ["-Wno-infinite-recursion", "-Wno-array-bounds"] },
  { name: "files", file: "files.c", variants: glibc },
  { name: "streams", file: "streams.c", variants: glibc },
  { name: "memory", file: "memory.c", variants: everywhere },
  { name: "memory-model", file: "memory-model.c", variants: ["static", "dynamic"] },
  { name: "filemap", file: "filemap.c", variants: ["static", "dynamic"] },
  { name: "faults", file: "faults.c", variants: everywhere },
  { name: "signals", file: "signals.c", variants: everywhere },
  { name: "sigstate", file: "sigstate.c", variants: ["static"] },
  { name: "registers", file: "registers.c", variants: ["static", "static-pie"] },
  { name: "threads", file: "threads.c", variants: everywhere },
  { name: "futex", file: "futex.c", variants: ["static", "dynamic"] },
  { name: "time", file: "time.c", variants: everywhere },
  { name: "system", file: "system.c", variants: everywhere },
  { name: "proc", file: "proc.c", variants: ["static", "dynamic"] },
  { name: "hostile", file: "hostile.c", variants: ["static", "dynamic"] },
  { name: "dl-plugin", file: "dl-plugin.c", variants: ["shared"] },
  { name: "dl", file: "dl.c", variants: ["dynamic"], flags: ["-ldl", "-rdynamic"] },
  { name: "ifunc", file: "ifunc.c", variants: glibc },
  { name: "cxx", file: "cxx.cpp", variants: glibc },
  { name: "omp", file: "omp.c", variants: glibc, flags: ["-fopenmp", "-lm"] },
  { name: "fortran", file: "fortran.f90", variants: glibc, flags: ["-fopenmp"] },
  { name: "go", file: "go/main.go", variants: ["go"] },
  { name: "interrupt", file: "interrupt.c", variants: ["static"] },
  { name: "crew", file: "crew.c", variants: ["static", "dynamic"] },
  { name: "fuzz-syscalls", file: "fuzz-syscalls.c", variants: ["static"] },
];

/** Path of a built program. */
export const binary = (name, variant) => join(out, `${name}.${variant}`);

function command(program, variant, target) {
  const file = join(source, program.file);
  const flags = program.flags ?? [];
  if (variant === "go") return ["go", ["build", "-trimpath", "-o", target, file]];
  if (variant === "shared") return ["gcc", [...common, "-fPIC", "-shared", "-o", target, file, ...flags]];
  if (variant === "musl") return ["musl-gcc", [...common, ...links.musl, "-o", target, file, ...flags]];
  if (file.endsWith(".f90"))
    return [
      "gfortran",
      [
        "-O2",
        "-g",
        "-Wall",
        ...links[variant],
        "-J",
        `${target}.d`,
        "-o",
        target,
        file,
        ...flags,
        ...(variant === "dynamic" ? [] : fortranStatic),
      ],
    ];
  if (file.endsWith(".cpp")) return ["g++", ["-std=c++20", ...common, ...links[variant], "-o", target, file, ...flags]];
  return ["gcc", [...common, ...links[variant], "-o", target, file, ...flags]];
}

/** What made a binary, as text: kept beside it, so that another command is noticed. */
const recipe = (program, variant) => JSON.stringify(command(program, variant, binary(program.name, variant)));

const isCurrent = (program, variant, newestHeader) => {
  const target = binary(program.name, variant);
  if (mtime(target) < Math.max(newestHeader, mtime(join(source, program.file)))) return false;
  return existsSync(`${target}.recipe`) && readFileSync(`${target}.recipe`, "utf8") === recipe(program, variant);
};

const mtime = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Compiles one; the result appears under its name only when complete. Resolves to the compiler's output when it failed, else "". */
function compile(program, variant) {
  const target = binary(program.name, variant);
  const partial = `${target}.${process.pid}.part`;
  const [tool, args] = command(program, variant, partial);
  mkdirSync(`${partial}.d`); // Fortran's module files, of no use later
  return new Promise((resolve) => {
    const child = spawn(tool, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, CGO_ENABLED: "0" } });
    let text = "";
    child.stdout.on("data", (d) => (text += d));
    child.stderr.on("data", (d) => (text += d));
    child.on("error", (e) => resolve(`${tool}: ${e.message} (apt-get install gcc g++ gfortran golang-go musl-tools)\n`));
    child.on("close", (code) => {
      rmSync(`${partial}.d`, { recursive: true, force: true });
      if (code === 0) {
        renameSync(partial, target);
        writeFileSync(`${target}.recipe`, recipe(program, variant));
      } else rmSync(partial, { force: true });
      if (code === 0 && text !== "") console.error(text);
      resolve(code === 0 ? "" : `${tool} ${args.join(" ")}\n${text}`);
    });
  });
}

/**
 * Builds what is out of date, two at a time.
 * @param {string[]} [names] only these programs
 * @returns {Promise<number>} how many binaries were compiled
 * @throws Error with the compilers' output if any failed
 */
export async function build(names) {
  mkdirSync(out, { recursive: true });
  const newestHeader = Math.max(
    ...readdirSync(source)
      .filter((f) => f.endsWith(".h"))
      .map((f) => mtime(join(source, f))),
  );
  const queue = programs
    .filter((p) => !names || names.includes(p.name))
    .flatMap((p) => p.variants.map((v) => [p, v]))
    .filter(([p, v]) => !isCurrent(p, v, newestHeader));
  const total = queue.length;
  const errors = [];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const error = await compile(...next);
      if (error) errors.push(error);
    }
  };
  await Promise.all([worker(), worker()]);
  if (errors.length) throw new Error(errors.join("\n"));
  return total;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.slice(2);
  try {
    console.log(`${await build(names.length ? names : undefined)} compiled into ${out}`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
