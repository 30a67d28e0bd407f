import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, describe, expect, it } from "vitest";
import { kvmKind, kvmKindName } from "./kind.ts";

const roots: string[] = [];
function machine(...modules: string[]): string {
  const root = mkdtempSync(`${tmpdir()}/margay-kind-`);
  roots.push(root);
  for (const name of modules) mkdirSync(`${root}/sys/module/${name}`, { recursive: true });
  return root;
}
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

describe("the kind of KVM", () => {
  it.each([
    [["kvm", "kvm_pvm"], "pvm", "PVM"],
    [["kvm", "kvm_amd"], "textbook", "SVM (AMD-V)"],
    [["kvm", "kvm_intel"], "textbook", "VMX (Intel VT-x)"],
    [["kvm_intel", "kvm_pvm"], "pvm", "PVM"],
    [[], "textbook", "unknown"],
  ] as const)("should be told by the modules %j: %s", (modules, kind, name) => {
    const root = machine(...modules);
    expect(kvmKind(root)).toBe(kind);
    expect(kvmKindName(root)).toBe(name);
  });
});
