// Cost of single calls, as the program sees them. `calls`.
// The answered ones should not leave the guest: getpid and gettid by the `syscall` instruction, clock_gettime through the vDSO.
// Each is timed for 5 ms in each of 11 turns; the figure is the median turn. Verified: pid and tid agree with libc's, time goes forward.
#define _GNU_SOURCE
#include "bench.h"
#include <sys/syscall.h>
#include <unistd.h>

#define TURNS 11

static inline long call(long number) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "0"(number) : "rcx", "r11", "memory");
  return result;
}

/// Nanoseconds that CODE takes, over about 5 ms; the number of repetitions is found by a first few.
#define COST(name, CODE)                                              \
  static double name(void) {                                          \
    double once = seconds();                                          \
    for (int i = 0; i < 100; i++) { CODE; }                           \
    long n = (long)(0.005 / ((seconds() - once) / 100)) + 1;          \
    double t = seconds();                                             \
    for (long i = 0; i < n; i++) { CODE; }                            \
    return (seconds() - t) / (double)n * 1e9;                         \
  }

static struct timespec now;
COST(getpid_cost, call(SYS_getpid))
COST(gettid_cost, call(SYS_gettid))
COST(sched_yield_cost, call(SYS_sched_yield))
COST(monotonic_cost, clock_gettime(CLOCK_MONOTONIC, &now))
COST(realtime_cost, clock_gettime(CLOCK_REALTIME, &now))
// The system call itself, for comparison: says whether the vDSO was used at all.
COST(real_clock_cost, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now))

static const struct { const char *name; double (*cost)(void); } CALLS[] = {
    {"getpid_ns", getpid_cost},       {"gettid_ns", gettid_cost},     {"sched_yield_ns", sched_yield_cost},
    {"monotonic_ns", monotonic_cost}, {"realtime_ns", realtime_cost}, {"real_clock_ns", real_clock_cost}};
#define KINDS (sizeof CALLS / sizeof *CALLS)

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
  static double ns[KINDS][TURNS];
  for (int turn = 0; turn < TURNS; turn++) {
    take_turn("turn");
    for (size_t k = 0; k < KINDS; k++) ns[k][turn] = CALLS[k].cost();
  }
  take_turn("last");
  int verified = call(SYS_getpid) == getpid() && call(SYS_gettid) == gettid() && time_goes_forward();
  printf("{\"series\": {");
  for (size_t k = 0; k < KINDS; k++) {
    if (k) printf(", ");
    print_series(CALLS[k].name, ns[k], TURNS);
  }
  printf("}");
  for (size_t k = 0; k < KINDS; k++) printf(", \"%s\": %.2f", CALLS[k].name, median(ns[k], TURNS));
  printf(", \"verified\": %s}\n", verified ? "true" : "false");
  return verified ? 0 : 1;
}
