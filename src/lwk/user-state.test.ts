import { beforeEach, describe, expect, it } from "vitest";
import { createGateArea, openGate } from "../host/gate.ts";
import type { GuestMemory } from "../vmm/guest-memory.ts";
import { R, type Vcpu } from "../vmm/vcpu.ts";
import {
  type Flavour,
  FRAME_CS,
  FRAME_RFLAGS,
  FRAME_RIP,
  FRAME_RSP,
  FRAME_SIZE,
  FRAME_SS,
  STACK_TOP,
  TRAP_STUB_PAGE,
  USER_CS,
  USER_DS,
} from "./boot/layout.ts";
import { IRET_STUB } from "./boot/stub.ts";
import { H, State, T } from "./state.ts";
import { UserState } from "./user-state.ts";

const BASE = 0x7fc0_0020_0000;
/** First page of the ring-0 stack in slot 0. */
const STACK_PAGE = 3;
const PROGRAM_RIP = 0x5555_5540_1234n;
const PROGRAM_RSP = 0x7ffc_1234_5670n;
const state = State.create(openGate(createGateArea(), 0).sys);
const record = state.thread(0);

let registers: BigUint64Array;
let tableBytes: Uint8Array;

/** The exception frame at the top of the ring-0 stack. */
const frame = (): DataView => new DataView(tableBytes.buffer, (STACK_PAGE + 2) * 4096 - FRAME_SIZE);

function make(flavour: Flavour): UserState {
  const vcpu = {
    get: (r: number) => Number(registers[r]!),
    big: (r: number) => registers[r]!,
    set: (r: number, value: number) => (registers[r] = BigInt.asUintN(64, BigInt(value))),
    setBig: (r: number, value: bigint) => (registers[r] = value),
  };
  const user = new UserState(state, { tableBytes } as GuestMemory, vcpu as unknown as Vcpu, flavour, record);
  user.fresh();
  return user;
}

/** An exception of ring 3: the CPU has pushed the frame and stands behind the `out` of a trap stub. */
function trapped(flags = 0x246n): void {
  const f = frame();
  f.setBigUint64(FRAME_RIP, PROGRAM_RIP, true);
  f.setBigUint64(FRAME_CS, BigInt(USER_CS), true);
  f.setBigUint64(FRAME_RFLAGS, flags, true);
  f.setBigUint64(FRAME_RSP, PROGRAM_RSP, true);
  f.setBigUint64(FRAME_SS, BigInt(USER_DS), true);
  new DataView(tableBytes.buffer).setUint32((STACK_PAGE + 2) * 4096 - FRAME_SIZE - 8, 6, true);
  registers[R.rip] = BigInt(BASE + TRAP_STUB_PAGE + 14 * 16 + 2);
  registers[R.rsp] = BigInt(BASE + STACK_TOP - FRAME_SIZE - 8);
}

beforeEach(() => {
  registers = new BigUint64Array(18);
  for (let i = 0; i < 18; i++) registers[i] = BigInt(i + 1);
  tableBytes = new Uint8Array(8 * 4096);
  state.setU64(H.lwkBase, BASE);
  state.i32[record + T.stackPage] = STACK_PAGE;
});

describe.each<Flavour>(["pvm", "textbook"])("after an exception (%s)", (flavour) => {
  it("should show the program's own registers, and put the changed ones on the way back", () => {
    const user = make(flavour);
    trapped();
    const stub = [registers[R.rip], registers[R.rsp]];
    user.captureTrap();
    expect([user.errorCode, user.fromRing0, user.known]).toEqual([6, false, true]);
    expect([registers[R.rip], registers[R.rsp], registers[R.rflags]]).toEqual([PROGRAM_RIP, PROGRAM_RSP, 0x246n]);
    expect(user.rip).toBe(Number(PROGRAM_RIP));
    registers[R.rip] = 0x4000n;
    registers[R.rsp] = 0x7000n;
    user.resume();
    expect([registers[R.rip], registers[R.rsp]]).toEqual(stub);
    const f = frame();
    expect([FRAME_RIP, FRAME_CS, FRAME_RSP, FRAME_SS].map((at) => f.getBigUint64(at, true))).toEqual([
      0x4000n,
      BigInt(USER_CS),
      0x7000n,
      BigInt(USER_DS),
    ]);
    expect(f.getBigUint64(FRAME_RFLAGS, true) & 0x202n).toBe(0x202n);
  });

  it("should be taken up again when the vCPU was not entered after all", () => {
    const user = make(flavour);
    trapped();
    user.captureTrap();
    registers[R.rsp] = 0x7000n;
    user.resume();
    user.recapture();
    expect([registers[R.rip], registers[R.rsp]]).toEqual([PROGRAM_RIP, 0x7000n]);
  });

  it("should tell an exception of the LWK's own pages", () => {
    const user = make(flavour);
    trapped();
    frame().setBigUint64(FRAME_CS, 0x10n, true);
    expect(user.fromRing0).toBe(true);
  });
});

