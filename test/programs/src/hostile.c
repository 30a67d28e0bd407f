/* Wrong pointers and sizes in every call that takes them: EFAULT or EINVAL, nothing written, nobody hurt. */
#include "harness.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#define PAGE 4096UL

/* Addresses that must never work: low, unmapped, not canonical, the kernel's, at the end of the address space. */
static const uintptr_t bad[] = {1,
                                8,
                                0xfff,
                                0x7fffffffe000UL,
                                0x7ffffffff000UL,
                                0x800000000000UL,
                                0x8000000000000000UL,
                                0xffff800000000000UL,
                                0xffffffff81000000UL,
                                0xfffffffffffff000UL,
                                0xffffffffffffffffUL};
#define BADS (sizeof bad / sizeof *bad)

static int file, ends[2];
static void prepare(void) {
  file = OK(open("victim", O_CREAT | O_RDWR | O_TRUNC, 0600));
  CHECK_EQ(write(file, "0123456789", 10), 10);
  OK(pipe(ends));
  CHECK_EQ(write(ends[1], "0123456789", 10), 10);
}
static void finish(void) {
  close(file), close(ends[0]), close(ends[1]);
  OK(unlink("victim"));
}

/* A call with the address as one argument answers EFAULT for all of them. `P` marks the place. */
#define P 0x5a5a5a5a5a5a
static void faults(const char *name, long number, long a, long b, long c, long d, long e) {
  for (unsigned i = 0; i < BADS; i++) {
    long p = (long)bad[i];
    errno = 0;
    long r = syscall(number, a == P ? p : a, b == P ? p : b, c == P ? p : c, d == P ? p : d, e == P ? p : e, 0);
    CHECK(r == -1 && errno == EFAULT, "%s with %#lx: %ld", name, p, r);
  }
}
#define FAULTS(call, a, b, c, d, e) faults(#call, SYS_##call, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

static void buffers(void) {
  prepare();
  FAULTS(write, ends[1], P, 10, 0, 0);
  FAULTS(pwrite64, file, P, 10, 0, 0);
  FAULTS(read, ends[0], P, 10, 0, 0);
  FAULTS(pread64, file, P, 10, 0, 0);
  FAULTS(getrandom, P, 16, 0, 0, 0);
  FAULTS(getcwd, P, 4096, 0, 0, 0);
  int here = OK(open(".", O_RDONLY | O_DIRECTORY));
  FAULTS(readlink, "/proc/self/exe", P, 100, 0, 0);
  FAULTS(getdents64, here, P, 4096, 0, 0);
  close(here);
  struct stat s;
  OK(fstat(file, &s));
  CHECK_EQ(s.st_size, 10);
  finish();
}

static void paths(void) {
  prepare();
  char target[64];
  FAULTS(open, P, O_RDONLY, 0, 0, 0);
  FAULTS(openat, AT_FDCWD, P, O_RDONLY, 0, 0);
  FAULTS(stat, P, target, 0, 0, 0);
  FAULTS(lstat, P, target, 0, 0, 0);
  FAULTS(newfstatat, AT_FDCWD, P, target, 0, 0);
  FAULTS(statx, AT_FDCWD, P, 0, STATX_BASIC_STATS, target);
  FAULTS(access, P, 0, 0, 0, 0);
  FAULTS(unlink, P, 0, 0, 0, 0);
  FAULTS(mkdir, P, 0700, 0, 0, 0);
  FAULTS(rmdir, P, 0, 0, 0, 0);
  FAULTS(rename, "victim", P, 0, 0, 0);
  FAULTS(rename, P, "victim2", 0, 0, 0);
  FAULTS(link, "victim", P, 0, 0, 0);
  FAULTS(symlink, P, "victim2", 0, 0, 0);
  FAULTS(readlink, P, target, 10, 0, 0);
  FAULTS(chdir, P, 0, 0, 0, 0);
  FAULTS(chmod, P, 0600, 0, 0, 0);
  FAULTS(truncate, P, 0, 0, 0, 0);
  FAULTS(memfd_create, P, 0, 0, 0, 0);
  finish();
}

