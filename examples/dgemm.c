// Matrix product C = A B by the BLAS library that is installed (OpenBLAS on Debian), with its own threads.
// usage: dgemm [N [ROUNDS]]
// stdout: what was computed (equal in every run). stderr: the best rate in GFLOP/s.
// build: gcc -O2 dgemm.c -lopenblas -o dgemm
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1536;
  int rounds = argc > 2 ? atoi(argv[2]) : 5;
  if (n < 1 || n > 32768 || rounds < 1) {
    fprintf(stderr, "usage: dgemm [N [ROUNDS]]\n");
    return 2;
  }
  size_t size = (size_t)n * (size_t)n;
  double *a = malloc(size * sizeof *a), *b = malloc(size * sizeof *b), *c = calloc(size, sizeof *c);
  double *x = calloc((size_t)n, sizeof *x), *y = calloc((size_t)n, sizeof *y), *z = calloc((size_t)n, sizeof *z);
  if (!a || !b || !c || !x || !y || !z) {
    perror("malloc");
    return 1;
  }
  // Small integers: every product and sum below is exact, so any order of addition gives the same bits.
  for (size_t i = 0; i < size; i++) {
    a[i] = (double)((i * 7) % 17) - 8.0;
    b[i] = (double)((i * 5) % 13) - 6.0;
  }
  for (int i = 0; i < n; i++) x[i] = (double)(i % 5) - 2.0;

  double best = 1e30;
  for (int round = 0; round < rounds; round++) {
    double start = seconds();
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0, a, n, b, n, 0.0, c, n);
    double took = seconds() - start;
    if (took < best) best = took;
  }

  // Freivalds' check in exact arithmetic: C x must equal A (B x).
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) y[i] += b[(size_t)i * n + j] * x[j];
  double sum = 0.0;
  long wrong = 0;
  for (int i = 0; i < n; i++) {
    double left = 0.0;
    for (int j = 0; j < n; j++) {
      z[i] += a[(size_t)i * n + j] * y[j];
      left += c[(size_t)i * n + j] * x[j];
    }
    sum += z[i];
    wrong += left != z[i];
  }
  printf("product of two %d x %d matrices: checksum %.0f, %ld rows wrong\n", n, n, sum, wrong);
  fprintf(stderr, "rate %.3f GFLOP/s\n", 2.0 * n * (double)n * n / best / 1e9);
  return wrong != 0;
}
