/**
 * Signal frames on the program's stack, as Linux lays them out: struct rt_sigframe with ucontext, siginfo and the XSAVE area.
 * Source: arch/x86/kernel/signal_64.c, arch/x86/kernel/fpu/signal.c, arch/x86/include/uapi/asm/sigcontext.h.
 */
import {
  MINSIGSTKSZ,
  SA_NODEFER,
  SA_ONSTACK,
  SA_RESETHAND,
  SA_RESTORER,
  SS_AUTODISARM,
  SS_DISABLE,
  SS_ONSTACK,
  signalBit,
} from "../abi/signal.ts";
import { R } from "../vmm/vcpu.ts";
import { GuestError } from "./guest-error.ts";
import type { Kernel } from "./kernel.ts";
import { USER_END } from "./mm/address-space.ts";
import type { Action, Pending } from "./signals.ts";
import { H, T } from "./state.ts";

/** First address that user code cannot have on x86-64 with four-level tables. */
const CANONICAL_END = 2 ** 47;
const XSTATE_MAGIC1 = 0x46505853;
const XSTATE_MAGIC2 = 0x46505845;
/** sw_reserved inside the legacy FXSAVE area. */
const SW_RESERVED = 464;
const LEGACY = 512;
const FRAME_SIZE = 440;
const UC = 8;
const INFO = 312;
const MCONTEXT = UC + 40;
const FPSTATE = MCONTEXT + 184;
const UC_SIGMASK = UC + 296;
const REDZONE = 128;
/** UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
const UC_FLAGS = 7;
const FLAGS_USER = 0x50dd5n; // AC OF DF TF SF ZF AF PF CF RF, as FIX_EFLAGS
const FLAGS_CLEAR = ~0x10500n; // RF, DF, TF off when a handler starts

/** Order of the general registers in struct sigcontext. */
const SAVED = [
  R.r8,
  R.r9,
  R.r10,
  R.r11,
  R.r12,
  R.r13,
  R.r14,
  R.r15,
  R.rdi,
  R.rsi,
  R.rbp,
  R.rbx,
  R.rdx,
  R.rax,
  R.rcx,
  R.rsp,
  R.rip,
] as const;

/** What the last exception of this thread was; sigcontext shows it. */
export interface TrapDetails {
  errorCode: number;
  vector: number;
  address: bigint;
}

/** Sets up `action`'s handler for `pending`. False when the stack cannot take the frame: the thread then gets SIGSEGV. The registers must be the program's own. */
export function enterHandler(k: Kernel, pending: Pending, action: Action, trap: TrapDetails): boolean {
  const { vcpu, state, record } = k;
  const rsp = vcpu.get(R.rsp);
  const altStack = state.getU64(record + T.altStack);
  const altSize = state.getU64(record + T.altStackSize);
  const altFlags = state.u32[record + T.altStackFlags]!;
  const onAlt = altSize > 0 && rsp > altStack && rsp <= altStack + altSize;
  const useAlt = (action.flags & SA_ONSTACK) !== 0 && altSize > 0 && !(altFlags & SS_DISABLE);
  let top = rsp - REDZONE;
  if (useAlt && (!onAlt || altFlags & SS_AUTODISARM)) top = altStack + altSize;
  const xsave = vcpu.xsave(4096);
  const xsaveSize = Math.min(4096, state.u32[H.xsaveSize]!);
  const area = Math.floor((top - xsaveSize - 4) / 64) * 64;
  const frame = Math.floor((area - FRAME_SIZE) / 16) * 16 - 8;
  if (!(frame > 0 && top <= USER_END)) return false;
  if (useAlt && frame < altStack) return false;

  const bytes = new Uint8Array(FRAME_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(action.flags & SA_RESTORER ? action.restorer : 0), true);
  view.setBigUint64(UC, BigInt(UC_FLAGS), true);
  view.setBigUint64(UC + 16, BigInt(altStack), true);
  view.setUint32(UC + 24, altSize === 0 ? SS_DISABLE : onAlt ? SS_ONSTACK : altFlags, true);
  view.setBigUint64(UC + 32, BigInt(altSize), true);
  for (const [i, register] of SAVED.entries()) view.setBigUint64(MCONTEXT + i * 8, vcpu.big(register), true);
  view.setBigUint64(MCONTEXT + 136, vcpu.big(R.rflags), true);
  view.setUint16(MCONTEXT + 144, 0x33, true);
  view.setUint16(MCONTEXT + 150, 0x2b, true);
  view.setBigUint64(MCONTEXT + 152, BigInt(trap.errorCode), true);
  view.setBigUint64(MCONTEXT + 160, BigInt(trap.vector), true);
  const hasSaved = state.i32[record + T.hasSavedMask] === 1;
  const oldMask = hasSaved ? state.getBig(record + T.savedMask) : k.signals.mask(k.slot);
  view.setBigUint64(MCONTEXT + 168, oldMask, true);
  view.setBigUint64(MCONTEXT + 176, trap.address, true);
  view.setBigUint64(FPSTATE, BigInt(area), true);
  view.setBigUint64(UC_SIGMASK, oldMask, true);
  bytes.set(pending.info, INFO);

  const fp = new DataView(xsave.buffer, xsave.byteOffset, xsave.byteLength);
  fp.setUint32(SW_RESERVED, XSTATE_MAGIC1, true);
  fp.setUint32(SW_RESERVED + 4, xsaveSize + 4, true);
  fp.setBigUint64(SW_RESERVED + 8, state.getBig(H.xcr0), true);
  fp.setUint32(SW_RESERVED + 16, xsaveSize, true);
  const magic2 = new Uint8Array(4);
  new DataView(magic2.buffer).setUint32(0, XSTATE_MAGIC2, true);
  try {
    k.mem.write(area, xsave.subarray(0, xsaveSize));
    k.mem.write(area + xsaveSize, magic2);
    k.mem.write(frame, bytes);
  } catch (error) {
    if (error instanceof GuestError) return false;
    throw error;
  }

  vcpu.set(R.rdi, pending.signal);
  vcpu.set(R.rsi, frame + INFO);
  vcpu.set(R.rdx, frame + UC);
  vcpu.set(R.rax, 0);
  vcpu.set(R.rsp, frame);
  vcpu.set(R.rip, action.handler);
  vcpu.setBig(R.rflags, vcpu.big(R.rflags) & FLAGS_CLEAR);

  const bit = action.flags & SA_NODEFER ? 0n : signalBit(pending.signal);
  k.signals.setMask(k.slot, k.signals.mask(k.slot) | action.mask | bit);
  state.i32[record + T.hasSavedMask] = 0;
  if (altFlags & SS_AUTODISARM && useAlt) {
    state.setU64(record + T.altStackSize, 0);
    state.u32[record + T.altStackFlags] = SS_DISABLE;
  }
  if (action.flags & SA_RESETHAND) k.signals.setAction(pending.signal, { ...action, handler: 0 });
  return true;
}

