/*
 * A hostile guest: threads that make random system calls with random, wrong and borderline arguments.
 * argv: SECONDS SEED THREADS [wild]. Ends with 0 after the time (a line says how many calls were made), or by whatever the calls
 * have done to it: a signal of its own is a fair end, a crash or hang of its monitor is not.
 * Gentle runs leave the program's own feet alone (its code, stacks, signal handlers) so that they last; wild ones do not: they survive
 * the faults that follow as long as a handler can run, and put their working memory back.
 * Run it with an empty environment in an empty directory: strings that name files elsewhere must not be near.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Never called: they change the machine or other processes, or only end or stop the caller. */
static const short excluded[] = {
    /* the machine */
    SYS_reboot, SYS_kexec_load, SYS_kexec_file_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_swapon, SYS_swapoff, SYS_mount, SYS_umount2,
    SYS_pivot_root, SYS_move_mount, SYS_open_tree, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr, SYS_sethostname, SYS_setdomainname,
    SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_iopl, SYS_ioperm, SYS_acct, SYS_quotactl, SYS_quotactl_fd, SYS_syslog,
    SYS_vhangup, SYS_sync, SYS_syncfs, SYS_bpf, SYS_perf_event_open, SYS_fanotify_init, SYS_lookup_dcookie, SYS_nfsservctl, SYS_add_key, SYS_keyctl,
    SYS_request_key, SYS_mlockall, SYS_userfaultfd, SYS_io_uring_setup, SYS_modify_ldt, SYS_chroot, SYS_unshare, SYS_setns, SYS_memfd_secret,
    /* the disk */
    SYS_fallocate,
    /* other processes */
    SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal, SYS_pidfd_open, SYS_pidfd_getfd, SYS_ptrace,
    SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise, SYS_process_mrelease, SYS_migrate_pages, SYS_move_pages, SYS_kcmp,
    SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr, SYS_setpriority, SYS_ioprio_set, SYS_prlimit64, SYS_setrlimit, SYS_setpgid,
    SYS_setsid, SYS_sched_setaffinity, SYS_shmctl, SYS_semctl, SYS_msgctl, SYS_shmget, SYS_semget, SYS_msgget,
    /* who we are: later calls would fail for lack of rights */
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid, SYS_setfsgid, SYS_capset, SYS_seccomp, SYS_prctl,
    SYS_personality, SYS_landlock_restrict_self,
    /* ends, copies or stops the caller */
    SYS_exit, SYS_exit_group, SYS_fork, SYS_vfork, SYS_clone, SYS_clone3, SYS_execve, SYS_execveat, SYS_pause, SYS_rt_sigsuspend, SYS_wait4, SYS_waitid,
    SYS_restart_syscall, 335 /* uretprobe */, 336 /* uprobe: both answer strangers with SIGILL */};

/* Left out of gentle runs: they pull the ground from under the program. */
static const short destructive[] = {SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_rt_sigreturn, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_arch_prctl,
                                    SYS_set_robust_list, SYS_set_tid_address, SYS_madvise, SYS_remap_file_pages, SYS_pkey_mprotect, SYS_rseq, SYS_close_range, SYS_shmat, SYS_shmdt};

static char usable[512], wild;
static unsigned char *scratch;
#define SCRATCH (2UL << 20)
static volatile int stop;
static volatile unsigned long made;

static _Thread_local uint64_t state;
static uint64_t rnd(void) { /* xorshift64* */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 2685821657736338717UL;
}

static long argument(void) {
  static const long special[] = {0, 1, -1, 2, 4096, 4095, 0x7fffffff, -2147483648L, 0x80000000L, 0xffffffffL, 0x100000000L, 0x7fffffffffffffffL, -0x7fffffffffffffffL - 1,
                                 0x7ffffffff000L, 0x7f8000000000L, 0x7fffffe00000L, -0x800000000000L, 0x800000000000L, 8, 16, 0x1000, 100 /* AT_FDCWD is -100 */, -100};
  switch (rnd() % 10) {
    case 0: return (long)rnd();
    case 1: return special[rnd() % (sizeof special / sizeof *special)];
    case 2:
    case 3: return (long)(rnd() % 24); /* a descriptor, a flag, a small count */
    case 4: return 1L << rnd() % 64;
    case 5: return (long)(scratch + rnd() % SCRATCH) & ~0xfffL;
    case 6: return (long)(scratch + SCRATCH - rnd() % 16); /* runs over the end: a page without access follows */
    case 7: return (long)(rnd() % 5000);
    default: return (long)(scratch + (rnd() % SCRATCH & ~7UL));
  }
}

/* Random bytes, with addresses and small numbers in between; no '/', so that no path leads out of the directory. */
static void fill(unsigned long words) {
  for (unsigned long i = 0; i < words; i++) {
    unsigned char *at = scratch + (rnd() % SCRATCH & ~7UL);
    uint64_t value = rnd() % 3 ? (uint64_t)argument() : rnd();
    memcpy(at, &value, 8);
    for (int b = 0; b < 8; b++)
      if (at[b] == '/') at[b] = '_';
  }
}

static _Thread_local sigjmp_buf out;
static void recover(int number) { siglongjmp(out, number); }

