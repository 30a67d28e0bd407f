import { afterEach, describe, expect, it } from "vitest";
import { readCgroupLimits } from "./cgroup.ts";
import { type FakeMachine, type FakeRoot, makeFakeRoot } from "./fake-machine.testing.ts";
import { readLimits, readMemoryBudget } from "./limits.ts";

const GIB = 2 ** 30;
const roots: FakeRoot[] = [];

function make(machine: FakeMachine): string {
  const fake = makeFakeRoot(machine);
  roots.push(fake);
  return fake.root;
}

afterEach(() => {
  for (const fake of roots.splice(0)) fake.remove();
});

const limitsText = `Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max processes             96365                96366                processes
Max open files            1024                 20000                files
Max locked memory         65536                8388608              bytes
Max address space         unlimited            unlimited            bytes
`;

function v2(files: Record<string, string>, group = "/user/job"): Record<string, string> {
  const here = Object.fromEntries(Object.entries(files).map(([name, text]) => [`sys/fs/cgroup/${name}`, text]));
  return {
    "proc/self/cgroup": `0::${group}\n`,
    "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
    ...here,
  };
}

describe("readLimits", () => {
  it("should read soft and hard limits, with Infinity for unlimited", () => {
    const limits = readLimits(
      make({ files: { "proc/self/limits": limitsText, "proc/sys/vm/max_map_count": "65530\n", "proc/sys/vm/overcommit_memory": "2\n" } }),
    );
    expect(limits.rlimits).toEqual({
      processes: { soft: 96365, hard: 96366 },
      openFiles: { soft: 1024, hard: 20000 },
      lockedMemory: { soft: 65536, hard: 8388608 },
      addressSpace: { soft: Number.POSITIVE_INFINITY, hard: Number.POSITIVE_INFINITY },
      stack: { soft: 8388608, hard: Number.POSITIVE_INFINITY },
    });
    expect([limits.maxMapCount, limits.overcommit, limits.maxThreads]).toEqual([65530, 2, Number.POSITIVE_INFINITY]);
  });

  it("should take everything for unlimited where nothing can be read", () => {
    const limits = readLimits("/nonexistent");
    expect(limits.rlimits.processes.soft).toBe(Number.POSITIVE_INFINITY);
    expect(limits.cgroup).toEqual({ memory: undefined, pids: undefined, cpuQuota: Number.POSITIVE_INFINITY });
  });

  it("should read this process's own limits", () => {
    expect(readLimits().rlimits.openFiles.soft).toBeLessThan(Number.POSITIVE_INFINITY);
    expect(readLimits().memory.total).toBeGreaterThan(2 ** 28);
  });
});

describe("readCgroupLimits", () => {
  it("should take the tightest level of version 2, not counting file pages as used", () => {
    const limits = readCgroupLimits(
      make({
        files: v2({
          "user/job/memory.max": "max\n",
          "user/job/memory.current": `${3 * GIB}\n`,
          "user/memory.max": `${4 * GIB}\n`,
          "user/memory.current": `${3 * GIB}\n`,
          "user/memory.stat": `anon 5\ninactive_file ${GIB}\nactive_file ${GIB / 2}\n`,
          "user/job/pids.max": "100\n",
          "user/job/pids.current": "30\n",
          "user/pids.max": "50\n",
          "user/pids.current": "45\n",
          "user/job/cpu.max": "150000 100000\n",
          "user/cpu.max": "max 100000\n",
        }),
      }),
    );
    expect(limits.memory).toEqual({ path: "/sys/fs/cgroup/user", limit: 4 * GIB, used: 3 * GIB, spare: 2.5 * GIB });
    expect(limits.pids).toEqual({ path: "/sys/fs/cgroup/user", limit: 50, used: 45, spare: 5 });
    expect(limits.cpuQuota).toBe(1.5);
  });

  it("should take memory.high for a limit", () => {
    const limits = readCgroupLimits(
      make({ files: v2({ "user/job/memory.max": `${8 * GIB}`, "user/job/memory.high": `${GIB}`, "user/job/memory.current": "0" }) }),
    );
    expect(limits.memory?.spare).toBe(GIB);
  });

  it("should read version 1 with its own mounts and its 'no limit'", () => {
    const files = {
      "proc/self/cgroup": "9:name=systemd:/\n4:memory:/slurm/job_7\n2:cpu,cpuacct:/slurm/job_7\n0::/\n",
      "proc/self/mountinfo":
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": `${2 * GIB}\n`,
      "sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes": `${GIB}\n`,
      "sys/fs/cgroup/memory/slurm/job_7/memory.stat": `inactive_file 1\ntotal_inactive_file ${GIB / 4}\ntotal_active_file 0\n`,
      "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_quota_us": "-1\n",
      "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_period_us": "100000\n",
      "sys/fs/cgroup/cpu/slurm/cpu.cfs_quota_us": "400000\n",
      "sys/fs/cgroup/cpu/slurm/cpu.cfs_period_us": "100000\n",
    };
    const limits = readCgroupLimits(make({ files }));
    expect(limits.memory).toEqual({ path: "/sys/fs/cgroup/memory/slurm/job_7", limit: 2 * GIB, used: GIB, spare: 1.25 * GIB });
    expect(limits.cpuQuota).toBe(4);
    expect(limits.pids).toBeUndefined();
  });

  it("should find a container's group where only a part of the tree is mounted, or at the mount's top", () => {
    const mounted = (root: string, group: string): Record<string, string> => ({
      "proc/self/cgroup": `0::${group}\n`,
      "proc/self/mountinfo": `30 24 0:26 ${root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n`,
      "sys/fs/cgroup/memory.max": `${GIB}\n`,
      "sys/fs/cgroup/inner/memory.max": `${GIB / 2}\n`,
    });
    expect(readCgroupLimits(make({ files: mounted("/docker/abc", "/docker/abc/inner") })).memory).toMatchObject({
      path: "/sys/fs/cgroup/inner",
      limit: GIB / 2,
    });
    expect(readCgroupLimits(make({ files: mounted("/docker/abc", "/docker/abc") })).memory).toMatchObject({
      path: "/sys/fs/cgroup",
      limit: GIB,
    });
    expect(readCgroupLimits(make({ files: mounted("/", "/../../init") })).memory).toMatchObject({ path: "/sys/fs/cgroup", limit: GIB });
  });
});

describe("readMemoryBudget", () => {
  it("should give free unpromised huge pages per node in bytes", () => {
    const budget = readMemoryBudget(
      make({
        packages: 2,
        pools: [
          {
            sizeKiB: 2048,
            perNode: [
              [10, 8, 0],
              [4, 2, 0],
            ],
            reserved: 5,
          },
        ],
        memAvailable: 1000,
      }),
    );
    expect(budget.memory.available).toBe(1000 * 2 ** 20);
    expect(budget.cgroupSpare).toBe(Number.POSITIVE_INFINITY);
    expect([...budget.hugeFree]).toEqual([
      [0, 4 * 2 ** 21],
      [1, 1 * 2 ** 21],
    ]);
  });
});
