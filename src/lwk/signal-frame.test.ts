import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import {
  SA_NODEFER,
  SA_ONSTACK,
  SA_RESETHAND,
  SA_RESTORER,
  SI_USER,
  SIGUSR1,
  SIGUSR2,
  signalBit,
  SS_AUTODISARM,
  SS_DISABLE,
  SS_ONSTACK,
} from "../abi/signal.ts";
import { R } from "../vmm/vcpu.ts";
import type { Kernel } from "./kernel.ts";
import { enterHandler, leaveHandler } from "./signal-frame.ts";
import { type Action, makeInfo } from "./signals.ts";
import { H, T } from "./state.ts";
import { BASE, FakeMachine } from "./syscalls/fake-call.testing.ts";

const PAGE = 4096;
const PAGES = 32;
const XSAVE_SIZE = 832; // x87, SSE, AVX
const STACK = BASE + 16 * PAGE;
const HANDLER = 0x5555_5540_1000;
const RESTORER = 0x7f00_1234_5678;
const NO_TRAP = { errorCode: 0, vector: 0, address: 0n };
/** Offsets in the frame at RSP (struct rt_sigframe): ucontext, sigcontext, mask, siginfo. */
const UC = 8;
const CONTEXT = UC + 40;
const MASK = UC + 296;
const INFO = 312;

let m: FakeMachine;
let k: Kernel;
let registers: BigUint64Array;
let fpu: Uint8Array;

const action = (more: Partial<Action> = {}): Action => ({ handler: HANDLER, flags: SA_RESTORER, restorer: RESTORER, mask: 0n, ...more });
const pending = { signal: SIGUSR1, info: makeInfo(SIGUSR1, SI_USER, { pid: 12, uid: 34 }) };
const rsp = (): number => Number(registers[R.rsp]);
const frame = (offset: number): bigint => k.mem.big(rsp() + offset);
const altStack = (base: number, size: number, flags = 0): void => {
  k.state.setU64(k.record + T.altStack, base);
  k.state.setU64(k.record + T.altStackSize, size);
  k.state.u32[k.record + T.altStackFlags] = flags;
};
/** What the handler's `ret` does: the return address is popped and the restorer calls rt_sigreturn. */
const sigreturn = (): boolean => {
  registers[R.rsp]! += 8n;
  return leaveHandler(k);
};

beforeEach(() => {
  m = new FakeMachine(PAGES);
  k = m.kernel;
  registers = new BigUint64Array(18);
  fpu = new Uint8Array(4096);
  for (let i = 0; i < 18; i++) registers[i] = BigInt(i + 1) * 0x1111_1111_1111n;
  registers[R.rsp] = BigInt(STACK);
  registers[R.rip] = 0x5555_5540_2222n;
  registers[R.rflags] = 0x246n;
  for (let i = 0; i < 464; i++) fpu[i] = i & 0xff;
  fpu.set([0x80, 0x1f, 0, 0], 24); // MXCSR
  fpu.set([7, 0, 0, 0, 0, 0, 0, 0], 512);
  for (let i = 576; i < XSAVE_SIZE; i++) fpu[i] = (i * 7) & 0xff;
  k.state.setU64(H.xsaveSize, XSAVE_SIZE);
  k.state.setU64(H.xcr0, 7);
  altStack(0, 0, SS_DISABLE);
  Object.assign(k.vcpu, {
    get: (r: number) => Number(registers[r]!),
    big: (r: number) => registers[r]!,
    set: (r: number, value: number) => (registers[r] = BigInt.asUintN(64, BigInt(value))),
    setBig: (r: number, value: bigint) => (registers[r] = value),
    xsave: () => fpu.slice(),
    setXsave: (area: Uint8Array) => fpu.set(area),
  });
});

