import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type FakeMachine, type FakeRoot, makeFakeRoot } from "../host/fake-machine.testing.ts";
import type { KvmProbe } from "../host/kvm-probe.ts";
import { doctorCommand, type DoctorReport } from "./doctor.ts";
import type { Finding } from "./doctor-findings.ts";
import { packageVersion, type SelfTest } from "./doctor-report.ts";

const roots: FakeRoot[] = [];

afterEach(() => {
  for (const fake of roots.splice(0)) fake.remove();
});

const goodProbe: KvmProbe = {
  device: { path: "/dev/kvm", present: true, mode: 0o660, uid: 0, gid: 107 },
  failure: undefined,
  apiVersion: 12,
  capabilities: [{ name: "SYNC_REGS", number: 74, value: 7, required: true, enough: true }],
  createMs: 0.5,
  ring0Speed: 900e6,
};

const thp = (enabled: string, defrag = "madvise"): Record<string, string> => ({
  "sys/kernel/mm/transparent_hugepage/enabled": `[${enabled}]\n`,
  "sys/kernel/mm/transparent_hugepage/defrag": `[${defrag}]\n`,
  "sys/kernel/mm/transparent_hugepage/shmem_enabled": "[never]\n",
});

const textbook = { "sys/module/kvm_amd/x": "", "etc/group": "root:x:0:\nkvm:x:107:\n", ...thp("madvise") };
const passed: SelfTest = { command: "margay run /bin/true", ok: true, milliseconds: 71.4, detail: "" };

function run(
  machine: FakeMachine = {},
  probe: Partial<KvmProbe> = {},
  selfTest: SelfTest | null = passed,
): { report: DoctorReport; json: string; text: string; exit: number } {
  const fake = makeFakeRoot({ ...machine, files: { ...textbook, ...machine.files } });
  roots.push(fake);
  let text = "";
  let json = "";
  const common = { root: fake.root, version: "1.2.3", probeKvm: () => ({ ...goodProbe, ...probe }), selfTest: () => selfTest };
  const exit = doctorCommand({ ...common, write: (t) => (text += t) });
  expect(doctorCommand({ ...common, json: true, write: (t) => (json += t) })).toBe(exit);
  return { report: JSON.parse(json) as DoctorReport, json, text, exit };
}

function errors(findings: readonly Finding[]): Finding[] {
  return findings.filter((f) => f.severity === "error");
}

