/** Which of the two kinds of KVM this machine has. See kvm-facts: the kinds differ in how a ring-3 `syscall` arrives. */
import { existsSync } from "node:fs";

export type KvmKind = "pvm" | "textbook";

/** PVM when the module is loaded, else VMX or SVM. `root` is the file system to look at (tests use a fake one). */
export function kvmKind(root = ""): KvmKind {
  return existsSync(`${root}/sys/module/kvm_pvm`) ? "pvm" : "textbook";
}

/** Name as people know it: `PVM`, `SVM (AMD-V)`, `VMX (Intel VT-x)`. */
export function kvmKindName(root = ""): string {
  if (existsSync(`${root}/sys/module/kvm_pvm`)) return "PVM";
  if (existsSync(`${root}/sys/module/kvm_amd`)) return "SVM (AMD-V)";
  if (existsSync(`${root}/sys/module/kvm_intel`)) return "VMX (Intel VT-x)";
  return "unknown";
}
