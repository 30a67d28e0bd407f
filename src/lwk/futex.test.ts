/** What futex(2) does around the host's futex: which waits and moves are counted, and when. The host call is a function of the test. */
import { describe, expect, test } from "vitest";
import { EINTR, EINVAL, ETIMEDOUT } from "../abi/errno.ts";
import { createGateArea, openGate, viewMemory } from "../host/gate.ts";
import { mapAnonymous } from "../host/memory.ts";
import { WAITERS_SIZE } from "./boot/layout.ts";
import type { Call } from "./call.ts";
import { futex } from "./futex.ts";
import { GuestError } from "./guest-error.ts";
import { H } from "./state.ts";

const { sys } = openGate(createGateArea(), 0);
const page = mapAnonymous(sys, WAITERS_SIZE, 3, 0x22);
const counts = new Int32Array(viewMemory(page, WAITERS_SIZE));

const [WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET] = [0, 1, 3, 4, 5, 9, 10];
const PRIVATE = 128;
const word = 0x5555_0000_1abc;
const target = 0x5555_0000_2dec;
const unmapped = 0x1000;
const count = (va: number): number => counts[(va & 0x1ffc) / 4]!;

/** futex(args) with a host that answers by `host`; only what futex.ts uses is there. */
function call(args: number[], host: (...args: number[]) => number): number {
  const state = { getU64: (index: number) => (index === H.waiters ? page : 0) };
  const mem = { locate: (va: number) => (va === unmapped ? -1 : va) };
  const space = { memory: { hostAddress: (gpa: number) => gpa } };
  const kernel = { sys: host, wait: host, mem, state, space };
  const num = (i: number): number => args[i] ?? 0;
  const c = {
    kernel,
    num,
    int: (i: number) => num(i) | 0,
    u32: (i: number) => num(i) >>> 0,
    blocking: (attempt: () => number) => attempt(),
  };
  return futex(c as unknown as Call);
}

describe("futex", () => {
  test.each([
    ["WAIT", WAIT],
    ["WAIT_BITSET", WAIT_BITSET],
  ])("should count a private %s while the host compares and waits, and no longer", (_, command) => {
    const args = [word, command | PRIVATE, 5, 0, 0, 1];
    let seen = 0;
    const host = (result: number) => () => {
      seen = count(word);
      return result;
    };
    for (const result of [0, -EINTR, -ETIMEDOUT]) {
      expect(call(args, host(result))).toBe(result);
      expect(seen).toBe(1);
      expect(count(word)).toBe(0);
    }
    const broken = (): number => {
      seen = count(word);
      throw new Error("the thread ends");
    };
    expect(() => call(args, broken)).toThrow("the thread ends");
    expect(count(word)).toBe(0);
    // A wait that is not private cannot be ended by a private wake.
    call([word, command, 5, 0, 0, 1], host(0));
    expect(seen).toBe(0);
  });

  test("should count the word that waiters move to before they move, and for ever if some did", () => {
    let seen = 0;
    const host = (result: number) => () => {
      seen = count(target);
      return result;
    };
    for (const command of [REQUEUE, CMP_REQUEUE]) {
      for (const result of [-EINVAL, 0, 1]) {
        expect(call([word, command | PRIVATE, 1, 100, target, 5], host(result))).toBe(result);
        expect(seen).toBe(1);
        expect(count(target)).toBe(0);
      }
    }
    expect(call([word, CMP_REQUEUE | PRIVATE, 1, 100, target, 5], host(2))).toBe(2);
    expect(count(target)).not.toBe(0);
    expect(call([word, WAIT | PRIVATE, 5], host(0))).toBe(0);
    expect(count(word)).toBe(0);
    counts.fill(0);
    call([word, CMP_REQUEUE, 1, 100, target, 5], host(2));
    expect(count(target)).toBe(0);
  });

  test("should look at no memory for a private wake, as the stub does not", () => {
    const never = (): number => {
      throw new Error("asked the host");
    };
    for (const command of [WAKE, WAKE_BITSET]) {
      expect(call([unmapped, command | PRIVATE, 1, 0, 0, 1], never)).toBe(0);
      expect(() => call([unmapped, command, 1, 0, 0, 1], never)).toThrow(GuestError);
      expect(call([word + 1, command | PRIVATE, 1, 0, 0, 1], never)).toBe(-EINVAL);
    }
    expect(call([word, WAKE_BITSET | PRIVATE, 1, 0, 0, 0], never)).toBe(-EINVAL);
    expect(() => call([unmapped, WAKE_OP | PRIVATE, 1, 0, word, 0], never)).toThrow(GuestError);
  });
});
