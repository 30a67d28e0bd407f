import { describe, expect, it } from "vitest";
import { createGateArea, GATE_COUNT, openGate } from "../host/gate.ts";
import {
  C,
  COUNTER_WORDS,
  D,
  DESCRIPTOR_COUNT,
  F,
  H,
  MAPPING_LIMIT,
  OFFSET,
  Q,
  S,
  State,
  STATE_SIZE,
  STATE_VERSION,
  T,
  V,
} from "./state.ts";
import { NR_MAX } from "../abi/nr.ts";

const gate = openGate(createGateArea(), 0);
const state = State.create(gate.sys);

describe("the state's layout", () => {
  /** Bytes that each table needs, by its entries. */
  const sizes: Record<keyof typeof OFFSET, number> = {
    actions: 65 * 32,
    cpus: GATE_COUNT * 4,
    cpuNodes: GATE_COUNT * 4,
    limits: 16 * 16,
    nodes: 64 * 32 + 64 * 64,
    signalQueue: Q.count * Q.size * 4,
    threads: GATE_COUNT * T.size * 4,
    slots: 4096 * S.size * 4,
    descriptors: DESCRIPTOR_COUNT * D.size * 4,
    timers: 256 * 64,
    signalFiles: 64 * 32,
    counters: GATE_COUNT * COUNTER_WORDS * 4,
    mappings: (MAPPING_LIMIT + 6) * V.size * 4,
    files: F.count * F.size * 4,
    fpu: GATE_COUNT * 4096,
    blocks: 4 * 2 ** 20,
    arena: 65536 * 16,
    texts: 2 ** 20,
  };

  it("should have room for every entry of every table, none on another", () => {
    const tables = Object.entries(OFFSET).sort((a, b) => a[1] - b[1]);
    for (const [i, [name, offset]] of tables.entries()) {
      const next = tables[i + 1]?.[1] ?? STATE_SIZE;
      expect(offset % 64, name).toBe(0);
      expect(offset + (sizes[name as keyof typeof OFFSET] ?? Number.NaN), name).toBeLessThanOrEqual(next);
    }
    expect(Math.max(...Object.values(H)) * 4 + 8).toBeLessThanOrEqual(OFFSET.actions);
  });

  it("should have no two words of a record in one place", () => {
    const wide = (record: Record<string, number>, widths: Record<string, number>): void => {
      const seen = new Map<number, string>();
      for (const [name, word] of Object.entries(record)) {
        if (name === "size" || name === "count") continue;
        for (let i = 0; i < (widths[name] ?? 1); i++) {
          expect(seen.get(word + i), `${name} and`).toBeUndefined();
          seen.set(word + i, name);
        }
      }
    };
    const pairs = (...names: string[]): Record<string, number> => Object.fromEntries(names.map((n) => [n, 2]));
    wide(T, {
      ...pairs(
        "clearChildTid",
        "robustList",
        "robustLength",
        "signalMask",
        "savedMask",
        "altStack",
        "altStackSize",
        "fsBase",
        "gsBase",
        "futexAddress",
        "waitMask",
        "rseqArea",
        "timerSlack",
        "userNs",
      ),
      callArgs: 12,
      startRegs: 36,
      affinity: 32,
      name: 4,
    });
    wide(V, pairs("start", "end", "offset", "gpa", "validEnd"));
    wide(S, pairs("gpa", "bytes"));
    wide(
      H,
      pairs(
        "gateArea",
        "tableBase",
        "blockBase",
        "arenaBase",
        "arenaGpa",
        "arenaMapped",
        "lwkBase",
        "mmapBase",
        "brkStart",
        "brkEnd",
        "stackTop",
        "stackLimit",
        "memoryBytes",
        "vvarAddress",
        "xsaveSize",
        "xcr0",
        "arenaSize",
        "tableSize",
        "blockSize",
        "startNs",
      ),
    );
    expect(C.exits - C.calls).toBeGreaterThan(NR_MAX);
    expect(Math.max(...Object.values(C))).toBeLessThan(COUNTER_WORDS);
  });
});

describe("State", () => {
  it("should begin as zeros with its version", () => {
    const fresh = State.create(gate.sys);
    expect(fresh.i32[H.version]).toBe(STATE_VERSION);
    expect(fresh.u8.subarray(4, OFFSET.timers).every((b) => b === 0)).toBe(true);
  });

  it("should keep 64-bit numbers exactly below 2^53, and bigints whole", () => {
    for (const n of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 47 + 4096, 2 ** 53 - 1]) {
      state.setU64(H.brkEnd, n);
      expect(state.getU64(H.brkEnd)).toBe(n);
      expect(state.getBig(H.brkEnd)).toBe(BigInt(n));
    }
    state.setBig(H.brkEnd, 2n ** 64n - 1n);
    expect(state.getBig(H.brkEnd)).toBe(2n ** 64n - 1n);
  });

  it("should be the same bytes for every view of it", () => {
    const other = new State(state.address, gate.sys);
    state.setU64(H.brkStart, 0x1234_5678_9abc);
    expect(other.getU64(H.brkStart)).toBe(0x1234_5678_9abc);
    expect(other.view.getUint32(H.brkStart * 4, true)).toBe(0x5678_9abc);
  });

  it("should lock and unlock, and wake who waits only when somebody does", () => {
    const calls: number[] = [];
    const counted = new State(state.address, (nr, ...rest) => {
      calls.push(nr);
      return gate.sys(nr, ...rest);
    });
    counted.lock(H.lockLog);
    expect(counted.i32[H.lockLog]).toBe(1);
    counted.unlock(H.lockLog);
    expect([counted.i32[H.lockLog], calls.length]).toEqual([0, 0]);
    counted.i32[H.lockLog] = 2;
    counted.unlock(H.lockLog);
    expect([counted.i32[H.lockLog], calls.length]).toEqual([0, 1]);
  });

  it("should sleep while another thread holds a lock", () => {
    let tries = 0;
    const waiting = new State(state.address, () => {
      // The sleep: the holder lets go meanwhile.
      tries++;
      Atomics.store(waiting.i32, H.lockLog, 0);
      return 0;
    });
    waiting.i32[H.lockLog] = 1;
    waiting.lock(H.lockLog);
    expect([tries, waiting.i32[H.lockLog]]).toEqual([1, 2]);
    waiting.i32[H.lockLog] = 0;
  });
});
