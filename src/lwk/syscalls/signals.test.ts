import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ERESTARTNOHAND, ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { SI_TKILL, SI_USER, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGKILL, SIGSEGV, SIGSTOP, SIGUSR1, SIGUSR2, signalBit, SS_AUTODISARM, SS_DISABLE } from "../../abi/signal.ts";
import { setHostAction } from "../../host/signals.ts";
import { R } from "../../vmm/vcpu.ts";
import { TIMER_SIGNAL } from "../signals.ts";
import { H, T } from "../state.ts";
import { BASE, FakeMachine } from "./fake-call.testing.ts";
import { signalCalls } from "./signals.ts";

/** Host signal that no other test in this process uses. */
const FREE = 47;
const ALL = 2n ** 64n - 1n;
const KEPT = ALL & ~signalBit(SIGKILL) & ~signalBit(SIGSTOP);
let m: FakeMachine;
const sys = (name: string, ...args: (number | bigint)[]): number => m.run(signalCalls[name]![2], ...args);
const action = (handler: number | bigint, flags = 0, mask = 0n): number => m.words(0, handler, flags, 0x1234, mask);
const big = (at: number): bigint => m.bytes(at, 8).readBigUInt64LE();

/** The host's handler of a signal: 0, 1, or an address. */
function hostHandler(signal: number): number {
  const { scratch, sys: host } = m.kernel;
  expect(host(NR.rt_sigaction, signal, 0, scratch.address, 8)).toBe(0);
  return Number(scratch.view.getBigUint64(0, true));
}

beforeEach(() => {
  m = new FakeMachine(4);
  m.kernel.state.i32[m.kernel.record + T.tid] = m.kernel.pid;
  Object.assign(m.kernel.threads, { slotOf: (tid: number) => (tid === m.kernel.pid ? 0 : -1), alive: (tid: number) => tid === m.kernel.pid });
});
afterEach(() => {
  for (const signal of [FREE, FREE + 1, TIMER_SIGNAL]) setHostAction(m.kernel.gate, m.kernel.scratch, signal, 0);
  m.kernel.gate.wakeWords.fill(0);
  m.close();
});

describe("rt_sigaction", () => {
  it("should give back what was set, without the bits that cannot be blocked", () => {
    expect(sys("rt_sigaction", FREE, action(0x5555_5555_0000, 0x1400_0004, ALL), BASE + 100, 8)).toBe(0);
    expect([big(100), big(108), big(124)]).toEqual([0n, 0n, 0n]);
    expect(sys("rt_sigaction", FREE, 0, BASE + 100, 8)).toBe(0);
    expect([big(100), big(108), big(116), big(124)]).toEqual([0x5555_5555_0000n, 0x1400_0004n, 0x1234n, KEPT]);
  });

  it.each<[string, number, number, number]>([
    ["signal 0", 0, 8, -EINVAL],
    ["signal 65", 65, 8, -EINVAL],
    ["a negative signal", -1, 8, -EINVAL],
    ["SIGKILL", SIGKILL, 8, -EINVAL],
    ["SIGSTOP", SIGSTOP, 8, -EINVAL],
    ["masks of another size", FREE, 16, -EINVAL],
  ])("should refuse %s", (_what, signal, size, error) => {
    expect(sys("rt_sigaction", signal, action(1), 0, size)).toBe(error);
  });

  it("should be EFAULT outside memory", () => {
    expect(sys("rt_sigaction", FREE, 2 ** 63, 0, 8)).toBe(-EFAULT);
    expect(sys("rt_sigaction", FREE, 0, 0x10, 8)).toBe(-EFAULT);
  });

  it("should catch, ignore or leave the host's signal as the program wants it", () => {
    sys("rt_sigaction", FREE, action(0x40_0000), 0, 8);
    expect(hostHandler(FREE)).toBe(m.kernel.gate.handlerAddress);
    sys("rt_sigaction", FREE, action(1), 0, 8);
    expect(hostHandler(FREE)).toBe(1);
    sys("rt_sigaction", FREE, action(0), 0, 8);
    expect(hostHandler(FREE)).toBe(m.kernel.gate.handlerAddress); // it would end the virtual node: in order
  });

  it("should leave the host's alarm clock of timers and of --timeout alone, whatever the program ignores", () => {
    const { gate, scratch, state } = m.kernel;
    state.i32[H.timeoutSignal] = FREE + 1;
    for (const signal of [TIMER_SIGNAL, FREE + 1]) {
      setHostAction(gate, scratch, signal, "catch");
      expect(sys("rt_sigaction", signal, action(1), 0, 8)).toBe(0);
      expect(hostHandler(signal), `signal ${signal}`).toBe(gate.handlerAddress);
      expect(m.kernel.signals.action(signal).handler).toBe(1);
    }
    const segv = hostHandler(SIGSEGV);
    expect(sys("rt_sigaction", SIGSEGV, action(1), 0, 8)).toBe(0);
    expect(hostHandler(SIGSEGV)).toBe(segv);
  });
});

