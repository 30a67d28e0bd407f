// Compiles the benchmark programs (C, for exactly this CPU) and bundles the runner into bench/.build. Compiles only what is older than its sources.
import { execFileSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = `${here}.build/`;
const FLAGS = ["-std=gnu17", "-O3", "-march=native", "-Wall", "-Wextra", "-Werror"];

/** Program, its sources, and what it needs beyond FLAGS. */
const PROGRAMS = [
  ["dgemm", ["src/dgemm.c", "src/pages.c"], ["-lopenblas", "-lm"]],
  ["stream", ["src/stream.c", "src/pages.c"], ["-fopenmp", "-lm"]],
  ["randomaccess", ["src/randomaccess.c", "src/pages.c"], []],
  ["omp-barrier", ["src/omp-barrier.c"], ["-fopenmp"]],
  ["calls", ["src/calls.c"], []],
  ["forwarded", ["src/forwarded.c"], []],
  ["sleeper", ["src/sleeper.c"], ["-pthread"]],
  ["wall", ["src/wall.c"], []],
  ["exit-loop", ["exit-loop.c"], []],
];

const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

mkdirSync(out, { recursive: true });
for (const [name, sources, more] of PROGRAMS) {
  const inputs = [...sources, "src/bench.h", "build.mjs"].map((path) => here + path);
  if (modified(out + name) > Math.max(...inputs.map(modified))) continue;
  try {
    execFileSync("gcc", [...FLAGS, "-o", out + name, ...sources.map((path) => here + path), ...more], { stdio: "inherit" });
  } catch (error) {
    if (error.code !== "ENOENT" && error.status === undefined) throw error;
    console.error(`bench: ${name} does not compile. It needs: apt-get install gcc libc6-dev libopenblas-dev`);
    process.exit(1);
  }
}
await build({
  entryPoints: [`${here}main.ts`],
  outfile: `${out}main.js`,
  bundle: true,
  platform: "node",
  target: "node20",
  format: "esm",
  logLevel: "warning",
});