static void structures(void) {
  prepare();
  struct timespec zero = {0, 0};
  FAULTS(fstat, file, P, 0, 0, 0);
  FAULTS(stat, "victim", P, 0, 0, 0);
  FAULTS(statx, file, "", AT_EMPTY_PATH, STATX_BASIC_STATS, P);
  FAULTS(statfs, ".", P, 0, 0, 0);
  FAULTS(uname, P, 0, 0, 0, 0);
  FAULTS(sysinfo, P, 0, 0, 0, 0);
  FAULTS(getrlimit, RLIMIT_STACK, P, 0, 0, 0);
  FAULTS(prlimit64, 0, RLIMIT_STACK, P, 0, 0);
  FAULTS(getrusage, RUSAGE_SELF, P, 0, 0, 0);
  FAULTS(clock_gettime, CLOCK_MONOTONIC, P, 0, 0, 0);
  FAULTS(clock_getres, CLOCK_MONOTONIC, P, 0, 0, 0);
  FAULTS(gettimeofday, P, 0, 0, 0, 0);
  FAULTS(nanosleep, P, 0, 0, 0, 0);
  FAULTS(clock_nanosleep, CLOCK_MONOTONIC, 0, P, 0, 0);
  FAULTS(times, P, 0, 0, 0, 0);
  FAULTS(pipe2, P, 0, 0, 0, 0);
  FAULTS(socketpair, AF_UNIX, SOCK_STREAM, 0, P, 0);
  FAULTS(poll, P, 1, 0, 0, 0);
  FAULTS(ppoll, P, 1, &zero, 0, 0);
  FAULTS(select, 5, P, 0, 0, 0);
  FAULTS(rt_sigaction, SIGUSR1, P, 0, 8, 0);
  FAULTS(rt_sigaction, SIGUSR1, 0, P, 8, 0);
  FAULTS(rt_sigprocmask, SIG_BLOCK, P, 0, 8, 0);
  FAULTS(rt_sigprocmask, SIG_BLOCK, 0, P, 8, 0);
  FAULTS(rt_sigpending, P, 8, 0, 0, 0);
  FAULTS(rt_sigtimedwait, P, 0, &zero, 8, 0);
  FAULTS(rt_sigsuspend, P, 8, 0, 0, 0);
  FAULTS(sigaltstack, P, 0, 0, 0, 0);
  FAULTS(sigaltstack, 0, P, 0, 0, 0);
  FAULTS(setitimer, 0, P, 0, 0, 0);
  FAULTS(getitimer, 0, P, 0, 0, 0);
  FAULTS(timer_create, CLOCK_MONOTONIC, P, &zero, 0, 0);
  FAULTS(sched_getaffinity, 0, 128, P, 0, 0);
  FAULTS(sched_setaffinity, 0, 128, P, 0, 0);
  FAULTS(sched_getparam, 0, P, 0, 0, 0);
  FAULTS(getresuid, P, P, P, 0, 0);
  FAULTS(prctl, 16 /* PR_GET_NAME */, P, 0, 0, 0);
  FAULTS(fcntl, file, F_GETLK, P, 0, 0);
  FAULTS(ioctl, ends[0], 0x541b /* FIONREAD */, P, 0, 0);
  int ep = OK(epoll_create1(0));
  FAULTS(epoll_ctl, ep, EPOLL_CTL_ADD, ends[0], P, 0);
  struct epoll_event event = {.events = EPOLLIN};
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, ends[0], &event));
  FAULTS(epoll_wait, ep, P, 1, 0, 0);
  close(ep);
  finish();
}

