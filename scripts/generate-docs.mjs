// Writes the pages of docs/ that are made from tables in the source, or with --check says which of them are stale (exit 1).
// A table's module is bundled before it is imported, since Node 20 reads no TypeScript.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { syscallsPage } from "./lib/syscalls-page.mjs";

/** Page, module that holds its table, and the page's text (Markdown) from what the module exports. */
const pages = [
  { page: "docs/syscalls.md", module: "src/lwk/syscalls/table.ts", text: ({ allCalls }) => syscallsPage(allCalls()) },
  { page: "docs/errors.md", module: "src/host/error-codes.ts", text: ({ errorsPage }) => errorsPage() },
];

/** Imports a TypeScript module with what it imports; packages stay outside and are found from build/. */
async function importTypeScript(file) {
  const outfile = resolve(`build/docs-${process.pid}.mjs`);
  try {
    await build({
      entryPoints: [file],
      outfile,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      packages: "external",
      logLevel: "error",
    });
    return await import(`${pathToFileURL(outfile)}?${file}`);
  } finally {
    rmSync(outfile, { force: true });
  }
}

const check = process.argv.includes("--check");
let stale = 0;
for (const { page, module, text: render } of pages) {
  if (!existsSync(module)) {
    console.log(`docs: ${page}: no ${module} yet`);
    continue;
  }
  const text = render(await importTypeScript(module));
  const current = existsSync(page) ? readFileSync(page, "utf8") : "";
  if (text === current) {
    console.log(`docs: ${page}: current`);
  } else if (check) {
    console.error(`docs: ${page}: stale, run \`npm run docs\``);
    stale++;
  } else {
    writeFileSync(page, text);
    console.log(`docs: ${page}: written`);
  }
}
process.exitCode = stale > 0 ? 1 : 0;
