import { describe, expect, it } from "vitest";
import { H, OFFSET, S, STATE_SIZE, STATE_VERSION } from "../src/lwk/state.ts";
import { BLOCK_GPA } from "../src/vmm/guest-memory.ts";
import { disturbance, parseCpuTime } from "./load.ts";
import { chosen, kindOfKvm } from "./machine.ts";
import { divide, lastReport } from "./process.ts";
import { findState, slotRanges } from "./slots.ts";
import { parseSmaps, sumSmaps } from "./smaps.ts";
import { short, table } from "./table.ts";

const STAT = `cpu  600 0 0 0 0 0 0 30 0 0
cpu0 100 10 20 5000 40 3 7 5 50 0
cpu1 200 0 0 5000 0 0 0 10 0 0
cpu12 300 0 0 5000 0 0 0 15 0 0
intr 1 2 3`;

describe("/proc/stat", () => {
  it("should count user, nice, system and interrupts, but neither idle nor iowait nor guest time twice", () => {
    expect(parseCpuTime(STAT, new Set([0]))).toEqual({ busy: 1.4, steal: 0.05 });
  });

  it("should count only the CPUs asked for, and not take CPU 1 for CPU 12", () => {
    expect(parseCpuTime(STAT, new Set([1]))).toEqual({ busy: 2, steal: 0.1 });
    expect(parseCpuTime(STAT, new Set([0, 12]))).toEqual({ busy: 4.4, steal: 0.2 });
  });

  it("should subtract our own time and never go below nothing", () => {
    const before = { busy: 10, steal: 1 };
    expect(disturbance(before, { busy: 14, steal: 2 }, 2, 3)).toEqual({ foreign: 0.5, steal: 0.5 });
    expect(disturbance(before, { busy: 12, steal: 1 }, 2, 3).foreign).toBe(0);
  });
});

const SMAPS = `7f0000000000-7f0000200000 rw-s 00000000 00:01 2053                       /dev/zero (deleted)
Size:               2048 kB
Rss:                1000 kB
Pss:                 500 kB
Pss_Dirty:           400 kB
VmFlags: rd wr sh
7f0000400000-7f0000800000 rw-p 00000000 00:00 0 
Rss:                  64 kB
Pss:                  64 kB
Private_Hugetlb:    4096 kB
5600-5700 r-xp 00000000 08:01 77                                 /usr/bin/a name with spaces
Rss:                   1 kB
Pss:                   1 kB`;

describe("smaps", () => {
  it("should read addresses, names and sizes, hugetlb pages included", () => {
    expect(parseSmaps(SMAPS)).toEqual([
      { start: 0x7f0000000000, end: 0x7f0000200000, name: "/dev/zero (deleted)", rssKib: 1000, pssKib: 500 },
      { start: 0x7f0000400000, end: 0x7f0000800000, name: "", rssKib: 4160, pssKib: 4160 },
      { start: 0x5600, end: 0x5700, name: "/usr/bin/a name with spaces", rssKib: 1, pssKib: 1 },
    ]);
  });

  it("should keep the guest's memory apart, also where one mapping holds several slots", () => {
    const slots = [
      { start: 0x7f0000400000, length: 0x200000 },
      { start: 0x7f0000600000, length: 0x200000 },
    ];
    expect(sumSmaps(parseSmaps(SMAPS), slots)).toEqual({ rssKib: 1001, pssKib: 501, insideKib: 4160 });
    expect(sumSmaps(parseSmaps(SMAPS), [{ start: 0x7f0000200000, length: 0x200000 }]).insideKib).toBe(0);
  });
});

