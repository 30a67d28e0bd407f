/** What the results depend on and a reader elsewhere cannot see: the machine, its kernel, its KVM, the versions. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";

export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly numaNodes: number;
  readonly memoryGib: number;
  /** Whether the machine is itself a virtual one (CPUID's hypervisor bit). */
  readonly virtual: boolean;
  readonly kernel: string;
  readonly kvm: string;
  readonly transparentHugePages: string;
  readonly hugePages: number;
  readonly governor: string;
  readonly versions: Readonly<Record<string, string>>;
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

function output(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

/** "PVM", "AMD SVM", "Intel VMX", or why there is none. PVM first: it comes with the same kvm module. */
export function kindOfKvm(exists: (path: string) => boolean = existsSync): string {
  if (!exists("/dev/kvm")) return "none: no /dev/kvm";
  if (exists("/sys/module/kvm_pvm")) return "PVM";
  if (exists("/sys/module/kvm_amd")) return "AMD SVM";
  if (exists("/sys/module/kvm_intel")) return "Intel VMX";
  return "unknown";
}

/** The option in brackets: "always [madvise] never" gives "madvise". */
export function chosen(options: string): string {
  return /\[([^\]]+)\]/.exec(options)?.[1] ?? options;
}

function versions(root: string): Record<string, string> {
  const all: Record<string, string> = { node: process.versions.node, gcc: output("gcc", "-dumpfullversion") };
  const commit = output("git", "-C", root, "rev-parse", "--short=12", "HEAD");
  const changed = output("git", "-C", root, "status", "--porcelain", "--", "src", "bin") !== "";
  all.margay = commit + (changed ? " with local changes" : "");
  for (const name of ["libc6", "libopenblas0-pthread", "libgomp1", "runsc"]) {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are for dpkg-query
    const version = output("dpkg-query", "-W", "-f", "${Version}", name);
    if (version) all[name] = version;
  }
  return all;
}

/** Reads this machine. `root` is margay's source tree. */
export function describeMachine(root: string): Machine {
  const cpuinfo = text("/proc/cpuinfo");
  return {
    cpu: `${cpus()[0]?.model ?? "unknown"} (family ${/cpu family\s*: (\d+)/.exec(cpuinfo)?.[1]}, model ${/model\s*: (\d+)/.exec(cpuinfo)?.[1]})`,
    cpus: cpus().length,
    numaNodes: Math.max(1, text("/sys/devices/system/node/has_cpu").split(/[,-]/).filter(Boolean).length),
    memoryGib: Math.round(totalmem() / 2 ** 30),
    virtual: /^flags.*\bhypervisor\b/m.test(cpuinfo),
    kernel: output("uname", "-r"),
    kvm: kindOfKvm(),
    transparentHugePages: chosen(text("/sys/kernel/mm/transparent_hugepage/enabled")),
    hugePages: Number(text("/proc/sys/vm/nr_hugepages")),
    governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") || "not visible",
    versions: versions(root),
  };
}
