/** Random registers at every call of these families. A handler may fail as Linux does; it may not throw, block, or touch memory outside the guest's. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { F_ADD_SEALS } from "../../abi/fcntl.ts";
import { IOCTLS } from "../../abi/ioctl.ts";
import { NR } from "../../abi/nr.ts";
import { H } from "../state.ts";
import { descriptorCalls } from "./descriptors.ts";
import { directoryCalls } from "./directories.ts";
import { eventCalls } from "./events.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { fileCalls } from "./files.ts";
import { ioCalls } from "./io.ts";
import { ioctlCalls } from "./ioctl.ts";
import { messageCalls } from "./messages.ts";
import { pollCalls } from "./poll.ts";
import { refusedCalls } from "./refused.ts";
import { socketCalls } from "./sockets.ts";

const calls = { ...ioCalls, ...fileCalls, ...directoryCalls, ...descriptorCalls, ...ioctlCalls, ...messageCalls, ...pollCalls, ...refusedCalls, ...socketCalls, ...eventCalls };
/** Left out: they act on the whole test process or machine. */
const names = Object.keys(calls).filter((name) => calls[name]![2] && !["sync", "umask", "fchdir"].includes(name));
/** Made with the wake word set, so that they end at once. */
const waiting = new Set(["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2", "flock", "fcntl", "recvmmsg", "connect"]);

const PAGES = 32;
let m: FakeMachine;
const run = (name: string, ...args: (number | bigint)[]): number => m.run(calls[name]![2], ...args);

/** Descriptors 0 to 9: none of them blocks, and none reaches a file that could be spoilt. */
function openAll(): void {
  m.close();
  m.put(0, "x");
  for (let i = 0; i < 2; i++) {
    const file = run("memfd_create", BASE, 2);
    run("ftruncate", file, 10_000);
    run("fcntl", file, F_ADD_SEALS, 7);
  }
  run("pipe2", BASE, 0o4000);
  run("socketpair", 1, 1 | 0o4000, 0, BASE);
  run("socketpair", 1, 2 | 0o4000, 0, BASE);
  run("eventfd2", 1, 0o4000);
  run("epoll_create1", 0);
  m.memory.fill(0xff);
}

beforeAll(() => {
  m = new FakeMachine(PAGES);
  m.kernel.state.i32[H.timedOut] = 1; // every wake-up counts as the last
  m.unmap(20);
  m.protect(21);
});
afterAll(() => m.close());

const page = fc.nat(PAGES).map((p) => BASE + p * 4096);
const pointer = fc.oneof(
  fc.tuple(page, fc.constantFrom(-16, -8, -1, 0, 1, 8, 100)).map(([p, d]) => BigInt(p + d)),
  fc.constantFrom(0n, 1n, 0x7f80_0000_0000n, 0x7fff_ffff_f000n, 1n << 47n, 1n << 63n, (1n << 64n) - 1n, 0xffff_8000_0000_0000n),
);
const number = fc.oneof(
  fc.nat(12).map(BigInt),
  fc.constantFrom(-1n, -100n, 0x1000n, 0x7fff_f000n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 53n, 1n << 62n, 1n << 63n, (1n << 64n) - 1n),
  fc.constantFrom(...IOCTLS.keys()).map(BigInt),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
);
const argument = fc.oneof(pointer, number);
/** What lies in memory: a few words, at random places, that may be taken for lengths, descriptors or pointers. */
const words = fc.array(fc.tuple(fc.nat(PAGES * 512 - 1), argument), { maxLength: 24 });

it("should survive any registers and any memory", { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.tuple(fc.oneof(fc.nat(10).map(BigInt), argument), argument, argument, argument, argument, argument), words, (name, args, memory) => {
      openAll();
      const view = new DataView(m.memory.buffer, m.memory.byteOffset, m.memory.length);
      for (const [at, value] of memory) view.setBigUint64(at * 8, BigInt.asUintN(64, value), true);
      m.kernel.scratch.u8.fill(0xee, 128 * 1024);
      if (waiting.has(name)) m.wake();
      const result = run(name, ...args);
      expect(Number.isInteger(result) || Object.is(result, -0)).toBe(true);
      expect(result).toBeGreaterThan(-1000);
      // The scratch buffer's second half is the window's.
      expect(m.kernel.scratch.u8[m.kernel.scratch.length - 1]).toBe(0xee);
      m.kernel.sys(NR.umask, 0o22);
    }),
    { numRuns: 600 },
  );
});