describe("rt_sigprocmask and rt_sigpending", () => {
  it("should block, unblock and set, and tell the mask before", () => {
    expect(sys("rt_sigprocmask", SIG_BLOCK, m.words(0, 0x300n), BASE + 100, 8)).toBe(0);
    expect(big(100)).toBe(0n);
    sys("rt_sigprocmask", SIG_BLOCK, m.words(0, 0xc00n), 0, 8);
    sys("rt_sigprocmask", SIG_UNBLOCK, m.words(0, 0x200n), BASE + 100, 8);
    expect(big(100)).toBe(0xf00n & KEPT);
    sys("rt_sigprocmask", SIG_SETMASK, m.words(0, ALL), 0, 8);
    expect(sys("rt_sigprocmask", 99, 0, BASE + 100, 8)).toBe(0);
    expect(big(100)).toBe(KEPT);
  });

  it("should refuse another way, another size, and memory that is not there", () => {
    expect(sys("rt_sigprocmask", 3, m.words(0, 1n), 0, 8)).toBe(-EINVAL);
    expect(sys("rt_sigprocmask", SIG_BLOCK, m.words(0, 1n), 0, 4)).toBe(-EINVAL);
    expect(sys("rt_sigprocmask", SIG_BLOCK, 8, 0, 8)).toBe(-EFAULT);
    expect(sys("rt_sigpending", BASE, 16)).toBe(-EINVAL);
  });

  it("should show what waits and is blocked, and only that", () => {
    m.kernel.signals.setMask(0, signalBit(SIGUSR1));
    sys("kill", m.kernel.pid, SIGUSR1);
    sys("tkill", m.kernel.pid, SIGUSR2);
    expect(sys("rt_sigpending", BASE, 8)).toBe(0);
    expect(big(0)).toBe(signalBit(SIGUSR1));
  });
});

describe("kill, tgkill, sigqueue", () => {
  it("should find the program itself, and say what is not there", () => {
    const { pid } = m.kernel;
    expect(sys("kill", pid, 0)).toBe(0);
    expect(sys("kill", pid, 65)).toBe(-EINVAL);
    expect(sys("tgkill", pid, pid, 0)).toBe(0);
    expect(sys("tgkill", pid, pid + 1, SIGUSR1)).toBe(-ESRCH);
    expect(sys("tgkill", pid + 1, pid, SIGUSR1)).toBe(-ESRCH);
    expect(sys("tgkill", pid, 0, SIGUSR1)).toBe(-EINVAL);
    expect(sys("tkill", -5, SIGUSR1)).toBe(-EINVAL);
    expect(m.kernel.state.i32[H.queueCount]).toBe(0);
  });

  it("should carry sender and code, and a value where one is given", () => {
    const { pid, signals } = m.kernel;
    const codes = (): number[] => {
      const { info } = signals.take(0, ALL)!;
      const v = new DataView(info.buffer, info.byteOffset);
      return [v.getInt32(0, true), v.getInt32(8, true), v.getInt32(16, true), v.getInt32(24, true)];
    };
    sys("kill", pid, SIGUSR1);
    expect(codes()).toEqual([SIGUSR1, SI_USER, pid, 0]);
    sys("tgkill", pid, pid, SIGUSR1);
    expect(codes()).toEqual([SIGUSR1, SI_TKILL, pid, 0]);
    m.put(0, new Uint8Array(128));
    m.ints(8, -1, 0, 77, 88, 99);
    sys("rt_sigqueueinfo", pid, 40, BASE);
    expect(codes()).toEqual([40, -1, 77, 99]);
    expect(sys("rt_sigqueueinfo", pid, 40, 8)).toBe(-EFAULT);
  });
});

