/** Typed calls on /dev/kvm: one function per ioctl that margay uses. All throw HostError. */
import * as K from "../abi/kvm.ts";
import { EINTR } from "../abi/errno.ts";
import { NR } from "../abi/nr.ts";
import type { Sys } from "./gate.ts";
import { HostError } from "./host-error.ts";
import { putString, type Scratch } from "./memory.ts";

const O_RDWR_CLOEXEC = 0o2000002;

function check(call: string, result: number): number {
  if (result < 0) throw new HostError(call, -result);
  return result;
}

/** Opens /dev/kvm. Errors: ENOENT, EACCES, EBUSY as open(2). */
export function openKvm(sys: Sys, scratch: Scratch): number {
  return check("open /dev/kvm", sys(NR.openat, -100, putString(scratch, "/dev/kvm"), O_RDWR_CLOEXEC, 0));
}

/** KVM_GET_API_VERSION: 12 on every kernel since 2.6.22. */
export function apiVersion(sys: Sys, kvm: number): number {
  return check("KVM_GET_API_VERSION", sys(NR.ioctl, kvm, K.KVM_GET_API_VERSION, 0));
}

/** Makes a virtual machine. Returns its descriptor. */
export function createVm(sys: Sys, kvm: number): number {
  // Waiting for its MMU notifier, the kernel may be interrupted by any signal.
  for (let i = 0; i < 100; i++) {
    const fd = sys(NR.ioctl, kvm, K.KVM_CREATE_VM, 0);
    if (fd !== -EINTR) return check("KVM_CREATE_VM", fd);
  }
  return check("KVM_CREATE_VM", sys(NR.ioctl, kvm, K.KVM_CREATE_VM, 0));
}

/** Value of a capability (0 = not there), asked of /dev/kvm or a virtual machine. */
export function checkExtension(sys: Sys, fd: number, capability: number): number {
  const result = sys(NR.ioctl, fd, K.KVM_CHECK_EXTENSION, capability);
  return result < 0 ? 0 : result;
}

/** Makes vCPU number `id`. Returns its descriptor. */
export function createVcpu(sys: Sys, vm: number, id: number): number {
  return check("KVM_CREATE_VCPU", sys(NR.ioctl, vm, K.KVM_CREATE_VCPU, id));
}

/** Bytes of struct kvm_run and what follows it. */
export function runSize(sys: Sys, kvm: number): number {
  return check("KVM_GET_VCPU_MMAP_SIZE", sys(NR.ioctl, kvm, K.KVM_GET_VCPU_MMAP_SIZE, 0));
}

/** Maps guest-physical [gpa, gpa + size) onto host memory. */
export function setMemoryRegion(
  sys: Sys,
  scratch: Scratch,
  vm: number,
  slot: number,
  gpa: number,
  size: number,
  hostAddress: number,
): void {
  scratch.u32[0] = slot;
  scratch.u32[1] = 0;
  scratch.view.setBigUint64(8, BigInt(gpa), true);
  scratch.view.setBigUint64(16, BigInt(size), true);
  scratch.view.setBigUint64(24, BigInt(hostAddress), true);
  check("KVM_SET_USER_MEMORY_REGION", sys(NR.ioctl, vm, K.KVM_SET_USER_MEMORY_REGION, scratch.address));
}

/** The CPUID leaves that KVM can give a guest: struct kvm_cpuid2 bytes. */
export function supportedCpuid(sys: Sys, scratch: Scratch, kvm: number): Uint8Array {
  const entries = 256;
  scratch.u32[0] = entries;
  scratch.u32[1] = 0;
  check("KVM_GET_SUPPORTED_CPUID", sys(NR.ioctl, kvm, K.KVM_GET_SUPPORTED_CPUID, scratch.address));
  return scratch.u8.slice(0, 8 + 40 * scratch.u32[0]!);
}

/** An ioctl whose argument is a structure: `bytes` go in through the scratch buffer; the result is read back with `size` bytes when wanted. */
export function structIoctl(
  sys: Sys,
  scratch: Scratch,
  fd: number,
  request: number,
  name: string,
  bytes: Uint8Array | null,
  size = 0,
): Uint8Array {
  if (bytes) scratch.u8.set(bytes);
  else scratch.u8.fill(0, 0, size);
  check(name, sys(NR.ioctl, fd, request, scratch.address));
  return size ? scratch.u8.slice(0, size) : scratch.u8.subarray(0, 0);
}
