// Exit 0 when node_modules holds the versions of package-lock.json, else 1. Optional packages may be absent only where they are for
// another platform: koffi, esbuild, Biome and TypeScript carry their binaries in optional packages. Deletes nothing, unlike `npm ci`.
import { readFileSync } from "node:fs";

/** The `packages` table of a lock file (path -> entry), or an empty one when the file cannot be read. */
function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8")).packages ?? {};
  } catch {
    return {};
  }
}

const isForHere = ({ os, cpu, libc }) =>
  (os?.includes("linux") ?? true) && (cpu?.includes("x64") ?? true) && (libc?.includes("glibc") ?? true);

const present = packagesOf("node_modules/.package-lock.json");
const missing = Object.entries(packagesOf("package-lock.json")).filter(
  ([path, entry]) =>
    path !== "" && isForHere(entry) && !(entry.optional && !entry.os && !entry.cpu) && present[path]?.version !== entry.version,
);
process.exit(missing.length === 0 ? 0 : 1);
