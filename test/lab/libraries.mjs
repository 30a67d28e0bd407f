// Which shared libraries a program needs, asked of the loader that would load them.
import { spawnSync } from "node:child_process";

/**
 * The absolute paths of all shared libraries that these ELF files need, the loader itself among them; none for static programs.
 * @param {readonly string[]} files
 * @returns {string[]}
 * @throws Error where one is missing on this machine
 */
export function libraries(files) {
  if (files.length === 0) return [];
  const { stdout, error } = spawnSync("ldd", files, { encoding: "utf8", env: { ...process.env, LC_ALL: "C" } });
  if (error) throw error;
  const found = new Set();
  let file = files[0];
  for (const line of stdout.split("\n")) {
    if (/^\S.*:$/.test(line)) file = line.slice(0, -1); // several files: each under its name
    if (line.includes("not found")) throw new Error(`${file} cannot run here: ${line.trim()}`);
    // "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" or "\t/lib64/ld-linux-x86-64.so.2 (0x...)"
    const match = /^\t(?:.* => )?(\/\S+) \(0x/.exec(line);
    if (match) found.add(match[1]);
  }
  return [...found];
}
