/** Judges the facts: what stops `margay run`, what slows it down, what is worth knowing, and the commands that change it. Pure. */
import { ERROR_CODES } from "../host/error-codes.ts";
import type { ErrorCode } from "../host/error.ts";
import { pagesToHave } from "../host/hugepages.ts";
import { KVM_API_VERSION } from "../host/kvm-probe.ts";
import { formatBytes } from "../host/size.ts";
import type { Facts } from "./doctor-report.ts";

export interface Finding {
  /** error: `run` will not work. warning: it will be slow or may fail. note: worth knowing. */
  readonly severity: "error" | "warning" | "note";
  /** The code that `run` would fail with; null where it would not fail. */
  readonly code: ErrorCode | null;
  readonly text: string;
  /** Shell commands that change it, in order; empty when none can. */
  readonly commands: readonly string[];
}

export interface Verdict {
  /** `margay run` works here. */
  readonly ok: boolean;
  readonly text: string;
}

/** All findings, errors first, then warnings, then notes. */
export function judge(facts: Facts): Finding[] {
  const findings = [
    ...hostFindings(facts),
    ...kvmFindings(facts),
    ...memoryFindings(facts),
    ...pageFindings(facts),
    ...cpuFindings(facts),
    ...limitFindings(facts),
  ];
  const rank = { error: 0, warning: 1, note: 2 };
  return findings.sort((a, b) => rank[a.severity] - rank[b.severity]);
}

/** The last line. */
export function verdict(facts: Facts, findings: readonly Finding[]): Verdict {
  const errors = findings.filter((f) => f.severity === "error").length;
  if (errors > 0) return { ok: false, text: `margay run will not work here: ${errors} error${errors > 1 ? "s" : ""} above` };
  if (facts.selfTest === null) return { ok: true, text: "margay run should work here (KVM answers; no program was run)" };
  return { ok: true, text: `margay run works here: ${facts.selfTest.command} took ${facts.selfTest.milliseconds.toFixed(0)} ms` };
}

function error(code: ErrorCode, text: string, commands: readonly string[] = []): Finding {
  return { severity: "error", code, text, commands };
}

function warning(text: string, commands: readonly string[] = [], code: ErrorCode | null = null): Finding {
  return { severity: "warning", code, text, commands };
}

function note(text: string, commands: readonly string[] = []): Finding {
  return { severity: "note", code: null, text, commands };
}

function hostFindings(facts: Facts): Finding[] {
  const findings: Finding[] = [];
  if (facts.platform !== "linux x64") findings.push(error("E_HOST_UNSUPPORTED", `this is ${facts.platform}; margay needs Linux on x86-64`));
  const [major = 0, minor = 0] = facts.node.replace(/^v/, "").split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) findings.push(error("E_HOST_UNSUPPORTED", `Node ${facts.node} is older than 20.19`));
  return findings;
}

function kvmFindings(facts: Facts): Finding[] {
  const { probe, ring0 } = facts.kvm;
  const findings: Finding[] = [];
  if (probe.failure !== undefined) findings.push(kvmFailure(facts, probe.failure.code, probe.failure.text));
  if (probe.apiVersion !== undefined && probe.apiVersion !== KVM_API_VERSION) {
    findings.push(error("E_KVM_CAP", `KVM speaks API version ${probe.apiVersion}, margay ${KVM_API_VERSION}`));
  }
  for (const capability of probe.capabilities) {
    if (capability.required && !capability.enough) {
      findings.push(
        error(
          "E_KVM_CAP",
          `KVM_CAP_${capability.name} (${capability.number}) is missing or incomplete (value ${capability.value}): the kernel is too old`,
        ),
      );
    }
  }
  const { selfTest } = facts;
  if (selfTest !== null && !selfTest.ok) findings.push(error(codeIn(selfTest.detail), `${selfTest.command} failed: ${selfTest.detail}`));
  if (ring0 === "interpreted") {
    findings.push(note("ring 0 is interpreted here: margay run is not affected, but a guest OS (margay os) will not boot in useful time"));
  }
  return findings;
}

/** The code in a line that margay wrote, if there is one. */
function codeIn(line: string): ErrorCode {
  const code = /\bmargay: (E_[A-Z_]+):/.exec(line)?.[1];
  return code !== undefined && code in ERROR_CODES ? (code as ErrorCode) : "E_KVM_FAILED";
}

function kvmFailure(facts: Facts, code: ErrorCode, text: string): Finding {
  const { device } = facts.kvm.probe;
  if (code === "E_NO_KVM") {
    if (facts.cpu.virtualization === "none" && facts.kvm.kind === "unknown") {
      return error(
        code,
        `${text}; the processor shows neither svm nor vmx: switch virtualization on in the firmware, or nested virtualization for this virtual machine, or use a kernel with PVM`,
        ["sudo modprobe kvm_pvm"],
      );
    }
    const module = facts.cpu.virtualization === "vmx" ? "kvm_intel" : facts.cpu.virtualization === "svm" ? "kvm_amd" : "kvm_pvm";
    // A loaded module without the device file: containers.
    const commands =
      facts.kvm.kind === "unknown"
        ? [`sudo modprobe ${module}`]
        : ["sudo mknod /dev/kvm c 10 232", "docker run --device /dev/kvm ... (in a container)"];
    return error(code, text, commands);
  }
  if (code === "E_KVM_DENIED") {
    const mode = `mode ${device.mode.toString(8).padStart(4, "0")}, group ${facts.kvm.group}`;
    const byGroup = device.gid !== 0 && (device.mode & 0o060) === 0o060;
    const commands = byGroup
      ? [`sudo usermod -aG ${facts.kvm.group} ${facts.user.name}`, `newgrp ${facts.kvm.group} (or log in again)`]
      : [
          "sudo groupadd -f kvm",
          "sudo chown root:kvm /dev/kvm",
          "sudo chmod 0660 /dev/kvm",
          `sudo usermod -aG kvm ${facts.user.name}`,
          "newgrp kvm (or log in again)",
        ];
    return error(code, `user ${facts.user.name} may not use /dev/kvm (${mode})`, commands);
  }
  return error(code, `${text}: ${ERROR_CODES[code].hint}`);
}

