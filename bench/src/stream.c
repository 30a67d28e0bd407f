// Sustainable memory bandwidth: the four kernels that John McCalpin published as STREAM (https://www.cs.virginia.edu/stream/ref.html),
// written anew. `stream [REPS]`; OpenMP threads by OMP_NUM_THREADS. Bytes are counted as he does: no write-allocate traffic. The rate of a
// kernel is the median of its repetitions; his rule, the best after the first, is printed beside it.
#include "bench.h"
#include <math.h>
#include <omp.h>

#define N (16L << 20) // 128 MiB per array: four times a 32 MiB last-level cache
#define MAX_REPS 200
static double a[N] __attribute__((aligned(HUGE)));
static double b[N] __attribute__((aligned(HUGE)));
static double c[N] __attribute__((aligned(HUGE)));

static const double SCALAR = 3.0;

static void copy(void) {
#pragma omp parallel for
  for (long i = 0; i < N; i++) c[i] = a[i];
}
static void scale(void) {
#pragma omp parallel for
  for (long i = 0; i < N; i++) b[i] = SCALAR * c[i];
}
static void add(void) {
#pragma omp parallel for
  for (long i = 0; i < N; i++) c[i] = a[i] + b[i];
}
static void triad(void) {
#pragma omp parallel for
  for (long i = 0; i < N; i++) a[i] = b[i] + SCALAR * c[i];
}

static const struct { const char *name; void (*run)(void); double bytes; } KERNELS[4] = {
    {"copy", copy, 16.0 * N}, {"scale", scale, 16.0 * N}, {"add", add, 24.0 * N}, {"triad", triad, 24.0 * N}};

/// Largest relative error of any element against the same recurrence on three scalars.
static double worst_error(long reps) {
  double ea = 1, eb = 2, ec = 0, worst = 0;
  for (long r = 0; r < reps; r++) ec = ea, eb = SCALAR * ec, ec = ea + eb, ea = eb + SCALAR * ec;
  for (long i = 0; i < N; i++) {
    double e = fmax(fabs(a[i] / ea - 1), fmax(fabs(b[i] / eb - 1), fabs(c[i] / ec - 1)));
    if (!(e <= worst)) worst = e;
  }
  return worst;
}

int main(int argc, char **argv) {
  static double rates[4][MAX_REPS];
  long reps = argument(argc, argv, 1, 20);
  if (reps < 2 || reps > MAX_REPS) return fprintf(stderr, "stream: 2 to %d repetitions\n", MAX_REPS), 2;
  pages_apply(0);
#pragma omp parallel for // first touch by the thread that will use the pages
  for (long i = 0; i < N; i++) a[i] = 1, b[i] = 2, c[i] = 0;
  for (long r = 0; r < reps; r++) {
    take_turn("turn");
    for (int k = 0; k < 4; k++) {
      double t = seconds();
      KERNELS[k].run();
      rates[k][r] = KERNELS[k].bytes / (seconds() - t) * 1e-9;
    }
  }
  take_turn("last");
  double error = worst_error(reps);
  int verified = error < 1e-13;
  printf("{\"series\": {");
  for (int k = 0; k < 4; k++) {
    if (k) printf(", ");
    print_series(KERNELS[k].name, rates[k], (size_t)reps);
  }
  printf("}, ");
  for (int k = 0; k < 4; k++) {
    double middle = median(rates[k] + 1, (size_t)reps - 1); // sorts: the best comes last
    printf("\"%s\": %.4f, \"%s_best\": %.4f, ", KERNELS[k].name, middle, KERNELS[k].name, rates[k][reps - 1]);
  }
  printf("\"error\": %.3g, \"threads\": %d, \"huge_kib\": %ld, \"verified\": %s}\n", error, omp_get_max_threads(), pages_huge_kib(), verified ? "true" : "false");
  return verified ? 0 : 1;
}
