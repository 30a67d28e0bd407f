/** For tests: what binutils' objdump makes of machine code, in the notation of the assembler's listings. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Program } from "./assembler.ts";

const PAD = 0x10_0000;

/** Instructions by address. RIP-relative operands come out as their target address, single blanks between mnemonic and operands. */
export function disassemble(code: Uint8Array): Map<number, string> {
  const dir = mkdtempSync(join(tmpdir(), "margay-objdump-"));
  try {
    const file = join(dir, "code");
    writeFileSync(file, code);
    // --adjust-vma keeps addresses below zero (vvar lies before the vDSO) positive.
    const text = execFileSync("objdump", ["-D", "-b", "binary", "-m", "i386:x86-64", "-w", `--adjust-vma=${PAD}`, file], { encoding: "utf8" });
    const result = new Map<number, string>();
    for (const line of text.split("\n")) {
      const match = /^\s*([0-9a-f]+):\t[0-9a-f ]+\t(.*)$/.exec(line);
      if (match === null) continue;
      let body = match[2].replace(/\s+/g, " ").trim();
      const comment = / # (?:0x)?([0-9a-f]+)$/.exec(body);
      if (comment !== null) body = body.slice(0, comment.index).replace(/-?0x[0-9a-f]+\(%rip\)/, `${hex(Number.parseInt(comment[1], 16) - PAD)}(%rip)`);
      body = body.replace(/^(j[a-z]+|call) (?:0x)?([0-9a-f]+)$/, (_, op: string, to: string) => `${op} ${hex(Number.parseInt(to, 16) - PAD)}`);
      result.set(Number.parseInt(match[1], 16) - PAD, body);
    }
    return result;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** The listing's text with labels replaced by addresses. */
export function expected(program: Program): Map<number, string> {
  return new Map(
    program.listing.map(({ address, text }) => [
      address,
      text.replace(/\{([^}]+)\}/g, (_, label: string) => hex(program.labels.get(label) ?? Number.NaN)).replace(/\s+/g, " "),
    ]),
  );
}

function hex(n: number): string {
  return n < 0 ? `-0x${(-n).toString(16)}` : `0x${n.toString(16)}`;
}
