// Says which modules of src/ import values from each other in a circle (exit 1): what runs first would depend on who imports whom.
// Types may go round. esbuild gives the graph, since it has dropped the type-only imports by then.
import { readdirSync } from "node:fs";
import { build } from "esbuild";

const modules = readdirSync("src", { recursive: true })
  .filter((name) => name.endsWith(".ts") && !/\.(test|testing)\.ts$/.test(name))
  .map((name) => `src/${name}`);
const { metafile } = await build({
  entryPoints: modules,
  bundle: true,
  write: false,
  metafile: true,
  outdir: "build",
  platform: "node",
  format: "esm",
  packages: "external",
  logLevel: "error",
});
const importsOf = (module) => metafile.inputs[module].imports.filter(({ external }) => !external).map(({ path }) => path);

/** Strongly connected components of more than one module (Tarjan 1972): each is a set of modules that all reach each other. */
function circles() {
  const index = new Map();
  const low = new Map();
  const stack = [];
  const found = [];
  const visit = (module) => {
    index.set(module, index.size);
    low.set(module, index.get(module));
    stack.push(module);
    for (const next of importsOf(module)) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(module, Math.min(low.get(module), low.get(next)));
    }
    if (low.get(module) !== index.get(module)) return;
    const component = stack.splice(stack.indexOf(module));
    if (component.length > 1) found.push(component);
  };
  for (const module of Object.keys(metafile.inputs)) if (!index.has(module)) visit(module);
  return found;
}

const found = circles();
for (const component of found) {
  console.error("circle:");
  for (const module of component.sort()) {
    const inside = importsOf(module).filter((path) => component.includes(path));
    console.error(`  ${module} imports ${inside.join(", ")}`);
  }
}
console.log(`circles: ${found.length} among ${modules.length} modules`);
process.exitCode = found.length > 0 ? 1 : 0;
