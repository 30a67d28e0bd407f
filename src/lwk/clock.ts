/**
 * The virtual node's clock: parameters by which the vDSO turns the time-stamp counter (TSC) into Linux's clocks, kept close to the host.
 *
 * The LWK writes them into the vvar page, seldom (100 ms to seconds apart, whenever a thread happens to exit) or never again: a
 * program that computes for an hour runs on the last parameters. So a correction must not rely on being taken back soon.
 *
 * - MONOTONIC and MONOTONIC_RAW never step back. Behind the host by more than STEP_NS they step forward; otherwise the rate
 *   is changed a little, so that the error goes in about the time until the next look, judged by the last one.
 * - REALTIME, BOOTTIME and TAI are MONOTONIC plus an offset, which follows the host's, so they step when the host's clock is set.
 * - The rate is first the nominal one (TSC frequency, adjtimex), then what the host's clock did over the last minute.
 *
 * What must be remembered between two looks stands behind the vvar layout in the same page, +0x100 to +0x15f. Programs can
 * read it; nothing there is secret.
 *
 * | offset | content                                                                        |
 * |--------|--------------------------------------------------------------------------------|
 * | 0x100  | f64 nominal, f64 measured ns per cycle of MONOTONIC                            |
 * | 0x110  | f64 nominal, f64 measured ns per cycle of MONOTONIC_RAW                        |
 * | 0x120  | older anchor: u64 TSC, u64 host MONOTONIC ns, u64 host MONOTONIC_RAW ns        |
 * | 0x138  | younger anchor: the same                                                       |
 * | 0x150  | i64 ns REALTIME - MONOTONIC, i64 ns BOOTTIME - MONOTONIC                       |
 *
 * "TSC" is everywhere the guest's: host TSC plus the vCPU's TSC offset (0 on PVM).
 */
import {
  VVAR_BOOTTIME,
  VVAR_MODE,
  VVAR_MONOTONIC,
  VVAR_MULT,
  VVAR_RAW,
  VVAR_RAW_MULT,
  VVAR_REALTIME,
  VVAR_SEQUENCE,
  VVAR_SHIFT,
  VVAR_TAI,
  VVAR_TIMEZONE,
  VVAR_TSC_BASE,
} from "./boot/layout.ts";
import { CLOCKS } from "./boot/vdso-code.ts";

/** Clock ids, include/uapi/linux/time.h. */
const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;
const CLOCK_MONOTONIC_RAW = 4;
const CLOCK_BOOTTIME = 7;
const CLOCK_TAI = 11;

/** Binary places of the multipliers: fine enough (2^-48 ns per cycle) and the product has 128 bits. */
const SHIFT = 48;
/** Behind by more than this: step forward. */
const STEP_NS = 1_000;
/** An error is worked off over at least this long ... */
const HORIZON_NS = 5e9;
/** ... and by at most this change of rate, the limit of adjtime(3) in the kernel. */
const MAX_SLEW = 500e-6;
/** Offsets between the host's clocks that differ by less than this (and by less than the readings' spread) have not changed. */
const OFFSET_NS = 1_000;
/** A rate is measured over at least 10 s (a look is good to about 1 us, the nominal rate to about 0.4 ppm); an anchor serves 32 to 64 s. */
const MEASURE_NS = 10_000_000_000n;
const ANCHOR_NS = 32_000_000_000n;
/** A reading whose look took longer than this is not used to measure rates. */
const SHARP_NS = 2_000;
/** A measured rate further than this from the nominal one is not believed. */
const MAX_DRIFT = 1e-3;
const SECOND = 1_000_000_000n;

const NOMINAL = 0x100;
const RAW_NOMINAL = 0x110;
const OLDER = 0x120;
const YOUNGER = 0x138;
const WALL_OFFSET = 0x150;
const BOOT_OFFSET = 0x158;

/** Typed views of one vvar page. */
export interface ClockPage {
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly i64: BigInt64Array;
  readonly f64: Float64Array;
}

/** A clock's value in ns and the TSC at that moment: the middle of a look that took `spread` cycles. */
export interface ClockReading {
  tsc: bigint;
  spread: number;
  ns: bigint;
}

/** The host's clocks, read one after the other. */
export interface ClockSample {
  realtime: ClockReading;
  monotonic: ClockReading;
  raw: ClockReading;
  boottime: ClockReading;
  tai: ClockReading;
}