describe("waiting for signals", () => {
  it("should take a waiting signal with its siginfo, lowest first", () => {
    m.kernel.signals.setMask(0, ALL);
    sys("kill", m.kernel.pid, 40);
    sys("kill", m.kernel.pid, SIGUSR1);
    const set = m.words(0, signalBit(40) | signalBit(SIGUSR1));
    expect(sys("rt_sigtimedwait", set, BASE + 200, 0, 8)).toBe(SIGUSR1);
    expect(m.i32(200)).toBe(SIGUSR1);
    expect(sys("rt_sigtimedwait", set, 0, 0, 8)).toBe(40);
  });

  it("should give up at its time-out, at once for 0, and refuse a time that is none", () => {
    const set = m.words(0, signalBit(40));
    expect(sys("rt_sigtimedwait", set, 0, m.words(64, 0, 0), 8)).toBe(-EAGAIN);
    expect(sys("rt_sigtimedwait", set, 0, m.words(64, 0, 2_000_000), 8)).toBe(-EAGAIN);
    expect(sys("rt_sigtimedwait", set, 0, m.words(64, 0, 1_000_000_000), 8)).toBe(-EINVAL);
    expect(sys("rt_sigtimedwait", set, 0, m.words(64, -1, 0), 8)).toBe(-EINVAL);
    expect(m.kernel.state.getBig(m.kernel.record + T.waitMask)).toBe(0n);
  });

  it("should end sigsuspend at once when what waits is no longer blocked, with the old mask kept for later", () => {
    m.kernel.signals.setMask(0, signalBit(SIGUSR1));
    sys("kill", m.kernel.pid, SIGUSR1);
    expect(sys("rt_sigsuspend", m.words(0, 0n), 8)).toBe(-ERESTARTNOHAND);
    const { state, record } = m.kernel;
    expect([state.i32[record + T.hasSavedMask], state.getBig(record + T.savedMask), m.kernel.signals.mask(0)]).toEqual([1, signalBit(SIGUSR1), 0n]);
    expect(sys("rt_sigsuspend", 0, 8)).toBe(-EFAULT);
    expect(sys("rt_sigsuspend", BASE, 4)).toBe(-EINVAL);
  });
});

describe("sigaltstack", () => {
  const stack = (at: number, base: number, flags: number, size: number): number => m.words(at, base, flags, size);

  it("should set, tell and disable an alternate stack", () => {
    expect(sys("sigaltstack", stack(0, 0x7000_0000, 0, 65536), BASE + 100)).toBe(0);
    expect(m.i32(108)).toBe(SS_DISABLE);
    expect(sys("sigaltstack", stack(0, 0x7100_0000, SS_AUTODISARM, 8192), BASE + 100)).toBe(0);
    expect([big(100), m.i32(108), big(116)]).toEqual([0x7000_0000n, 0, 65536n]);
    expect(sys("sigaltstack", 0, BASE + 100)).toBe(0);
    expect(m.i32(108) >>> 0).toBe(SS_AUTODISARM);
    sys("sigaltstack", stack(0, 0, SS_DISABLE, 0), 0);
    sys("sigaltstack", 0, BASE + 100);
    expect([m.i32(108), big(116)]).toEqual([SS_DISABLE, 0n]);
  });

  it("should refuse small ones, odd flags, and any change while it is in use", () => {
    expect(sys("sigaltstack", stack(0, 0x7000_0000, 0, 2047), 0)).toBe(-ENOMEM);
    expect(sys("sigaltstack", stack(0, 0x7000_0000, 64, 65536), 0)).toBe(-EINVAL);
    expect(sys("sigaltstack", stack(0, 0x7000_0000, 0, 65536), 0)).toBe(0);
    const { vcpu } = m.kernel;
    const get = vcpu.get;
    vcpu.get = (r) => (r === R.rsp ? 0x7000_8000 : get(r));
    expect(sys("sigaltstack", stack(0, 0x7100_0000, 0, 65536), 0)).toBe(-EPERM);
    expect(sys("sigaltstack", 0, BASE + 100)).toBe(0);
    expect(m.i32(108)).toBe(1);
  });
});
