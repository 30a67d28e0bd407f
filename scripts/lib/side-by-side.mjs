// Runs programs natively and in a virtual node in turn, and compares speed and output.
import { createHash } from "node:crypto";
import { run } from "./children.mjs";
import { digits, median } from "./table.mjs";

/** One run, native or in a virtual node. Its rate is what it printed on stderr ("rate 24.7 GB/s"), or else `amount` over the wall time in seconds. */
async function once(native, { command, amount }) {
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
  const printed = /^rate ([\d.]+) /m.exec(stderr);
  const rate = amount !== undefined ? amount / seconds : Number(printed?.[1] ?? Number.NaN);
  return { code, seconds, timedOut, stdout: digest.digest("hex"), rate, stderr };
}

export const head = ["program", "seconds native / guest", "figure", "native", "virtual node", "guest/native", "output"];

/**
 * Runs a program `pairs` times each way, changing which goes first. `program` is { title, command, unit, amount? }: figures are in
 * `unit`, see `once`. Returns { row, ok, complaint }: a row under `head`, whether all went well, and what to say when not.
 */
export async function compare(program, pairs) {
  const { title, unit } = program;
  const runs = { native: [], guest: [] };
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? ["native", "guest"] : ["guest", "native"];
    for (const side of order) {
      const result = await once(side === "native", program);
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
  const rate = (side) => median(runs[side].map((result) => result.rate));
  const ratio = median(runs.native.map((native, i) => runs.guest[i].rate / native.rate));
  return {
    row: [
      title,
      `${digits(time("native"))} / ${digits(time("guest"))}`,
      unit,
      digits(rate("native")),
      digits(rate("guest")),
      Number.isFinite(ratio) ? ratio.toFixed(3) : "-",
      identical ? "identical" : "DIFFERS",
    ],
    ok: identical && Number.isFinite(ratio),
    complaint: "",
  };
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
