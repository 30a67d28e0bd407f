/** Clocks and timers. Sources: include/uapi/linux/time.h, include/uapi/asm-generic/siginfo.h, include/linux/posix-timers.h. */
export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const CLOCK_PROCESS_CPUTIME_ID = 2;
export const CLOCK_THREAD_CPUTIME_ID = 3;
export const CLOCK_REALTIME_COARSE = 5;
export const CLOCK_MONOTONIC_COARSE = 6;
export const CLOCK_BOOTTIME = 7;
export const CLOCK_REALTIME_ALARM = 8;
export const CLOCK_TAI = 11;
/**
 * Negative clock ids are made of a process, a thread or a descriptor: `~id >> 3` is its number; of the low bits, 3 says descriptor, else bit 2 says
 * thread and bits 0-1 which time (0 profiling, 1 virtual, 2 scheduler).
 */
export const CLOCKFD = 3;
export const CPUCLOCK_PERTHREAD = 4;
export const CPUCLOCK_SCHED = 2;

export const TIMER_ABSTIME = 1;
export const SIGEV_SIGNAL = 0;
export const SIGEV_NONE = 1;
export const SIGEV_THREAD = 2;
export const SIGEV_THREAD_ID = 4;
/** struct sigevent: value u64, signal i32, notify i32, thread id i32. */
export const SIGEVENT = { size: 64, value: 0, signal: 8, notify: 12, tid: 16 } as const;
/** si_code of a POSIX timer's signal; siginfo then holds timer id, overrun, value at 16, 20, 24. */
export const SI_TIMER = -2;
/** Largest overrun that timer_getoverrun(2) tells (DELAYTIMER_MAX). */
export const DELAYTIMER_MAX = 0x7fff_ffff;

/** struct timespec and struct timeval: two i64. struct itimerval, itimerspec: interval, then value. */
export const TIMESPEC_SIZE = 16;
export const ITIMER_SIZE = 32;
export const TIMEX_SIZE = 208;
