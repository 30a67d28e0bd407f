/**
 * Auxiliary vector types. Sources: Linux include/uapi/linux/auxvec.h, arch/x86/include/uapi/asm/auxvec.h.
 * The vector is pairs of u64 (type, value) and ends with a pair of type AT_NULL.
 */
export const AT_NULL = 0;
export const AT_PHDR = 3;
export const AT_PHENT = 4;
export const AT_PHNUM = 5;
export const AT_PAGESZ = 6;
export const AT_BASE = 7;
export const AT_FLAGS = 8;
export const AT_ENTRY = 9;
export const AT_UID = 11;
export const AT_EUID = 12;
export const AT_GID = 13;
export const AT_EGID = 14;
export const AT_PLATFORM = 15;
/** x86: CPUID.1:EDX. */
export const AT_HWCAP = 16;
export const AT_CLKTCK = 17;
export const AT_SECURE = 23;
/** Address of 16 random bytes. */
export const AT_RANDOM = 25;
/** x86: HWCAP2_RING3MWAIT (1), HWCAP2_FSGSBASE (2); arch/x86/include/uapi/asm/hwcap2.h. */
export const AT_HWCAP2 = 26;
export const AT_EXECFN = 31;
/** Address of the vDSO's ELF header. */
export const AT_SYSINFO_EHDR = 33;
/** Bytes a signal frame may need on this CPU. */
export const AT_MINSIGSTKSZ = 51;
/** rseq(2): not offered by margay, so never in our vector; named here for tests that compare with the host's. */
export const AT_RSEQ_FEATURE_SIZE = 27;
export const AT_RSEQ_ALIGN = 28;

/** Frequency of times(2), always 100 for user space (USER_HZ). */
export const CLOCKS_PER_SEC = 100;
/** AT_PLATFORM on x86-64 (arch/x86/include/asm/elf.h). */
export const ELF_PLATFORM = "x86_64";
