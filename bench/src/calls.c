// Cost of single calls, as the program sees them. `calls`.
// The answered ones should not leave the guest: getpid and gettid by the `syscall` instruction, clock_gettime through the vDSO.
// Each is timed in batches of about 10 ms; the figure is the median batch. Verified: pid and tid agree with libc's, time goes forward.
#define _GNU_SOURCE
#include "bench.h"
#include <sys/syscall.h>
#include <unistd.h>

#define BATCHES 11

static inline long call(long number) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "0"(number) : "rcx", "r11", "memory");
  return result;
}

/// Median cost of CODE in nanoseconds.
#define COST(name, CODE)                                              \
  static double name(void) {                                          \
    double batch[BATCHES], once = seconds();                          \
    for (int i = 0; i < 200; i++) { CODE; }                           \
    long n = (long)(0.01 / ((seconds() - once) / 200)) + 1;           \
    for (int b = 0; b < BATCHES; b++) {                               \
      double t = seconds();                                           \
      for (long i = 0; i < n; i++) { CODE; }                          \
      batch[b] = (seconds() - t) / (double)n * 1e9;                   \
    }                                                                 \
    return median(batch, BATCHES);                                    \
  }

static struct timespec now;
COST(getpid_cost, call(SYS_getpid))
COST(gettid_cost, call(SYS_gettid))
COST(sched_yield_cost, call(SYS_sched_yield))
COST(monotonic_cost, clock_gettime(CLOCK_MONOTONIC, &now))
COST(realtime_cost, clock_gettime(CLOCK_REALTIME, &now))
// The system call itself, for comparison: says whether the vDSO was used at all.
COST(real_clock_cost, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now))

static int time_goes_forward(void) {
  struct timespec earlier, later;
  clock_gettime(CLOCK_MONOTONIC, &earlier);
  for (int i = 0; i < 100000; i++, earlier = later) {
    clock_gettime(CLOCK_MONOTONIC, &later);
    if (later.tv_sec < earlier.tv_sec || (later.tv_sec == earlier.tv_sec && later.tv_nsec < earlier.tv_nsec)) return 0;
  }
  return 1;
}

int main(void) {
  int verified = call(SYS_getpid) == getpid() && call(SYS_gettid) == gettid() && time_goes_forward();
  printf("{\"getpid_us\": %.4f, \"gettid_us\": %.4f, \"sched_yield_us\": %.4f, \"monotonic_ns\": %.2f, \"realtime_ns\": %.2f, \"real_clock_ns\": %.1f, \"verified\": %s}\n",
         getpid_cost() / 1e3, gettid_cost() / 1e3, sched_yield_cost() / 1e3, monotonic_cost(), realtime_cost(), real_clock_cost(), verified ? "true" : "false");
  return verified ? 0 : 1;
}
