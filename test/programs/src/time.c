/* Clocks, sleeping, and the calls of the vDSO against the same calls made the long way. */
#include "harness.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

static long long ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }
static long long fast(clockid_t clock) {
  struct timespec t;
  CHECK(clock_gettime(clock, &t) == 0 && t.tv_nsec >= 0 && t.tv_nsec < 1000000000, "clock %d", clock);
  return ns(t);
}
static long long slow(clockid_t clock) {
  struct timespec t;
  CHECK(syscall(SYS_clock_gettime, clock, &t) == 0 && t.tv_nsec >= 0 && t.tv_nsec < 1000000000, "clock %d", clock);
  return ns(t);
}

/* The answer without a system call lies between two answers with one. Coarse clocks may lag by a tick. */
static void both_ways_agree(void) {
  static const struct {
    clockid_t clock;
    long long slack;
  } clocks[] = {{CLOCK_REALTIME, 2000},      {CLOCK_MONOTONIC, 2000},           {CLOCK_BOOTTIME, 2000}, {CLOCK_TAI, 2000}, {CLOCK_MONOTONIC_RAW, 2000},
                {CLOCK_REALTIME_COARSE, 20000000}, {CLOCK_MONOTONIC_COARSE, 20000000}};
  for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++)
    for (int round = 0; round < 100; round++) {
      long long before = slow(clocks[i].clock), between = fast(clocks[i].clock), after = slow(clocks[i].clock);
      CHECK(between >= before - clocks[i].slack && between <= after + clocks[i].slack, "clock %d: %lld %lld %lld", clocks[i].clock, before, between, after);
    }
}

static void monotonic(void) {
  static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE};
  for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
    long long last = fast(clocks[i]);
    for (int round = 0; round < 20000; round++) {
      long long now = fast(clocks[i]);
      CHECK(now >= last, "clock %d went back by %lld ns", clocks[i], last - now);
      last = now;
    }
  }
}

/* A time seen in one thread is never later than one that another thread reads afterwards. */
static volatile long long newest;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *reads_clock(void *argument) {
  for (int i = 0; i < 5000; i++) {
    pthread_mutex_lock(&mutex);
    long long now = fast(CLOCK_MONOTONIC);
    if (now < newest) _exit(3);
    newest = now;
    pthread_mutex_unlock(&mutex);
  }
  return argument;
}
static void monotonic_over_threads(void) {
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK_EQ(pthread_create(&threads[i], NULL, reads_clock, NULL), 0);
  for (int i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void old_calls(void) {
  struct timeval tv;
  time_t seconds = time(NULL), stored = 0;
  OK(gettimeofday(&tv, NULL));
  CHECK(tv.tv_sec - seconds >= 0 && tv.tv_sec - seconds <= 1);
  CHECK(tv.tv_usec >= 0 && tv.tv_usec < 1000000);
  CHECK_EQ(time(&stored), stored);
  long long real = fast(CLOCK_REALTIME);
  CHECK(real / 1000000000 - seconds >= 0 && real / 1000000000 - seconds <= 1);
  CHECK(seconds > 1700000000L, "%ld", seconds);
  CHECK(syscall(SYS_time, NULL) - seconds <= 1);
}

static void rate(void) {
  /* TSC-based and kernel time advance together: over 200 ms they agree to 2 ms. */
  long long a = slow(CLOCK_MONOTONIC), b = fast(CLOCK_MONOTONIC), c = fast(CLOCK_MONOTONIC_RAW), r = fast(CLOCK_REALTIME);
  usleep(200000);
  long long da = slow(CLOCK_MONOTONIC) - a, db = fast(CLOCK_MONOTONIC) - b, dc = fast(CLOCK_MONOTONIC_RAW) - c, dr = fast(CLOCK_REALTIME) - r;
  CHECK(llabs(da - db) < 2000000 && llabs(da - dc) < 2000000 && llabs(da - dr) < 2000000, "%lld %lld %lld %lld", da, db, dc, dr);
}

static void resolutions_and_errors(void) {
  struct timespec t;
  OK(clock_getres(CLOCK_MONOTONIC, &t));
  CHECK(t.tv_sec == 0 && t.tv_nsec >= 1 && t.tv_nsec <= 20000000);
  OK(clock_getres(CLOCK_REALTIME, NULL));
  CHECK_ERR(clock_gettime(12345, &t), EINVAL);
  CHECK_ERR(clock_getres(12345, &t), EINVAL);
  CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
  struct timespec bad = {0, 1000000000}, negative = {-1, 0};
  CHECK_ERR(nanosleep(&bad, NULL), EINVAL);
  CHECK_ERR(nanosleep(&negative, NULL), EINVAL);
  CHECK_EQ(clock_nanosleep(12345, 0, &negative, NULL), EINVAL);
  CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){0, 0}, NULL), 0); /* long past */
}

