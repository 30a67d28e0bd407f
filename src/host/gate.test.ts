import { Worker } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import { buildSync } from "esbuild";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EAGAIN, EBADF, EINTR, ETIMEDOUT } from "../abi/errno.ts";
import { NR } from "../abi/nr.ts";
import { createGateArea, GATE_COUNT, type Gate, KICK_SIGNAL, openGate, viewMemory, wakeIndex } from "./gate.ts";
import type { GateJob } from "./gate-worker.testing.ts";
import { createScratch, type Scratch } from "./memory.ts";
import { kick, prepareKicks, setHostAction, SIG_DFL } from "./signals.ts";

/** A real-time signal that nothing else in this process uses. */
const SIGNAL = 45;
const SECONDS = 5;
const area = createGateArea();
const gate: Gate = openGate(area, 0);
const scratch: Scratch = createScratch(gate);
const wake = (slot: number, value: number): void => void Atomics.store(gate.wakeWords, wakeIndex(slot), value);

let source: string | undefined;

/** koffi is not bundled: it loads a machine-code file beside itself. */
function workerSource(): string {
  source ??= buildSync({
    entryPoints: [fileURLToPath(new URL("./gate-worker.testing.ts", import.meta.url))],
    bundle: true,
    write: false,
    platform: "node",
    format: "cjs",
    external: ["koffi", "*.node"],
  }).outputFiles[0]!.text.replaceAll('require("koffi")', `require(${JSON.stringify(createRequire(import.meta.url).resolve("koffi"))})`);
  return source;
}

function start(job: GateJob): { next(): Promise<Record<string, number | bigint>>; end(): Promise<void> } {
  const worker = new Worker(workerSource(), { eval: true, workerData: job });
  const inbox: Record<string, number | bigint>[] = [];
  let wanted: ((message: Record<string, number | bigint>) => void) | undefined;
  let failed: ((error: Error) => void) | undefined;
  worker.on("message", (message: Record<string, number | bigint>) => {
    if (wanted) wanted(message);
    else inbox.push(message);
    wanted = undefined;
  });
  worker.on("error", (error) => failed?.(error));
  return {
    next: () =>
      new Promise((resolve, reject) => {
        failed = reject;
        const waiting = inbox.shift();
        if (waiting) resolve(waiting);
        else wanted = resolve;
      }),
    end: async () => void (await worker.terminate()),
  };
}

/** A futex word of 0 in the scratch buffer and, 16 bytes behind it, how long to wait for it at most. */
function word(offset: number): number {
  scratch.i32[offset >> 2] = 0;
  scratch.view.setBigInt64(offset + 16, BigInt(SECONDS), true);
  scratch.view.setBigInt64(offset + 24, 0n, true);
  return scratch.address + offset;
}

beforeEach(() => {
  prepareKicks(gate, scratch);
  wake(0, 0);
});
afterEach(() => {
  wake(0, 0);
  gate.signalBits.fill(0);
});

