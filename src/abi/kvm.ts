/** KVM ioctls, structure offsets and exit numbers, x86-64. Source: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h, Documentation/virt/kvm/api.rst. */
export const KVM_GET_API_VERSION = 0xae00;
export const KVM_CREATE_VM = 0xae01;
export const KVM_CHECK_EXTENSION = 0xae03;
export const KVM_GET_VCPU_MMAP_SIZE = 0xae04;
export const KVM_GET_SUPPORTED_CPUID = 0xc008ae05;
export const KVM_CREATE_VCPU = 0xae41;
export const KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
export const KVM_SET_TSS_ADDR = 0xae47;
export const KVM_RUN = 0xae80;
export const KVM_GET_REGS = 0x8090ae81;
export const KVM_SET_REGS = 0x4090ae82;
export const KVM_GET_SREGS = 0x8138ae83;
export const KVM_SET_SREGS = 0x4138ae84;
export const KVM_GET_MSRS = 0xc008ae88;
export const KVM_SET_MSRS = 0x4008ae89;
export const KVM_SET_CPUID2 = 0x4008ae90;
export const KVM_GET_VCPU_EVENTS = 0x8040ae9f;
export const KVM_SET_VCPU_EVENTS = 0x4040aea0;
export const KVM_GET_TSC_KHZ = 0xaea3;
export const KVM_GET_XSAVE = 0x9000aea4;
export const KVM_SET_XSAVE = 0x5000aea5;
export const KVM_GET_XSAVE2 = 0x9000aecf;
export const KVM_SET_XCRS = 0x4188aea7;
export const KVM_SET_DEVICE_ATTR = 0x4018aee1;

export const KVM_CAP_NR_VCPUS = 9;
export const KVM_CAP_NR_MEMSLOTS = 10;
export const KVM_CAP_XSAVE = 55;
export const KVM_CAP_XCRS = 56;
export const KVM_CAP_MAX_VCPUS = 66;
export const KVM_CAP_SYNC_REGS = 74;
export const KVM_CAP_IMMEDIATE_EXIT = 136;
export const KVM_CAP_XSAVE2 = 208;
export const KVM_CAP_MEMORY_FAULT_INFO = 232;

export const KVM_SYNC_X86_REGS = 1;
export const KVM_SYNC_X86_SREGS = 2;

export const KVM_MEM_READONLY = 2;

/** Attribute of a vCPU that sets its time-stamp counter's distance from the host's. */
export const KVM_VCPU_TSC_CTRL = 0;
export const KVM_VCPU_TSC_OFFSET = 0;

/** Byte offsets inside struct kvm_run. */
export const RUN = {
  immediateExit: 1,
  exitReason: 8,
  exit: 32,
  validRegs: 288,
  dirtyRegs: 296,
  /** struct kvm_regs: rax rbx rcx rdx rsi rdi rsp rbp r8 to r15 rip rflags, 8 bytes each. */
  regs: 304,
  /** struct kvm_sregs, 312 bytes. */
  sregs: 304 + 144,
} as const;

export const EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  MEMORY_FAULT: 39,
} as const;

/** Plain name of an exit reason. */
export function exitName(reason: number): string {
  for (const [name, value] of Object.entries(EXIT)) if (value === reason) return name;
  return `exit ${reason}`;
}

/** Offsets inside struct kvm_sregs. Segments are 24 bytes: base u64, limit u32, selector u16, type, present, dpl, db, s, l, g, avl, unusable. */
export const SREGS = {
  size: 312,
  cs: 0,
  ds: 24,
  es: 48,
  fs: 72,
  gs: 96,
  ss: 120,
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
} as const;

export const MSR_STAR = 0xc0000081;
export const MSR_LSTAR = 0xc0000082;
export const MSR_SFMASK = 0xc0000084;
export const MSR_KERNEL_GS_BASE = 0xc0000102;
