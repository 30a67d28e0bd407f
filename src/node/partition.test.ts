import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { formatError, MargayError } from "../host/error.ts";
import { type FakeMachine, type FakeRoot, makeFakeRoot } from "../host/fake-machine.testing.ts";
import { readMemoryBudget } from "../host/limits.ts";
import { readTopology } from "../host/topology.ts";
import { choosePartition, MIN_MEMORY, type Partition, type PartitionRequest } from "./partition.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const roots: FakeRoot[] = [];

function choose(machine: FakeMachine, request: PartitionRequest = {}): Partition {
  const fake = makeFakeRoot(machine);
  roots.push(fake);
  return choosePartition(readTopology(fake.root), request, readMemoryBudget(fake.root));
}

function failure(machine: FakeMachine, request: PartitionRequest): MargayError {
  try {
    choose(machine, request);
  } catch (e) {
    if (e instanceof MargayError) return e;
    throw e;
  }
  throw new Error("the request was accepted");
}

afterEach(() => {
  for (const fake of roots.splice(0)) fake.remove();
});

/** Two sockets of four cores, 8 GiB each, 7 GiB of it free. */
const two: FakeMachine = { packages: 2, cores: 4 };

describe("CPUs", () => {
  it("should be all allowed ones when nothing is said", () => {
    expect(choose({ ...two, allowed: "1,4-6" })).toMatchObject({
      cpus: [1, 4, 5, 6],
      nodes: [
        { hostNode: 0, cpus: [1], vcpus: [0] },
        { hostNode: 1, cpus: [4, 5, 6], vcpus: [1, 2, 3] },
      ],
      distances: [
        [10, 20],
        [20, 10],
      ],
    });
  });

  it("should keep the order asked for", () => {
    const p = choose(two, { cpus: "5,1,4" });
    expect(p.cpus).toEqual([5, 1, 4]);
    expect(p.nodes.map((n) => [n.hostNode, n.cpus, n.vcpus])).toEqual([
      [0, [1], [1]],
      [1, [5, 4], [0, 2]],
    ]);
  });

  it("should be those of the NUMA node asked for, and the distances its own", () => {
    expect(choose(two, { numa: 1 })).toMatchObject({ cpus: [4, 5, 6, 7], nodes: [{ hostNode: 1 }], distances: [[10]] });
  });

  it("should be refused when they do not exist, are offline or not allowed", () => {
    const machine = { ...two, offline: [3], allowed: "0-5" };
    expect(formatError(failure(machine, { cpus: "0-2,9" }))).toBe(
      "margay: E_CPU_UNKNOWN: there is no CPU 9 (--cpus 0-2,9): usable here: 0-2,4-5",
    );
    expect(failure(machine, { cpus: "3" })).toMatchObject({ code: "E_CPU_UNKNOWN", what: "CPU 3 is offline" });
    expect(failure(machine, { cpus: "7" }).what).toContain("not allowed");
    expect(failure(machine, { cpus: "0-" }).code).toBe("E_CPU_SYNTAX");
    expect(failure(machine, { cpus: "" }).code).toBe("E_CPU_SYNTAX");
    expect(failure(two, { maxCpus: 4 })).toMatchObject({ code: "E_CPU_TOO_MANY" });
    expect(failure(two, { cpus: "0", numa: 0 })).toMatchObject({ code: "E_BAD_OPTION" });
  });
});

describe("NUMA nodes", () => {
  it("should be refused without existence, CPUs, memory or permission", () => {
    const machine: FakeMachine = {
      cores: 4,
      allowedMems: "0-4",
      nodes: [{ id: 0, cpus: [0, 1] }, { id: 2 }, { id: 4, cpus: [2], memory: 0 }, { id: 5, cpus: [3] }],
    };
    expect(formatError(failure(machine, { numa: 1 }))).toBe("margay: E_NUMA_UNKNOWN: there is no NUMA node 1 (--numa 1): usable here: 0");
    expect(failure(machine, { numa: 2 }).what).toBe("NUMA node 2 has no CPU that this process may use");
    expect(failure(machine, { numa: 4 }).what).toBe("NUMA node 4 has no memory that this process may use");
    expect(failure(machine, { numa: 5 }).what).toBe("NUMA node 5 has no memory that this process may use");
    expect(failure(machine, { numa: Number.NaN }).code).toBe("E_NUMA_UNKNOWN");
    expect(choose(machine, { numa: 0 }).cpus).toEqual([0, 1]);
  });

  it("should lend memory to a node without, from the nearest that has some", () => {
    const p = choose({
      cores: 4,
      nodes: [
        { id: 0, cpus: [0], distances: [10, 40, 30] },
        { id: 1, cpus: [1, 2], memory: 0, distances: [40, 10, 20] },
        { id: 2, cpus: [3], distances: [30, 20, 10] },
      ],
    });
    expect(p.nodes.map((n) => [n.hostNode, n.cpus])).toEqual([
      [0, [0]],
      [2, [1, 2, 3]],
    ]);
    expect(p.distances).toEqual([
      [10, 30],
      [30, 10],
    ]);
  });

  it("should leave memory-only nodes to the host", () => {
    const p = choose(
      {
        cores: 2,
        nodes: [
          { id: 0, cpus: [0, 1], memory: 8192, free: 8192 },
          { id: 1, memory: 65536, free: 65536 },
        ],
      },
      { mem: "100%" },
    );
    expect(p.nodes.map((n) => n.hostNode)).toEqual([0]);
    expect(p.memBytes).toBe(8 * GIB);
  });

  it("should be one where the kernel shows none", () => {
    expect(choose({ cores: 2, nodes: null, memAvailable: 1000 }, { mem: "50%" })).toEqual({
      cpus: [0, 1],
      nodes: [{ hostNode: 0, cpus: [0, 1], vcpus: [0, 1], memBytes: 500 * MIB }],
      memBytes: 500 * MIB,
      distances: [[10]],
    });
  });
});

