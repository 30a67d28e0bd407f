/** Random registers at calls on process, time, scheduling and the machine. A handler may fail as Linux does; it may not throw. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { AT_FDCWD } from "../../abi/fcntl.ts";
import { mapAnonymous } from "../../host/memory.ts";
import { GuestError } from "../guest-error.ts";
import { H } from "../state.ts";
import { fakeNode } from "../virtual/fake-node.testing.ts";
import { virtualPath } from "../virtual/index.ts";
import { BASE, type FakeMachine } from "./fake-call.testing.ts";
import { processCalls } from "./process.ts";
import { scheduleCalls } from "./schedule.ts";
import { systemCalls } from "./system.ts";
import { timeCalls } from "./time.ts";

const calls = { ...processCalls, ...timeCalls, ...scheduleCalls, ...systemCalls };
/** Left out: what succeeds changes the test process for good (signals, priorities, groups, limits). FS and GS bases need a vCPU. */
const LASTING = new Set("setitimer alarm timer_settime setpriority sched_setscheduler sched_setparam sched_setattr ioprio_set setsid setpgid setrlimit prlimit64 prctl arch_prctl".split(" "));
const names = Object.keys(calls).filter((name) => calls[name]![2] && !LASTING.has(name));
const SLEEPS = new Set(["nanosleep", "clock_nanosleep"]);

let m: FakeMachine;
beforeAll(() => {
  m = fakeNode({ cpus: [0, 0], nodes: [0, 1], tids: [900001] });
  m.kernel.state.setU64(H.vvarAddress, mapAnonymous(m.kernel.sys, 4096, 3, 0x22));
  Object.assign(m.kernel.space, { covered: () => true });
  m.kernel.state.i32[H.timedOut] = 1; // every wake-up counts as the last
  m.unmap(20);
  m.protect(21);
});
afterAll(() => m.close());

const word = fc.oneof(
  fc.nat(63).chain((page) => fc.constantFrom(-16, -8, -1, 0, 1, 8, 100).map((d) => BigInt(BASE + page * 4096 + d))),
  fc.integer({ min: -10, max: 300 }).map((n) => BigInt(n)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(0x7f80_0000_0000n, 1n << 47n, 1n << 63n, (1n << 64n) - 1n, 0x7fff_ffffn, 0x8000_0000n, 900001n),
);

it("should answer any registers with a result or an error number", () => {
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.array(word, { minLength: 6, maxLength: 6 }), fc.integer({ min: 0, max: 255 }), (name, args, fill) => {
      m.memory.fill(fill);
      if (SLEEPS.has(name)) m.wake();
      const result = m.run(calls[name]![2], ...args);
      expect(Number.isInteger(result), `${name} gave ${result}`).toBe(true);
      expect(result).toBeGreaterThanOrEqual(-4095);
    }),
    { numRuns: 6000 },
  );
});

it("should walk any path to a node, a host path or an error number", () => {
  const name = fc.oneof(
    fc.constantFrom("", ".", "..", "proc", "sys", "dev", "self", "thread-self", "task", "fd", "0", "1", "900001", "exe", "cwd", "root", "maps", "devices", "system", "cpu", "cpu0", "cpu1", "node", "node1", "cache", "index0", "topology", "ns", "stdin"),
    fc.string({ maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.boolean(), fc.array(name, { maxLength: 9 }), fc.constantFrom(AT_FDCWD, -1, 0, 7, 2 ** 31 - 1), (absolute, parts, dirfd) => {
      const path = (absolute ? "/" : "") + parts.join("/");
      try {
        const found = virtualPath(m.kernel, dirfd, path);
        if (found !== null && typeof found !== "string") expect(found.id).toBeGreaterThanOrEqual(0);
        if (typeof found === "string") expect(found.startsWith("/")).toBe(true);
      } catch (error) {
        if (!(error instanceof GuestError)) throw error;
      }
    }),
    { numRuns: 10_000 },
  );
});
