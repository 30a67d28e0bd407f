import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeCpio } from "./cpio.mjs";
import { libraries } from "./libraries.mjs";
import { Tree } from "./tree.mjs";

const haveCpio = spawnSync("cpio", ["--version"]).status === 0;
let work;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "cpio-test-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("writeCpio", () => {
  it("should lay out a member as the kernel's documentation says", () => {
    const file = join(work, "one.cpio");
    writeCpio(file, [{ kind: "bytes", path: "/ab", mode: 0o640, bytes: Buffer.from("xyz") }]);
    const archive = readFileSync(file, "latin1");
    expect(archive.slice(0, 6)).toBe("070701");
    const field = (index) => Number.parseInt(archive.slice(6 + index * 8, 14 + index * 8), 16);
    expect(field(1)).toBe(0o100640);
    expect(field(6)).toBe(3);
    expect(field(11)).toBe(3); // "ab" and its NUL
    expect(archive.slice(110, 113)).toBe("ab\0");
    expect(archive.slice(116, 120)).toBe("xyz\0"); // 113 padded to 116, 119 to 120
    expect(archive.slice(120, 126)).toBe("070701");
    expect(archive).toContain("TRAILER!!!\0");
    expect(archive.length % 4).toBe(0);
  });

  it.skipIf(!haveCpio)("should write what cpio unpacks to the same tree", () => {
    const source = join(work, "source.bin");
    writeFileSync(source, Buffer.alloc(3_000_001, 7), { mode: 0o755 });
    const tree = new Tree();
    tree.text("/deep/down/file", "text\n", 0o600);
    tree.symlink("/deep/link", "down/file");
    tree.copy("/copy", source);
    tree.text("/empty", "");
    const file = join(work, "tree.cpio");
    writeCpio(file, tree.entries.values());
    const out = join(work, "out");
    mkdirSync(out);
    const unpacked = spawnSync("cpio", ["-idm", "--quiet"], { cwd: out, input: readFileSync(file) });
    expect(unpacked.stderr.toString()).toBe("");
    expect(readFileSync(join(out, "deep/down/file"), "utf8")).toBe("text\n");
    expect(lstatSync(join(out, "deep/down/file")).mode & 0o777).toBe(0o600);
    expect(readlinkSync(join(out, "deep/link"))).toBe("down/file");
    expect(readFileSync(join(out, "copy")).equals(readFileSync(source))).toBe(true);
    expect(lstatSync(join(out, "copy")).mode & 0o777).toBe(0o755);
    expect(lstatSync(join(out, "empty")).size).toBe(0);
  });
});

describe("Tree", () => {
  it("should put directories before what they hold", () => {
    const tree = new Tree();
    tree.text("/a/b/c", "");
    expect([...tree.entries.keys()]).toEqual(["/a", "/a/b", "/a/b/c"]);
  });

  it("should bring the symbolic links on the way to a file along", () => {
    mkdirSync(join(work, "real"));
    writeFileSync(join(work, "real/file"), "x");
    spawnSync("ln", ["-s", "real", join(work, "alias")]);
    const tree = new Tree();
    expect(tree.sameAsHere(join(work, "alias/file"))).toBe(join(work, "real/file"));
    expect(tree.entries.get(join(work, "alias"))).toMatchObject({ kind: "symlink", target: "real" });
    expect(tree.entries.get(join(work, "real/file"))).toMatchObject({ kind: "copy" });
  });

  it("should give another key when a file changes, the same when none does", () => {
    const file = join(work, "changing");
    const key = () => {
      const tree = new Tree();
      tree.copy("/x", file);
      return tree.key();
    };
    writeFileSync(file, "1");
    const first = key();
    expect(key()).toBe(first);
    writeFileSync(file, "22");
    expect(key()).not.toBe(first);
  });
});

describe("libraries", () => {
  it("should name the C library and the loader of a dynamic program", () => {
    const found = libraries([process.execPath]);
    expect(found.some((path) => path.endsWith("/libc.so.6"))).toBe(true);
    expect(found.some((path) => path.includes("/ld-linux-x86-64.so.2"))).toBe(true);
  });

  it("should not mistake a file for a library", () => {
    const text = join(work, "text");
    writeFileSync(text, "no program\n");
    expect(libraries([text])).toEqual([]);
  });
});