function memoryFindings(facts: Facts): Finding[] {
  const { memory } = facts;
  const findings: Finding[] = [];
  if (memory.problem !== null) findings.push(error("E_MEM_TOO_LITTLE", memory.problem));
  if (memory.cgroup !== null && memory.cgroup.spare < memory.available) {
    findings.push(
      note(
        `the control group ${memory.cgroup.path} allows ${formatBytes(memory.cgroup.limit)} of memory, ${formatBytes(memory.cgroup.spare)} of it are left`,
      ),
    );
  }
  if (facts.limits.overcommit === 2) {
    findings.push(
      warning(
        "the kernel never overcommits memory (vm.overcommit_memory = 2): reserving the guest's memory may be refused",
        ["sudo sysctl vm.overcommit_memory=0"],
        "E_NO_MEMORY",
      ),
    );
  }
  if (facts.limits.rlimits.addressSpace.soft !== Number.POSITIVE_INFINITY) {
    findings.push(
      warning(
        `address space is limited to ${formatBytes(facts.limits.rlimits.addressSpace.soft)}: reserving the guest's memory may be refused`,
        ["ulimit -v unlimited"],
        "E_LIMIT",
      ),
    );
  }
  return findings;
}

function pageFindings(facts: Facts): Finding[] {
  const { pools, thp } = facts.hugePages;
  const pool = pools.find((p) => p.pageSize === 2 ** 21);
  const poolEmpty = pool === undefined || pagesToHave(pool) === 0;
  const toThp = ["echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"];
  // Half of what a virtual node takes by default: enough to be of use, and safe to give away.
  const pages = Math.floor((facts.memory.virtualNode ?? 0) / 2 / 2 ** 21);
  const toPool = pool === undefined || pages === 0 ? [] : [`echo ${pool.total + pages} | sudo tee /proc/sys/vm/nr_hugepages`];
  const findings: Finding[] = [];
  const noThp = thp === undefined || thp.enabled === "never";
  if (noThp && poolEmpty) {
    findings.push(
      warning(
        "no 2 MiB pages are to be had (THP never, hugetlb pool empty): --pages 2M/... gets small pages",
        thp === undefined ? toPool : toThp,
      ),
    );
  } else if (noThp) {
    findings.push(note("THP is off: 2 MiB pages come from the hugetlb pool alone", thp === undefined ? [] : toThp));
  } else if (poolEmpty) {
    findings.push(
      note(
        "the 2 MiB hugetlb pool is empty: 2 MiB pages come from THP, which needs free memory in one piece; reserved pages are certain",
        toPool,
      ),
    );
  }
  if (!noThp && (thp.defrag === "never" || thp.defrag === "defer") && poolEmpty) {
    findings.push(
      warning(`THP does not compact memory at a fault (defrag ${thp.defrag}): on a fragmented host the guest gets small pages`, [
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/defrag",
      ]),
    );
  }
  return findings;
}

function cpuFindings(facts: Facts): Finding[] {
  const { cpu, numa, limits } = facts;
  const findings: Finding[] = [];
  if (limits.cpuQuota < cpu.allowedCount) {
    findings.push(
      warning(
        `the control group gives ${limits.cpuQuota} CPUs' worth of time for ${cpu.allowedCount} CPUs: threads will be stopped in turn`,
      ),
    );
  }
  if (cpu.onePerCore !== cpu.allowed)
    findings.push(note("usable CPUs share cores (SMT); one thread per core:", [`margay run --cpus ${cpu.onePerCore} ...`]));
  if (cpu.governor !== null && cpu.governor !== "performance") {
    findings.push(
      note(`the frequency governor is ${cpu.governor}: measurements will vary`, [
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
      ]),
    );
  }
  if (numa.balancing && numa.nodes.length > 1) {
    findings.push(
      note("automatic NUMA balancing unmaps guest pages to watch them: it costs time and moves nothing that is bound", [
        "sudo sysctl kernel.numa_balancing=0",
      ]),
    );
  }
  return findings;
}

/** Threads that Node and margay need beside the vCPUs: libuv's pool, V8's helpers, signals. */
const OWN_THREADS = 16;

function limitFindings(facts: Facts): Finding[] {
  const { limits, cpu, user } = facts;
  const findings: Finding[] = [];
  const needed = cpu.allowedCount + OWN_THREADS;
  if (limits.pids !== null && limits.pids.spare < needed) {
    findings.push(
      warning(
        `the control group ${limits.pids.path} allows ${limits.pids.spare} more threads; one per CPU and margay's own are ${needed}`,
        [`echo ${limits.pids.used + 4 * needed} | sudo tee ${limits.pids.path}/pids.max`],
        "E_LIMIT",
      ),
    );
  }
  if (user.uid !== 0 && limits.rlimits.processes.soft < needed) {
    findings.push(
      warning(
        `user ${user.name} may have ${limits.rlimits.processes.soft} threads; one per CPU and margay's own are ${needed}`,
        [`ulimit -u ${4 * needed}`],
        "E_LIMIT",
      ),
    );
  }
  if (limits.maxMapCount < 65530) {
    findings.push(warning(`a process may have only ${limits.maxMapCount} mappings`, ["sudo sysctl vm.max_map_count=65530"], "E_LIMIT"));
  }
  return findings;
}
