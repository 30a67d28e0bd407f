// What every benchmark program shares: time, order statistics, page policy, and the one JSON line each prints on stdout.
#ifndef BENCH_H
#define BENCH_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

/// Asks for the page size that the environment variable BENCH_PAGES names (2M or 4K) for all large private memory mapped so far.
/// Before first touch it decides how memory is faulted in; call it again with `touched` = 1 after a library made its buffers.
/// Native and guest make the same calls; an LWK that has its own page policy may ignore them.
void pages_apply(int touched);

/// KiB of this process that lie on transparent or hugetlb 2M pages as /proc/self/smaps_rollup counts them; -1 where it cannot be read.
long pages_huge_kib(void);
#endif
