import { afterAll, afterEach, describe, expect, it } from "vitest";
import { EFAULT, EINVAL, ENODEV, ENOSYS, EPERM, ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { H, OFFSET, T } from "../state.ts";
import { fakeNode } from "../virtual/fake-node.testing.ts";
import { BASE } from "./fake-call.testing.ts";
import { scheduleCalls } from "./schedule.ts";
import { systemCalls } from "./system.ts";

// Three virtual CPUs, all on host CPU 0, so that pinning works on any machine.
const machine = fakeNode({ cpus: [0, 0, 0], nodes: [0, 0, 1], tids: [900001] });
const { kernel } = machine;
const { state } = kernel;
const hostMask = (): Buffer => {
  const bytes = kernel.sys(NR.sched_getaffinity, 0, 128, kernel.scratch.address);
  return Buffer.from(kernel.scratch.u8.slice(0, bytes));
};
const before = hostMask();
const restore = (): void => {
  kernel.scratch.u8.set(before);
  kernel.sys(NR.sched_setaffinity, 0, before.length, kernel.scratch.address);
};
afterEach(restore);
afterAll(() => machine.close());

const call = (name: string, ...args: (number | bigint)[]): number => machine.run((scheduleCalls[name] ?? systemCalls[name])![2], ...args);

describe("affinity", () => {
  it("should be in virtual CPUs", () => {
    machine.words(0, -1, -1);
    expect(call("sched_getaffinity", 0, 16, BASE)).toBe(8);
    expect(kernel.mem.u64(BASE)).toBe(0b111);
    expect(call("sched_setaffinity", 0, 8, machine.words(32, 0b10))).toBe(0);
    expect(call("sched_getaffinity", 0, 8, BASE)).toBe(8);
    expect(kernel.mem.u64(BASE)).toBe(0b10);
    expect(hostMask()[0]).toBe(1);
    expect(state.i32[kernel.record + T.cpu]).toBe(1);
    expect(state.i32[kernel.record + T.pinned]).toBe(2);
  });

  it("should leave CPUs out that are not there, and refuse none", () => {
    expect(call("sched_setaffinity", 0, 16, machine.words(32, -1, -1))).toBe(0);
    call("sched_getaffinity", 0, 8, BASE);
    expect(kernel.mem.u64(BASE)).toBe(0b111);
    expect(call("sched_setaffinity", 0, 8, machine.words(32, 0b1000))).toBe(-EINVAL);
    expect(call("sched_setaffinity", 0, 0, machine.words(32, 1))).toBe(-EINVAL);
  });

  it("should reach another thread of the program by its guest number", () => {
    expect(call("sched_setaffinity", 900001, 8, machine.words(32, 0b100))).toBe(0);
    expect(kernel.threads.allowed(state.thread(1))).toEqual([2]);
    expect(kernel.threads.allowed(kernel.record)).not.toEqual([2]);
    expect(call("sched_getaffinity", 2 ** 22 + 5, 8, BASE)).toBe(-ESRCH);
    expect(call("sched_setaffinity", 2 ** 22 + 5, 8, machine.words(32, 1))).toBe(-ESRCH);
    expect(call("sched_setaffinity", 1, 8, machine.words(32, 1))).toBe(-EPERM);
  });

  it("should refuse masks that are too short, odd or nowhere", () => {
    expect(call("sched_getaffinity", 0, 0, BASE)).toBe(-EINVAL);
    expect(call("sched_getaffinity", 0, 12, BASE)).toBe(-EINVAL);
    expect(call("sched_getaffinity", 0, 8, 64)).toBe(-EFAULT);
    expect(call("sched_setaffinity", 0, 8, 64)).toBe(-EFAULT);
    expect(call("sched_getaffinity", 0, 2n ** 63n, BASE)).toBe(8);
  });
});

describe("getcpu", () => {
  it("should tell virtual CPU and node", () => {
    state.i32[kernel.record + T.pinned] = 1;
    state.i32[kernel.record + T.cpu] = 2;
    expect(call("getcpu", BASE, BASE + 4, 0)).toBe(0);
    expect([machine.i32(0), machine.i32(4)]).toEqual([2, 1]);
    expect(call("getcpu", 0, 0, 0)).toBe(0);
    expect(call("getcpu", 64, 0, 0)).toBe(-EFAULT);
  });
});

describe("the host's scheduler", () => {
  it("should be asked about the host thread", () => {
    expect(call("sched_getscheduler", 900001)).toBe(0);
    expect(call("sched_getparam", 0, BASE)).toBe(0);
    expect(machine.i32(0)).toBe(0);
    expect(call("sched_getparam", 0, 0)).toBe(-EINVAL);
    expect(call("sched_getscheduler", -1)).toBe(-EINVAL);
    expect(call("sched_getattr", 0, BASE, 48, 0)).toBe(0);
    expect(machine.i32(0)).toBeGreaterThanOrEqual(48);
    expect(call("sched_getattr", 0, BASE, 8, 0)).toBe(-EINVAL);
    expect(call("sched_setattr", 0, machine.words(0, 2n ** 32n - 1n), 0)).toBe(-EINVAL);
    expect(call("getpriority", 0, 900001)).toBe(20 - 0);
    expect(call("sched_get_priority_max", 1)).toBe(99);
    expect(call("sched_yield")).toBe(0);
  });
});

describe("NUMA policies", () => {
  it("should name the virtual node's nodes", () => {
    expect(call("get_mempolicy", 0, BASE, 65, 0, 4)).toBe(0);
    expect(kernel.mem.u64(BASE)).toBe(0b11);
    expect(call("get_mempolicy", 0, BASE, 2, 0, 4)).toBe(-EINVAL);
  });

  it("should send this thread's new memory to the first node named", () => {
    expect(call("set_mempolicy", 2, machine.words(0, 0b10), 65)).toBe(0);
    expect(kernel.space.node).toBe(1);
    expect(call("get_mempolicy", BASE + 32, BASE + 64, 65, 0, 0)).toBe(0);
    expect([machine.i32(32), kernel.mem.u64(BASE + 64)]).toEqual([2, 0b10]);
    expect(call("set_mempolicy", 0, 0, 0)).toBe(0);
    expect(kernel.space.node).toBe(state.i32[(OFFSET.cpuNodes >> 2) + state.i32[kernel.record + T.cpu]!]);
  });

  it("should refuse nodes that are not there and modes without nodes", () => {
    expect(call("set_mempolicy", 2, machine.words(0, 0b100), 65)).toBe(-EINVAL);
    expect(call("set_mempolicy", 2, 0, 0)).toBe(-EINVAL);
    expect(call("set_mempolicy", 0, machine.words(0, 1), 65)).toBe(-EINVAL);
    expect(call("set_mempolicy", 77, 0, 0)).toBe(-EINVAL);
    expect(call("set_mempolicy", 2, BASE, 2n ** 40n)).toBe(-EINVAL);
    expect(call("migrate_pages", 0, 65, machine.words(0, 1), machine.words(8, 2))).toBe(-ENOSYS);
  });

  it("should tell where pages are", () => {
    machine.words(0, BASE, BASE + 4096, 0xdead000);
    expect(call("move_pages", 0, 3, BASE, 0, BASE + 64, 0)).toBe(0);
    expect([machine.i32(64), machine.i32(68), machine.i32(72)]).toEqual([0, 0, -2]);
    machine.ints(96, 1);
    expect(call("move_pages", 0, 1, BASE, BASE + 96, BASE + 64, 2)).toBe(1);
    expect(machine.i32(64)).toBe(-16);
    machine.ints(96, 2);
    expect(call("move_pages", 0, 1, BASE, BASE + 96, BASE + 64, 2)).toBe(-ENODEV);
  });
});

describe("the machine", () => {
  it("should have the virtual node's memory and threads", () => {
    state.setU64(H.memoryBytes, 2 ** 30);
    state.i32[H.blocksUsed] = 3;
    expect(call("sysinfo", BASE)).toBe(0);
    expect([kernel.mem.u64(BASE + 32), kernel.mem.u64(BASE + 40)]).toEqual([2 ** 30, 2 ** 30 - 3 * 2 ** 21]);
    expect(kernel.mem.u16(BASE + 80)).toBe(2);
    expect(machine.i32(104)).toBe(1);
    expect(call("sysinfo", 64)).toBe(-EFAULT);
  });

  it("should have the host's name", () => {
    expect(call("uname", BASE)).toBe(0);
    expect(kernel.mem.string(BASE)).toBe("Linux");
    expect(kernel.mem.string(BASE + 260)).toBe("x86_64");
  });

  it("should offer the barriers that hold for guest threads, and these only", () => {
    const offered = call("membarrier", 0, 0);
    expect(offered & ~31).toBe(0);
    expect(offered & 24).toBe(24);
    expect(call("membarrier", 16, 0)).toBe(0);
    expect(call("membarrier", 8, 0)).toBe(0);
    for (const command of [32, 64, 128, 256, 24, -1]) expect(call("membarrier", command, 0)).toBe(-EINVAL);
    expect(call("membarrier", 8, 1)).toBe(-EINVAL);
  });

  it("should not be changed", () => {
    for (const name of ["reboot", "sethostname", "init_module", "bpf", "setns"]) expect(call(name, 0, 0, 0)).toBe(-EPERM);
    for (const name of ["rseq", "perf_event_open", "seccomp"]) expect(call(name, 0, 0, 0)).toBe(-ENOSYS);
  });
});
