// Bundles src/ into dist/: one file for the command line, one for the Worker that carries a guest thread.
// Bundled because start-up counts: Node reads two files instead of eighty.
import { build } from "esbuild";

await build({
  entryPoints: { margay: "src/cli/main.ts", worker: "src/node/worker.ts" },
  outdir: "dist",
  bundle: true,
  splitting: true,
  chunkNames: "chunk-[hash]",
  platform: "node",
  target: "node20",
  format: "esm",
  external: ["koffi", "commander"],
  sourcemap: false,
  legalComments: "none",
  logLevel: "warning",
});