describe("the gate", () => {
  it("should make calls with six arguments and give results and errors as the kernel does", () => {
    expect(gate.sys(NR.getpid)).toBe(process.pid);
    expect(gate.wait(NR.getpid)).toBe(process.pid);
    expect(gate.sys(NR.close, -1)).toBe(-EBADF);
    expect(gate.wait(NR.close, -1)).toBe(-EBADF);
    // mmap takes all six: a bad descriptor in the fifth, an odd offset in the sixth.
    expect(gate.sys(NR.mmap, 0, 4096, 1, 2, -1, 0)).toBe(-EBADF);
    expect(gate.sys(NR.mmap, 0, 4096, 1, 0x22, -1, 1)).toBe(-22);
    expect(gate.wait(NR.mmap, 0, 4096, 1, 0x22, -1, 1)).toBe(-22);
  });

  it("should pass numbers above 2^32, negative ones and bigints whole", () => {
    const address = gate.sys(NR.mmap, 0, 4096, 3, 0x22, -1, 0);
    expect(address).toBeGreaterThan(2 ** 32);
    expect(gate.sys(NR.munmap, BigInt(address), 4096n)).toBe(0);
    expect(gate.sys(NR.lseek, -1, -(2 ** 40), 0)).toBe(-EBADF);
    expect(gate.sys(NR.madvise, 0xffff_ffff_ffff_f000n, 4096, 4)).toBeLessThan(0);
  });

  it("should answer -EINTR without making the call while the wake word is set", () => {
    wake(0, 1);
    expect(gate.wait(NR.getpid)).toBe(-EINTR);
    expect(gate.wait(NR.eventfd2, 0, 0)).toBe(-EINTR);
    wake(0, 0);
    expect(gate.wait(NR.getpid)).toBe(process.pid);
  });

  it("should leave the plain gate and other slots' gates alone", () => {
    const other = openGate(area, GATE_COUNT - 1);
    wake(0, 1);
    expect(gate.sys(NR.getpid)).toBe(process.pid);
    expect(other.wait(NR.getpid)).toBe(process.pid);
    wake(0, 0);
    wake(GATE_COUNT - 1, 1);
    expect(gate.wait(NR.getpid)).toBe(process.pid);
    expect(other.wait(NR.getpid)).toBe(-EINTR);
    wake(GATE_COUNT - 1, 0);
  });

  it("should not block once woken, and time out when not", () => {
    const at = word(64);
    wake(0, 1);
    expect(gate.wait(NR.futex, at, 0, 0, at + 16)).toBe(-EINTR);
    wake(0, 0);
    scratch.view.setBigInt64(64 + 16, 0n, true);
    scratch.view.setBigInt64(64 + 24, 1_000_000n, true);
    expect(gate.wait(NR.futex, at, 0, 0, at + 16)).toBe(-ETIMEDOUT);
    expect(gate.wait(NR.futex, at, 0, 1, at + 16)).toBe(-EAGAIN);
  });

  it("should read a time-stamp counter that goes on", () => {
    const first = gate.readTsc();
    expect(gate.readTsc() > first).toBe(true);
  });

  it("should view memory without copying it", () => {
    const bytes = new Uint8Array(viewMemory(scratch.address, 16));
    scratch.u8[3] = 77;
    expect(bytes[3]).toBe(77);
  });
});

describe("a kick", () => {
  it("should end a blocking call of this thread, sent by another one", async () => {
    const at = word(128);
    const worker = start({ area, slot: 1, job: "kick", victim: 0, hostTid: gate.sys(NR.gettid), signal: KICK_SIGNAL });
    const began = performance.now();
    let result = 0;
    // The worker needs this thread's event loop only to start; from here on this thread sleeps in the kernel.
    result = gate.wait(NR.futex, at, 0, 0, at + 16);
    expect(result).toBe(-EINTR);
    expect(performance.now() - began).toBeLessThan(SECONDS * 1000 - 500);
    expect(gate.wakeWords[wakeIndex(0)]).toBe(1);
    expect(await worker.next()).toEqual({ result: 0 });
    await worker.end();
  });

  it("should end a blocking call of a Worker, and a kick before the call is not lost", async () => {
    const at = word(192);
    const worker = start({ area, slot: 2, job: "wait", word: at });
    const { tid } = await worker.next();
    expect(tid).not.toBe(gate.sys(NR.gettid));
    // Some of these kicks may come before the Worker waits: the wake word keeps them.
    kick(gate, 2, Number(tid));
    expect(await worker.next()).toEqual({ result: -EINTR, wake: 1 });
    wake(2, 0);
    await worker.end();
  });

  it("should only set the wake word of a thread without a host thread", () => {
    kick(gate, 7, 0);
    expect(gate.wakeWords[wakeIndex(7)]).toBe(1);
    wake(7, 0);
  });

  it("should not disturb what is not in a gate", () => {
    let sum = 0;
    for (let i = 0; i < 200; i++) {
      gate.sys(NR.tgkill, process.pid, gate.sys(NR.gettid), KICK_SIGNAL);
      sum += i;
    }
    expect(sum).toBe(19_900);
    expect([...gate.signalBits]).toEqual([0, 0, 0, 0]);
  });
});