/** A process's memory with nothing but a state at `at`: three slots, one of each range. */
function fakeProcess(at: number, pid: number): (address: number, length: number) => Buffer {
  const header = Buffer.alloc(4096);
  const slots = Buffer.alloc(4096);
  header.writeInt32LE(STATE_VERSION, H.version * 4);
  header.writeInt32LE(pid, H.pid * 4);
  header.writeInt32LE(3, H.slotCount * 4);
  const bases: [number, bigint][] = [
    [H.tableBase, 0x7e0000000000n],
    [H.blockBase, 0x7d0000000000n],
    [H.arenaBase, 0x7c0000000000n],
    [H.arenaGpa, 1n << 47n],
  ];
  for (const [index, value] of bases) header.writeBigUInt64LE(value, index * 4);
  for (const [i, gpa] of [0n, BigInt(BLOCK_GPA) + 0x200000n, (1n << 47n) + 0x1000n].entries()) {
    slots.writeBigUInt64LE(gpa, (i * S.size + S.gpa) * 4);
    slots.writeBigUInt64LE(0x1000n, (i * S.size + S.bytes) * 4);
  }
  return (address, length) => {
    if (address === at) return header.subarray(0, length);
    if (address === at + OFFSET.slots) return slots.subarray(0, length);
    return Buffer.alloc(length);
  };
}

describe("the slots of a running margay", () => {
  const at = 0x7b0000000000;
  const line = (start: number): string =>
    `${start.toString(16)}-${(start + STATE_SIZE).toString(16)} rw-s 00000000 00:01 5 /dev/zero (deleted)\n`;

  it("should be translated to host addresses by the range they stand in", () => {
    expect(slotRanges(fakeProcess(at, 42), at)).toEqual([
      { start: 0x7e0000000000, length: 0x1000 },
      { start: 0x7d0000200000, length: 0x1000 },
      { start: 0x7c0000001000, length: 0x1000 },
    ]);
  });

  it("should be found by the state's size, version and process id", () => {
    expect(findState(fakeProcess(at, 42), line(0x7a0000000000) + line(at), 42)).toBe(at);
    expect(() => findState(fakeProcess(at, 42), line(at), 43)).toThrow("process 43 has no LWK state");
  });
});

describe("reports of the programs", () => {
  it("should be taken from the last line that is an object", () => {
    expect(lastReport('hello\n{"a": 1}\n{"a": 2, "verified": true}\nbye\n')).toEqual({ a: 2, verified: true });
    expect(() => lastReport("Segmentation fault\n")).toThrow("printed no result");
  });

  it("should be divided into numbers, series and words", () => {
    expect(divide({ gflops: 2.5, core: "Zen", series: { gflops: [2, 3] }, verified: true })).toEqual({
      readings: { gflops: 2.5 },
      series: { gflops: [2, 3] },
      notes: { core: "Zen", verified: true },
    });
    expect(divide({ n: 1 }).series).toEqual({});
  });
});

describe("the machine", () => {
  const kvm = (...paths: string[]): string => kindOfKvm((path) => paths.includes(path));

  it("should tell the kinds of KVM apart", () => {
    expect(kvm("/dev/kvm", "/sys/module/kvm_pvm", "/sys/module/kvm")).toBe("PVM");
    expect(kvm("/dev/kvm", "/sys/module/kvm_amd")).toBe("AMD SVM");
    expect(kvm("/dev/kvm", "/sys/module/kvm_intel")).toBe("Intel VMX");
    expect(kvm("/sys/module/kvm_amd")).toBe("none: no /dev/kvm");
  });

  it("should read the choice in brackets", () => {
    expect(chosen("always [madvise] never")).toBe("madvise");
    expect(chosen("")).toBe("");
  });
});

describe("the table", () => {
  it("should show four significant digits", () => {
    expect([0.98765, 12.3456, 51774.2, 0.052982, 0].map(short)).toEqual(["0.9877", "12.35", "51774", "0.05298", "0"]);
  });

  it("should show both sides, the target and the verdict", () => {
    const value = { min: 0.9, q1: 0.95, median: 0.97, q3: 0.98, max: 1 };
    const parts = [
      { arm: "guest", value: { ...value, median: 9.7 } },
      { arm: "native", value: { ...value, median: 10 } },
    ];
    const text = table([
      { label: "triad", unit: "GB/s", value, interval: [0.96, 0.98], rounds: 11, parts, target: { atLeast: 0.99 }, verdict: "missed" },
    ]);
    expect(text.split("\n")[1]).toMatch(
      /^triad +guest 9\.700 GB\/s +native 10\.00 GB\/s +0\.9700 +0\.9600 \.\. 0\.9800 .* >= 0\.99 +missed$/,
    );
  });
});
