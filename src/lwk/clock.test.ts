import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ClockSample, clockPage, initialClock, readClock, refreshClock, sampleClocks, timexFactor } from "./clock.ts";

const S = 1_000_000_000n;

/** A host whose clock is made of a perfect TSC and knobs that a test turns. All times in ns. */
class Host {
  tsc = 5_000_000_000_000n;
  raw = 777n * S;
  mono = 1000n * S;
  wall = 1_790_000_000n * S;
  boot = 300n * S;
  tai = 37n * S;
  /** Cycles per ns. */
  readonly ghz: number;
  /** How much faster MONOTONIC runs than MONOTONIC_RAW. */
  slew = 0;
  /** Cycles that a look at a clock takes. */
  look = 300n;
  /** ns that the thread loses its CPU for, between reading a clock and reading the TSC again. */
  stolen = 0;

  constructor(ghz: number) {
    this.ghz = ghz;
  }

  pass(ns: number): void {
    this.tsc += BigInt(Math.round(ns * this.ghz));
    this.raw += BigInt(Math.round(ns));
    this.mono += BigInt(Math.round(ns * (1 + this.slew)));
  }

  readonly readTsc = (): bigint => this.tsc;

  readonly readNs = (id: number): bigint => {
    this.pass(Number(this.look) / this.ghz);
    const now: Record<number, bigint> = {
      0: this.mono + this.wall,
      1: this.mono,
      4: this.raw,
      7: this.mono + this.boot,
      11: this.mono + this.wall + this.tai,
    };
    const ns = now[id];
    this.pass(Number(this.look) / this.ghz + this.stolen);
    return ns;
  };

  sample(): ClockSample {
    return sampleClocks(this.readTsc, this.readNs);
  }
}

function started(host: Host, khz = host.ghz * 1e6) {
  const page = clockPage(new ArrayBuffer(4096));
  initialClock(page, { tscKhz: khz, usable: true }, host.sample());
  return page;
}

const at = (page: ReturnType<typeof clockPage>, host: Host, id: number): bigint => readClock(page, id, host.tsc) ?? -1n;
const off = (page: ReturnType<typeof clockPage>, host: Host, id: number, ns: bigint): number => Number(at(page, host, id) - ns);

