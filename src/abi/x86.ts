/**
 * x86-64 as the processor manuals define it: bits and numbers only.
 *
 * "SDM" is Intel's Software Developer's Manual (order 325462, volume 3 unless said), "APM" is AMD's Architecture Programmer's
 * Manual (24593, volume 2). Values that live in the upper half of 64 bits are bigint; everything else is a number.
 */

/** Control register 0. SDM 2.5, APM 3.1.1. Add CR0_PG to the others instead of or-ing it: bit 31 makes JavaScript's `|` negative. */
export const CR0_PE = 1 << 0;
export const CR0_MP = 1 << 1;
export const CR0_EM = 1 << 2;
export const CR0_TS = 1 << 3;
export const CR0_ET = 1 << 4;
export const CR0_NE = 1 << 5;
export const CR0_WP = 1 << 16;
export const CR0_AM = 1 << 18;
export const CR0_PG = 0x8000_0000;

/** Control register 4. SDM 2.5, APM 3.1.3. */
export const CR4_DE = 1 << 3;
export const CR4_PAE = 1 << 5;
export const CR4_MCE = 1 << 6;
export const CR4_PGE = 1 << 7;
export const CR4_OSFXSR = 1 << 9;
export const CR4_OSXMMEXCPT = 1 << 10;
export const CR4_UMIP = 1 << 11;
export const CR4_FSGSBASE = 1 << 16;
export const CR4_PCIDE = 1 << 17;
export const CR4_OSXSAVE = 1 << 18;
export const CR4_SMEP = 1 << 20;
export const CR4_SMAP = 1 << 21;

/** Extended feature enable register. SDM 2.2.1, APM 3.1.7. */
export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;

/** RFLAGS. SDM volume 1, 3.4.3. */
export const RFLAGS_CF = 1 << 0;
/** Bit 1 always reads as one. */
export const RFLAGS_FIXED = 1 << 1;
export const RFLAGS_PF = 1 << 2;
export const RFLAGS_AF = 1 << 4;
export const RFLAGS_ZF = 1 << 6;
export const RFLAGS_SF = 1 << 7;
export const RFLAGS_TF = 1 << 8;
export const RFLAGS_IF = 1 << 9;
export const RFLAGS_DF = 1 << 10;
export const RFLAGS_OF = 1 << 11;
export const RFLAGS_IOPL = 3 << 12;
export const RFLAGS_NT = 1 << 14;
export const RFLAGS_RF = 1 << 16;
export const RFLAGS_VM = 1 << 17;
export const RFLAGS_AC = 1 << 18;
export const RFLAGS_ID = 1 << 21;

/** Model-specific registers. SDM volume 4, tables 2-2; APM appendix A. */
export const MSR_TSC = 0x10;
export const MSR_SYSENTER_CS = 0x174;
export const MSR_MISC_ENABLE = 0x1a0;
export const MSR_PAT = 0x277;
export const MSR_EFER = 0xc000_0080;
/** SYSCALL and SYSRET selectors: bits 47:32 and 63:48. */
export const MSR_STAR = 0xc000_0081;
/** RIP that SYSCALL jumps to in 64-bit mode. */
export const MSR_LSTAR = 0xc000_0082;
/** RIP that SYSCALL jumps to from compatibility mode. */
export const MSR_CSTAR = 0xc000_0083;
/** RFLAGS bits that SYSCALL clears (the register that SDM calls IA32_FMASK). */
export const MSR_SFMASK = 0xc000_0084;
export const MSR_FS_BASE = 0xc000_0100;
export const MSR_GS_BASE = 0xc000_0101;
export const MSR_KERNEL_GS_BASE = 0xc000_0102;
/** What RDTSCP and RDPID return in ecx. */
export const MSR_TSC_AUX = 0xc000_0103;

