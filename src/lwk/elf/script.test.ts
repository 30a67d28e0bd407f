import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseScriptLine } from "./script.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

describe("parseScriptLine", () => {
  it.each([
    ["#!/bin/sh\n", "/bin/sh", null],
    ["#!/bin/sh", "/bin/sh", null],
    ["#! \t/bin/sh \t\nrest", "/bin/sh", null],
    ["#!/bin/sh -e -x  \n", "/bin/sh", "-e -x"],
    ["#!/bin/sh\t-e\n", "/bin/sh", "-e"],
    ["#!/bin/sh -e\0hidden\n", "/bin/sh", "-e"],
    ["#!/bin/sh\0hidden -e\n", "/bin/sh", null],
    ["#!/bin/sh\r\n", "/bin/sh\r", null],
    ["#!relative\n", "relative", null],
  ])("should read %j", (text, interpreter, argument) => {
    expect(parseScriptLine(bytes(text))).toEqual({ interpreter, argument });
  });

  it("should pass an empty argument where the file ends behind a blank, as Linux does", () => {
    expect(parseScriptLine(bytes("#!/bin/sh "))).toEqual({ interpreter: "/bin/sh", argument: "" });
  });

  it("should cut an argument at 255 bytes", () => {
    const line = parseScriptLine(bytes(`#!/bin/sh ${"a".repeat(400)}\n`));
    expect(line?.argument).toBe("a".repeat(255 - "#!/bin/sh ".length));
  });

  it.each(["", "#", "sh", "#!", "#!\n", "#!  \t \n", `#!${" ".repeat(300)}/bin/sh\n`, `#!/${"x".repeat(300)}\n`])(
    "should refuse %j",
    (text) => {
      expect(parseScriptLine(bytes(text))).toBeNull();
    },
  );

  it("should refuse a name that the 256 bytes may have cut, and take one that ends just in time", () => {
    const name = (length: number): string => `/${"x".repeat(length - 1)}`;
    expect(parseScriptLine(bytes(`#!${name(253)}\n`))?.interpreter).toBe(name(253));
    expect(parseScriptLine(bytes(`#!${name(254)}\n`))).toBeNull();
  });
});

/** The same lines, given to the kernel under the tests: a C program as interpreter prints what it got. */
describe("parseScriptLine beside this kernel", () => {
  let directory = "";
  let show = "";
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "margay-script-"));
    show = join(directory, "show");
    const source =
      "#include <stdio.h>\nint main(int c, char **v) { for (int i = 0; i < c; i++) fwrite(v[i], 1, __builtin_strlen(v[i]) + 1, stdout); }";
    execFileSync("gcc", ["-x", "c", "-o", show, "-"], { input: source });
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const lines: readonly ((name: string) => string)[] = [
    (n) => `#!${n}\n`,
    (n) => `#!${n}`,
    (n) => `#!${n} `,
    (n) => `#!${n} -a  b  \nrest`,
    (n) => `#!${n} -a  `,
    (n) => `#! \t${n}\t-a\t\n`,
    (n) => `#!${n} -x\0y\n`,
    (n) => `#!${n}\0 y\n`,
    (n) => `#!${n} ${"a".repeat(300)}\n`,
    (n) => `#!${"/".repeat(253 - n.length)}${n}\n`,
    (n) => `#!${"/".repeat(254 - n.length)}${n}\n`,
    (n) => `#!${" ".repeat(252 - n.length)}${n} ${" ".repeat(20)}x\n`,
    (n) => `#!${" ".repeat(253 - n.length)}${n} ${" ".repeat(20)}x\n`,
  ];

  it.each(lines.map((line, i) => ({ i, line })))("should split line $i as execve does", ({ line }) => {
    const text = line(show);
    const script = join(directory, "script");
    writeFileSync(script, Buffer.from(text, "latin1"));
    chmodSync(script, 0o755);
    const parsed = parseScriptLine(bytes(text));
    // Where the kernel answers ENOEXEC, libuv's execvp lets a shell run the file, whose only line is a comment: no output.
    const expected = parsed === null ? [] : [parsed.interpreter, ...(parsed.argument === null ? [] : [parsed.argument]), script, "last"];
    const seen = execFileSync(script, ["last"], { encoding: "latin1" }).split("\0").slice(0, -1);
    expect(seen).toEqual(expected);
  });
});