static void vectors(void) {
  prepare();
  FAULTS(readv, ends[0], P, 1, 0, 0);
  FAULTS(writev, ends[1], P, 1, 0, 0);
  FAULTS(preadv, file, P, 2, 0, 0);
  for (unsigned i = 0; i < BADS; i++) {
    struct iovec one = {(void *)bad[i], 10};
    CHECK_ERR(writev(ends[1], &one, 1), EFAULT);
    CHECK_ERR(preadv(file, &one, 1, 0), EFAULT);
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK_ERR(sendmsg(pair[0], &message, 0), EFAULT);
    message.msg_iov = (void *)bad[i];
    CHECK_ERR(sendmsg(pair[0], &message, 0), EFAULT);
    CHECK_ERR(syscall(SYS_sendmsg, pair[0], bad[i], 0), EFAULT);
    CHECK_ERR(syscall(SYS_recvmsg, pair[1], bad[i], MSG_DONTWAIT), EFAULT);
    CHECK_ERR(syscall(SYS_sendto, pair[0], bad[i], 5, 0, NULL, 0), EFAULT);
    close(pair[0]), close(pair[1]);
  }
  finish();
}

/* Lengths near 2^31, 2^32, 2^63 and 2^64 with a good address. */
static void lengths(void) {
  prepare();
  char small[64];
  static const unsigned long sizes[] = {1UL << 63, ~0UL, (1UL << 63) - 1, 1UL << 62, 1UL << 57};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    unsigned long n = sizes[i];
    errno = 0;
    long r = syscall(SYS_write, file, small, n);
    CHECK(r == -1 ? errno == EFAULT || errno == EINVAL || errno == EFBIG : r > 0 && r < 0x7ffff000, "write of %#lx: %ld", n, r);
    struct iovec one = {small, n};
    errno = 0;
    r = syscall(SYS_writev, file, &one, 1);
    CHECK(r == -1 ? errno == EFAULT || errno == EINVAL || errno == EFBIG : r > 0, "writev of %#lx: %ld", n, r);
    CHECK_ERR(syscall(SYS_mmap, NULL, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK(syscall(SYS_munmap, 0x10000, n) == -1 && errno == EINVAL, "munmap of %#lx", n);
    r = syscall(SYS_mremap, 0x10000, PAGE, n, MREMAP_MAYMOVE, 0);
    CHECK(r == -1 && (errno == EFAULT || errno == EINVAL || errno == ENOMEM), "mremap to %#lx", n);
    r = syscall(SYS_mprotect, 0x10000, n, PROT_READ);
    CHECK(r == -1 && (errno == ENOMEM || errno == EINVAL), "mprotect of %#lx", n);
    r = syscall(SYS_madvise, 0x7ffffffff000, n, MADV_DONTNEED); /* from 0x10000 it would empty everything we have before it fails */
    CHECK(r == -1 && (errno == ENOMEM || errno == EINVAL), "madvise of %#lx", n);
    CHECK_ERR(syscall(SYS_readv, file, small, n | 0x10000000), EINVAL); /* the kernel looks at 32 bits of the count */
    CHECK_ERR(syscall(SYS_poll, small, n | 0x10000000, 0), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigprocmask, 0, small, NULL, n), EINVAL);
    CHECK_ERR(syscall(SYS_lseek, file, -5L, SEEK_SET), EINVAL);
  }
  OK(ftruncate(file, 10));
  finish();
}

/* What fits before the bad page counts, the rest is not touched. */
static void straddling(void) {
  prepare();
  unsigned char *at = OK(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(munmap(at + 2 * PAGE, PAGE));
  memset(at, 'x', 2 * PAGE);
  CHECK_EQ(pwrite(file, at + PAGE, 2 * PAGE, 0), PAGE);
  CHECK_EQ(pread(file, at + 2 * PAGE - 100, 200, 0), 100);
  CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, at + 2 * PAGE - 8), EFAULT);
  memset(at, 'x', 2 * PAGE);
  CHECK_ERR(syscall(SYS_open, at + 2 * PAGE - 4, O_RDONLY), EFAULT); /* no end of the string before the hole */
  at[2 * PAGE - 1] = 0;
  CHECK_ERR(syscall(SYS_open, at + 2 * PAGE - 4, O_RDONLY), ENOENT); /* and one that ends just in time */
  OK(mprotect(at, PAGE, PROT_READ));
  CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, at + 16), EFAULT);
  CHECK_EQ(pread(file, at + PAGE, 10, 0), 10);
  CHECK_ERR(pread(file, at, 10, 0), EFAULT);
  CHECK_ERR(pipe2((int *)(void *)(at + 2 * PAGE - 4), 0), EFAULT); /* and no descriptor leaks: */
  int next = OK(dup(0));
  CHECK_EQ(next, ends[1] + 1);
  close(next);
  OK(munmap(at, 2 * PAGE));
  finish();
}

