/** System calls on signals. */
import { EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, EPERM, ERESTARTNOHAND, ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import {
  defaultAction,
  MINSIGSTKSZ,
  SI_TKILL,
  SI_USER,
  SIG_BLOCK,
  SIG_SETMASK,
  SIG_UNBLOCK,
  SIGKILL,
  SIGNAL_COUNT,
  SIGSTOP,
  SS_AUTODISARM,
  SS_DISABLE,
  SS_ONSTACK,
  signalBit,
} from "../../abi/signal.ts";
import { setHostAction } from "../../host/signals.ts";
import { R } from "../../vmm/vcpu.ts";
import type { Call, Family } from "../call.ts";
import { hostNow } from "../futex.ts";
import { GuestError } from "../guest-error.ts";
import { makeInfo } from "../signals.ts";
import { H, T } from "../state.ts";

const MASK_BYTES = 8;
const UNBLOCKABLE = signalBit(SIGKILL) | signalBit(SIGSTOP);
/**
 * Signals of the host that Node or the LWK's own faults need, and SIGPIPE and SIGXFSZ, which the handlers send themselves when the host says EPIPE or
 * EFBIG: their host action never changes.
 */
const NEVER_ON_HOST = new Set([4, 5, 7, 8, 9, 11, 13, 19, 25, 61, 62, 63]);

function checkSize(size: number): void {
  if (size !== MASK_BYTES) throw new GuestError(EINVAL);
}

/** Replaces the thread's mask until the call ends or a handler returns (sigsuspend, ppoll, pselect, epoll_pwait). `va` 0: keep. Throws EINVAL, EFAULT. */
export function setTemporaryMask(c: Call, va: number, size: number): void {
  if (!va) return;
  checkSize(size);
  const { kernel } = c;
  const mask = kernel.mem.big(va);
  const { state, record, signals, slot } = kernel;
  state.setBig(record + T.savedMask, signals.mask(slot));
  state.i32[record + T.hasSavedMask] = 1;
  signals.setMask(slot, mask);
}

function sigaction(c: Call): number {
  const { kernel } = c;
  const signal = c.int(0);
  checkSize(c.num(3));
  if (signal < 1 || signal > SIGNAL_COUNT) return -EINVAL;
  const next = c.num(1);
  const old = c.num(2);
  if (next && (signal === SIGKILL || signal === SIGSTOP)) return -EINVAL;
  const before = kernel.signals.action(signal);
  if (next) {
    const action = {
      handler: kernel.mem.u64(next),
      flags: kernel.mem.u32(next + 8),
      restorer: kernel.mem.u64(next + 16),
      mask: kernel.mem.big(next + 24) & ~UNBLOCKABLE,
    };
    kernel.signals.setAction(signal, action);
    if (!NEVER_ON_HOST.has(signal) && signal !== kernel.state.i32[H.timeoutSignal]) {
      const byDefault = defaultAction(signal);
      // Job control's own stops and ignored signals keep the host's default until the program wants to know of them.
      if (action.handler > 1) setHostAction(kernel.gate, kernel.scratch, signal, "catch");
      else if (action.handler === 1) setHostAction(kernel.gate, kernel.scratch, signal, 1);
      else setHostAction(kernel.gate, kernel.scratch, signal, byDefault === "terminate" || byDefault === "core" ? "catch" : 0);
    }
  }
  if (old) {
    kernel.mem.setBig(old, BigInt(before.handler));
    kernel.mem.setBig(old + 8, BigInt(before.flags));
    kernel.mem.setBig(old + 16, BigInt(before.restorer));
    kernel.mem.setBig(old + 24, before.mask);
  }
  return 0;
}

function sigprocmask(c: Call): number {
  const { kernel } = c;
  checkSize(c.num(3));
  const before = kernel.signals.mask(kernel.slot);
  if (c.num(1)) {
    const set = kernel.mem.big(c.num(1));
    const how = c.int(0);
    if (how === SIG_BLOCK) kernel.signals.setMask(kernel.slot, before | set);
    else if (how === SIG_UNBLOCK) kernel.signals.setMask(kernel.slot, before & ~set);
    else if (how === SIG_SETMASK) kernel.signals.setMask(kernel.slot, set);
    else return -EINVAL;
  }
  if (c.num(2)) kernel.mem.setBig(c.num(2), before);
  return 0;
}

function sigpending(c: Call): number {
  const { kernel } = c;
  if (c.num(1) > MASK_BYTES) return -EINVAL;
  kernel.mem.setBig(c.num(0), kernel.signals.pendingMask(kernel.slot) & kernel.signals.mask(kernel.slot));
  return 0;
}

/** Waits until a signal is there to be delivered. */
function untilSignal(c: Call): number {
  return c.blocking(() => c.kernel.wait(NR.ppoll, 0, 0, 0, 0, 8), -ERESTARTNOHAND);
}

function sigsuspend(c: Call): number {
  checkSize(c.num(1));
  if (!c.num(0)) return -EFAULT;
  setTemporaryMask(c, c.num(0), c.num(1));
  return c.kernel.attention() ? -ERESTARTNOHAND : untilSignal(c);
}

function sigtimedwait(c: Call): number {
  const { kernel } = c;
  checkSize(c.num(3));
  const wanted = kernel.mem.big(c.num(0)) & ~UNBLOCKABLE;
  let deadline = -1n;
  if (c.num(2)) {
    const seconds = kernel.mem.i64(c.num(2));
    const nanoseconds = kernel.mem.i64(c.num(2) + 8);
    if (seconds < 0 || nanoseconds < 0 || nanoseconds >= 1e9) return -EINVAL;
    deadline = hostNow(kernel, 1) + BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  }
  const { slot, signals } = kernel;
  signals.setWaitMask(slot, wanted);
  try {
    for (;;) {
      const pending = signals.take(slot, wanted);
      if (pending) {
        if (c.num(1)) kernel.mem.write(c.num(1), pending.info);
        return pending.signal;
      }
      let timeout = 0;
      if (deadline >= 0n) {
        const left = deadline - hostNow(kernel, 1);
        if (left <= 0n) return -EAGAIN;
        kernel.scratch.view.setBigInt64(0, left / 1_000_000_000n, true);
        kernel.scratch.view.setBigInt64(8, left % 1_000_000_000n, true);
        timeout = kernel.scratch.address;
      }
      const result = kernel.wait(NR.ppoll, 0, 0, timeout, 0, 8);
      if (result === -EINTR && kernel.interrupted() && !(signals.pendingMask(slot) & wanted)) return -EINTR;
    }
  } finally {
    signals.setWaitMask(slot, 0n);
  }
}

function sigaltstack(c: Call): number {
  const { kernel } = c;
  const { state, record } = kernel;
  const rsp = c.vcpu.get(R.rsp);
  const base = state.getU64(record + T.altStack);
  const size = state.getU64(record + T.altStackSize);
  const flags = state.u32[record + T.altStackFlags]!;
  const on = size > 0 && rsp > base && rsp <= base + size;
  const next = c.num(0);
  let wanted: { base: bigint; size: number; flags: number } | null = null;
  if (next) {
    if (on) return -EPERM;
    wanted = { base: kernel.mem.big(next), size: kernel.mem.u64(next + 16), flags: kernel.mem.u32(next + 8) };
    const mode = wanted.flags & ~SS_AUTODISARM;
    if (mode !== 0 && mode !== SS_DISABLE && mode !== SS_ONSTACK) return -EINVAL;
    if (mode !== SS_DISABLE && wanted.size < MINSIGSTKSZ) return -ENOMEM;
  }
  if (c.num(1)) {
    kernel.mem.setBig(c.num(1), state.getBig(record + T.altStack));
    kernel.mem.setU32(c.num(1) + 8, (size === 0 ? SS_DISABLE : on ? SS_ONSTACK : 0) | (flags & SS_AUTODISARM));
    kernel.mem.setU64(c.num(1) + 16, size);
  }
  if (wanted) {
    const off = (wanted.flags & SS_DISABLE) !== 0;
    state.setBig(record + T.altStack, off ? 0n : wanted.base);
    state.setU64(record + T.altStackSize, off ? 0 : wanted.size);
    state.u32[record + T.altStackFlags] = off ? SS_DISABLE : (wanted.flags & SS_AUTODISARM) >>> 0;
  }
  return 0;
}

/** kill(2). The program's own id (and its group, 0 or -pid) is the program; any other process is the host's business, with this user's rights. */
function kill(c: Call): number {
  const { kernel } = c;
  const pid = c.int(0);
  const signal = c.int(1);
  if (signal < 0 || signal > SIGNAL_COUNT) return -EINVAL;
  if (pid === kernel.pid)
    return signal === 0
      ? 0
      : kernel.signals.send(-1, signal, makeInfo(signal, SI_USER, { pid: kernel.pid, uid: kernel.state.i32[H.uid]! }));
  return kernel.sys(NR.kill, pid, signal);
}

function tgkill(c: Call, group: number, tid: number, signal: number, info: Uint8Array | null): number {
  const { kernel } = c;
  if (signal < 0 || signal > SIGNAL_COUNT || tid <= 0 || group === 0) return -EINVAL;
  if (group > 0 && group !== kernel.pid) return -ESRCH;
  const slot = kernel.threads.slotOf(tid);
  if (slot < 0) return -ESRCH;
  return signal === 0
    ? 0
    : kernel.signals.send(slot, signal, info ?? makeInfo(signal, SI_TKILL, { pid: kernel.pid, uid: kernel.state.i32[H.uid]! }));
}

/** siginfo given by the program: it may not pretend to be the kernel or kill(2) towards others. */
function userInfo(c: Call, va: number, signal: number): Uint8Array {
  const info = c.kernel.mem.bytes(va, 128);
  new DataView(info.buffer, info.byteOffset).setInt32(0, signal, true);
  return info;
}

export const signalCalls: Family = {
  rt_sigaction: ["lwk", "", sigaction],
  rt_sigprocmask: ["lwk", "", sigprocmask],
  rt_sigpending: ["lwk", "", sigpending],
  rt_sigsuspend: ["lwk", "", sigsuspend],
  rt_sigtimedwait: ["lwk", "", sigtimedwait],
  rt_sigreturn: ["lwk", "", () => 0],
  sigaltstack: ["lwk", "", sigaltstack],
  pause: ["lwk", "", untilSignal],
  kill: ["lwk", "the program itself by the LWK, other processes by the host", kill],
  tkill: ["lwk", "", (c) => tgkill(c, -1, c.int(0), c.int(1), null)],
  tgkill: ["lwk", "", (c) => tgkill(c, c.int(0), c.int(1), c.int(2), null)],
  rt_sigqueueinfo: [
    "lwk",
    "only to the program itself",
    (c) => {
      const signal = c.int(1);
      if (signal < 0 || signal > SIGNAL_COUNT) return -EINVAL;
      const info = userInfo(c, c.num(2), signal);
      if (c.int(0) !== c.kernel.pid) return c.kernel.threads.alive(c.int(0)) ? c.kernel.signals.send(-1, signal, info) : -ESRCH;
      return signal === 0 ? 0 : c.kernel.signals.send(-1, signal, info);
    },
  ],
  rt_tgsigqueueinfo: ["lwk", "only to the program itself", (c) => tgkill(c, c.int(0), c.int(1), c.int(2), userInfo(c, c.num(3), c.int(2)))],
};
