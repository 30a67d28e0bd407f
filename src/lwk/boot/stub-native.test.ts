/** The stub's futex part run natively, on a stub page and waiter counts laid out as in a virtual node. The way out by `out` is patched to return. */
import { describe, expect, test } from "vitest";
import { NR } from "../../abi/nr.ts";
import { createGateArea, openGate, viewMemory, wakeIndex } from "../../host/gate.ts";
import { mapAnonymous } from "../../host/memory.ts";
import { FutexWaiters } from "../futex-waiters.ts";
import { BOOT_AREA_SIZE, WAITERS_PAGE, WAITERS_SIZE } from "./layout.ts";
import { stubProgram } from "./stub.ts";

const RWX = 7;
const gates = createGateArea();
const { sys } = openGate(gates, 0);

// The code of gate slot 1 becomes: pop %rcx; mov %rdi,%rax; mov %rsi,%rdi; mov %rdx,%rsi; jmp *%rax. The stub returns by rcx.
sys(NR.mprotect, gates, 4096, RWX);
const slotSize = wakeIndex(1) * 4;
new Uint8Array(viewMemory(gates + slotSize, slotSize)).set([0x59, 0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0xff, 0xe0]);
const call = openGate(gates, 1).wait;

// Room to start at a multiple of WAITERS_SIZE, as lwkBase is one.
const mapped = mapAnonymous(sys, BOOT_AREA_SIZE + WAITERS_SIZE, RWX, 0x22);
const base = Math.ceil(mapped / WAITERS_SIZE) * WAITERS_SIZE;
const { code, labels } = stubProgram({ flavour: "pvm", fast: true });
const at = (name: string): number => labels.get(name) ?? Number.NaN;
const EXITED = 77;
const stub = new Uint8Array(viewMemory(base, 0x1000));
stub.set(code);
stub.set([0x6a, EXITED, 0x58, 0xff, 0xe1], at("exit")); // push $77; pop %rax; jmp *%rcx
const counts = new Int32Array(viewMemory(base + WAITERS_PAGE, WAITERS_SIZE));
const waiters = new FutexWaiters(counts);

const WAKE_PRIVATE = 0x81;
const wake = (va: number, operation = WAKE_PRIVATE): number => call(base + at("futex"), va, operation);

/** Bits of all kinds above the low 13. */
const words = [0, 0x1000, 0x7ffc, 0x5555_0000_0000, 0x7f00_ffff_e000, 0x7fff_ffff_e000].flatMap((high) => [0, 4, 0x7fc, 0x1000, 0x1ffc].map((low) => high + low));

describe("futex wake in the stub, native", () => {
  test("should answer 0 where nobody waits, and exit where somebody does", () => {
    for (const va of words) {
      expect(wake(va)).toBe(0);
      waiters.enter(va);
      expect(wake(va)).toBe(EXITED);
      for (const bit of [4, 0x1000]) expect(wake(Number(BigInt(va) ^ BigInt(bit)))).toBe(0);
      waiters.leave(va);
      expect(wake(va)).toBe(0);
    }
  });

  test("should look at the right one of all counts", () => {
    counts.fill(1);
    for (let va = 0x1234_5678_0000; va < 0x1234_5678_0000 + WAITERS_SIZE; va += 4) {
      waiters.leave(va);
      if (wake(va) !== 0) throw new Error(`0x${va.toString(16)} looks elsewhere`);
      waiters.enter(va);
    }
    counts.fill(0);
  });

  test("should exit where waiters were moved to", () => {
    waiters.moved(words[3]!);
    expect(wake(words[3]!)).toBe(EXITED);
    counts.fill(0);
  });

  test("should leave errors and all other operations to the LWK", () => {
    for (const low of [1, 2, 3]) expect(wake(0x5555_0000_0000 + low)).toBe(EXITED);
    expect(wake(2 ** 47)).toBe(EXITED);
    expect(wake(-4)).toBe(EXITED);
    for (const operation of [0, 1, 0x80, 0x83, 0x84, 0x85, 0x89, 0x8a, 0x181]) expect(wake(0x5555_0000_0000, operation)).toBe(EXITED);
    // The operation is an int: the upper half of rsi means nothing.
    expect(wake(0x5555_0000_0000, 0x1_0000_0000 + WAKE_PRIVATE)).toBe(0);
  });
});