/* The pages that belong to the kernel of the virtual node: natively the vDSO and nothing; they must not be removed, changed or read by it. */
static void own_foundations(void) {
  for (uintptr_t at = 0x7f8000000000UL; at < 0x800000000000UL; at += 0x1000000000UL) {
    char *fixed = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (fixed != MAP_FAILED) munmap(fixed, PAGE);
  }
  /* system calls still work, faults are still delivered */
  CHECK_EQ(syscall(SYS_getppid), getppid());
}

/* Descriptors and numbers out of range. */
static void numbers(void) {
  static const int fds[] = {-1, 9999, 1 << 20, 0x7fffffff, -2147483647 - 1};
  char small[64];
  struct stat s;
  for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++) {
    CHECK_ERR(read(fds[i], small, 1), EBADF);
    CHECK_ERR(write(fds[i], small, 1), EBADF);
    CHECK_ERR(fstat(fds[i], &s), EBADF);
    CHECK_ERR(lseek(fds[i], 0, SEEK_SET), EBADF);
    CHECK_ERR(fcntl(fds[i], F_GETFL), EBADF);
    CHECK_ERR(close(fds[i]), EBADF);
    CHECK_ERR(dup(fds[i]), EBADF);
    CHECK_ERR(ftruncate(fds[i], 0), EBADF);
    CHECK_ERR(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[i], 0), EBADF);
    CHECK_ERR(syscall(SYS_fsync, fds[i]), EBADF);
  }
  /* only the low 32 bits of a descriptor count */
  CHECK_EQ(syscall(SYS_fcntl, 0x500000000L | 1, F_GETFD), fcntl(1, F_GETFD));
}

/* rt_sigreturn with a frame of nonsense: a SIGSEGV that can be caught on another stack, not a crash of anything else. */
static sigjmp_buf out;
static volatile int caught;
static void catch(int number) {
  caught = number;
  siglongjmp(out, 1);
}
static void forged_frames(void) {
  static char space[65536];
  stack_t stack = {.ss_sp = space, .ss_size = sizeof space}, off = {.ss_flags = SS_DISABLE};
  struct sigaction act = {.sa_handler = catch, .sa_flags = SA_ONSTACK};
  OK(sigaltstack(&stack, NULL));
  OK(sigaction(SIGSEGV, &act, NULL));
  static const unsigned long fills[] = {0, ~0UL, 0x8000000000000000UL, 0xffff800000000000UL, 0x4141414141414141UL};
  for (volatile unsigned i = 0; i < sizeof fills / sizeof *fills; i++) {
    static unsigned long frame[1024] __attribute__((aligned(64)));
    for (unsigned w = 0; w < 1024; w++) frame[w] = fills[i];
    frame[8 + 37] = 0; /* uc_sigmask: were SIGSEGV blocked, the kernel would rightly kill us */
    frame[8 + 3] = ~0UL; /* uc_stack.ss_flags, not valid: the alternate stack stays */
    caught = 0;
    if (sigsetjmp(out, 1) == 0) __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" ::"r"(frame + 8) : "memory");
    CHECK_EQ(caught, SIGSEGV);
  }
  for (volatile unsigned i = 0; i < BADS; i++) { /* the stack pointer itself is bad */
    caught = 0;
    if (sigsetjmp(out, 1) == 0) __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" ::"r"(bad[i]) : "memory");
    CHECK_EQ(caught, SIGSEGV);
  }
  signal(SIGSEGV, SIG_DFL);
  OK(sigaltstack(&off, NULL));
}

PROGRAM(T(buffers), T(paths), T(structures), T(vectors), T(lengths), T(straddling), T(own_foundations), T(numbers), T(forged_frames))