describe("enterHandler", () => {
  it("should call the handler as the ABI says: three arguments, aligned stack, return address, flags clear", () => {
    registers[R.rflags] = 0x1_0746n; // RF, DF, TF and others
    expect(enterHandler(k, pending, action(), NO_TRAP)).toBe(true);
    expect([registers[R.rdi], registers[R.rsi], registers[R.rdx], registers[R.rax]]).toEqual([
      BigInt(SIGUSR1),
      BigInt(rsp() + INFO),
      BigInt(rsp() + UC),
      0n,
    ]);
    expect(Number(registers[R.rip])).toBe(HANDLER);
    expect(rsp() % 16).toBe(8);
    expect(frame(0)).toBe(BigInt(RESTORER));
    expect(registers[R.rflags]! & 0x1_0500n).toBe(0n);
    expect(k.mem.i32(rsp() + INFO)).toBe(SIGUSR1);
    expect(k.mem.i32(rsp() + INFO + 16)).toBe(12);
  });

  it("should leave the red zone below the stack pointer alone", () => {
    k.mem.write(STACK - 4 * PAGE, new Uint8Array(4 * PAGE).fill(0xaa));
    enterHandler(k, pending, action(), NO_TRAP);
    expect([...k.mem.bytes(STACK - 128, 128)].every((b) => b === 0xaa)).toBe(true);
    expect(rsp()).toBeLessThan(STACK - 128 - XSAVE_SIZE);
  });

  it("should show registers, trap and mask where ucontext has them", () => {
    const before = registers.slice();
    k.signals.setMask(0, 0xf0f0n);
    enterHandler(k, pending, action({ mask: signalBit(SIGUSR2) }), { errorCode: 6, vector: 14, address: 0xdead_beefn });
    const order = [
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
      R.rflags,
    ];
    expect(order.map((_, i) => frame(CONTEXT + i * 8))).toEqual(order.map((r) => before[r]));
    expect([frame(CONTEXT + 144), frame(CONTEXT + 152), frame(CONTEXT + 160), frame(CONTEXT + 168), frame(CONTEXT + 176)]).toEqual([
      0x2b_0000_0000_0033n,
      6n,
      14n,
      k.signals.mask(0) & 0xf0f0n,
      0xdead_beefn,
    ]);
    expect(frame(MASK)).toBe(0xf0f0n & ~signalBit(9) & ~signalBit(19));
    expect(k.signals.mask(0)).toBe((0xf0f0n | signalBit(SIGUSR1) | signalBit(SIGUSR2)) & ~signalBit(9) & ~signalBit(19));
  });

  it("should put the XSAVE area at 64 bytes with both magic numbers", () => {
    enterHandler(k, pending, action(), NO_TRAP);
    const area = Number(frame(CONTEXT + 184));
    expect(area % 64).toBe(0);
    expect([k.mem.u32(area + 464), k.mem.u32(area + 468), k.mem.u64(area + 472), k.mem.u32(area + 480)]).toEqual([
      0x46505853,
      XSAVE_SIZE + 4,
      7,
      XSAVE_SIZE,
    ]);
    expect(k.mem.u32(area + XSAVE_SIZE)).toBe(0x46505845);
    expect(k.mem.bytes(area + 576, 256)).toEqual(fpu.slice(576, 832));
  });

  it("should keep the mask that sigsuspend replaced, and forget it", () => {
    k.signals.setMask(0, 0n);
    k.state.setBig(k.record + T.savedMask, 0xff00_0000n);
    k.state.i32[k.record + T.hasSavedMask] = 1;
    enterHandler(k, pending, action(), NO_TRAP);
    expect(frame(MASK)).toBe(0xff00_0000n);
    expect(k.state.i32[k.record + T.hasSavedMask]).toBe(0);
    expect(k.signals.mask(0)).toBe(signalBit(SIGUSR1));
  });

  it("should not block the signal with SA_NODEFER, and reset its action with SA_RESETHAND", () => {
    const a = action({ flags: SA_RESTORER | SA_NODEFER | SA_RESETHAND });
    k.signals.setAction(SIGUSR1, a);
    enterHandler(k, pending, a, NO_TRAP);
    expect(k.signals.mask(0)).toBe(0n);
    expect(k.signals.action(SIGUSR1).handler).toBe(0);
  });

  it("should say when the stack cannot take the frame, and change nothing", () => {
    for (const stack of [BASE + 100, 64, Number(2n ** 63n), 0x7fff_ffff_f000]) {
      registers[R.rsp] = BigInt(stack);
      const before = registers.slice();
      expect(enterHandler(k, pending, action(), NO_TRAP), `at ${stack}`).toBe(false);
      expect(registers).toEqual(before);
      expect(k.signals.mask(0)).toBe(0n);
    }
    registers[R.rsp] = BigInt(STACK);
    m.protect(15);
    expect(enterHandler(k, pending, action(), NO_TRAP)).toBe(false);
  });
});

describe("the alternate stack", () => {
  const ALT = BASE + 20 * PAGE;
  const onStack = action({ flags: SA_RESTORER | SA_ONSTACK });

  it("should be used when asked for, from its top, and shown in ucontext", () => {
    altStack(ALT, 4 * PAGE);
    enterHandler(k, pending, onStack, NO_TRAP);
    expect(rsp()).toBeGreaterThan(ALT);
    expect(rsp()).toBeLessThan(ALT + 4 * PAGE);
    expect([frame(UC + 16), k.mem.u32(rsp() + UC + 24), frame(UC + 32)]).toEqual([BigInt(ALT), 0, BigInt(4 * PAGE)]);
  });

  it("should not be used without SA_ONSTACK or when disabled, and go on downwards when in use", () => {
    altStack(ALT, 4 * PAGE);
    enterHandler(k, pending, action(), NO_TRAP);
    expect(rsp()).toBeLessThan(STACK);
    registers[R.rsp] = BigInt(ALT + 3 * PAGE);
    enterHandler(k, pending, onStack, NO_TRAP);
    expect(rsp()).toBeLessThan(ALT + 3 * PAGE - 128);
    expect(rsp()).toBeGreaterThan(ALT);
    expect(k.mem.u32(rsp() + UC + 24)).toBe(SS_ONSTACK);
  });

  it("should be refused when it is too small for the frame", () => {
    altStack(ALT + PAGE, 600);
    expect(enterHandler(k, pending, onStack, NO_TRAP)).toBe(false);
  });

  it("should be off while a handler runs with SS_AUTODISARM, and come back with its return", () => {
    altStack(ALT, 4 * PAGE, SS_AUTODISARM);
    enterHandler(k, pending, onStack, NO_TRAP);
    expect(k.state.getU64(k.record + T.altStackSize)).toBe(0);
    expect(sigreturn()).toBe(true);
    expect([
      k.state.getU64(k.record + T.altStack),
      k.state.getU64(k.record + T.altStackSize),
      k.state.u32[k.record + T.altStackFlags],
    ]).toEqual([ALT, 4 * PAGE, SS_AUTODISARM]);
  });
});

