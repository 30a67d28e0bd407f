// The lab machine's file tree, collected before it is written: what lies where and from which file of this machine it comes.
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { posix } from "node:path";
import { libraries } from "./libraries.mjs";

/** @typedef {import("./cpio.mjs").Entry} Entry */

/**
 * A file tree in the making. Adding the same path again changes nothing, so that callers need not know what others have added.
 */
export class Tree {
  constructor() {
    /** @type {Map<string, Entry>} parents always before children */
    this.entries = new Map();
  }

  /** Adds a directory and those above it. */
  directory(path, mode = 0o755) {
    if (path === "/" || this.entries.has(path)) return;
    this.directory(posix.dirname(path));
    this.entries.set(path, { kind: "directory", path, mode });
  }

  /** Adds a file with these contents. */
  text(path, contents, mode = 0o644) {
    this.directory(posix.dirname(path));
    this.entries.set(path, { kind: "bytes", path, mode, bytes: Buffer.from(contents) });
  }

  symlink(path, target) {
    if (this.entries.has(path)) return;
    this.directory(posix.dirname(path));
    this.entries.set(path, { kind: "symlink", path, target });
  }

  character(path, major, minor, mode = 0o666) {
    this.directory(posix.dirname(path));
    this.entries.set(path, { kind: "character", path, mode, major, minor });
  }

  /** Adds this machine's `source` as `path`. */
  copy(path, source) {
    if (this.entries.has(path)) return;
    this.directory(posix.dirname(path));
    this.entries.set(path, { kind: "copy", path, mode: statSync(source).mode & 0o777, source });
  }

  /** Adds a whole directory of this machine, its symbolic links kept as they are. */
  copyTree(path, source) {
    this.directory(path);
    for (const name of readdirSync(source).sort()) {
      const from = `${source}/${name}`;
      const to = `${path}/${name}`;
      const kind = lstatSync(from);
      if (kind.isDirectory()) this.copyTree(to, from);
      else if (kind.isSymbolicLink()) this.symlink(to, readlinkSync(from));
      else if (kind.isFile()) this.copy(to, from);
    }
  }

  /**
   * Adds a file of this machine at its own path, with every symbolic link on the way to it: /lib/x86_64-linux-gnu/libc.so.6 brings
   * /lib -> usr/lib along, and the loader finds all libraries where it looks for them.
   */
  sameAsHere(path) {
    let at = "/";
    const rest = path.split("/").filter(Boolean);
    for (let links = 0; rest.length > 0; ) {
      const next = posix.join(at, rest.shift());
      if (lstatSync(next).isSymbolicLink()) {
        links += 1;
        if (links > 40) throw new Error(`${path}: too many symbolic links`);
        const target = readlinkSync(next);
        this.symlink(next, target);
        rest.unshift(...target.split("/").filter((part) => part !== "" && part !== "."));
        if (target.startsWith("/")) at = "/";
      } else {
        at = next;
      }
    }
    if (lstatSync(at).isDirectory()) this.copyTree(at, at);
    else this.copy(at, at);
    return at;
  }

  /** Adds programs or libraries of this machine with all shared libraries they name. */
  withLibraries(paths) {
    const files = paths.map((path) => this.sameAsHere(path));
    for (const library of libraries(files)) this.sameAsHere(library);
  }

  /**
   * What the archive would hold, as one number: equal keys, equal archives. Copied files count by path, size and time of last change.
   */
  key() {
    const hash = createHash("sha256");
    for (const entry of this.entries.values()) {
      hash.update(`${entry.kind} ${entry.path} `);
      if (entry.kind === "copy") {
        const { size, mtimeMs } = statSync(entry.source);
        hash.update(`${entry.mode} ${entry.source} ${size} ${mtimeMs}\n`);
      } else if (entry.kind === "bytes") {
        hash.update(`${entry.mode} ${entry.bytes.length}\n`).update(entry.bytes);
      } else {
        hash.update(`${JSON.stringify(entry)}\n`);
      }
    }
    return hash.digest("hex").slice(0, 16);
  }
}