export interface ClockOptions {
  /** TSC frequency in kHz: KVM_GET_TSC_KHZ, or measured. */
  tscKhz: number;
  /** struct timex as adjtimex(2) with modes = 0 fills it (208 bytes): the frequency correction that the host's clock runs with now. */
  timex?: Uint8Array;
  /** struct timezone for gettimeofday: minutes west of Greenwich, dsttime. Linux has 0, 0 unless somebody called settimeofday. */
  timezone?: readonly [number, number];
  /** false: the vDSO makes the real call (the TSC stops, differs between CPUs, or is emulated). */
  usable: boolean;
}

/** Views of the vvar page at byte `offset` (a multiple of 8) of `buffer`. */
export function clockPage(buffer: ArrayBufferLike, offset = 0): ClockPage {
  return {
    i32: new Int32Array(buffer, offset, 1024),
    u64: new BigUint64Array(buffer, offset, 512),
    i64: new BigInt64Array(buffer, offset, 512),
    f64: new Float64Array(buffer, offset, 512),
  };
}

/**
 * Frequency correction in struct timex as a factor: tick (us per 1/100 s, normally 10,000) and freq (2^-16 parts per million).
 * include/uapi/linux/timex.h: freq is the s64 at 16, tick the s64 at 88.
 */
export function timexFactor(timex: Uint8Array): number {
  const view = new DataView(timex.buffer, timex.byteOffset, timex.byteLength);
  const freq = Number(view.getBigInt64(16, true));
  const tick = Number(view.getBigInt64(88, true));
  return tick / 10_000 + freq / 65_536 / 1e6;
}

/**
 * Read the host's clocks. `readTsc` gives the guest's TSC, `readNs(id)` clock_gettime as ns. Each clock is looked at up to `tries`
 * times and the quickest look kept, because a thread can lose its CPU in between.
 */
export function sampleClocks(readTsc: () => bigint, readNs: (id: number) => bigint, tries = 3): ClockSample {
  const look = (id: number): ClockReading => {
    let best: ClockReading | undefined;
    for (let i = 0; i < tries; i++) {
      const before = readTsc();
      const ns = readNs(id);
      const spread = BigInt.asUintN(64, readTsc() - before);
      if (best === undefined || Number(spread) < best.spread) best = { tsc: before + spread / 2n, spread: Number(spread), ns };
    }
    if (best === undefined) throw new RangeError("a clock must be looked at least once");
    return best;
  };
  return {
    realtime: look(CLOCK_REALTIME),
    boottime: look(CLOCK_BOOTTIME),
    tai: look(CLOCK_TAI),
    raw: look(CLOCK_MONOTONIC_RAW),
    monotonic: look(CLOCK_MONOTONIC),
  };
}

/** Fill a fresh page so that every clock answers as the host's. Nobody may be reading it yet. RangeError when the frequency is not a positive number. */
export function initialClock(page: ClockPage, options: ClockOptions, sample: ClockSample): void {
  if (!(options.tscKhz > 0)) throw new RangeError(`TSC frequency of ${options.tscKhz} kHz`);
  const raw = 1e6 / options.tscKhz;
  const rate = raw * (options.timex === undefined ? 1 : timexFactor(options.timex));
  const { f64, u64, i64, i32 } = page;
  f64[NOMINAL / 8] = rate;
  f64[NOMINAL / 8 + 1] = rate;
  f64[RAW_NOMINAL / 8] = raw;
  f64[RAW_NOMINAL / 8 + 1] = raw;
  const tsc = sample.monotonic.tsc;
  const now = project(sample, tsc, rate, raw);
  for (const at of [OLDER, YOUNGER]) {
    u64[at / 8] = tsc;
    u64[at / 8 + 1] = now.monotonic;
    u64[at / 8 + 2] = now.raw;
  }
  i64[WALL_OFFSET / 8] = now.realtime - now.monotonic;
  i64[BOOT_OFFSET / 8] = now.boottime - now.monotonic;
  u64[VVAR_TSC_BASE / 8] = tsc;
  i32[VVAR_SHIFT / 4] = SHIFT;
  u64[VVAR_MULT / 8] = multiplier(rate);
  u64[VVAR_RAW_MULT / 8] = multiplier(raw);
  i32[VVAR_TIMEZONE / 4] = options.timezone?.[0] ?? 0;
  i32[VVAR_TIMEZONE / 4 + 1] = options.timezone?.[1] ?? 0;
  writePairs(page, now.monotonic, now.raw, now.taiOffset);
  Atomics.store(i32, VVAR_MODE / 4, options.usable ? 1 : 0);
}