describe("the signal handler", () => {
  it("should write who sent a signal and what with it into the table, wake slot 0 and kick its thread", () => {
    setHostAction(gate, scratch, SIGNAL, "catch");
    try {
      scratch.u8.fill(0, 1024, 1024 + 128);
      scratch.i32[(1024 >> 2) + 2] = -1; // SI_QUEUE
      scratch.i32[(1024 >> 2) + 4] = 4321;
      scratch.i32[(1024 >> 2) + 5] = 99;
      scratch.view.setBigUint64(1024 + 24, 0x1122_3344_5566_7788n, true);
      expect(gate.sys(NR.rt_tgsigqueueinfo, process.pid, gate.sys(NR.gettid), SIGNAL, scratch.address + 1024)).toBe(0);
      expect(gate.signalBits[SIGNAL >> 5]! & (1 << (SIGNAL & 31))).not.toBe(0);
      const row = gate.signalTable.subarray(SIGNAL * 8, SIGNAL * 8 + 6);
      expect([row[0], row[2], row[3]]).toEqual([-1, 4321, 99]);
      expect([row[4]! >>> 0, row[5]! >>> 0]).toEqual([0x5566_7788, 0x1122_3344]);
      expect(gate.wakeWords[wakeIndex(0)]).toBe(1);
      expect(gate.wait(NR.getpid)).toBe(-EINTR);
      expect(gate.sys(NR.getpid)).toBe(process.pid);
    } finally {
      setHostAction(gate, scratch, SIGNAL, SIG_DFL);
    }
  });

  it("should keep several signals apart by their bits", () => {
    setHostAction(gate, scratch, SIGNAL, "catch");
    setHostAction(gate, scratch, SIGNAL + 1, "catch");
    try {
      const tid = gate.sys(NR.gettid);
      for (const signal of [SIGNAL, SIGNAL + 1, SIGNAL]) gate.sys(NR.tgkill, process.pid, tid, signal);
      expect([...gate.signalBits]).toEqual([0, (1 << (SIGNAL - 32)) | (1 << (SIGNAL - 31)), 0, 0]);
      expect(gate.signalTable[SIGNAL * 8 + 2]).toBe(process.pid);
      expect(gate.signalTable[SIGNAL * 8]).toBe(-6); // SI_TKILL
    } finally {
      setHostAction(gate, scratch, SIGNAL, SIG_DFL);
      setHostAction(gate, scratch, SIGNAL + 1, SIG_DFL);
    }
  });

  it("should end a blocking call of guest thread 0 when another thread takes the signal", async () => {
    setHostAction(gate, scratch, SIGNAL, "catch");
    try {
      const tidWorker = start({ area, slot: 3, job: "tid" });
      const { tid, pid, tsc } = await tidWorker.next();
      expect(pid).toBe(process.pid);
      expect(BigInt(tsc!) > 0n).toBe(true);
      // Sent to the Worker's host thread, which idles in its event loop: the handler runs there and must wake this one.
      const at = word(256);
      const sender = start({ area, slot: 4, job: "kick", victim: 5, hostTid: Number(tid), signal: SIGNAL });
      expect(gate.wait(NR.futex, at, 0, 0, at + 16)).toBe(-EINTR);
      expect(gate.signalBits[SIGNAL >> 5]! & (1 << (SIGNAL & 31))).not.toBe(0);
      expect(await sender.next()).toEqual({ result: 0 });
      await sender.end();
      await tidWorker.end();
    } finally {
      setHostAction(gate, scratch, SIGNAL, SIG_DFL);
      wake(5, 0);
    }
  });
});
