import { describe, expect, test } from "vitest";
import { WAITERS_MASK, WAITERS_PAGE, WAITERS_SIZE } from "./boot/layout.ts";
import { FutexWaiters } from "./futex-waiters.ts";

function table(): { words: Int32Array; waiters: FutexWaiters; used: () => number[] } {
  const words = new Int32Array(WAITERS_SIZE / 4);
  return { words, waiters: new FutexWaiters(words), used: () => [...words.keys()].filter((i) => words[i] !== 0) };
}

describe("futex waiter counts", () => {
  test("should count a wait at the byte where the stub looks, for every address", () => {
    for (const va of [0, 4, 0x1ffc, 0x2000, 0x7f12_3456_789c, 0x7fff_ffff_fffc, 0x8000_1234]) {
      const { words, waiters, used } = table();
      waiters.enter(va);
      expect(used().map((i) => i * 4)).toEqual([Number(BigInt(va) & BigInt(WAITERS_MASK))]);
      waiters.enter(va);
      waiters.leave(va);
      expect(words.reduce((a, b) => a + b)).toBe(1);
      waiters.leave(va);
      expect(used()).toEqual([]);
    }
  });

  test("should keep a bucket for ever where waiters were moved to, however many come and go", () => {
    const { words, waiters } = table();
    const at = 0x7f00_0000_1010;
    for (let i = 0; i < 3; i++) {
      waiters.enter(at);
      waiters.moved(at);
      waiters.leave(at);
      expect(words[0x1010 / 4]).toBe(0x80000000 | 0);
    }
  });

  test("should lie where the stub can merge address bits into the pages' address", () => {
    expect(WAITERS_PAGE % WAITERS_SIZE).toBe(0);
    expect(WAITERS_SIZE & (WAITERS_SIZE - 1)).toBe(0);
  });
});