describe("clock", () => {
  test("should show the host's five clocks, and the coarse ones as the fine ones", () => {
    const host = new Host(2.4);
    const page = started(host);
    host.pass(123_456_789);
    expect(Math.abs(off(page, host, 0, host.mono + host.wall))).toBeLessThan(10);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(10);
    expect(Math.abs(off(page, host, 4, host.raw))).toBeLessThan(10);
    expect(Math.abs(off(page, host, 7, host.mono + host.boot))).toBeLessThan(10);
    expect(Math.abs(off(page, host, 11, host.mono + host.wall + host.tai))).toBeLessThan(10);
    expect(at(page, host, 5)).toBe(at(page, host, 0));
    expect(at(page, host, 6)).toBe(at(page, host, 1));
  });

  test("should leave CPU-time clocks, unknown ids and an unusable TSC to the host", () => {
    const host = new Host(2.4);
    const page = started(host);
    for (const id of [2, 3, 8, 9, 10, 12, -1]) expect(readClock(page, id, host.tsc)).toBeUndefined();
    const real = clockPage(new ArrayBuffer(4096));
    initialClock(real, { tscKhz: 2_400_000, usable: false }, host.sample());
    expect(readClock(real, 1, host.tsc)).toBeUndefined();
  });

  test("should refuse a frequency of zero", () => {
    const page = clockPage(new ArrayBuffer(4096));
    expect(() => initialClock(page, { tscKhz: 0, usable: true }, new Host(1).sample())).toThrow("TSC frequency of 0 kHz");
  });

  test("should run a day on the first parameters without overflow", () => {
    const host = new Host(5.7);
    const page = started(host);
    host.pass(86_400e9);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(1000);
  });

  test("should take the host's frequency correction from struct timex", () => {
    const timex = new Uint8Array(208);
    const view = new DataView(timex.buffer);
    view.setBigInt64(16, -20n * 65_536n, true);
    view.setBigInt64(88, 10_000n, true);
    expect(timexFactor(timex)).toBeCloseTo(1 - 20e-6, 12);
    view.setBigInt64(88, 9_999n, true);
    expect(timexFactor(timex)).toBeCloseTo(1 - 120e-6, 12);

    const host = new Host(2.4);
    host.slew = -120e-6;
    const page = clockPage(new ArrayBuffer(4096));
    initialClock(page, { tscKhz: 2_400_000, timex, usable: true }, host.sample());
    host.pass(10e9);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(50);
    expect(Math.abs(off(page, host, 4, host.raw))).toBeLessThan(50);
  });

  test("should step forward when it is behind", () => {
    const host = new Host(2.4);
    const page = started(host);
    host.slew = 50e-6;
    host.pass(1e9);
    const result = refreshClock(page, host.sample(), host.readTsc);
    expect(result?.stepped).toBe(true);
    expect(result?.errorNs).toBeGreaterThan(49_000);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(200);
  });

  test("should not step back when it is ahead, but run slower until it agrees", () => {
    const host = new Host(2.4);
    const page = started(host);
    host.slew = -50e-6;
    host.pass(1e9);
    host.slew = 0;
    const before = at(page, host, 1);
    const result = refreshClock(page, host.sample(), host.readTsc);
    expect(result?.stepped).toBe(false);
    expect(result?.errorNs).toBeLessThan(-49_000);
    expect(at(page, host, 1)).toBeGreaterThanOrEqual(before);
    expect(off(page, host, 1, host.mono)).toBeGreaterThan(40_000);
    host.pass(5e9);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(500);
  });

  test("should follow the host's REALTIME when it is set, both ways, and leave MONOTONIC alone", () => {
    const host = new Host(2.4);
    const page = started(host);
    for (const step of [3600n * S, -7200n * S, 50_000n]) {
      host.pass(1e9);
      const before = at(page, host, 1);
      host.wall += step;
      refreshClock(page, host.sample(), host.readTsc);
      expect(Math.abs(off(page, host, 0, host.mono + host.wall))).toBeLessThan(20);
      expect(Math.abs(off(page, host, 11, host.mono + host.wall + host.tai))).toBeLessThan(20);
      expect(Math.abs(Number(at(page, host, 1) - before))).toBeLessThan(20_000);
    }
    host.tai = 38n * S;
    refreshClock(page, host.sample(), host.readTsc);
    expect(Math.abs(off(page, host, 11, host.mono + host.wall + host.tai))).toBeLessThan(20);
  });

  test("should learn the true rate from the host within a minute", () => {
    const host = new Host(2.4);
    const page = started(host, 2_400_000 * (1 + 30e-6)); // KVM says 30 ppm too fast
    for (let i = 0; i < 120; i++) {
      host.pass(0.5e9);
      refreshClock(page, host.sample(), host.readTsc);
    }
    host.pass(600e9);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(30_000); // 0.05 ppm over ten minutes
    expect(Math.abs(off(page, host, 4, host.raw))).toBeLessThan(30_000);
  });

  test("should not believe a rate that no crystal has", () => {
    const host = new Host(2.4);
    const page = started(host);
    host.pass(20e9);
    host.mono += 10n * S; // as if the machine had slept without its TSC
    refreshClock(page, host.sample(), host.readTsc);
    const start = at(page, host, 1);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(200);
    host.pass(1e9);
    expect(Math.abs(Number(at(page, host, 1) - start - S))).toBeLessThan(1000);
  });

  test("should not move because of a look during which the thread lost its CPU", () => {
    const host = new Host(2.4);
    const page = started(host);
    host.pass(1e9);
    host.stolen = 2_000_000;
    const result = refreshClock(page, sampleClocks(host.readTsc, host.readNs, 1), host.readTsc);
    host.stolen = 0;
    expect(Math.abs(result?.errorNs ?? 0)).toBeGreaterThan(900_000); // what it seemed to be
    for (const id of [1, 4, 0, 7]) expect(Math.abs(off(page, host, id, host.readNs(id)))).toBeLessThan(500);
    host.pass(60e9);
    expect(Math.abs(off(page, host, 1, host.mono))).toBeLessThan(500);
  });

  test("should let one writer in at a time and refuse an old sample", () => {
    const host = new Host(2.4);
    const page = started(host);
    const old = host.sample();
    host.pass(1e9);
    Atomics.add(page.i32, 0, 1);
    expect(refreshClock(page, host.sample(), host.readTsc)).toBeUndefined();
    expect(readClock(page, 1, host.tsc)).toBeUndefined();
    Atomics.add(page.i32, 0, 1);
    expect(refreshClock(page, host.sample(), host.readTsc)).toBeDefined();
    expect(refreshClock(page, old, host.readTsc)).toBeUndefined();
    expect(page.i32[0] % 2).toBe(0);
  });

  test("should leave the sequence even and changed by two after a refresh, whatever happens inside", () => {
    const host = new Host(2.4);
    const page = started(host);
    host.pass(1e9);
    const broken = (): bigint => {
      throw new Error("no TSC");
    };
    expect(() => refreshClock(page, host.sample(), broken)).toThrow("no TSC");
    expect(page.i32[0]).toBe(2);
  });

  test("should never let MONOTONIC or MONOTONIC_RAW go back, whatever the host does", () => {
    const action = fc.oneof(
      fc.record({ pass: fc.double({ min: 1, max: 5e9, noNaN: true }) }),
      fc.record({ pass: fc.double({ min: 1, max: 2000, noNaN: true }) }),
      fc.record({ slew: fc.double({ min: -600e-6, max: 600e-6, noNaN: true }) }),
      fc.record({ wall: fc.bigInt({ min: -1000n * S, max: 1000n * S }) }),
      fc.record({ stolen: fc.integer({ min: 0, max: 5_000_000 }) }),
      fc.record({ look: fc.bigInt({ min: 10n, max: 1_000_000n }) }),
      fc.constant({ refresh: true }),
    );
    fc.assert(
      fc.property(
        fc.double({ min: 0.5, max: 6, noNaN: true }),
        fc.double({ min: -5e-4, max: 5e-4, noNaN: true }),
        fc.array(action, { maxLength: 60 }),
        (ghz, wrong, actions) => {
          const host = new Host(ghz);
          const page = started(host, ghz * 1e6 * (1 + wrong));
          const last = new Map<number, bigint>();
          for (const a of actions) {
            if ("pass" in a) host.pass(a.pass);
            if ("slew" in a) host.slew = a.slew;
            if ("wall" in a) host.wall += a.wall;
            if ("look" in a) host.look = a.look;
            if ("stolen" in a) host.stolen = a.stolen;
            if ("refresh" in a) refreshClock(page, host.sample(), host.readTsc);
            for (const id of [1, 4]) {
              const now = at(page, host, id);
              if (now < (last.get(id) ?? 0n)) return false;
              last.set(id, now);
            }
          }
          return true;
        },
      ),
      { numRuns: 500 },
    );
  });
});