describe("memory", () => {
  it("should be 90 % of what the chosen nodes can spare, in blocks of 2 MiB", () => {
    expect(choose(two).memBytes).toBe(Math.floor(0.9 * 14 * 512) * 2 * MIB);
    expect(choose(two, { numa: 0 }).memBytes).toBe(Math.floor(0.9 * 7 * 512) * 2 * MIB);
  });

  it("should follow MemAvailable where the nodes know of less, as with memory that a balloon gives back", () => {
    expect(
      choose({ cores: 2, nodes: [{ id: 0, cpus: [0, 1], memory: 4096, free: 2048 }], memAvailable: 20000 }, { mem: "100%" }).memBytes,
    ).toBe(20000 * MIB);
  });

  it("should be rounded down to 2 MiB", () => {
    expect(choose(two, { numa: 0, mem: "1001M" }).memBytes).toBe(1000 * MIB);
    expect(choose(two, { numa: 0, mem: "1.5G" }).memBytes).toBe(1.5 * GIB);
  });

  it("should be shared out by CPUs", () => {
    expect(choose(two, { cpus: "0-2,4", mem: "4G" }).nodes.map((n) => n.memBytes)).toEqual([3 * GIB, GIB]);
  });

  it("should spill to the other node where one is full", () => {
    const machine: FakeMachine = {
      packages: 2,
      cores: 1,
      nodes: [
        { id: 0, cpus: [0], free: 1024 },
        { id: 1, cpus: [1], free: 6144 },
      ],
    };
    expect(choose(machine, { mem: "4G" }).nodes.map((n) => n.memBytes)).toEqual([GIB, 3 * GIB]);
  });

  it("should add up to the whole on any split", () => {
    const fake = makeFakeRoot({
      packages: 3,
      cores: 3,
      nodes: [
        { id: 0, cpus: [0, 1, 2], free: 333 },
        { id: 1, cpus: [3, 4, 5], free: 4000 },
        { id: 2, cpus: [6, 7, 8], free: 77 },
      ],
    });
    roots.push(fake);
    const topology = readTopology(fake.root);
    const budget = readMemoryBudget(fake.root);
    fc.assert(
      fc.property(fc.integer({ min: 32, max: 4400 }), fc.uniqueArray(fc.integer({ min: 0, max: 8 }), { minLength: 1 }), (mib, cpus) => {
        let p: Partition;
        try {
          p = choosePartition(topology, { mem: `${mib}M`, cpus: cpus.join(",") }, budget);
        } catch (e) {
          expect(e).toMatchObject({ code: "E_MEM_TOO_MUCH" });
          return;
        }
        expect(p.memBytes).toBe(Math.floor(mib / 2) * 2 * MIB);
        expect(p.nodes.reduce((sum, n) => sum + n.memBytes, 0)).toBe(p.memBytes);
        for (const n of p.nodes) expect(n.memBytes).toBeLessThanOrEqual((topology.nodes[n.hostNode]?.memFree ?? 0) + 1);
      }),
    );
  });

  it("should count free huge pages, which MemAvailable does not, unless they are not wanted", () => {
    const machine: FakeMachine = { cores: 2, memAvailable: 1000, pools: [{ sizeKiB: 2048, perNode: [[512, 512, 0]] }] };
    expect(choose(machine, { mem: "100%" }).memBytes).toBe(2024 * MIB);
    expect(choose(machine, { mem: "100%", hugetlb: false }).memBytes).toBe(1000 * MIB);
  });

  it("should stay inside the control group", () => {
    const files = {
      "proc/self/cgroup": "0::/job\n",
      "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/job/memory.max": `${GIB}\n`,
      "sys/fs/cgroup/job/memory.current": `${200 * MIB}\n`,
    };
    expect(choose({ ...two, files }, { mem: "100%" }).memBytes).toBe(824 * MIB);
    expect(formatError(failure({ ...two, files }, { mem: "2G" }))).toBe(
      "margay: E_MEM_TOO_MUCH: 2 GiB of memory, but the control group allows only 824 MiB (--mem 2G): ask for at most --mem 824M",
    );
  });

  it("should be refused when there is not so much", () => {
    expect(formatError(failure(two, { numa: 1, mem: "8G" }))).toBe(
      "margay: E_MEM_TOO_MUCH: 8 GiB of memory, but NUMA node 1 can give only 7 GiB (--mem 8G): ask for at most --mem 7168M",
    );
    expect(failure(two, { mem: "8P" }).code).toBe("E_MEM_SYNTAX");
  });

  it("should be refused when it is too little for any program", () => {
    expect(failure(two, { mem: "1M" })).toMatchObject({ code: "E_MEM_TOO_LITTLE", hint: "ask for at least --mem 32M" });
    expect(failure({ cores: 2, memAvailable: 20 }, {})).toMatchObject({
      code: "E_MEM_TOO_LITTLE",
      hint: "free memory: NUMA node 0 can give only 20 MiB",
    });
    expect(choose(two, { mem: "32M" }).memBytes).toBe(MIN_MEMORY);
  });
});

describe("this machine", () => {
  it("should be partitioned as a whole by default", () => {
    const topology = readTopology();
    const p = choosePartition(topology);
    expect(p.cpus).toEqual(topology.allowed);
    expect(p.memBytes).toBeGreaterThan(MIN_MEMORY);
    expect(p.memBytes % (2 * MIB)).toBe(0);
  });
});
