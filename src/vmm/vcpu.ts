/** One vCPU: its kvm_run page, registers through KVM_CAP_SYNC_REGS, and the state that is set once. */
import * as K from "../abi/kvm.ts";
import { NR } from "../abi/nr.ts";
import { type Gate, viewMemory } from "../host/gate.ts";
import { HostError } from "../host/host-error.ts";
import { structIoctl } from "../host/kvm.ts";
import type { Scratch } from "../host/memory.ts";

/** Register numbers in struct kvm_regs order. */
export const R = {
  rax: 0,
  rbx: 1,
  rcx: 2,
  rdx: 3,
  rsi: 4,
  rdi: 5,
  rsp: 6,
  rbp: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
  rip: 16,
  rflags: 17,
} as const;

const TWO_32 = 0x1_0000_0000;
const REGS = K.RUN.regs >> 2;

/** What a vCPU needs to know before its first instruction. All addresses are guest-virtual unless named otherwise. */
export interface VcpuSetup {
  /** Guest-physical address of the PML4. */
  readonly root: number;
  readonly gdt: number;
  readonly gdtLimit: number;
  readonly idt: number;
  readonly idtLimit: number;
  readonly tss: number;
  readonly tssLimit: number;
  readonly tssSelector: number;
  readonly syscallEntry: number;
  readonly star: bigint;
  readonly syscallMask: bigint;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
  readonly xcr0: number;
  /** Bytes of struct kvm_cpuid2. */
  readonly cpuid: Uint8Array;
  readonly userCode: number;
  readonly userData: number;
}

export class Vcpu {
  readonly fd: number;
  readonly run: DataView;
  /** kvm_run as 32-bit words. */
  readonly words: Uint32Array;
  private readonly gate: Gate;
  private readonly scratch: Scratch;
  private prepared = false;
  /** Base address of kvm_run. */
  readonly runAddress: number;

  constructor(gate: Gate, scratch: Scratch, fd: number, runSize: number) {
    this.gate = gate;
    this.scratch = scratch;
    this.fd = fd;
    this.runAddress = gate.sys(NR.mmap, 0, runSize, 3, 1, fd, 0);
    if (this.runAddress < 0) throw new HostError("mmap of kvm_run", -this.runAddress);
    const memory = viewMemory(this.runAddress, 4096);
    this.run = new DataView(memory);
    this.words = new Uint32Array(memory);
    this.words[K.RUN.validRegs >> 2] = K.KVM_SYNC_X86_REGS;
  }

  /** Runs the guest until it exits or this thread is woken. Returns the exit reason, or -errno. */
  enter(): number {
    const result = this.gate.wait(NR.ioctl, this.fd, K.KVM_RUN, 0);
    return result < 0 ? result : this.words[K.RUN.exitReason >> 2]!;
  }

  /** The low 32 bits of a register, unsigned. */
  low(register: number): number {
    return this.words[REGS + register * 2]!;
  }

  /** The high 32 bits of a register, unsigned. */
  high(register: number): number {
    return this.words[REGS + register * 2 + 1]!;
  }

  /** A register as an unsigned number; exact below 2^53. */
  get(register: number): number {
    return this.words[REGS + register * 2 + 1]! * TWO_32 + this.words[REGS + register * 2]!;
  }

  big(register: number): bigint {
    return (BigInt(this.high(register)) << 32n) | BigInt(this.low(register));
  }

  /** Sets a register from a number (negative ones as two's complement); takes effect at the next `enter`. */
  set(register: number, value: number): void {
    this.words[REGS + register * 2] = value >>> 0;
    this.words[REGS + register * 2 + 1] = Math.floor(value / TWO_32) >>> 0;
    this.words[K.RUN.dirtyRegs >> 2] = K.KVM_SYNC_X86_REGS;
  }

  setBig(register: number, value: bigint): void {
    this.words[REGS + register * 2] = Number(value & 0xffffffffn);
    this.words[REGS + register * 2 + 1] = Number((value >> 32n) & 0xffffffffn);
    this.words[K.RUN.dirtyRegs >> 2] = K.KVM_SYNC_X86_REGS;
  }

  private ioctl(request: number, name: string, bytes: Uint8Array | null, size = 0): Uint8Array {
    return structIoctl(this.gate.sys, this.scratch, this.fd, request, name, bytes, size);
  }

  /** struct kvm_sregs, a copy. */
  sregs(): DataView {
    const bytes = this.ioctl(K.KVM_GET_SREGS, "KVM_GET_SREGS", null, K.SREGS.size);
    return new DataView(bytes.buffer, bytes.byteOffset, K.SREGS.size);
  }

  setSregs(sregs: DataView): void {
    this.ioctl(K.KVM_SET_SREGS, "KVM_SET_SREGS", new Uint8Array(sregs.buffer, sregs.byteOffset, K.SREGS.size));
  }

  /** Changes the FS or GS base (K.SREGS.fs or .gs). */
  setSegmentBase(segment: number, base: bigint): void {
    const sregs = this.sregs();
    sregs.setBigUint64(segment, base, true);
    this.setSregs(sregs);
  }

  /** FS and GS bases, which ring 3 may have changed by itself (wrfsbase). */
  segmentBases(): { fs: bigint; gs: bigint } {
    const sregs = this.sregs();
    return { fs: sregs.getBigUint64(K.SREGS.fs, true), gs: sregs.getBigUint64(K.SREGS.gs, true) };
  }