static void sleeping(void) {
  static const long lengths[] = {0, 1000, 1000000, 20000000, 110000000};
  for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    long long before = fast(CLOCK_MONOTONIC);
    OK(nanosleep(&(struct timespec){0, lengths[i]}, NULL));
    long long took = fast(CLOCK_MONOTONIC) - before;
    CHECK(took >= lengths[i] && took < lengths[i] + 500000000, "%ld: %lld", lengths[i], took);
  }
  struct timespec until;
  OK(clock_gettime(CLOCK_REALTIME, &until));
  until.tv_nsec += 30000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL), 0);
  CHECK(fast(CLOCK_REALTIME) >= ns(until));
}

/* Processor time grows while computing and hardly while sleeping. */
static void processor_time(void) {
  long long process = fast(CLOCK_PROCESS_CPUTIME_ID), thread = fast(CLOCK_THREAD_CPUTIME_ID), wall = fast(CLOCK_MONOTONIC);
  for (volatile long i = 0; i < 60000000; i++) {}
  long long elapsed = fast(CLOCK_MONOTONIC) - wall;
  process = fast(CLOCK_PROCESS_CPUTIME_ID) - process, thread = fast(CLOCK_THREAD_CPUTIME_ID) - thread;
  CHECK(thread > elapsed / 20 && thread <= elapsed + 20000000, "thread %lld wall %lld", thread, elapsed);
  CHECK(process > elapsed / 20, "process %lld wall %lld", process, elapsed);
  struct rusage usage;
  OK(getrusage(RUSAGE_SELF, &usage));
  CHECK(usage.ru_utime.tv_sec * 1000000L + usage.ru_utime.tv_usec > 0);
  CHECK(usage.ru_maxrss > 0);
  OK(getrusage(RUSAGE_THREAD, &usage));
  CHECK_ERR(getrusage(77, &usage), EINVAL);
  struct tms t;
  CHECK(times(&t) != -1);
  CHECK(clock() > 0);
  long long before = fast(CLOCK_THREAD_CPUTIME_ID);
  usleep(50000);
  CHECK(fast(CLOCK_THREAD_CPUTIME_ID) - before < 40000000);
}

static void where(void) {
  unsigned cpu = 999, node = 999, cpu2 = 999;
  cpu_set_t set, one;
  OK(sched_getaffinity(0, sizeof set, &set));
  for (int c = 0; c < CPU_SETSIZE; c++) {
    if (!CPU_ISSET(c, &set)) continue;
    CPU_ZERO(&one);
    CPU_SET(c, &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    OK(syscall(SYS_getcpu, &cpu2, &node, NULL));
    cpu = (unsigned)sched_getcpu(); /* by the vDSO */
    CHECK_EQ(cpu, c);
    CHECK_EQ(cpu2, c);
    CHECK(node < 64);
  }
  OK(sched_setaffinity(0, sizeof set, &set));
}

static void calendar(void) {
  time_t t = 1700000000;
  struct tm broken;
  char text[64];
  setenv("TZ", "UTC", 1);
  tzset();
  CHECK(localtime_r(&t, &broken) != NULL);
  CHECK(strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &broken) > 0 && strcmp(text, "2023-11-14 22:13:20") == 0, "%s", text);
}

PROGRAM(T(both_ways_agree), T(monotonic), T(monotonic_over_threads), T(old_calls), T(rate), T(resolutions_and_errors), T(sleeping), T(processor_time),
        T(where), T(calendar))
