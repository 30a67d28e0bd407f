/**
 * Finds out what /dev/kvm can do by using it: opens it, makes a virtual machine with one vCPU, and runs a short loop in ring 0.
 * Everything it opens is closed again. Only for `margay doctor` and tests: a run makes its own virtual machine at once.
 */
import { statSync } from "node:fs";
import { EIO } from "../abi/errno.ts";
import * as K from "../abi/kvm.ts";
import { NR } from "../abi/nr.ts";
import { codeOfHostError, type ErrorCode } from "./error.ts";
import { createGateArea, openGate, type Sys, viewMemory } from "./gate.ts";
import { HostError } from "./host-error.ts";
import * as kvm from "./kvm.ts";
import { createScratch, mapAnonymous, RESERVE, type Scratch } from "./memory.ts";

export interface KvmDevice {
  readonly path: string;
  readonly present: boolean;
  /** Permission bits, as chmod takes them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface KvmCapability {
  readonly name: string;
  readonly number: number;
  /** What KVM_CHECK_EXTENSION answers: 0 = not there. */
  readonly value: number;
  /** margay cannot work without it. */
  readonly required: boolean;
  /** There, and with all the bits that margay uses. */
  readonly enough: boolean;
}

export interface KvmProbe {
  readonly device: KvmDevice;
  /** The first thing that failed; undefined when all went well. */
  readonly failure: { readonly code: ErrorCode; readonly text: string } | undefined;
  /** KVM_GET_API_VERSION, undefined when the device could not be opened. */
  readonly apiVersion: number | undefined;
  readonly capabilities: readonly KvmCapability[];
  /** Milliseconds that KVM_CREATE_VM and KVM_CREATE_VCPU took together. */
  readonly createMs: number | undefined;
  /** Instructions per second of the loop in ring 0. */
  readonly ring0Speed: number | undefined;
}

/** `bits`: what the value must contain; 0 = anything but zero. */
const WANTED: readonly { readonly name: string; readonly number: number; readonly required: boolean; readonly bits: number }[] = [
  { name: "SYNC_REGS", number: K.KVM_CAP_SYNC_REGS, required: true, bits: K.KVM_SYNC_X86_REGS | K.KVM_SYNC_X86_SREGS },
  { name: "IMMEDIATE_EXIT", number: K.KVM_CAP_IMMEDIATE_EXIT, required: true, bits: 0 },
  { name: "NR_MEMSLOTS", number: K.KVM_CAP_NR_MEMSLOTS, required: true, bits: 0 },
  { name: "MAX_VCPUS", number: K.KVM_CAP_MAX_VCPUS, required: true, bits: 0 },
  { name: "XSAVE", number: K.KVM_CAP_XSAVE, required: true, bits: 0 },
  { name: "XCRS", number: K.KVM_CAP_XCRS, required: true, bits: 0 },
  { name: "NR_VCPUS", number: K.KVM_CAP_NR_VCPUS, required: false, bits: 0 },
  { name: "XSAVE2", number: K.KVM_CAP_XSAVE2, required: false, bits: 0 },
  { name: "MEMORY_FAULT_INFO", number: K.KVM_CAP_MEMORY_FAULT_INFO, required: false, bits: 0 },
];

/** The only API version there has been since Linux 2.6.22; KVM's documentation tells programs to refuse any other. */
export const KVM_API_VERSION = 12;

