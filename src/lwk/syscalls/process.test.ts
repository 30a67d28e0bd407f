import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { EFAULT, EINVAL, EPERM, ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { RLIM_INFINITY, RLIMIT_AS, RLIMIT_CPU, RLIMIT_NOFILE } from "../../abi/resource.ts";
import { H } from "../state.ts";
import { fakeNode } from "../virtual/fake-node.testing.ts";
import { BASE } from "./fake-call.testing.ts";
import { getLimit, startLimits } from "./limits.ts";
import { processCalls } from "./process.ts";

const machine = fakeNode({ tids: [900001] });
const { kernel } = machine;
const { state } = kernel;
afterAll(() => machine.close());

type Name = keyof typeof processCalls;
const call = (name: Name, ...args: (number | bigint)[]): number => machine.run(processCalls[name]![2], ...args);

describe("limits", () => {
  beforeEach(() => {
    startLimits(state, kernel.sys, kernel.scratch);
    state.i32[H.euid] = 1000;
  });

  it("should start as the host's, with a soft limit on descriptors that the table can hold", () => {
    kernel.sys(NR.prlimit64, 0, 3, 0, kernel.scratch.address);
    expect(getLimit(state, 3).soft).toBe(kernel.scratch.view.getBigUint64(0, true));
    expect(getLimit(state, RLIMIT_NOFILE).hard).toBeLessThanOrEqual(65536n);
  });

  it("should keep what is set, and tell the value before", () => {
    const next = machine.words(0, 100, 200);
    expect(call("prlimit64", 0, RLIMIT_NOFILE, next, 0)).toBe(0);
    expect(call("prlimit64", 0, RLIMIT_NOFILE, machine.words(32, 50, 60), BASE + 64)).toBe(0);
    expect([machine.kernel.mem.u64(BASE + 64), machine.kernel.mem.u64(BASE + 72)]).toEqual([100, 200]);
    expect(kernel.fds.limit).toBe(50);
    expect(call("getrlimit", RLIMIT_NOFILE, BASE + 96)).toBe(0);
    expect(machine.kernel.mem.u64(BASE + 104)).toBe(60);
  });

  it("should not let margay's own limits on descriptors and memory change", () => {
    const host = (): bigint => {
      kernel.sys(NR.prlimit64, 0, RLIMIT_NOFILE, 0, kernel.scratch.address);
      return kernel.scratch.view.getBigUint64(0, true);
    };
    const before = host();
    expect(call("setrlimit", RLIMIT_NOFILE, machine.words(0, 10, 10))).toBe(0);
    expect(host()).toBe(before);
    expect(call("setrlimit", RLIMIT_AS, machine.words(0, 4096, 4096))).toBe(0);
    expect(kernel.sys(NR.mmap, 0, 1 << 20, 0, 0x22, -1, 0)).toBeGreaterThan(0);
  });

  it("should refuse what Linux refuses", () => {
    expect(call("setrlimit", RLIMIT_AS, machine.words(0, 2, 1))).toBe(-EINVAL);
    expect(call("setrlimit", 16, machine.words(0, 1, 1))).toBe(-EINVAL);
    expect(call("getrlimit", -1, BASE)).toBe(-EINVAL);
    expect(call("setrlimit", RLIMIT_AS, 64)).toBe(-EFAULT);
    expect(call("setrlimit", RLIMIT_AS, machine.words(0, 1, 1))).toBe(0);
    expect(call("setrlimit", RLIMIT_AS, machine.words(0, 1, 2))).toBe(-EPERM);
    expect(call("prlimit64", 2 ** 22 + 5, RLIMIT_CPU, 0, BASE)).toBe(-ESRCH);
    state.i32[H.euid] = 0;
    expect(call("setrlimit", RLIMIT_AS, machine.words(0, RLIM_INFINITY, RLIM_INFINITY))).toBe(0);
    expect(call("setrlimit", RLIMIT_NOFILE, machine.words(0, 1, 65537))).toBe(-EPERM);
  });

  it("should know threads of the program as the program", () => {
    expect(call("prlimit64", 900001, RLIMIT_AS, 0, BASE)).toBe(0);
    expect(machine.kernel.mem.big(BASE)).toBe(getLimit(state, RLIMIT_AS).soft);
  });
});

describe("ids", () => {
  it("should be those of the state and of the host process", () => {
    state.i32[H.uid] = 7;
    expect(call("getpid")).toBe(kernel.pid);
    expect(call("gettid")).toBe(kernel.pid);
    expect(call("getuid")).toBe(7);
    expect(call("getpgid", 900001)).toBe(kernel.sys(NR.getpgrp));
    expect(call("getsid", 0)).toBe(kernel.sys(NR.getsid, 0));
    expect(call("getpgid", 2 ** 22 + 5)).toBe(-ESRCH);
  });

  it("should change only to what they are", () => {
    state.i32[H.uid] = 7;
    state.i32[H.euid] = 8;
    expect(call("setuid", 8)).toBe(0);
    expect(call("setuid", 0)).toBe(-EPERM);
    expect(call("setuid", -1)).toBe(-EINVAL);
    expect(call("setresuid", -1, -1, -1)).toBe(0);
    expect(call("setreuid", 7, 8)).toBe(0);
    expect(call("setreuid", 8, 7)).toBe(-EPERM);
    expect(call("setfsuid", 99)).toBe(8);
    expect(call("setgroups", 0, 0)).toBe(-EPERM);
  });

  it("should list groups as the host does", () => {
    const count = call("getgroups", 0, 0);
    expect(count).toBe(kernel.sys(NR.getgroups, 0, 0));
    expect(call("getgroups", -1, BASE)).toBe(-EINVAL);
    if (count > 0) expect(call("getgroups", count, 64)).toBe(-EFAULT);
  });
});

describe("capabilities", () => {
  const header = (version: number, pid = 0): number => machine.ints(0, version, pid);

  it("should be the host thread's, and settable only to themselves", () => {
    expect(call("capget", header(0x20080522), BASE + 64)).toBe(0);
    expect(call("capset", header(0x20080522), BASE + 64)).toBe(0);
    const changed = machine.bytes(64, 24);
    changed[0]! ^= 1;
    machine.put(128, changed);
    expect(call("capset", header(0x20080522), BASE + 128)).toBe(-EPERM);
    expect(call("capget", header(0x20080522, 900001), BASE + 64)).toBe(0);
  });

  it("should tell the version that it knows", () => {
    expect(call("capget", header(0x1234), 0)).toBe(0);
    expect(machine.i32(0)).toBe(0x20080522);
    expect(call("capget", header(0x1234), BASE + 64)).toBe(-EINVAL);
    expect(call("capset", header(0x1234), BASE + 64)).toBe(-EINVAL);
    expect(call("capget", header(0x20080522, -1), BASE + 64)).toBe(-EINVAL);
  });
});

describe("prctl", () => {
  const PR_SET_NAME = 15;
  const PR_GET_NAME = 16;

  it("should keep 15 bytes of a name", () => {
    expect(call("prctl", PR_SET_NAME, machine.put(0, "a name that is far too long"))).toBe(0);
    expect(call("prctl", PR_GET_NAME, BASE + 64)).toBe(0);
    expect(machine.bytes(64, 16).toString("latin1")).toBe("a name that is \0");
    expect(call("prctl", PR_SET_NAME, 64)).toBe(-EFAULT);
  });

  it("should start dumpable and remember", () => {
    expect(call("prctl", 3)).toBe(1);
    expect(call("prctl", 4, 0)).toBe(0);
    expect(call("prctl", 3)).toBe(0);
    expect(call("prctl", 4, 2)).toBe(-EINVAL);
    expect(call("prctl", 4, 1)).toBe(0);
  });

  it("should refuse what it cannot keep", () => {
    for (const option of [0, 22, 35, 52, 54, 0x53564d41, 2 ** 31 - 1]) expect(call("prctl", option, 1, 1, 1, 1)).toBe(-EINVAL);
    expect(call("prctl", 24, 1)).toBe(-EPERM);
    expect(call("prctl", 1, 65)).toBe(-EINVAL);
  });
});

describe("the rest", () => {
  it("should answer for children and tracing as a process without them", () => {
    expect(call("wait4", -1, 0, 0, 0)).toBe(-10);
    expect(call("fork")).toBe(-38);
    expect(call("ptrace", 0, 0, 0, 0)).toBe(-EPERM);
  });

  it("should keep the personality that it can keep", () => {
    expect(call("personality", 0xffffffff)).toBe(0);
    expect(call("personality", 0x40000)).toBe(0);
    expect(call("personality", 0x400000)).toBe(-EINVAL);
    expect(call("personality", 0)).toBe(0x40000);
  });

  it("should say which XSAVE components there are", () => {
    state.setU64(H.xcr0, 0xe7);
    expect(call("arch_prctl", 0x1021, BASE)).toBe(0);
    expect(machine.i32(0)).toBe(0xe7);
    expect(call("arch_prctl", 0x1023, 5)).toBe(0);
    expect(call("arch_prctl", 0x1023, 18)).toBe(-95);
    expect(call("arch_prctl", 0x1023, 64)).toBe(-EINVAL);
    expect(call("arch_prctl", 0x1002, 0x7f80_0000_0000)).toBe(-EPERM);
    expect(call("arch_prctl", 0x9999, 0)).toBe(-EINVAL);
  });
});
