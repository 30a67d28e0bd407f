// The first command of the README: `npm run demo [-- --pairs N]`. Sets everything up, then runs real programs natively and in a virtual
// node in turn and prints the comparison. Without a usable /dev/kvm it does the same inside the lab, an emulated machine.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "./lib/children.mjs";
import { writeLines } from "./lib/demo-data.mjs";
import { askDoctor, kvmProblem } from "./lib/kvm.mjs";
import { setUp } from "./lib/setup.mjs";
import { digits, median, table } from "./lib/table.mjs";

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

/** One run, native or in a virtual node: exit code, wall time in seconds, digest of stdout, and the rate that the program printed on stderr. */
async function once(native, command) {
  const digest = createHash("sha256");
  let stderr = "";
  const { code, seconds, timedOut } = await run(
    process.execPath,
    ["bin/margay.js", "run", ...(native ? ["--native"] : []), "--", ...command],
    {
      timeout: 120,
      onStdout: (chunk) => digest.update(chunk),
      onStderr: (chunk) => {
        stderr += chunk;
      },
    },
  );
  const rate = /^rate ([\d.]+) /m.exec(stderr);
  return { code, seconds, timedOut, stdout: digest.digest("hex"), rate: rate ? Number(rate[1]) : Number.NaN, stderr };
}

/** Runs a program `pairs` times each way, changing which goes first, and returns one row of the table and whether all went well. */
async function compare({ title, command, unit }) {
  const runs = { native: [], guest: [] };
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? ["native", "guest"] : ["guest", "native"];
    for (const side of order) {
      const result = await once(side === "native", command);
      if (result.code !== 0) {
        const what = result.timedOut ? "was stopped after 120 s" : `ended with ${result.code}`;
        const last = result.stderr.trim().split("\n").at(-1);
        return { row: [title, "-", "-", "-", "-", "-", `no: ${side} ${what}`], ok: false, complaint: last ? `${title}: ${last}` : "" };
      }
      runs[side].push(result);
    }
  }
  const identical = [...runs.native, ...runs.guest].every((result) => result.stdout === runs.native[0].stdout);
  const time = (side) => median(runs[side].map((result) => result.seconds));
  const figure = (side) => (unit === "s" ? time(side) : median(runs[side].map((result) => result.rate)));
  // Speed of the guest over speed of the host, pair by pair: 1 is native speed, less is slower.
  const ratio = median(
    runs.native.map((native, i) => (unit === "s" ? native.seconds / runs.guest[i].seconds : runs.guest[i].rate / native.rate)),
  );
  return {
    row: [
      title,
      `${digits(time("native"))} / ${digits(time("guest"))}`,
      unit === "s" ? "time" : unit,
      digits(figure("native")),
      digits(figure("guest")),
      Number.isFinite(ratio) ? ratio.toFixed(3) : "-",
      identical ? "identical" : "DIFFERS",
    ],
    ok: identical && Number.isFinite(ratio),
    complaint: "",
  };
}

/** Start-up in milliseconds, medians: an empty Node program, and /bin/true each way. */
async function startUp() {
  const ways = {
    "node -e 0": ["-e", "0"],
    "margay run --native /bin/true": ["bin/margay.js", "run", "--native", "--", "/bin/true"],
    "margay run /bin/true": ["bin/margay.js", "run", "--", "/bin/true"],
  };
  const times = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round < pairs; round++) {
    for (const [name, args] of Object.entries(ways)) times[name].push((await run(process.execPath, args, { timeout: 30 })).seconds);
  }
  return Object.entries(times)
    .map(([name, seconds]) => `${name} ${(median(seconds) * 1000).toFixed(0)} ms`)
    .join(", ");
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
  const text = writeLines(join(scratch, "lines.txt"), 1_000_000);
  const threads = cpus().length;
  const programs = [
    { title: "STREAM triad, OpenMP, 3 x 128 MiB", command: [stream, "128"], unit: "GB/s" },
    { title: "DGEMM 1536, OpenBLAS", command: [dgemm, "1536"], unit: "GFLOP/s" },
    {
      title: `sort of ${text.megabytes} MB of text`,
      command: ["/usr/bin/sort", `--parallel=${threads}`, "-S", "256M", text.file],
      unit: "s",
    },
    { title: `xz -0 of ${text.megabytes} MB of text`, command: ["/usr/bin/xz", "-0", `-T${threads}`, "-c", text.file], unit: "s" },
  ];

  const kind = doctor.answer?.kvm?.kind ?? "kind unknown";
  say(`demo: KVM: ${kind}; ${cpus()[0].model}, ${threads} CPUs, Linux ${release()}, Node ${process.version}`);
  say(`demo: ${pairs} pairs each, native and virtual node in turn; the table shows medians\n`);
  const results = [];
  for (const program of programs) {
    say(`  running ${program.title}`);
    results.push(await compare(program));
  }
  const head = ["program", "seconds native / node", "figure", "native", "virtual node", "guest/native", "output"];
  say(`\n${table([head, ...results.map(({ row }) => row)], [1, 3, 4, 5])}\n`);
  say("guest/native: speed in the virtual node over native speed, median of the pairs; 1 is native speed.");
  say("seconds: the whole command, margay's own start included both ways (native is `margay run --native`).");
  say(`start: ${await startUp()}`);
  for (const { complaint } of results) if (complaint) say(`demo: ${complaint}`);
  const failed = results.filter(({ ok }) => !ok).length;
  say(
    failed === 0
      ? `demo: done, all outputs identical (KVM: ${kind})`
      : `demo: ${failed} of ${results.length} programs FAILED (KVM: ${kind})`,
  );
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
