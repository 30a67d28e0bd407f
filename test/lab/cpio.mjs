// Writes the archive format that the Linux kernel unpacks into its first file system ("newc").
// Source: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel tree.
import { closeSync, openSync, readSync, statSync, writeSync } from "node:fs";

const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
const CHARACTER = 0o020000;
const CHUNK = 1 << 20;

/**
 * One thing in the archive. `path` is absolute; permission bits only in `mode`.
 * @typedef {{kind: "directory", path: string, mode: number}
 *   | {kind: "symlink", path: string, target: string}
 *   | {kind: "bytes", path: string, mode: number, bytes: Uint8Array}
 *   | {kind: "copy", path: string, mode: number, source: string}
 *   | {kind: "character", path: string, mode: number, major: number, minor: number}} Entry
 */

/** The 110 bytes before every name: a magic number and 13 fields of 8 hexadecimal digits. */
function header(inode, mode, links, size, major, minor, nameBytes) {
  const fields = [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, nameBytes, 0];
  return `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
}

/** Zero bytes up to the next multiple of four. */
const padding = (length) => Buffer.alloc((4 - (length % 4)) % 4);

/**
 * Writes `entries`, in order, to `file` (directories must come before what they hold). The times are zero, so that equal input gives an
 * equal archive.
 * @param {string} file
 * @param {Iterable<Entry>} entries
 * @returns {number} bytes written
 */
export function writeCpio(file, entries) {
  const out = openSync(file, "w");
  let written = 0;
  const write = (bytes) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(out, bytes, at);
    written += bytes.length;
  };
  let inode = 0;
  const member = (name, mode, links, size, major = 0, minor = 0) => {
    inode += 1;
    const text = Buffer.from(`${name}\0`);
    const head = Buffer.concat([Buffer.from(header(inode, mode, links, size, major, minor, text.length)), text]);
    write(Buffer.concat([head, padding(head.length)]));
  };
  try {
    for (const entry of entries) {
      const name = entry.path.replace(/^\/+/, "");
      switch (entry.kind) {
        case "directory":
          member(name, DIRECTORY | entry.mode, 2, 0);
          break;
        case "symlink": {
          const target = Buffer.from(entry.target);
          member(name, SYMLINK | 0o777, 1, target.length);
          write(Buffer.concat([target, padding(target.length)]));
          break;
        }
        case "bytes":
          member(name, REGULAR | entry.mode, 1, entry.bytes.length);
          write(entry.bytes);
          write(padding(entry.bytes.length));
          break;
        case "copy": {
          const size = statSync(entry.source).size;
          member(name, REGULAR | entry.mode, 1, size);
          copyBytes(entry.source, size, write);
          write(padding(size));
          break;
        }
        case "character":
          member(name, CHARACTER | entry.mode, 1, 0, entry.major, entry.minor);
          break;
      }
    }
    member("TRAILER!!!", 0, 1, 0);
  } finally {
    closeSync(out);
  }
  return written;
}

/** Passes exactly `size` bytes of `source` to `write`: the header has promised them. */
function copyBytes(source, size, write) {
  const input = openSync(source, "r");
  const buffer = Buffer.alloc(Math.min(CHUNK, size));
  try {
    for (let left = size; left > 0; ) {
      const got = readSync(input, buffer, 0, Math.min(buffer.length, left), null);
      if (got === 0) throw new Error(`${source} shrank while it was copied`);
      write(buffer.subarray(0, got));
      left -= got;
    }
  } finally {
    closeSync(input);
  }
}