/** rt_sigreturn(2): all registers from the frame at RSP. False when the frame cannot be read or is not a possible state: SIGSEGV. */
export function leaveHandler(k: Kernel): boolean {
  const { vcpu, state, record } = k;
  // `ret` of the handler has taken the return address off: RSP points at the ucontext.
  const uc = vcpu.get(R.rsp);
  let view: DataView;
  try {
    const bytes = k.mem.bytes(uc, 304);
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const area = Number(view.getBigUint64(40 + 184, true));
    if (area) restoreFpu(k, area);
  } catch (error) {
    if (error instanceof GuestError) return false;
    throw error;
  }
  const rip = Number(view.getBigUint64(40 + 16 * 8, true));
  // Not USER_END: a signal may have interrupted the vDSO, which lies above it. What ring 3 may not run there faults when it is reached.
  if (rip >= CANONICAL_END) return false;
  for (const [i, register] of SAVED.entries()) vcpu.setBig(register, view.getBigUint64(40 + i * 8, true));
  vcpu.setBig(R.rflags, (view.getBigUint64(40 + 136, true) & FLAGS_USER) | 0x202n);
  k.signals.setMask(k.slot, view.getBigUint64(296, true));
  // As sigaltstack(2) would take it: what is no valid stack leaves the old one (restore_altstack).
  const flags = view.getUint32(24, true);
  const mode = flags & ~SS_AUTODISARM;
  const size = view.getBigUint64(32, true);
  const off = mode === SS_DISABLE;
  if (off || ((mode === 0 || mode === SS_ONSTACK) && size >= BigInt(MINSIGSTKSZ))) {
    state.setBig(record + T.altStack, off ? 0n : view.getBigUint64(16, true));
    state.setBig(record + T.altStackSize, off ? 0n : size);
    state.u32[record + T.altStackFlags] = off ? SS_DISABLE : (flags & SS_AUTODISARM) >>> 0;
  }
  return true;
}

/** Loads the XSAVE area at `area`; what the CPU could refuse (reserved bits) is masked first, as fpu__restore_sig does. Throws EFAULT. */
function restoreFpu(k: Kernel, area: number): void {
  if (area % 64 !== 0) throw new GuestError(14);
  const wanted = Math.min(4096, k.state.u32[H.xsaveSize]!);
  const full = new Uint8Array(4096);
  const legacy = k.mem.bytes(area, LEGACY);
  full.set(legacy);
  const view = new DataView(full.buffer);
  const size = view.getUint32(SW_RESERVED + 16, true);
  const extended = view.getUint32(SW_RESERVED, true) === XSTATE_MAGIC1 && size === wanted && k.mem.u32(area + size) === XSTATE_MAGIC2;
  if (extended) {
    full.set(k.mem.bytes(area + LEGACY, size - LEGACY), LEGACY);
    view.setBigUint64(512, view.getBigUint64(512, true) & k.state.getBig(H.xcr0), true);
    full.fill(0, 520, 576); // XCOMP_BV and reserved: standard format
  } else view.setBigUint64(512, 3n, true);
  full.fill(0, SW_RESERVED, LEGACY);
  view.setUint32(24, view.getUint32(24, true) & 0xffff, true); // MXCSR
  k.vcpu.setXsave(full);
}
