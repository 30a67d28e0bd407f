// The STREAM triad, a[i] = b[i] + s * c[i], over three arrays far larger than the caches.
// usage: stream [MIB_PER_ARRAY [ROUNDS]]
// stdout: what was computed (equal in every run). stderr: the best rate, in bytes of the three arrays moved per second (GB = 1e9).
// build: gcc -O3 -march=native -fopenmp stream.c -o stream
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
  long mib = argc > 1 ? atol(argv[1]) : 128;
  long rounds = argc > 2 ? atol(argv[2]) : 20;
  if (mib < 1 || mib > 65536 || rounds < 1) {
    fprintf(stderr, "usage: stream [MIB_PER_ARRAY [ROUNDS]]\n");
    return 2;
  }
  long n = mib * (1L << 20) / (long)sizeof(double);
  double *a = malloc((size_t)n * sizeof *a), *b = malloc((size_t)n * sizeof *b), *c = malloc((size_t)n * sizeof *c);
  if (!a || !b || !c) {
    perror("malloc");
    return 1;
  }

  // First touch by the thread that will use it, so that each page lies on that thread's NUMA node.
#pragma omp parallel for schedule(static)
  for (long i = 0; i < n; i++) {
    a[i] = 0.0;
    b[i] = (double)(i % 1024);
    c[i] = (double)(i % 512);
  }

  const double s = 3.0;
  double best = 1e30;
  for (long round = 0; round < rounds; round++) {
    double start = seconds();
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i];
    double took = seconds() - start;
    if (took < best) best = took;
  }

  // Every value is a small integer: the sum is exact whatever the order of addition.
  double sum = 0.0;
  long wrong = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum, wrong)
  for (long i = 0; i < n; i++) {
    sum += a[i];
    wrong += a[i] != (double)(i % 1024) + s * (double)(i % 512);
  }
  printf("triad of 3 x %ld MiB: sum %.0f, %ld wrong\n", mib, sum, wrong);
  fprintf(stderr, "rate %.3f GB/s\n", 3.0 * (double)n * sizeof(double) / best / 1e9);
  return wrong != 0;
}
