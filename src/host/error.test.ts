import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ERROR_CODES, errorsPage } from "./error-codes.ts";
import { asMargayError, codeOfHostError, exitCodeOf, formatError, MargayError } from "./error.ts";
import { HostError } from "./host-error.ts";

describe("formatError", () => {
  it("should say code, what, where and hint in one line", () => {
    const e = new MargayError("E_NOT_FOUND", "no such program", { where: "./nix", hint: "look again" });
    expect(formatError(e)).toBe("margay: E_NOT_FOUND: no such program (./nix): look again");
  });

  it("should leave the place out when there is none and use the code's hint", () => {
    expect(formatError(new MargayError("E_MEM_SYNTAX", "'12Q' is not a size"))).toBe(
      `margay: E_MEM_SYNTAX: '12Q' is not a size: ${ERROR_CODES.E_MEM_SYNTAX.hint}`,
    );
  });

  it("should stay one line for a file name with newlines and escape sequences", () => {
    const line = formatError(new MargayError("E_NOT_FOUND", "no such program", { where: "a\nb\x1b[2J\u2028c\x9b" }));
    expect(line).toContain("(a\\nb\\x1b[2J\\u2028c\\x9b)");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
    expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028]/);
  });

  it("should call a stray exception E_INTERNAL and keep its first frame", () => {
    const line = formatError(new TypeError("x is not a function"));
    expect(line).toMatch(/^margay: E_INTERNAL: TypeError: x is not a function \(at .*error\.test\.ts/);
    expect(formatError("text")).toMatch(/^margay: E_INTERNAL: text: /);
    expect(formatError(undefined)).toMatch(/^margay: E_INTERNAL: undefined: /);
  });
});

describe("MargayError", () => {
  it("should carry the exit code of its code, and the cause", () => {
    const cause = new Error("deeper");
    const e = new MargayError("E_NOT_ELF", "no magic", { where: "/etc/passwd", cause });
    expect([e.exitCode, e.message, e.cause, e instanceof Error]).toEqual([126, "no magic (/etc/passwd)", cause, true]);
    expect(exitCodeOf(new MargayError("E_TIMEOUT", "60 s are over"))).toBe(124);
    expect(exitCodeOf(new Error("stray"))).toBe(125);
    expect(asMargayError(e)).toBe(e);
  });
});

describe("a failed host call", () => {
  it.each([
    ["open /dev/kvm", 2, "E_NO_KVM"],
    ["open /dev/kvm", 19, "E_NO_KVM"],
    ["open /dev/kvm", 13, "E_KVM_DENIED"],
    ["open /dev/kvm", 16, "E_KVM_BUSY"],
    ["open /dev/kvm", 24, "E_LIMIT"],
    ["KVM_CREATE_VM", 16, "E_KVM_BUSY"],
    ["KVM_CREATE_VCPU", 12, "E_KVM_BUSY"],
    ["KVM_SET_USER_MEMORY_REGION", 12, "E_NO_MEMORY"],
    ["KVM_SET_SREGS", 22, "E_KVM_FAILED"],
    ["mmap", 12, "E_NO_MEMORY"],
    ["mmap", 13, "E_SYSCALL"],
  ])("should mean for %s with errno %d: %s", (call, errno, code) => {
    expect(codeOfHostError(new HostError(call, errno))).toBe(code);
  });

  it("should be told in one line, not as a mistake of margay's", () => {
    expect(formatError(new HostError("open /dev/kvm", 13))).toBe(
      `margay: E_KVM_DENIED: open /dev/kvm: EACCES, permission denied: ${ERROR_CODES.E_KVM_DENIED.hint}`,
    );
  });
});

describe("the table", () => {
  it("should give hints and meanings that fit their place in the line and the page", () => {
    for (const [code, entry] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^E_[A-Z_]+$/);
      expect(entry.meaning, code).toMatch(/^[^|\n]+\.$/);
      expect(entry.hint, code).toMatch(/^[^|\n]+[^.|\n]$/);
    }
  });

  it("should be what docs/errors.md says", () => {
    const path = join(import.meta.dirname, "../../docs/errors.md");
    if (process.env.UPDATE_DOCS === "1") writeFileSync(path, errorsPage());
    expect(existsSync(path)).toBe(true);
    expect(readFileSync(path, "utf8")).toBe(errorsPage());
  });
});