describe("margay doctor", () => {
  it("should end with 0 and say so when a program ran in a virtual node", () => {
    const { report, text, exit } = run({ packages: 2, cores: 2 });
    expect(exit).toBe(0);
    expect(errors(report.findings)).toEqual([]);
    expect(text).toMatch(/^margay 1\.2\.3, Node v\d+/);
    expect(text).toMatch(/\nok: margay run works here: margay run \/bin\/true took 71 ms\n$/);
    expect(text).toContain("  device            /dev/kvm, usable (mode 0660, group kvm)\n");
    expect(text).toContain("  ring 0            native (900 M instructions/s)\n");
    expect(text).toContain("  node 1            CPUs 2-3; 8 GiB, 7 GiB free; distances 20 10\n");
    expect(report.kvm).toMatchObject({ kind: "SVM (AMD-V)", ring0: "native", group: "kvm" });
  });

  it("should align the values of all sections", () => {
    const { text } = run();
    const columns = text.split("\nWhat to change")[0]?.match(/^ {2}\S.{15} *(?=\S)/gm) ?? [];
    expect(columns.length).toBeGreaterThan(15);
    expect(new Set(columns.map((c) => c.length))).toEqual(new Set([20]));
  });

  it("should name the module to load when there is no /dev/kvm", () => {
    const device = { ...goodProbe.device, present: false };
    const missing: Partial<KvmProbe> = {
      device,
      failure: { code: "E_NO_KVM", text: "open /dev/kvm: ENOENT" },
      apiVersion: undefined,
      capabilities: [],
      ring0Speed: undefined,
    };
    const cpu = (flags: string): Record<string, string | null> => ({
      "proc/cpuinfo": `processor\t: 0\nflags\t\t: fpu ${flags}\n`,
      "sys/module/kvm_amd/x": null,
    });
    const vmx = run({ files: cpu("vmx") }, missing);
    expect([vmx.exit, vmx.report.selfTest, vmx.report.kvm.ring0]).toEqual([125, null, "unknown"]);
    expect(errors(vmx.report.findings)).toMatchObject([{ code: "E_NO_KVM", commands: ["sudo modprobe kvm_intel"] }]);
    expect(errors(run({ files: cpu("svm") }, missing).report.findings)[0]?.commands).toEqual(["sudo modprobe kvm_amd"]);
    expect(errors(run({ files: cpu("") }, missing).report.findings)[0]?.text).toContain("neither svm nor vmx");
    // The module is there, the device file is not: a container.
    expect(errors(run({}, missing).report.findings)[0]?.commands[0]).toBe("sudo mknod /dev/kvm c 10 232");
    expect(vmx.text).toContain("NOT OK: margay run will not work here: 1 error above\n");
  });

  it("should tell a user without access how to get it", () => {
    const failure = { code: "E_KVM_DENIED", text: "open /dev/kvm: EACCES" } as const;
    const byGroup = errors(run({}, { failure }).report.findings)[0];
    expect(byGroup?.code).toBe("E_KVM_DENIED");
    expect(byGroup?.commands[0]).toMatch(/^sudo usermod -aG kvm \S+$/);
    const rootOnly = errors(run({}, { failure, device: { ...goodProbe.device, gid: 0, mode: 0o600 } }).report.findings)[0];
    expect(rootOnly?.text).toContain("mode 0600, group root");
    expect(rootOnly?.commands).toContain("sudo chmod 0660 /dev/kvm");
  });

  it("should fail on a busy KVM, a missing capability, another API", () => {
    expect(errors(run({}, { failure: { code: "E_KVM_BUSY", text: "KVM_CREATE_VM: EBUSY" } }).report.findings)[0]?.code).toBe("E_KVM_BUSY");
    const lacking = [{ name: "SYNC_REGS", number: 74, value: 1, required: true, enough: false }];
    const old = run({}, { capabilities: lacking });
    expect(old.exit).toBe(125);
    expect(errors(old.report.findings)).toMatchObject([{ code: "E_KVM_CAP" }]);
    expect(old.text).toContain("  SYNC_REGS         MISSING, needed\n");
    expect(run({}, { capabilities: [{ ...lacking[0]!, required: false }] }).exit).toBe(0);
    expect(errors(run({}, { apiVersion: 13 }).report.findings)).toMatchObject([{ code: "E_KVM_CAP" }]);
  });

  it("should not believe a KVM in which no program runs", () => {
    const test = { ...passed, ok: false, detail: "exit code 125: margay: E_NO_MEMORY: mmap failed: free memory" };
    const { report, exit } = run({}, {}, test);
    expect(exit).toBe(125);
    expect(errors(report.findings)).toMatchObject([{ code: "E_NO_MEMORY" }]);
    expect(errors(run({}, {}, { ...test, detail: "no end after 30 s" }).report.findings)).toMatchObject([{ code: "E_KVM_FAILED" }]);
  });

  it("should say that ring 0 is interpreted, which stops nothing", () => {
    const { report, exit, text } = run({}, { ring0Speed: 1.9e6 });
    expect([report.kvm.ring0, exit]).toEqual(["interpreted", 0]);
    expect(text).toContain("interpreted (1.9 M instructions/s)");
    expect(report.findings.some((f) => f.severity === "note" && f.text.includes("guest OS"))).toBe(true);
  });

  it("should tell where 2 MiB pages will come from", () => {
    const about = (machine: FakeMachine): Finding[] => run(machine).report.findings.filter((f) => /THP|pool/.test(f.text));
    expect(about({ files: thp("never") })).toMatchObject([
      { severity: "warning", commands: ["echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"] },
    ]);
    const empty = about({
      nodes: [{ id: 0, cpus: [0, 1], free: 8192 }],
      memAvailable: 4096,
      pools: [{ sizeKiB: 2048, perNode: [[0, 0, 0]] }],
    });
    // 90 % of 4 GiB in blocks, half of it, as pages.
    expect(empty).toMatchObject([
      { severity: "note", commands: [`echo ${Math.floor(Math.floor(0.9 * 2048) / 2)} | sudo tee /proc/sys/vm/nr_hugepages`] },
    ]);
    expect(about({ pools: [{ sizeKiB: 2048, perNode: [[8, 8, 0]] }] })).toEqual([]);
    expect(about({ files: thp("madvise", "never") }).map((f) => f.severity)).toEqual(["warning", "note"]);
    expect(about({ files: thp("never"), pools: [{ sizeKiB: 2048, perNode: [[8, 8, 0]] }] })).toMatchObject([{ severity: "note" }]);
  });

  it("should fail when the host has no memory left", () => {
    const { report, exit } = run({ memAvailable: 10 });
    expect([exit, report.memory.virtualNode]).toEqual([125, null]);
    expect(errors(report.findings)).toMatchObject([{ code: "E_MEM_TOO_LITTLE" }]);
  });

  it("should warn of limits that will be hit", () => {
    const files = {
      "proc/self/cgroup": "0::/\n",
      "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/pids.max": "20\n",
      "sys/fs/cgroup/pids.current": "10\n",
      "sys/fs/cgroup/cpu.max": "100000 100000\n",
      "sys/fs/cgroup/memory.max": "1073741824\n",
      "sys/fs/cgroup/memory.current": "0\n",
      "proc/sys/vm/overcommit_memory": "2\n",
      "proc/sys/vm/max_map_count": "1000\n",
      "proc/self/limits": "Max address space         1073741824           unlimited            bytes\n",
    };
    const { report } = run({ cores: 4, files });
    expect(report.findings.filter((f) => f.severity === "warning").map((f) => f.code)).toEqual([
      "E_NO_MEMORY",
      "E_LIMIT",
      null,
      "E_LIMIT",
      "E_LIMIT",
    ]);
    expect(report.memory).toMatchObject({ cgroup: { path: "/sys/fs/cgroup", limit: 2 ** 30 } });
    expect(report.limits).toMatchObject({ cpuQuota: 1, pids: { spare: 10 } });
  });

  it("should point out shared cores, the governor and NUMA balancing", () => {
    const { report } = run({
      packages: 2,
      cores: 2,
      smt: 2,
      allowed: "0-2,4-6",
      files: { "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n", "proc/sys/kernel/numa_balancing": "1\n" },
    });
    const commands = report.findings.flatMap((f) => f.commands);
    expect(commands).toContain("margay run --cpus 0-2 ...");
    expect(commands).toContain("sudo sysctl kernel.numa_balancing=0");
    expect(report.cpu).toMatchObject({ allowedCount: 6, onePerCore: "0-2", governor: "powersave", smt: 2 });
  });

  it("should put errors before warnings before notes", () => {
    const { report } = run({ memAvailable: 10, files: { ...thp("never"), "proc/sys/vm/max_map_count": "9" } }, { ring0Speed: 1e6 });
    const order = report.findings.map((f) => f.severity);
    expect(order).toEqual([...order].sort((a, b) => ["error", "warning", "note"].indexOf(a) - ["error", "warning", "note"].indexOf(b)));
    expect(new Set(order).size).toBe(3);
  });
});

