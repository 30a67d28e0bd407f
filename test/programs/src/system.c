/* What the system says of itself and of the process: names, limits, ids, scheduling, randomness. */
#include "harness.h"
#include <pthread.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void names(void) {
  struct utsname u;
  OK(uname(&u));
  CHECK(strcmp(u.sysname, "Linux") == 0);
  CHECK(strcmp(u.machine, "x86_64") == 0);
  int major = atoi(u.release);
  CHECK(major >= 4 && major < 20, "%s", u.release); /* glibc refuses to run on less than 3.2 */
  char host[256];
  OK(gethostname(host, sizeof host));
  CHECK(strcmp(host, u.nodename) == 0);
}

static void information(void) {
  struct sysinfo info;
  OK(sysinfo(&info));
  CHECK(info.mem_unit >= 1 && info.totalram > 0 && info.freeram <= info.totalram);
  CHECK(info.uptime > 0 && info.procs >= 1);
  CHECK_EQ(sysconf(_SC_PAGESIZE), 4096);
  CHECK_EQ(getpagesize(), 4096);
  CHECK(sysconf(_SC_PHYS_PAGES) > 1000);
  CHECK(sysconf(_SC_AVPHYS_PAGES) > 1000);
  CHECK(sysconf(_SC_OPEN_MAX) >= 64);
  cpu_set_t set;
  OK(sched_getaffinity(0, sizeof set, &set));
  CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= CPU_COUNT(&set));
  CHECK(sysconf(_SC_NPROCESSORS_CONF) >= sysconf(_SC_NPROCESSORS_ONLN));
}

static void limits(void) {
  static const int all[] = {RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_STACK, RLIMIT_MEMLOCK, RLIMIT_SIGPENDING};
  struct rlimit a, b;
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
    OK(getrlimit(all[i], &a));
    CHECK(a.rlim_cur <= a.rlim_max, "resource %d", all[i]);
    OK(prlimit(0, all[i], NULL, &b));
    CHECK(a.rlim_cur == b.rlim_cur && a.rlim_max == b.rlim_max, "resource %d", all[i]);
  }
  OK(getrlimit(RLIMIT_STACK, &a));
  CHECK(a.rlim_cur >= 1 << 20);
  OK(getrlimit(RLIMIT_NOFILE, &a));
  b = (struct rlimit){20, a.rlim_max};
  OK(setrlimit(RLIMIT_NOFILE, &b)); /* in force at once */
  int files[32], n = 0;
  while (n < 32 && (files[n] = dup(0)) >= 0) n++;
  int error = errno;
  for (int i = 0; i < n; i++) close(files[i]);
  OK(setrlimit(RLIMIT_NOFILE, &a));
  CHECK(n < 20 && error == EMFILE, "%d more files, errno %d", n, error);
  CHECK_ERR(getrlimit(99, &a), EINVAL);
  b = (struct rlimit){5, 4};
  CHECK_ERR(setrlimit(RLIMIT_CORE, &b), EINVAL);
}

static void identity(void) {
  uid_t r, e, s;
  OK(getresuid(&r, &e, &s));
  CHECK(r == getuid() && e == geteuid());
  gid_t gr, ge, gs;
  OK(getresgid(&gr, &ge, &gs));
  CHECK(gr == getgid() && ge == getegid());
  CHECK(getpid() > 0 && getppid() >= 0);
  CHECK_EQ(syscall(SYS_getpid), getpid());
  CHECK(getpgrp() > 0 && getsid(0) >= 0);
  CHECK_EQ(getpgid(0), getpgrp());
  CHECK(getgroups(0, NULL) >= 0);
  OK(setuid(getuid())), OK(setgid(getgid()));
}

static void randomness(void) {
  unsigned char a[300], b[300];
  CHECK_EQ(getrandom(a, sizeof a, 0), sizeof a);
  CHECK_EQ(getrandom(b, sizeof b, GRND_NONBLOCK), sizeof b);
  CHECK(memcmp(a, b, sizeof a) != 0);
  int histogram[256] = {0}, distinct = 0;
  for (unsigned i = 0; i < sizeof a; i++) distinct += !histogram[a[i]]++;
  CHECK(distinct > 120, "%d distinct values of 300 bytes", distinct);
  OK(getentropy(a, 256));
  CHECK_EQ(getrandom(a, 0, 0), 0);
  CHECK_ERR(getrandom(a, 5, 0x1000), EINVAL);
  CHECK_ERR(syscall(SYS_getrandom, 8, 5, 0), EFAULT);
}

static void scheduling(void) {
  CHECK_EQ(sched_yield(), 0);
  struct sched_param param = {0};
  CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_OTHER);
  OK(syscall(SYS_sched_getparam, 0, &param));
  CHECK_EQ(param.sched_priority, 0);
  CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
  CHECK_EQ(sched_get_priority_min(SCHED_FIFO), 1);
  CHECK_EQ(sched_get_priority_max(SCHED_OTHER), 0);
  CHECK_ERR(sched_get_priority_max(99), EINVAL);
  OK(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &param));
  errno = 0;
  int nice_value = getpriority(PRIO_PROCESS, 0);
  CHECK(errno == 0 && nice_value >= -20 && nice_value < 20);
  OK(setpriority(PRIO_PROCESS, 0, nice_value));
  struct timespec slice;
  OK(sched_rr_get_interval(0, &slice));
  unsigned long mask[128];
  long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask); /* the raw call answers the size it wrote */
  CHECK(bytes > 0 && bytes % 8 == 0 && bytes <= 1024, "%ld", bytes);
  CHECK_ERR(syscall(SYS_sched_getaffinity, 0, 1, mask), EINVAL);
}

static void *name_of_thread(void *argument) {
  char name[16];
  (void)argument;
  if (prctl(PR_SET_NAME, "worker-of-test-too-long") != 0) _exit(3);
  if (prctl(PR_GET_NAME, name) != 0 || strcmp(name, "worker-of-test-") != 0) _exit(4);
  return NULL;
}
static void process_control(void) {
  char name[16] = {0}, before[16] = {0};
  OK(prctl(PR_GET_NAME, before));
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, name_of_thread, NULL), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  OK(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, before) == 0);
  OK(prctl(PR_SET_NAME, "renamed"));
  OK(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "renamed") == 0);
  OK(prctl(PR_SET_NAME, before));
  CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
  CHECK_ERR(prctl(987654), EINVAL);
  CHECK((personality(0xffffffff) & 0xff) == 0);
}

/* The feature bits decide which code libraries choose: what is announced must work. */
static void processor_features(void) {
  __builtin_cpu_init();
  printf("avx2 %d avx512f %d\n", !!__builtin_cpu_supports("avx2"), !!__builtin_cpu_supports("avx512f"));
  if (!__builtin_cpu_supports("avx")) return;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  CHECK((low & 7) == 7, "XCR0 %#x", low);
  if (__builtin_cpu_supports("avx512f")) CHECK((low & 0xe6) == 0xe6, "XCR0 %#x", low);
}

PROGRAM(T(names), T(information), T(limits), T(identity), T(randomness), T(scheduling), T(process_control), T(processor_features))
