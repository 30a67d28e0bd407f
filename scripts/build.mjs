// Bundles src/ into dist/margay.cjs, which bin/load.js starts as the command line or as a Worker, and makes V8's code cache for it.
// One CommonJS file and a cache because start-up counts: of the 60 ms that ES modules without cache took, 25 remain.
import { spawnSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { build } from "esbuild";

mkdirSync("dist", { recursive: true });
rmSync("dist/margay.cache", { force: true });
await build({
  entryPoints: ["src/cli/entry.ts"],
  // Written beside and renamed: a run that starts meanwhile sees the old file or the new one, never half of one.
  outfile: "dist/margay.cjs.new",
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  external: ["koffi", "commander"],
  define: { "import.meta.url": "margayUrl" },
  // The wrapper is in the file, so that no thread joins half a megabyte of source to it.
  banner: { js: '(function (exports, require, module, __filename, __dirname) {const margayUrl = require("node:url").pathToFileURL(__filename).href;' },
  footer: { js: "})" },
  // Half the bytes to read and hash; names stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: false,
  legalComments: "none",
  logLevel: "warning",
});
renameSync("dist/margay.cjs.new", "dist/margay.cjs");

// The cache is taken at the end of a run, when what a run needs has been compiled. Without a usable /dev/kvm there is no run and no cache.
const cache = `dist/margay.cache.${process.pid}`;
const run = spawnSync(process.execPath, ["bin/margay.js", "run", "/bin/true"], {
  env: { ...process.env, MARGAY_MAKE_CACHE: cache },
  stdio: "ignore",
  timeout: 60_000,
});
if (run.status === 0) renameSync(cache, "dist/margay.cache");
else rmSync(cache, { force: true });