  /** XSAVE area in the CPU's own layout, `size` bytes (KVM_CAP_XSAVE2, or 4096). */
  xsave(size: number): Uint8Array {
    return size > 4096
      ? this.ioctl(K.KVM_GET_XSAVE2, "KVM_GET_XSAVE2", null, size)
      : this.ioctl(K.KVM_GET_XSAVE, "KVM_GET_XSAVE", null, 4096);
  }

  setXsave(area: Uint8Array): void {
    this.ioctl(K.KVM_SET_XSAVE, "KVM_SET_XSAVE", area);
  }

  /** Sets everything but the general registers: long mode, ring 3, tables, MSRs, CPUID, XCR0, time-stamp counter equal to the host's. */
  setup(s: VcpuSetup): void {
    // Once: KVM refuses any change after the first KVM_RUN, and its own (OSXSAVE) counts as one.
    if (!this.prepared) this.ioctl(K.KVM_SET_CPUID2, "KVM_SET_CPUID2", s.cpuid);
    this.prepared = true;
    const sregs = this.sregs();
    const segment = (
      offset: number,
      base: bigint,
      limit: number,
      selector: number,
      type: number,
      dpl: number,
      db: number,
      system: number,
      l: number,
      g: number,
    ) => {
      sregs.setBigUint64(offset, base, true);
      sregs.setUint32(offset + 8, limit, true);
      sregs.setUint16(offset + 12, selector, true);
      for (const [i, value] of [type, 1, dpl, db, system, l, g, 0, 0, 0].entries()) sregs.setUint8(offset + 14 + i, value);
    };
    segment(K.SREGS.cs, 0n, 0xffffffff, s.userCode, 11, 3, 0, 1, 1, 1);
    for (const data of [K.SREGS.ds, K.SREGS.es, K.SREGS.ss]) segment(data, 0n, 0xffffffff, s.userData, 3, 3, 1, 1, 0, 1);
    segment(K.SREGS.fs, s.fsBase, 0xffffffff, s.userData, 3, 3, 1, 1, 0, 1);
    segment(K.SREGS.gs, s.gsBase, 0xffffffff, s.userData, 3, 3, 1, 1, 0, 1);
    segment(K.SREGS.tr, BigInt(s.tss), s.tssLimit, s.tssSelector, 11, 0, 0, 0, 0, 0);
    sregs.setBigUint64(K.SREGS.gdt, BigInt(s.gdt), true);
    sregs.setUint16(K.SREGS.gdt + 8, s.gdtLimit, true);
    sregs.setBigUint64(K.SREGS.idt, BigInt(s.idt), true);
    sregs.setUint16(K.SREGS.idt + 8, s.idtLimit, true);
    sregs.setBigUint64(K.SREGS.cr0, 0x80050033n, true); // PG AM WP NE ET MP PE
    sregs.setBigUint64(K.SREGS.cr3, BigInt(s.root), true);
    sregs.setBigUint64(K.SREGS.cr4, 0x50620n, true); // OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PAE
    sregs.setBigUint64(K.SREGS.efer, 0xd01n, true); // NXE LMA LME SCE
    this.setSregs(sregs);

    const xcrs = new DataView(new ArrayBuffer(392));
    xcrs.setUint32(0, 1, true);
    xcrs.setUint32(16, s.xcr0, true);
    this.ioctl(K.KVM_SET_XCRS, "KVM_SET_XCRS", new Uint8Array(xcrs.buffer));

    this.setMsrs([
      [K.MSR_STAR, s.star],
      [K.MSR_LSTAR, BigInt(s.syscallEntry)],
      [K.MSR_SFMASK, s.syscallMask],
    ]);
    this.alignTsc();
  }

  setMsrs(values: readonly (readonly [number, bigint])[]): void {
    const msrs = new DataView(new ArrayBuffer(8 + values.length * 16));
    msrs.setUint32(0, values.length, true);
    for (const [i, [index, value]] of values.entries()) {
      msrs.setUint32(8 + i * 16, index, true);
      msrs.setBigUint64(16 + i * 16, value, true);
    }
    this.ioctl(K.KVM_SET_MSRS, "KVM_SET_MSRS", new Uint8Array(msrs.buffer));
  }

  /** Makes the guest's time-stamp counter the host's. PVM has no offset to set and says so; that is fine. */
  private alignTsc(): void {
    const attribute = new DataView(new ArrayBuffer(24));
    attribute.setUint32(4, K.KVM_VCPU_TSC_CTRL, true);
    attribute.setBigUint64(8, BigInt(K.KVM_VCPU_TSC_OFFSET), true);
    attribute.setBigUint64(16, BigInt(this.scratch.address + 64), true);
    this.scratch.u8.set(new Uint8Array(attribute.buffer));
    this.scratch.view.setBigUint64(64, 0n, true);
    this.gate.sys(NR.ioctl, this.fd, K.KVM_SET_DEVICE_ATTR, this.scratch.address);
  }

  /** TSC frequency in kHz; 0 when KVM does not tell. */
  tscKhz(): number {
    return Math.max(0, this.gate.sys(NR.ioctl, this.fd, K.KVM_GET_TSC_KHZ, 0));
  }
}