/** Page-table entry bits, the same at every level unless said. SDM 4.5, tables 4-15 to 4-20; APM 5.4. */
export const PTE_PRESENT = 1 << 0;
export const PTE_WRITE = 1 << 1;
export const PTE_USER = 1 << 2;
export const PTE_PWT = 1 << 3;
export const PTE_PCD = 1 << 4;
export const PTE_ACCESSED = 1 << 5;
/** Leaf entries only. */
export const PTE_DIRTY = 1 << 6;
/** Page size: this PDE maps 2 MiB, this PDPTE 1 GiB. In a 4 KiB PTE the bit is PAT. */
export const PTE_PS = 1 << 7;
export const PTE_GLOBAL = 1 << 8;
/** No execute; needs EFER.NXE. */
export const PTE_NX = 1n << 63n;
/** Bits 51:12, the physical address. */
export const PTE_ADDRESS = 0x000f_ffff_ffff_f000n;

/** Error code that a page fault pushes. SDM 4.7, figure 4-12. */
export const PF_PRESENT = 1 << 0;
export const PF_WRITE = 1 << 1;
export const PF_USER = 1 << 2;
export const PF_RESERVED = 1 << 3;
export const PF_FETCH = 1 << 4;

/** Exception vectors. SDM 6.3.1, table 6-1; APM 8.1, table 8-1. */
export const VECTOR_DE = 0;
export const VECTOR_DB = 1;
export const VECTOR_NMI = 2;
export const VECTOR_BP = 3;
export const VECTOR_OF = 4;
export const VECTOR_BR = 5;
export const VECTOR_UD = 6;
export const VECTOR_NM = 7;
export const VECTOR_DF = 8;
export const VECTOR_TS = 10;
export const VECTOR_NP = 11;
export const VECTOR_SS = 12;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;
export const VECTOR_MF = 16;
export const VECTOR_AC = 17;
export const VECTOR_MC = 18;
export const VECTOR_XM = 19;
export const VECTOR_VE = 20;
export const VECTOR_CP = 21;
export const VECTOR_HV = 28;
export const VECTOR_VC = 29;
export const VECTOR_SX = 30;

/** Vectors 0..31 belong to the processor. */
export const EXCEPTION_VECTORS = 32;

/**
 * Does the processor push an error code for this vector? SDM table 6-1 (8, 10-14, 17, 21); APM 8.2 adds 29 (#VC) and 30 (#SX).
 * A software `int n` never pushes one.
 */
export function hasErrorCode(vector: number): boolean {
  return vector === 8 || (vector >= 10 && vector <= 14) || vector === 17 || vector === 21 || vector === 29 || vector === 30;
}

/** Segment descriptor, access byte (byte 5). SDM 3.4.5, APM 4.8. */
export const DESC_ACCESSED = 1 << 0;
/** Data: writable. Code: readable. */
export const DESC_RW = 1 << 1;
export const DESC_CODE = 1 << 3;
/** 1 = code or data, 0 = system (TSS, LDT, gates). */
export const DESC_S = 1 << 4;
export const DESC_DPL3 = 3 << 5;
export const DESC_PRESENT = 1 << 7;
/** Segment descriptor, flags (high half of byte 6). */
export const DESC_LONG = 1 << 1;
export const DESC_DB = 1 << 2;
export const DESC_G = 1 << 3;

/** System descriptor types in 64-bit mode. SDM 3.5, table 3-2. */
export const TYPE_TSS64_BUSY = 0xb;
export const TYPE_INTERRUPT_GATE64 = 0xe;

/** 64-bit task state segment. SDM 8.7, figure 8-11; APM 12.2.5. Byte offsets. */
export const TSS_RSP0 = 4;
export const TSS_IST1 = 36;
export const TSS_IO_MAP_BASE = 102;
export const TSS_SIZE = 104;
/** One bit for each of 65536 ports; SDM volume 1, 19.5.2. A byte of ones must follow, because the processor always reads two. */
export const IO_BITMAP_SIZE = 8192;
