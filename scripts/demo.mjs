// The first command of the README: `npm run demo [-- --pairs N]`. Sets everything up, then runs real programs natively and in a virtual
// node in turn and prints the comparison. Without a usable /dev/kvm it does the same inside the lab, an emulated machine.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "./lib/children.mjs";
import { writeLines } from "./lib/demo-data.mjs";
import { askDoctor, kvmProblem } from "./lib/kvm.mjs";
import { setUp } from "./lib/setup.mjs";
import { compare, head, startUp } from "./lib/side-by-side.mjs";
import { table } from "./lib/table.mjs";

process.chdir(join(import.meta.dirname, ".."));
const { values: options } = parseArgs({ options: { pairs: { type: "string", default: "5" } } });
const pairs = Math.max(1, Number.parseInt(options.pairs, 10) || 1);
const say = (text) => process.stdout.write(`${text}\n`);

/** Ends the demo in the lab, which prints its own table. `why` completes the sentence "/dev/kvm ...". */
async function inTheLab(why) {
  const note = `demo: EMULATED: /dev/kvm ${why}, so this ran in the lab, a machine that QEMU emulates. Its times say nothing about speed.`;
  const code = setUp("demo", "lab");
  if (code !== 0) return code;
  const lab = await run(process.execPath, ["test/lab/run.mjs", "--demo"], { timeout: 900 });
  say(note);
  return lab.code;
}

/** Compiles examples/NAME.c into build/examples and returns the program's path. */
async function compile(name, flags) {
  mkdirSync("build/examples", { recursive: true });
  const program = `build/examples/${name}`;
  const { code } = await run("gcc", ["-O3", "-march=native", `examples/${name}.c`, "-o", program, ...flags]);
  if (code !== 0) throw new Error(`gcc could not build examples/${name}.c`);
  return program;
}

async function main() {
  const problem = kvmProblem();
  if (problem !== null) {
    say(`demo: EMULATED: /dev/kvm ${problem}: this runs in the lab, a machine that QEMU emulates. Its times will say nothing about speed.`);
    return inTheLab(problem);
  }
  say("demo: real programs natively and in a virtual node of this machine's /dev/kvm");
  const code = setUp("demo");
  if (code !== 0) return code;

  const doctor = askDoctor();
  if (!doctor.ok) {
    say(`demo: EMULATED: margay doctor says that virtual nodes cannot run here. ${doctor.text}`);
    return inTheLab("does not do what margay needs (see `bin/margay.js doctor`)");
  }

  const scratch = mkdtempSync(join(tmpdir(), "margay-demo-"));
  process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
  say("demo: compiling examples/stream.c and examples/dgemm.c");
  const stream = await compile("stream", ["-fopenmp"]);
  const dgemm = await compile("dgemm", ["-lopenblas"]);
  const text = writeLines(join(scratch, "lines.txt"), 600_000);
  const megabytes = `${text.megabytes} MB of text`;
  const threads = cpus().length;
  const programs = [
    { title: "STREAM triad, OpenMP, 3 x 128 MiB", command: [stream, "128"], unit: "GB/s" },
    { title: "DGEMM 1536, OpenBLAS", command: [dgemm, "1536"], unit: "GFLOP/s" },
    {
      title: `sort of ${megabytes}`,
      command: ["/usr/bin/sort", `--parallel=${threads}`, "-S", "256M", text.file],
      unit: "MB/s",
      amount: text.megabytes,
    },
    {
      title: `xz -0 of ${megabytes}`,
      command: ["/usr/bin/xz", "-0", `-T${threads}`, "-c", text.file],
      unit: "MB/s",
      amount: text.megabytes,
    },
  ];

  const { kind } = doctor;
  say(`demo: KVM: ${kind}; ${cpus()[0].model}, ${threads} CPUs, Linux ${release()}, Node ${process.version}`);
  say(`demo: ${pairs} pairs each, native and virtual node in turn; the table shows medians\n`);
  const rows = [head];
  const complaints = [];
  for (const program of programs) {
    say(`  running ${program.title}`);
    try {
      const { row, identical } = await compare(program, pairs, scratch);
      rows.push(row);
      if (!identical) complaints.push(`${program.title}: output differs`);
    } catch (error) {
      rows.push([program.title, ...head.slice(2).map(() => "-"), "FAILED"]);
      complaints.push(error.message);
    }
  }
  say(`\n${table(rows, [1, 3, 4, 5, 6])}\n`);
  say("guest/native: speed in the virtual node over native speed, median of the pairs; 1 is native speed.");
  say("seconds: the whole command, margay's own start included both ways (native is `margay run --native`).");
  say("exits: times the program left the virtual machine in one run, mostly for system calls; `margay run --stats` tells more.");
  say(`start: ${await startUp(pairs)}`);
  for (const complaint of complaints) say(`demo: ${complaint}`);
  say(
    `demo: ${complaints.length === 0 ? "done, all outputs identical" : `${complaints.length} of ${programs.length} programs FAILED`} (KVM: ${kind})`,
  );
  return complaints.length === 0 ? 0 : 1;
}

process.exitCode = await main();
