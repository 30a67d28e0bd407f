import { describe, expect, it } from "vitest";
import { RUN } from "../abi/kvm.ts";
import { DeviceBus, type MmioDevice } from "./bus.ts";

class Recorder implements MmioDevice {
  readonly seen: string[] = [];
  answer = 0n;

  read(offset: number, size: number): bigint {
    this.seen.push(`read ${offset} ${size}`);
    return this.answer;
  }

  write(offset: number, size: number, value: bigint): void {
    this.seen.push(`write ${offset} ${size} ${value.toString(16)}`);
  }
}

/** kvm_run after an MMIO exit: struct { u64 phys_addr; u8 data[8]; u32 len; u8 is_write; } */
function exit(address: bigint, size: number, value: bigint | null): DataView {
  const run = new DataView(new ArrayBuffer(4096));
  run.setBigUint64(RUN.exit, address, true);
  run.setBigUint64(RUN.exit + 8, value ?? 0xdead_beef_dead_beefn, true);
  run.setUint32(RUN.exit + 16, size, true);
  run.setUint8(RUN.exit + 20, value === null ? 0 : 1);
  return run;
}

const BASE = 0x12_3456_7000;

describe("DeviceBus", () => {
  it("should pass accesses on with their offset, size and low bytes", () => {
    const bus = new DeviceBus();
    const device = new Recorder();
    bus.attach(BASE, 4096, device);
    expect(bus.access(exit(BigInt(BASE), 1, 0x1122_3344_5566_7788n))).toBe(true);
    expect(bus.access(exit(BigInt(BASE) + 8n, 4, 0x1122_3344_5566_7788n))).toBe(true);
    expect(bus.access(exit(BigInt(BASE) + 4088n, 8, 0xffff_ffff_ffff_fffen))).toBe(true);
    expect(device.seen).toEqual(["write 0 1 88", "write 8 4 55667788", "write 4088 8 fffffffffffffffe"]);
  });

  it("should put what a device answers into the exit", () => {
    const bus = new DeviceBus();
    const device = new Recorder();
    bus.attach(BASE, 16, device);
    device.answer = -1n;
    const run = exit(BigInt(BASE) + 8n, 8, null);
    expect(bus.access(run)).toBe(true);
    expect(run.getBigUint64(RUN.exit + 8, true)).toBe(2n ** 64n - 1n);
    expect(device.seen).toEqual(["read 8 8"]);
  });

  it("should leave alone what no device answers: beside a range, or across its end", () => {
    const bus = new DeviceBus();
    const device = new Recorder();
    bus.attach(BASE, 16, device);
    for (const [address, size] of [
      [BASE - 1, 1],
      [BASE - 1, 8],
      [BASE + 16, 1],
      [BASE + 12, 8],
    ] as const)
      expect(bus.access(exit(BigInt(address), size, 1n)), `${address - BASE}`).toBe(false);
    expect(bus.access(exit(2n ** 64n - 8n, 8, 1n))).toBe(false);
    expect(bus.access(exit(BigInt(BASE), 16, 1n))).toBe(false);
    expect(device.seen).toEqual([]);
  });

  it("should refuse ranges that are empty or taken, and give a closed one to the next", () => {
    const bus = new DeviceBus();
    const first = bus.attach(BASE, 4096, new Recorder());
    for (const [start, size] of [
      [BASE, 4096],
      [BASE + 4095, 1],
      [BASE - 1, 2],
      [BASE - 10, 10_000],
      [BASE + 8192, 0],
      [BASE + 8192, -1],
      [BASE + 8192, Number.NaN],
    ] as const) {
      expect(() => bus.attach(start, size, new Recorder())).toThrow(RangeError);
    }
    const left = bus.attach(BASE - 4096, 4096, new Recorder());
    const right = bus.attach(BASE + 4096, 4096, new Recorder());
    first.close();
    first.close();
    const next = new Recorder();
    bus.attach(BASE, 4096, next);
    bus.access(exit(BigInt(BASE) + 1n, 1, 5n));
    expect(next.seen).toEqual(["write 1 1 5"]);
    left.close();
    right.close();
    expect(bus.access(exit(BigInt(BASE) + 4096n, 1, 5n))).toBe(false);
  });
});
