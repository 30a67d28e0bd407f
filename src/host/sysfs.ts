/** Reading the small text files of /sys and /proc. Any of them may be missing, empty or unreadable; that is an answer, not an error. */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { parseCpuList } from "./cpulist.ts";

/** A file's text without the white space around it; undefined when it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** At most the first `bytes` bytes of a file: for /proc files that the kernel makes while they are read. */
export function readHead(path: string, bytes: number): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const buffer = Buffer.alloc(bytes);
    let length = 0;
    while (length < bytes) {
      const n = readSync(fd, buffer, length, bytes - length, null);
      if (n === 0) break;
      length += n;
    }
    return buffer.toString("utf8", 0, length);
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** A decimal integer, possibly negative; undefined when the file is missing or holds something else. */
export function readInteger(path: string): number | undefined {
  const text = readText(path);
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
}

/** A kernel list such as `0-3,8`; an empty file is an empty list; undefined when it is missing or unreadable. */
export function readList(path: string): number[] | undefined {
  return listOf(readText(path));
}

/** The same for text already in hand. */
export function listOf(text: string | undefined): number[] | undefined {
  if (text === undefined) return undefined;
  if (text === "") return [];
  try {
    return parseCpuList(text);
  } catch {
    return undefined;
  }
}

/** Names in a directory; none when it cannot be read. */
export function readNames(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** The numbers N of a directory's entries named `<prefix>N`, ascending: `node0 node2` gives [0, 2]. */
export function numberedEntries(path: string, prefix: string): number[] {
  const numbers: number[] = [];
  for (const name of readNames(path)) {
    const rest = name.startsWith(prefix) ? name.slice(prefix.length) : "";
    if (/^\d+$/.test(rest)) numbers.push(Number(rest));
  }
  return numbers.sort((a, b) => a - b);
}

/** Lines `Key: 123 kB` of meminfo files (also `Node 0 Key: 123 kB`) as bytes; lines without a unit as plain numbers. */
export function parseMeminfo(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const m = /^(?:Node \d+ )?([^:]+):\s+(\d+)( kB)?$/.exec(line.trim());
    if (m !== null) values.set(m[1] as string, Number(m[2]) * (m[3] === undefined ? 1 : 1024));
  }
  return values;
}