describe("the JSON report", () => {
  it("should have every key, with null for no limit", () => {
    const { report, json } = run();
    expect(report.schema).toBe(1);
    expect(report.limits).toMatchObject({ cpuQuota: null, pids: null, rlimits: { processes: { soft: null, hard: null } } });
    expect(report.kvm.probe).toHaveProperty("failure", null);
    expect(json.endsWith("}\n")).toBe(true);
  });

  it("should be documented key by key", () => {
    const page = readFileSync(join(import.meta.dirname, "../../docs/doctor.md"), "utf8");
    const documented = new Set([...page.matchAll(/`([A-Za-z0-9.]+)`/g)].flatMap((m) => (m[1] as string).split(".")));
    const walk = (value: unknown): string[] => {
      if (Array.isArray(value)) return value.flatMap(walk);
      if (typeof value !== "object" || value === null) return [];
      return Object.entries(value).flatMap(([key, inner]) => (key === "khugepaged" ? [key] : [key, ...walk(inner)]));
    };
    const { report } = run({ pools: [{ sizeKiB: 2048, perNode: [[1, 1, 0]] }] });
    const undocumented = [...new Set(walk(report))].filter((key) => !documented.has(key));
    expect(undocumented).toEqual([]);
  });
});

describe("packageVersion", () => {
  it("should be package.json's", () => {
    const manifest = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as { version: string };
    expect(packageVersion()).toBe(manifest.version);
  });
});