/* A stack and handlers for the faults that wild calls bring upon a thread, and its working memory as it was. */
static void stand_up(void) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  static _Thread_local char *space;
  if (!space) space = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t stack = {.ss_sp = space, .ss_size = 65536};
  sigaltstack(&stack, NULL);
  struct sigaction act = {.sa_handler = recover, .sa_flags = SA_ONSTACK | SA_NODEFER};
  for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) sigaction(faults[i], &act, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  mmap(scratch, SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Most wild calls on memory aim at the working memory: those that hit everything end the program soon. */
static int aimed(long number, long *a, long *b) {
  switch (number) {
    case SYS_rt_sigreturn:
    case SYS_arch_prctl:
    case SYS_brk: return rnd() % 400 == 0;
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_mremap:
    case SYS_madvise:
    case SYS_remap_file_pages:
    case SYS_pkey_mprotect:
    case SYS_close_range:
    case SYS_shmat:
      if (rnd() % 100) {
        *a = (long)(scratch + (rnd() % SCRATCH & ~0xfffUL));
        *b = (long)(rnd() % (unsigned long)((long)(scratch + SCRATCH) - *a)) + 1;
      }
      return number != SYS_close_range;
    default: return 1;
  }
}

static void *fuzz(void *argument_) {
  uint64_t first = (uint64_t)argument_ * 0x9e3779b97f4a7c15UL + 1;
  state = first;
  if (wild) {
    volatile uint64_t falls = 0;
    if (sigsetjmp(out, 0)) state = first ^ (++falls * 0xbf58476d1ce4e5b9UL) ^ made;
    stand_up();
  }
  while (!stop) {
    long number = rnd() % 200 ? (long)(rnd() % 460) : (long)rnd(); /* sometimes a number that is none */
    if (number >= 0 && number < 512 ? !usable[number] : (uint32_t)number < 512) continue;
    long a = argument(), b = argument(), c = argument(), d = argument(), e = argument(), f = argument();
    if (wild && !aimed(number, &a, &b)) continue;
    if (number == SYS_mmap && (!wild || rnd() % 100)) d &= ~0x10L; /* MAP_FIXED */
    if (number == SYS_mmap && (unsigned long)b > 64UL << 20) b &= 0x3ffffff;
    if ((number == SYS_dup2 || number == SYS_dup3) && (unsigned)b < 3) continue;
    if (number == SYS_close && (unsigned)a < 3) continue;
    if (number == SYS_alarm) a = 1;
    /* what waits must end: short timeouts where the timeout is a number, none where it is a pointer to random bytes */
    if (number == SYS_poll || number == SYS_epoll_wait || number == SYS_epoll_pwait) *(number == SYS_poll ? &c : &d) = (long)(rnd() % 3);
    if (number == SYS_nanosleep || number == SYS_clock_nanosleep || number == SYS_futex || number == SYS_futex_waitv || number == SYS_flock || number == SYS_fcntl || number == SYS_semop || number == SYS_semtimedop ||
        number == SYS_rt_sigtimedwait || number == SYS_select || number == SYS_pselect6 || number == SYS_ppoll || number == SYS_epoll_pwait2 || number == SYS_io_getevents ||
        number == SYS_io_pgetevents || number == SYS_read || number == SYS_readv || number == SYS_recvfrom || number == SYS_recvmsg || number == SYS_recvmmsg || number == SYS_accept ||
        number == SYS_accept4 || number == SYS_mq_timedreceive || number == SYS_mq_timedsend || number == SYS_msgrcv || number == SYS_open || number == SYS_openat) {
      if (rnd() % 50) continue; /* may block this thread for good: rarely */
    }
    __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
    syscall(number, a, b, c, d, e, f);
    if (rnd() % 64 == 0) fill(64);
  }
  return NULL;
}

static void ignore(int number) { (void)number; }

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
  int threads = argc > 3 ? atoi(argv[3]) : 4;
  wild = argc > 4 && strcmp(argv[4], "wild") == 0;
  memset(usable, 1, sizeof usable);
  for (unsigned i = 0; i < sizeof excluded / sizeof *excluded; i++) usable[excluded[i]] = 0;
  if (!wild)
    for (unsigned i = 0; i < sizeof destructive / sizeof *destructive; i++) usable[destructive[i]] = 0;
  /* What a shell leaves open for its children may be the machine's own (/dev/null, found with the fuzzer's owner and mode). */
  syscall(SYS_close_range, 3, ~0U, 0);
  struct rlimit none = {0, 0}, small = {16 << 20, 16 << 20};
  setrlimit(RLIMIT_CORE, &none);
  setrlimit(RLIMIT_FSIZE, &small);
  static const int harmless[] = {SIGALRM, SIGPIPE, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGUSR1, SIGUSR2, SIGHUP};
  for (unsigned i = 0; i < sizeof harmless / sizeof *harmless; i++) signal(harmless[i], ignore);
  for (int i = SIGRTMIN; i <= SIGRTMAX; i++) signal(i, ignore);
  scratch = mmap(NULL, SCRATCH + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (scratch == MAP_FAILED || munmap(scratch + SCRATCH, 4096) != 0) return 2;
  state = seed;
  fill(SCRATCH / 16);
  for (int i = 0; i < threads; i++) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, fuzz, (void *)(seed * 100 + (uint64_t)i)) != 0) return 2;
  }
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    usleep(10000);
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
  stop = 1;
  char text[64];
  int n = snprintf(text, sizeof text, "%lu calls\n", made);
  if (write(1, text, (size_t)n) != n) _exit(3);
  _exit(0);
}
