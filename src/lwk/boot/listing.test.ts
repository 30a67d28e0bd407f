import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { listingText, type Program } from "./assembler.ts";
import { RODATA_OFFSET } from "./elf-image.ts";
import { stubProgram } from "./stub.ts";
import { VDSO_TEXT_OFFSET } from "./vdso.ts";
import { vdsoProgram } from "./vdso-code.ts";

const page = readFileSync(new URL("../../../docs/boot-pages.md", import.meta.url), "utf8");

function shown(name: string): string | undefined {
  return new RegExp(`<!-- listing: ${name} -->\\n\`\`\`\\n([^]*?)\\n\`\`\`\\n<!-- end -->`).exec(page)?.[1];
}

const labelled = (program: Program, name: string): number => program.labels.get(name) ?? Number.NaN;

describe("docs/boot-pages.md", () => {
  test("should show the stub as it is", () => {
    expect(shown("stub pvm")).toBe(listingText(stubProgram({ flavour: "pvm", fast: true })));
  });
  test("should show clock_gettime as it is", () => {
    const program = vdsoProgram(VDSO_TEXT_OFFSET, RODATA_OFFSET);
    expect(shown("clock_gettime")).toBe(listingText(program, labelled(program, "clock_gettime"), labelled(program, "clock_gettime.end")));
  });
});
