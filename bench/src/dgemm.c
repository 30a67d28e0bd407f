// C = A B by OpenBLAS on square matrices: `dgemm [N [REPS]]`. The number of threads is OPENBLAS_NUM_THREADS.
// Verified by Freivalds' check, which shares no code with the product: C x must equal A (B x) for a random x.
#include "bench.h"
#include <cblas.h>
#include <math.h>
#include <float.h>

#define MAX_N 4096
#define MAX_REPS 100
static double A[MAX_N * MAX_N] __attribute__((aligned(HUGE)));
static double B[MAX_N * MAX_N] __attribute__((aligned(HUGE)));
static double C[MAX_N * MAX_N] __attribute__((aligned(HUGE)));
static double x[MAX_N], bx[MAX_N], abx[MAX_N], cx[MAX_N];

/// Uniform in [-0.5, 0.5): xorshift64*, the top 53 bits.
static double noise(void) {
  static uint64_t s = 88172645463325252ULL;
  s ^= s >> 12, s ^= s << 25, s ^= s >> 27;
  return (double)((s * 2685821657736338717ULL) >> 11) * 0x1p-53 - 0.5;
}

static void times_vector(const double *m, const double *v, double *out, long n) {
  for (long i = 0; i < n; i++) {
    double sum = 0;
    for (long j = 0; j < n; j++) sum += m[i * n + j] * v[j];
    out[i] = sum;
  }
}

/// Largest |C x - A B x| in units of n * epsilon: rounding alone stays far below 1.
static double residual(long n) {
  for (long i = 0; i < n; i++) x[i] = noise();
  times_vector(B, x, bx, n);
  times_vector(A, bx, abx, n);
  times_vector(C, x, cx, n);
  double worst = 0;
  for (long i = 0; i < n; i++) {
    double d = fabs(cx[i] - abx[i]);
    if (!(d <= worst)) worst = d; // a NaN is the worst
  }
  return worst / ((double)n * DBL_EPSILON);
}

int main(int argc, char **argv) {
  long n = argument(argc, argv, 1, 1536), reps = argument(argc, argv, 2, 15);
  if (n > MAX_N || reps > MAX_REPS) return fprintf(stderr, "dgemm: at most %d and %d\n", MAX_N, MAX_REPS), 2;
  pages_apply(0);
  for (long i = 0; i < n * n; i++) A[i] = noise(), B[i] = noise(), C[i] = 0;
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, A, n, B, n, 0, C, n); // OpenBLAS makes threads and buffers
  pages_apply(1);
  double rates[MAX_REPS];
  for (long r = 0; r < reps; r++) {
    take_turn("turn");
    double t = seconds();
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, A, n, B, n, 0, C, n);
    rates[r] = 2.0 * n * n * n / (seconds() - t) * 1e-9;
  }
  take_turn("last");
  double error = residual(n);
  int verified = error < 16;
  printf("{\"series\": {");
  print_series("gflops", rates, (size_t)reps);
  double middle = median(rates, (size_t)reps);
  printf("}, \"gflops\": %.4f, \"gflops_best\": %.4f, \"residual\": %.3f, \"threads\": %d, \"core\": \"%s\", \"huge_kib\": %ld, \"verified\": %s}\n", middle,
         rates[reps - 1], error, openblas_get_num_threads(), openblas_get_corename(), pages_huge_kib(), verified ? "true" : "false");
  return verified ? 0 : 1;
}
