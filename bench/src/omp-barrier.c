// Latency of `#pragma omp barrier`: `omp-barrier [BATCHES [BARRIERS-PER-BATCH]]`, threads by OMP_NUM_THREADS.
// The median over batches is the figure: a batch in which a thread lost its CPU is thousands of times slower and says nothing about barriers.
// Verified: each thread counts its rounds in a word of its own, and after every barrier of the checking pass all words are equal.
#include "bench.h"
#include <omp.h>

#define MAX_BATCHES 10000
#define MAX_THREADS 256
static double ns[MAX_BATCHES];
static struct { volatile long rounds; char line[120]; } own[MAX_THREADS];

/// Rounds in which a thread saw another one behind or ahead after a barrier. Two barriers per round: the words may change only between them.
static long broken_rounds(long rounds) {
  long broken = 0;
#pragma omp parallel reduction(+ : broken)
  {
    int me = omp_get_thread_num(), n = omp_get_num_threads();
    for (long r = 1; r <= rounds; r++) {
      own[me].rounds = r;
#pragma omp barrier
      for (int i = 0; i < n; i++) broken += own[i].rounds != r;
#pragma omp barrier
    }
  }
  return broken;
}

int main(int argc, char **argv) {
  long batches = argument(argc, argv, 1, 400), barriers = argument(argc, argv, 2, 2000);
  if (batches > MAX_BATCHES || omp_get_max_threads() > MAX_THREADS) return fprintf(stderr, "omp-barrier: at most %d batches, %d threads\n", MAX_BATCHES, MAX_THREADS), 2;
  long broken = broken_rounds(10000);
#pragma omp parallel
  for (long b = 0; b < batches; b++) {
#pragma omp barrier
    double t = seconds();
    for (long i = 0; i < barriers; i++) {
#pragma omp barrier
    }
    if (omp_get_thread_num() == 0) ns[b] = (seconds() - t) / barriers * 1e9;
  }
  double middle = median(ns, batches);
  printf("{\"barrier_ns\": %.2f, \"barrier_ns_best\": %.2f, \"barrier_ns_worst\": %.2f, \"threads\": %d, \"verified\": %s}\n", middle, ns[0], ns[batches - 1],
         omp_get_max_threads(), broken == 0 ? "true" : "false");
  return broken == 0 ? 0 : 1;
}
