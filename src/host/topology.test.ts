import { afterEach, describe, expect, it } from "vitest";
import { type FakeMachine, type FakeRoot, makeFakeRoot } from "./fake-machine.testing.ts";
import { readTopology, type Topology } from "./topology.ts";

const roots: FakeRoot[] = [];

function read(machine: FakeMachine): Topology {
  const fake = makeFakeRoot(machine);
  roots.push(fake);
  return readTopology(fake.root);
}

afterEach(() => {
  for (const fake of roots.splice(0)) fake.remove();
});

describe("readTopology", () => {
  it("should read two sockets of four cores with SMT 2", () => {
    const t = read({ packages: 2, cores: 4, smt: 2 });
    expect(t.online).toHaveLength(16);
    expect(t.allowed).toEqual(t.online);
    expect(t.smt).toBe(2);
    expect(t.packages.map((p) => p.cpus)).toEqual([
      [0, 1, 2, 3, 8, 9, 10, 11],
      [4, 5, 6, 7, 12, 13, 14, 15],
    ]);
    expect(t.cores.map((c) => c.cpus)).toEqual([
      [0, 8],
      [1, 9],
      [2, 10],
      [3, 11],
      [4, 12],
      [5, 13],
      [6, 14],
      [7, 15],
    ]);
    expect(t.cores[5]).toEqual({ index: 5, coreId: 1, dieId: 0, packageId: 1, node: 1, cpus: [5, 13] });
    expect(t.nodes.map((n) => [n.id, n.cpus.length, n.memTotal, n.distances])).toEqual([
      [0, 8, 8 * 2 ** 30, [10, 20]],
      [1, 8, 8 * 2 ** 30, [20, 10]],
    ]);
    expect([t.numa, t.processor.name, t.processor.flags]).toEqual([true, "Fake Processor 9000", ["fpu", "vme", "avx512f"]]);
    expect(t.processor.fields["model name"]).toBe("Fake Processor 9000");
  });

  it("should list each cache once with those who share it", () => {
    const t = read({ packages: 2, cores: 2, smt: 2 });
    expect(t.caches.filter((c) => c.level === 1 && c.type === "Data").map((c) => c.cpus)).toEqual([
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ]);
    expect(t.caches.filter((c) => c.level === 3)).toEqual([
      { level: 3, type: "Unified", size: 32 * 2 ** 20, lineSize: 64, ways: 8, sets: 64, cpus: [0, 1, 4, 5] },
      { level: 3, type: "Unified", size: 32 * 2 ** 20, lineSize: 64, ways: 8, sets: 64, cpus: [2, 3, 6, 7] },
    ]);
    expect(t.caches).toHaveLength(4 * 3 + 2);
  });

  it("should leave offline CPUs out of cores, nodes and caches", () => {
    const t = read({ cores: 4, smt: 2, offline: [1, 5, 6] });
    expect(t.online).toEqual([0, 2, 3, 4, 7]);
    expect(t.offline).toEqual([1, 5, 6]);
    expect(t.cores.map((c) => c.cpus)).toEqual([[0, 4], [2], [3, 7]]);
    expect(t.nodes[0]?.cpus).toEqual([0, 2, 3, 4, 7]);
    expect(t.caches.flatMap((c) => c.cpus)).not.toContain(1);
  });

  it("should read caches where CPU 0 has no cache directory", () => {
    const none = Object.fromEntries([0, 1, 2, 3].map((i) => [`sys/devices/system/cpu/cpu0/cache/index${i}/level`, null]));
    expect(
      read({ cores: 2, files: none })
        .caches.filter((c) => c.level === 2)
        .map((c) => c.cpus),
    ).toEqual([[1]]);
  });

  it("should allow only what the affinity and the cpuset allow, and only online CPUs", () => {
    const t = read({ packages: 2, cores: 2, offline: [3], allowed: "1-3", allowedMems: "1" });
    expect(t.allowed).toEqual([1, 2]);
    expect(t.nodes.map((n) => n.allowed)).toEqual([false, true]);
  });

  it("should show nodes without CPUs, nodes without memory, and holes in the numbers", () => {
    const t = read({
      cores: 4,
      nodes: [
        { id: 0, cpus: [0, 1], distances: [10, 21, 17] },
        { id: 2, cpus: [2, 3], memory: 0, distances: [21, 10, 28] },
        { id: 5, memory: 65536, filePages: 100, free: 60000, distances: [17, 28, 10] },
      ],
    });
    expect(t.nodes.map((n) => n.id)).toEqual([0, 2, 5]);
    expect(t.nodes[1]).toMatchObject({ cpus: [2, 3], memTotal: 0, distances: [21, 10, 28] });
    expect(t.nodes[2]).toMatchObject({ cpus: [], memTotal: 64 * 2 ** 30, memFree: 60000 * 2 ** 20, memAvailable: 60100 * 2 ** 20 });
    expect(t.cores.map((c) => c.node)).toEqual([0, 0, 2, 2]);
  });

  it("should make one node of a machine whose kernel shows none", () => {
    const t = read({ cores: 2, nodes: null, memAvailable: 4000 });
    expect(t.numa).toBe(false);
    expect(t.nodes).toEqual([
      { id: 0, cpus: [0, 1], memTotal: 8 * 2 ** 30, memFree: 7 * 2 ** 30, memAvailable: 4000 * 2 ** 20, distances: [10], allowed: true },
    ]);
  });

  it("should do without cache and topology directories", () => {
    const t = read({ cores: 3, noCaches: true, noTopology: true });
    expect(t.caches).toEqual([]);
    expect(t.cores.map((c) => [c.coreId, c.packageId, c.cpus])).toEqual([
      [0, 0, [0]],
      [1, 0, [1]],
      [2, 0, [2]],
    ]);
  });

  it("should take unknown ids (-1) for cores of their own in package 0", () => {
    const unknown = Object.fromEntries(
      [0, 1].flatMap((cpu) =>
        ["core_id", "physical_package_id", "die_id"].map((f) => [`sys/devices/system/cpu/cpu${cpu}/topology/${f}`, "-1\n"]),
      ),
    );
    expect(read({ cores: 2, files: unknown }).cores.map((c) => [c.coreId, c.dieId, c.packageId])).toEqual([
      [0, 0, 0],
      [1, 0, 0],
    ]);
  });

  it("should find the siblings under the old name too", () => {
    const files: Record<string, string | null> = {};
    for (const cpu of [0, 1]) {
      files[`sys/devices/system/cpu/cpu${cpu}/topology/core_cpus_list`] = null;
      files[`sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`] = "0-1\n";
    }
    expect(read({ cores: 1, smt: 2, files }).cores.map((c) => c.cpus)).toEqual([[0, 1]]);
  });

  it("should count CPUs in /proc/cpuinfo when there is no /sys, and survive an empty root", () => {
    const bare = read({
      cores: 2,
      nodes: null,
      noCaches: true,
      noTopology: true,
      files: { "sys/devices/system/cpu/online": null, "sys/devices/system/cpu/present": null },
    });
    expect(bare.online).toEqual([0, 1]);
    expect(readTopology("/nonexistent")).toMatchObject({
      online: [0],
      allowed: [0],
      numa: false,
      caches: [],
      processor: { vendor: "unknown" },
    });
  });

  it("should survive garbage in every file", () => {
    const files = Object.fromEntries(
      [
        "cpu/online",
        "cpu/present",
        "cpu/cpu0/topology/core_cpus_list",
        "cpu/cpu0/cache/index0/size",
        "cpu/cpu0/cache/index1/level",
        "node/node0/distance",
        "node/node0/cpulist",
      ].map((f) => [`sys/devices/system/${f}`, "\u0000?? -7 x\n"]),
    );
    const t = read({ cores: 2, files });
    expect(t.online).toEqual([0, 1]);
    expect(t.nodes[0]).toMatchObject({ cpus: [], distances: [10] });
  });

  it("should leave the caches out on request", () => {
    const fake = makeFakeRoot({});
    roots.push(fake);
    expect(readTopology(fake.root, { caches: false }).caches).toEqual([]);
    expect(readTopology(fake.root).caches).not.toEqual([]);
  });

  it("should agree with this machine on what it can be asked independently", async () => {
    const os = await import("node:os");
    const t = readTopology();
    expect(t.online).toHaveLength(os.cpus().length);
    expect(t.allowed.length).toBeGreaterThan(0);
    expect(t.cores.flatMap((c) => c.cpus).sort((a, b) => a - b)).toEqual(t.online);
    expect(t.nodes.reduce((s, n) => s + n.memTotal, 0)).toBeGreaterThan(0);
  });
});