/** What a refresh found: how far MONOTONIC was behind the host (negative: ahead), in ns, and whether it stepped. */
export interface Refreshed {
  errorNs: number;
  stepped: boolean;
}

/**
 * Bring the clock back to the host's `sample`. `readTsc` is called once more while readers wait, so that no reader can have seen
 * a later time than the new parameters start from. Any thread may call this; `undefined` when another one is doing it, or when the
 * sample is older than the last refresh. Takes about 10 us, of which readers can notice 1 or 2.
 */
export function refreshClock(page: ClockPage, sample: ClockSample, readTsc: () => bigint): Refreshed | undefined {
  const { i32, u64, i64, f64 } = page;
  const sequence = Atomics.load(i32, VVAR_SEQUENCE / 4);
  if ((sequence & 1) !== 0 || sample.monotonic.tsc <= u64[VVAR_TSC_BASE / 8]) return undefined;
  if (Atomics.compareExchange(i32, VVAR_SEQUENCE / 4, sequence, (sequence + 1) | 0) !== sequence) return undefined;
  try {
    const base = u64[VVAR_TSC_BASE / 8];
    let tsc = readTsc();
    if (tsc < base) tsc = base;
    const cycles = tsc - base;
    const guest = pairNs(page, VVAR_MONOTONIC) + scale(cycles, u64[VVAR_MULT / 8]);
    const guestRaw = pairNs(page, VVAR_RAW) + scale(cycles, u64[VVAR_RAW_MULT / 8]);

    measureRates(page, sample);
    const rate = f64[NOMINAL / 8 + 1];
    const rawRate = f64[RAW_NOMINAL / 8 + 1];
    const host = project(sample, tsc, rate, rawRate);
    const interval = Number(cycles) * rate;
    const monotonic = steer(guest, host.monotonic, rate, interval, sample.monotonic.spread);
    const raw = steer(guestRaw, host.raw, rawRate, interval, sample.raw.spread);

    const blur = OFFSET_NS + (sample.realtime.spread + sample.monotonic.spread + sample.boottime.spread) * rate;
    follow(i64, WALL_OFFSET / 8, host.realtime - host.monotonic, blur);
    follow(i64, BOOT_OFFSET / 8, host.boottime - host.monotonic, blur);
    u64[VVAR_TSC_BASE / 8] = tsc;
    u64[VVAR_MULT / 8] = multiplier(monotonic.rate);
    u64[VVAR_RAW_MULT / 8] = multiplier(raw.rate);
    writePairs(page, monotonic.base, raw.base, host.taiOffset);
    return { errorNs: Number(host.monotonic - guest), stepped: monotonic.base !== guest };
  } finally {
    Atomics.store(i32, VVAR_SEQUENCE / 4, (sequence + 2) | 0);
  }
}

/**
 * A clock's ns at the guest's `tsc`, exactly as the vDSO computes it: for system calls that arrive all the same, so that a program
 * never sees two clocks. `undefined`: ask the host (another kind of clock, TSC not usable, or a writer has been stuck).
 */
export function readClock(page: ClockPage, id: number, tsc: bigint): bigint | undefined {
  const [pair, mult] = CLOCKS[id] ?? [0, 0];
  if (pair === 0) return undefined;
  const { i32, u64 } = page;
  for (let tries = 0; tries < 1000; tries++) {
    const sequence = Atomics.load(i32, VVAR_SEQUENCE / 4);
    if ((sequence & 1) !== 0) continue;
    if (Atomics.load(i32, VVAR_MODE / 4) === 0) return undefined;
    const base = u64[VVAR_TSC_BASE / 8];
    const ns = pairNs(page, pair) + scale(tsc > base ? tsc - base : 0n, u64[mult / 8]);
    if (Atomics.load(i32, VVAR_SEQUENCE / 4) === sequence) return ns;
  }
  return undefined;
}

function multiplier(rate: number): bigint {
  return BigInt(Math.round(rate * 2 ** SHIFT));
}

function scale(cycles: bigint, mult: bigint): bigint {
  return (cycles * mult) >> BigInt(SHIFT);
}