describe("after a system call", () => {
  it("should leave the stub alone while only the result changes", () => {
    for (const flavour of ["pvm", "textbook"] as const) {
      const user = make(flavour);
      registers[R.rcx] = PROGRAM_RIP;
      const rip = registers[R.rip];
      user.captureCall();
      expect(user.rip).toBe(Number(PROGRAM_RIP));
      user.resume();
      expect(registers[R.rip]).toBe(rip);
    }
  });

  it("should make the registers the program's when they are to be changed: on PVM ring 3 goes on there", () => {
    const user = make("pvm");
    registers[R.rcx] = PROGRAM_RIP;
    registers[R.rflags] = 0x247n;
    user.captureCall();
    user.own();
    expect([registers[R.rip], registers[R.rflags]]).toEqual([PROGRAM_RIP, 0x247n]);
    user.resume();
    expect(registers[R.rip]).toBe(PROGRAM_RIP);
  });

  it("should go back through a frame on textbook, where ring 0 stands in the stub", () => {
    const user = make("textbook");
    registers[R.rcx] = PROGRAM_RIP;
    registers[R.r11] = 0x246n;
    registers[R.rsp] = PROGRAM_RSP;
    user.captureCall();
    user.own();
    expect([registers[R.rip], registers[R.rflags]]).toEqual([PROGRAM_RIP, 0x246n]);
    user.own();
    user.resume();
    expect(Number(registers[R.rip]) - BASE).toBe(IRET_STUB);
    expect(Number(registers[R.rsp])).toBe(BASE + STACK_TOP - FRAME_SIZE);
    expect([frame().getBigUint64(FRAME_RIP, true), frame().getBigUint64(FRAME_RSP, true)]).toEqual([PROGRAM_RIP, PROGRAM_RSP]);
    user.recapture();
    expect([registers[R.rip], registers[R.rsp]]).toEqual([PROGRAM_RIP, PROGRAM_RSP]);
  });
});

describe("after a stop", () => {
  it("should take the program's registers as they are, below and above the LWK's pages", () => {
    const user = make("textbook");
    for (const rip of [PROGRAM_RIP, BigInt(BASE - 1), BigInt(BASE + STACK_TOP), 0n]) {
      registers[R.rip] = rip;
      user.captureStop();
      user.resume();
      expect([user.known, registers[R.rip]]).toEqual([true, rip]);
    }
  });

  it("should let a trap stub report that has not come to its `out`, and take the frame behind it", () => {
    const user = make("pvm");
    trapped();
    registers[R.rip] = BigInt(BASE + TRAP_STUB_PAGE + 14 * 16);
    user.captureStop();
    expect(user.known).toBe(false);
    const at = registers[R.rip];
    user.resume();
    expect(registers[R.rip]).toBe(at);
    trapped();
    user.captureStop();
    expect([user.known, registers[R.rip], registers[R.rsp]]).toEqual([true, PROGRAM_RIP, PROGRAM_RSP]);
  });

  it("should take the frame at the `iretq` too", () => {
    const user = make("textbook");
    trapped();
    registers[R.rip] = BigInt(BASE + IRET_STUB);
    registers[R.rsp] = BigInt(BASE + STACK_TOP - FRAME_SIZE);
    user.captureStop();
    expect([registers[R.rip], registers[R.rsp]]).toEqual([PROGRAM_RIP, PROGRAM_RSP]);
    user.resume();
    expect([Number(registers[R.rip]) - BASE, Number(registers[R.rsp]) - BASE]).toEqual([IRET_STUB, STACK_TOP - FRAME_SIZE]);
  });
});