/** The state of the device file alone; opens nothing. */
export function statKvm(path = "/dev/kvm"): KvmDevice {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return { path, present: false, mode: 0, uid: 0, gid: 0 };
  return { path, present: stat.isCharacterDevice(), mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
}

/** Probes /dev/kvm. Throws only what is a mistake of margay's; every failure of KVM is in the result. */
export function probeKvm(): KvmProbe {
  const probe: Mutable<KvmProbe> = {
    device: statKvm(),
    failure: undefined,
    apiVersion: undefined,
    capabilities: [],
    createMs: undefined,
    ring0Speed: undefined,
  };
  const gate = openGate(createGateArea(), 0);
  const { sys } = gate;
  const scratch = createScratch(gate);
  const open: number[] = [];
  const keep = (fd: number): number => {
    open.push(fd);
    return fd;
  };
  try {
    const device = keep(kvm.openKvm(sys, scratch));
    probe.apiVersion = kvm.apiVersion(sys, device);
    probe.capabilities = WANTED.map(({ name, number, required, bits }) => {
      const value = kvm.checkExtension(sys, device, number);
      return { name, number, value, required, enough: value > 0 && (value & bits) === bits };
    });
    const start = process.hrtime.bigint();
    const vm = keep(kvm.createVm(sys, device));
    const vcpu = keep(kvm.createVcpu(sys, vm, 0));
    probe.createMs = milliseconds(start);
    probe.ring0Speed = ring0Speed(sys, scratch, { device, vm, vcpu });
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    probe.failure = { code: codeOfHostError(error), text: error.message };
  } finally {
    for (const fd of open.reverse()) sys(NR.close, fd);
  }
  return probe;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const ROUNDS = 50_000;
const CODE_AT = 0x1000;
const MEMORY = 0x10000;

/** Real mode: 1: mov $ROUNDS,%ecx; 2: dec %ecx; jnz 2b; out %al,$0x10; jmp 1b */
const LOOP = [0x66, 0xb9, ROUNDS & 255, (ROUNDS >> 8) & 255, ROUNDS >> 16, 0, 0x66, 0x49, 0x75, 0xfc, 0xe6, 0x10, 0xeb, 0xf2];

/** The best of so many runs counts: the first one also pays for page faults, and others may use the CPU. */
const RUNS = 3;

/**
 * Runs the loop on the vCPU and returns its instructions per second. A processor does hundreds of millions, an interpreter two.
 * Each run ends with an exit for the `out`; any other ends the probe as a failed KVM_RUN.
 */
function ring0Speed(sys: Sys, scratch: Scratch, fds: { device: number; vm: number; vcpu: number }): number {
  // Intel processors without unrestricted guests need three pages for real mode; elsewhere this does nothing.
  sys(NR.ioctl, fds.vm, K.KVM_SET_TSS_ADDR, 0xfffb_d000);
  const memory = mapAnonymous(sys, MEMORY, 3, RESERVE);
  const size = kvm.runSize(sys, fds.device);
  const run = sys(NR.mmap, 0, size, 3, 1, fds.vcpu, 0);
  if (run < 0) throw new HostError("mmap of kvm_run", -run);
  try {
    new Uint8Array(viewMemory(memory, MEMORY)).set(LOOP, CODE_AT);
    kvm.setMemoryRegion(sys, scratch, fds.vm, 0, 0, MEMORY, memory);
    startAt(sys, scratch, fds.vcpu, CODE_AT);
    const kvmRun = new DataView(viewMemory(run, size));
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < RUNS; i++) {
      const start = process.hrtime.bigint();
      const result = sys(NR.ioctl, fds.vcpu, K.KVM_RUN, 0);
      best = Math.min(best, milliseconds(start));
      if (result < 0) throw new HostError("KVM_RUN", -result);
      const reason = kvmRun.getUint32(K.RUN.exitReason, true);
      if (reason !== K.EXIT.IO) throw new HostError("KVM_RUN", EIO, `a test loop in ring 0 ended with ${K.exitName(reason)}, not IO`);
    }
    return ((2 * ROUNDS) / best) * 1000;
  } finally {
    sys(NR.munmap, run, size);
    sys(NR.munmap, memory, MEMORY);
  }
}

/** Real mode, code segment at 0, `ip` next. */
function startAt(sys: Sys, scratch: Scratch, vcpu: number, ip: number): void {
  const sregs = kvm.structIoctl(sys, scratch, vcpu, K.KVM_GET_SREGS, "KVM_GET_SREGS", null, K.SREGS.size);
  const view = new DataView(sregs.buffer, sregs.byteOffset);
  view.setBigUint64(K.SREGS.cs, 0n, true);
  view.setUint16(K.SREGS.cs + 12, 0, true);
  kvm.structIoctl(sys, scratch, vcpu, K.KVM_SET_SREGS, "KVM_SET_SREGS", sregs);
  const regs = new Uint8Array(144);
  new DataView(regs.buffer).setBigUint64(128, BigInt(ip), true); // rip
  new DataView(regs.buffer).setBigUint64(136, 2n, true); // rflags: bit 1 is always set
  kvm.structIoctl(sys, scratch, vcpu, K.KVM_SET_REGS, "KVM_SET_REGS", regs);
}

function milliseconds(since: bigint): number {
  return Number(process.hrtime.bigint() - since) / 1e6;
}
