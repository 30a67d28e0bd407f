/** Resource limits and usage. Sources: include/uapi/asm-generic/resource.h, include/uapi/linux/resource.h, sysinfo.h, capability.h. */
export const RLIMIT_CPU = 0;
export const RLIMIT_FSIZE = 1;
export const RLIMIT_DATA = 2;
export const RLIMIT_STACK = 3;
export const RLIMIT_CORE = 4;
export const RLIMIT_NOFILE = 7;
export const RLIMIT_MEMLOCK = 8;
export const RLIMIT_AS = 9;
export const RLIMIT_SIGPENDING = 11;
export const RLIMIT_MSGQUEUE = 12;
export const RLIMIT_NICE = 13;
export const RLIMIT_RTPRIO = 14;
export const RLIMIT_RTTIME = 15;
export const RLIMIT_COUNT = 16;
/** No limit, as a u64. */
export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;
/** struct rlimit: soft u64, hard u64. */
export const RLIMIT_SIZE = 16;

export const RUSAGE_CHILDREN = -1;
export const RUSAGE_SELF = 0;
export const RUSAGE_THREAD = 1;
export const RUSAGE_SIZE = 144;
/** struct tms: four clock_t. */
export const TMS_SIZE = 32;

/** struct sysinfo: offsets. */
export const SYSINFO = { size: 112, uptime: 0, loads: 8, totalRam: 32, freeRam: 40, procs: 80, memUnit: 104 } as const;

/** struct utsname: six strings of 65 bytes. */
export const UTSNAME_SIZE = 390;

/** struct __user_cap_header_struct: version u32, pid i32; then one (version 1) or two (2, 3) sets of three words. */
export const CAPABILITY_VERSIONS: ReadonlyMap<number, number> = new Map([
  [0x19980330, 12],
  [0x20071026, 24],
  [0x20080522, 24],
]);
export const CAPABILITY_VERSION_3 = 0x20080522;
