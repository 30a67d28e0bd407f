// Latency of `#pragma omp barrier`: `omp-barrier [TURNS [BARRIERS-PER-BATCH]]`, threads by OMP_NUM_THREADS.
// A turn is 21 batches and its figure the median batch: a batch in which a thread lost its CPU is thousands of times slower and says nothing about barriers.
// Verified: each thread counts its rounds in a word of its own, and after every barrier of the checking pass all words are equal.
#include "bench.h"
#include <omp.h>

#define BATCHES 21
#define MAX_TURNS 1000
#define MAX_THREADS 256
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

/// One batch: nanoseconds per barrier. The first barrier waits until all threads have arrived.
static double batch_of(long barriers) {
  double t = 0;
#pragma omp parallel
  {
#pragma omp barrier
    double start = seconds();
    for (long i = 0; i < barriers; i++) {
#pragma omp barrier
    }
    if (omp_get_thread_num() == 0) t = seconds() - start;
  }
  return t / (double)barriers * 1e9;
}

int main(int argc, char **argv) {
  static double batch[BATCHES], turn[MAX_TURNS];
  long turns = argument(argc, argv, 1, 20), barriers = argument(argc, argv, 2, 200);
  if (turns > MAX_TURNS || omp_get_max_threads() > MAX_THREADS) return fprintf(stderr, "omp-barrier: at most %d turns, %d threads\n", MAX_TURNS, MAX_THREADS), 2;
  for (long k = 0; k < turns; k++) {
    take_turn("turn");
    for (int b = 0; b < BATCHES; b++) batch[b] = batch_of(barriers);
    turn[k] = median(batch, BATCHES);
  }
  take_turn("last");
  long broken = broken_rounds(1000);
  printf("{\"series\": {");
  print_series("barrier_ns", turn, (size_t)turns);
  double middle = median(turn, (size_t)turns);
  printf("}, \"barrier_ns\": %.2f, \"barrier_ns_best\": %.2f, \"barrier_ns_worst\": %.2f, \"threads\": %d, \"verified\": %s}\n", middle, turn[0], turn[turns - 1],
         omp_get_max_threads(), broken == 0 ? "true" : "false");
  return broken == 0 ? 0 : 1;
}
