// Runs programs natively and in a virtual node in turn, and compares speed and output.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./children.mjs";
import { digits, median } from "./table.mjs";

/**
 * One run, in a virtual node or (options: --native) on the host. Its rate is what it printed on stderr ("rate 24.7 GB/s"), or else
 * `amount` over the wall time in seconds. Throws when it does not end with exit code 0: what it said last is in the message.
 */
async function once({ title, command, amount }, ...options) {
  const digest = createHash("sha256");
  let stderr = "";
  const { code, seconds, timedOut } = await run(process.execPath, ["bin/margay.js", "run", ...options, "--", ...command], {
    timeout: 120,
    onStdout: (chunk) => digest.update(chunk),
    onStderr: (chunk) => {
      stderr += chunk;
    },
  });
  if (code !== 0 || timedOut) {
    const where = options.includes("--native") ? "natively" : "in the virtual node";
    const end = timedOut ? "was stopped after 120 s" : `ended with ${code}`;
    throw new Error(`${title}: ${end} ${where}: ${stderr.trim().split("\n").at(-1)}`);
  }
  const printed = /^rate ([\d.]+) /m.exec(stderr);
  const rate = amount !== undefined ? amount / seconds : Number(printed?.[1] ?? Number.NaN);
  return { seconds, rate, stdout: digest.digest("hex") };
}

/** Exits of the guest in one run. The run's time does not count: it also fills the host's file cache. */
async function countExits(program, scratch) {
  const file = join(scratch, "stats.json");
  const { stdout } = await once(program, `--stats=${file}`);
  const { exits } = JSON.parse(readFileSync(file, "utf8"));
  return { stdout, exits: Object.values(exits).reduce((sum, n) => sum + n, 0) };
}

export const head = ["program", "seconds native/guest", "figure", "native", "virtual node", "guest/native", "exits", "output"];

/**
 * Runs a program `pairs` times each way, changing which goes first. `program` is { title, command, unit, amount? }: figures are in
 * `unit`, see `once`. Returns its row under `head` and whether all outputs were identical. Throws when a run fails.
 */
export async function compare(program, pairs, scratch) {
  const first = await countExits(program, scratch);
  const native = [];
  const guest = [];
  for (let pair = 0; pair < pairs; pair++) {
    if (pair % 2 === 0) native.push(await once(program, "--native"));
    guest.push(await once(program));
    if (pair % 2 === 1) native.push(await once(program, "--native"));
  }
  const identical = [...native, ...guest].every(({ stdout }) => stdout === first.stdout);
  const of = (runs, key) => digits(median(runs.map((result) => result[key])));
  const ratio = median(native.map(({ rate }, pair) => guest[pair].rate / rate));
  const row = [
    program.title,
    `${of(native, "seconds")} / ${of(guest, "seconds")}`,
    program.unit,
    of(native, "rate"),
    of(guest, "rate"),
    ratio.toFixed(3),
    `${first.exits}`,
    identical ? "identical" : "DIFFERS",
  ];
  return { row, identical };
}

/** Start-up as text, medians of `pairs` rounds in milliseconds: an empty Node program, and /bin/true each way. */
export async function startUp(pairs) {
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
