// What every benchmark program shares: time, order statistics, page policy, and the one JSON line each prints on stdout.
#ifndef BENCH_H
#define BENCH_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HUGE (2UL << 20)

static inline double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/// Sorts `v` in place and returns its median.
static inline double median(double *v, size_t n) {
  qsort(v, n, sizeof *v, compare_doubles);
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/// The positive integer in argv[i], or `otherwise` when there is none. Ends the program with 2 on anything else.
static inline long argument(int argc, char **argv, int i, long otherwise) {
  if (i >= argc) return otherwise;
  char *end;
  long value = strtol(argv[i], &end, 10);
  if (*end || value <= 0) {
    fprintf(stderr, "%s: argument %d must be a positive number, not \"%s\"\n", argv[0], i, argv[i]);
    exit(2);
  }
  return value;
}

/// Lets two programs take turns (../lockstep.ts): with BENCH_TURNS set, prints `word` on a line of its own and waits for one byte on stdin before it goes on.
/// Call take_turn("turn") before each timed repetition and take_turn("last") after the last one, so that checking disturbs nobody.
static inline void take_turn(const char *word) {
  if (!getenv("BENCH_TURNS")) return;
  puts(word);
  fflush(stdout);
  char byte;
  if (read(0, &byte, 1) != 1) exit(3);
}

/// Prints `"name": [v[0], v[1], ...]` for the "series" object of the report: one value per turn.
static inline void print_series(const char *name, const double *v, size_t n) {
  printf("\"%s\": [", name);
  for (size_t i = 0; i < n; i++) printf("%s%.6g", i ? ", " : "", v[i]);
  printf("]");
}

/// Asks for the page size that the environment variable BENCH_PAGES names (2M or 4K) for all large private memory mapped so far.
/// Before first touch it decides how memory is faulted in; call it again with `touched` = 1 after a library made its buffers.
/// Native and guest make the same calls; an LWK that has its own page policy may ignore them.
void pages_apply(int touched);

/// KiB of this process that lie on transparent or hugetlb 2M pages as /proc/self/smaps_rollup counts them; -1 where it cannot be read.
long pages_huge_kib(void);
#endif