function pairNs({ u64 }: ClockPage, pair: number): bigint {
  return u64[pair / 8] * SECOND + u64[pair / 8 + 1];
}

function writePairs({ u64, i64 }: ClockPage, monotonic: bigint, raw: bigint, taiOffset: bigint): void {
  const write = (pair: number, ns: bigint): void => {
    // A wall clock before 1970 would need negative seconds; Linux refuses to set one (timekeeping: timespec64_valid_settod).
    const value = ns < 0n ? 0n : ns;
    u64[pair / 8] = value / SECOND;
    u64[pair / 8 + 1] = value % SECOND;
  };
  const realtime = monotonic + i64[WALL_OFFSET / 8];
  write(VVAR_REALTIME, realtime);
  write(VVAR_MONOTONIC, monotonic);
  write(VVAR_BOOTTIME, monotonic + i64[BOOT_OFFSET / 8]);
  write(VVAR_TAI, realtime + taiOffset);
  write(VVAR_RAW, raw);
}

/** All clocks of a sample at one TSC. TAI differs from REALTIME by whole seconds. */
function project(sample: ClockSample, tsc: bigint, rate: number, rawRate: number) {
  const at = (reading: ClockReading, r: number): bigint => reading.ns + BigInt(Math.round(Number(tsc - reading.tsc) * r));
  const realtime = at(sample.realtime, rate);
  const taiOffset = BigInt(Math.round(Number(at(sample.tai, rate) - realtime) / 1e9)) * SECOND;
  return { realtime, monotonic: at(sample.monotonic, rate), raw: at(sample.raw, rawRate), boottime: at(sample.boottime, rate), taiOffset };
}

/**
 * Where a clock that shows `guest` goes on and at which rate, when the host's shows `host` and runs at `rate`; `interval` ns since the
 * last look. A look that took `spread` cycles (its thread may have lost the CPU) says nothing about errors below half of that, and a step
 * goes only as far as is certain, because it cannot be taken back.
 */
function steer(guest: bigint, host: bigint, rate: number, interval: number, spread: number): { base: bigint; rate: number } {
  const doubt = (spread / 2) * rate;
  const difference = Number(host - guest);
  const error = Math.sign(difference) * Math.max(0, Math.abs(difference) - doubt);
  if (error > STEP_NS) return { base: guest + BigInt(Math.floor(error)), rate };
  const slew = error / Math.max(HORIZON_NS, 2 * interval);
  return { base: guest, rate: rate * (1 + Math.max(-MAX_SLEW, Math.min(MAX_SLEW, slew))) };
}

/** Adopt an offset between two host clocks when it has really changed. */
function follow(i64: BigInt64Array, index: number, offset: bigint, blur: number): void {
  if (Math.abs(Number(offset - i64[index])) > blur) i64[index] = offset;
}

/** Measure both rates from the older anchor to the sample, and move the anchors on. */
function measureRates({ u64, f64 }: ClockPage, sample: ClockSample): void {
  const { tsc, ns } = sample.monotonic;
  const rawNs = sample.raw.ns + BigInt(Math.round(Number(tsc - sample.raw.tsc) * f64[RAW_NOMINAL / 8 + 1]));
  if (Math.max(sample.monotonic.spread, sample.raw.spread) * f64[NOMINAL / 8] > SHARP_NS) return;
  const cycles = Number(tsc - u64[OLDER / 8]);
  if (ns - u64[OLDER / 8 + 1] < MEASURE_NS || cycles <= 0) return;
  believe(f64, NOMINAL / 8, Number(ns - u64[OLDER / 8 + 1]) / cycles);
  believe(f64, RAW_NOMINAL / 8, Number(rawNs - u64[OLDER / 8 + 2]) / cycles);
  if (ns - u64[YOUNGER / 8 + 1] < ANCHOR_NS) return;
  for (let i = 0; i < 3; i++) u64[OLDER / 8 + i] = u64[YOUNGER / 8 + i];
  u64[YOUNGER / 8] = tsc;
  u64[YOUNGER / 8 + 1] = ns;
  u64[YOUNGER / 8 + 2] = rawNs;
}

function believe(f64: Float64Array, nominal: number, rate: number): void {
  if (Math.abs(rate / f64[nominal] - 1) <= MAX_DRIFT) f64[nominal + 1] = rate;
}
