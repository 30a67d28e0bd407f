import { afterEach, describe, expect, it } from "vitest";
import { type FakeMachine, type FakeRoot, makeFakeRoot } from "./fake-machine.testing.ts";
import { type HugePages, pagesToHave, readHugePages } from "./hugepages.ts";

const roots: FakeRoot[] = [];

function read(machine: FakeMachine): HugePages {
  const fake = makeFakeRoot(machine);
  roots.push(fake);
  return readHugePages(fake.root);
}

afterEach(() => {
  for (const fake of roots.splice(0)) fake.remove();
});

const thpDir = "sys/kernel/mm/transparent_hugepage";
const thp = {
  [`${thpDir}/enabled`]: "always [madvise] never\n",
  [`${thpDir}/defrag`]: "always defer [defer+madvise] madvise never\n",
  [`${thpDir}/shmem_enabled`]: "always within_size advise [never] deny force\n",
  [`${thpDir}/hpage_pmd_size`]: "2097152\n",
  [`${thpDir}/use_zero_page`]: "1\n",
  [`${thpDir}/khugepaged/defrag`]: "1\n",
  [`${thpDir}/khugepaged/pages_to_scan`]: "4096\n",
  [`${thpDir}/khugepaged/scan_sleep_millisecs`]: "10000\n",
  [`${thpDir}/khugepaged/pages_collapsed`]: "7\n",
  [`${thpDir}/khugepaged/full_scans`]: "3\n",
};

describe("readHugePages", () => {
  it("should read pools per size and node, with reserved and surplus pages", () => {
    const huge = read({
      packages: 2,
      pools: [
        {
          sizeKiB: 1048576,
          perNode: [
            [1, 1, 0],
            [0, 0, 0],
          ],
        },
        {
          sizeKiB: 2048,
          perNode: [
            [100, 60, 0],
            [28, 20, 4],
          ],
          reserved: 10,
          overcommit: 6,
        },
      ],
    });
    expect(huge.defaultPageSize).toBe(2 ** 21);
    expect(huge.pools.map((p) => p.pageSize)).toEqual([2 ** 21, 2 ** 30]);
    expect(huge.pools[0]).toEqual({
      pageSize: 2 ** 21,
      total: 128,
      free: 80,
      reserved: 10,
      surplus: 4,
      overcommit: 6,
      nodes: [
        { node: 0, total: 100, free: 60, surplus: 0 },
        { node: 1, total: 28, free: 20, surplus: 4 },
      ],
    });
    expect(huge.pools.map(pagesToHave)).toEqual([72, 1]);
  });

  it("should keep node numbers with holes", () => {
    const huge = read({
      nodes: [{ id: 0, cpus: [0, 1] }, { id: 3 }],
      pools: [
        {
          sizeKiB: 2048,
          perNode: [
            [1, 1, 0],
            [2, 2, 0],
          ],
        },
      ],
    });
    expect(huge.pools[0]?.nodes.map((n) => [n.node, n.total])).toEqual([
      [0, 1],
      [3, 2],
    ]);
  });

  it("should never promise fewer than no pages", () => {
    expect(read({ pools: [{ sizeKiB: 2048, perNode: [[4, 2, 0]], reserved: 3 }] }).pools.map(pagesToHave)).toEqual([0]);
  });

  it("should read the state of transparent huge pages", () => {
    expect(read({ files: thp }).thp).toEqual({
      pageSize: 2 ** 21,
      enabled: "madvise",
      defrag: "defer+madvise",
      shmem: "never",
      zeroPage: true,
      khugepaged: { defrag: true, pagesToScan: 4096, scanSleepMs: 10000, pagesCollapsed: 7, fullScans: 3 },
    });
  });

  it("should let a page size's own setting win unless it inherits", () => {
    const own = (enabled: string, shmem: string): Record<string, string> => ({
      ...thp,
      [`${thpDir}/hugepages-2048kB/enabled`]: enabled,
      [`${thpDir}/hugepages-2048kB/shmem_enabled`]: shmem,
    });
    expect(read({ files: own("always inherit madvise [never]", "[always] inherit never") }).thp).toMatchObject({
      enabled: "never",
      shmem: "always",
    });
    expect(read({ files: own("always [inherit] madvise never", "always [inherit] never") }).thp).toMatchObject({
      enabled: "madvise",
      shmem: "never",
    });
    expect(read({ files: { ...own("[inherit]", "[always]"), [`${thpDir}/shmem_enabled`]: "always [deny] force" } }).thp?.shmem).toBe(
      "deny",
    );
  });

  it("should say that there is nothing where the kernel has nothing", () => {
    expect(readHugePages("/nonexistent")).toEqual({ defaultPageSize: 0, pools: [], thp: undefined });
    expect(read({ nodes: null, pools: [{ sizeKiB: 2048, perNode: [[5, 5, 0]] }] }).pools[0]).toMatchObject({ total: 5, nodes: [] });
  });
});
