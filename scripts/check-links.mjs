// Says which relative links of the Markdown pages lead nowhere (exit 1): missing files, and missing headings of pages.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const folders = [".", "docs", "examples", "bench", "test", "test/lab", "test/programs"];
const pages = folders
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .filter((path) => path.endsWith(".md"));

/** The anchors GitHub gives to a page's headings: lower case, punctuation dropped, blanks to hyphens. */
function anchorsOf(page) {
  const headings = [...readFileSync(page, "utf8").matchAll(/^#+ +(.*)$/gm)];
  return new Set(
    headings.map(([, text]) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

const broken = [];
let count = 0;
for (const page of pages) {
  const text = readFileSync(page, "utf8").replace(/```[\s\S]*?```/g, "");
  for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    count++;
    const [path, anchor] = target.split("#");
    const file = path === "" ? page : normalize(join(dirname(page), path));
    if (!existsSync(file)) broken.push(`${page}: ${target}: no such file`);
    else if (anchor && file.endsWith(".md") && !anchorsOf(file).has(anchor)) broken.push(`${page}: ${target}: no such heading`);
  }
}
for (const line of broken) console.error(line);
console.log(`links: ${count} in ${pages.length} pages, ${broken.length} broken`);
process.exitCode = broken.length > 0 ? 1 : 0;