describe("leaveHandler", () => {
  it("should bring back every register, the mask and the FPU, whatever they were", () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 18, maxLength: 18 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.nat(4000),
        (values, mask, shift) => {
          for (let i = 0; i < 18; i++) registers[i] = values[i]!;
          registers[R.rsp] = BigInt(STACK + shift);
          registers[R.rip] = values[R.rip]! % 2n ** 47n;
          registers[R.rflags] = (values[R.rflags]! & 0x50dd5n) | 0x202n;
          k.signals.setMask(0, mask);
          const before = { registers: registers.slice(), mask: k.signals.mask(0), fpu: fpu.slice() };
          expect(enterHandler(k, pending, action(), NO_TRAP)).toBe(true);
          fpu.fill(0xff, 0, 464);
          expect(sigreturn()).toBe(true);
          expect(registers).toEqual(before.registers);
          expect(k.signals.mask(0)).toBe(before.mask);
          expect(fpu.slice(0, 464)).toEqual(before.fpu.slice(0, 464));
          expect(fpu.slice(576, XSAVE_SIZE)).toEqual(before.fpu.slice(576, XSAVE_SIZE));
        },
      ),
      { numRuns: 50 },
    );
  });

  it("should refuse frames that cannot be: unreadable, a code address that is none, a crooked FPU area", () => {
    const enter = (): number => {
      registers[R.rsp] = BigInt(STACK);
      registers[R.rip] = 0x5555n;
      expect(enterHandler(k, pending, action(), NO_TRAP)).toBe(true);
      return rsp();
    };
    registers[R.rsp] = 0x10n;
    expect(leaveHandler(k)).toBe(false);
    registers[R.rsp] = 2n ** 64n - 8n;
    expect(leaveHandler(k)).toBe(false);
    for (const rip of [2n ** 47n, 2n ** 63n, 2n ** 64n - 1n]) {
      k.mem.setBig(enter() + CONTEXT + 128, rip);
      expect(sigreturn(), `rip ${rip}`).toBe(false);
    }
    k.mem.setBig(enter() + CONTEXT + 184, BigInt(STACK + 8));
    expect(sigreturn()).toBe(false);
    k.mem.setBig(enter() + CONTEXT + 184, 2n ** 63n);
    expect(sigreturn()).toBe(false);
  });

  it("should take only what ring 3 may set: flags, state components, MXCSR", () => {
    enterHandler(k, pending, action(), NO_TRAP);
    const area = Number(frame(CONTEXT + 184));
    k.mem.setBig(rsp() + CONTEXT + 136, 2n ** 64n - 1n); // all flags: IOPL, VM, VIF ...
    k.mem.setU32(area + 24, 0xffff_ffff);
    k.mem.setBig(area + 512, 2n ** 64n - 1n);
    k.mem.setBig(area + 520, 2n ** 64n - 1n);
    expect(sigreturn()).toBe(true);
    expect(registers[R.rflags]! & ~0x50fd7n).toBe(0n);
    expect(registers[R.rflags]! & 0x3000n).toBe(0n);
    const v = new DataView(fpu.buffer);
    expect([v.getUint32(24, true), v.getBigUint64(512, true), v.getBigUint64(520, true)]).toEqual([0xffff, 7n, 0n]);
  });

  it("should fall back to the legacy area when the magic number or the size is wrong", () => {
    for (const [offset, value] of [
      [464, 1],
      [480, 4096],
      [480, 0xffff_ffff],
      [XSAVE_SIZE, 0],
    ] as const) {
      registers[R.rsp] = BigInt(STACK);
      registers[R.rip] = 0x5555n;
      enterHandler(k, pending, action(), NO_TRAP);
      k.mem.setU32(Number(frame(CONTEXT + 184)) + offset, value);
      expect(sigreturn()).toBe(true);
      expect(new DataView(fpu.buffer).getBigUint64(512, true)).toBe(3n);
    }
  });
});
