// RandomAccess (GUPS) of the HPC Challenge: xor pseudo-random 64-bit words into random places of a 1 GiB table.
// `randomaccess [MI-UPDATES-PER-PASS [PASSES]]`. Sequence and kernel as specified at https://hpcchallenge.org/projectsfiles/hpcc/RandomAccess.html:
// r(n) = x^n in GF(2)[x] / (x^64 + x^2 + x + 1), the top bit choosing the feedback; 128 parts of the sequence run side by side.
// HPCC makes four updates per table word; the default here is fewer, 48 Mi in 12 timed passes that continue one sequence.
// Verified by doing it all again: the same updates, made as one sequence without the 128 parts, must restore the table exactly.
#include "bench.h"

#define WORDS (1UL << 27)
#define PARTS 128
#define MAX_PASSES 1000
static uint64_t table[WORDS] __attribute__((aligned(HUGE)));

/// r(n+1) from r(n): multiplication by x.
static inline uint64_t next(uint64_t r) { return (r << 1) ^ ((uint64_t)((int64_t)r >> 63) & 7); }

/// Product of two residues, by shift and add.
static uint64_t multiply(uint64_t p, uint64_t q) {
  uint64_t product = 0;
  for (; q; q >>= 1, p = next(p))
    if (q & 1) product ^= p;
  return product;
}

/// r(n) = x^n by repeated squaring.
static uint64_t power_of_x(uint64_t n) {
  uint64_t result = 1;
  for (uint64_t square = 2; n; n >>= 1, square = multiply(square, square))
    if (n & 1) result = multiply(result, square);
  return result;
}

/// Makes the updates number `first` + 1 to `first` + `updates` of the sequence, in 128 parts side by side.
__attribute__((noinline)) static void update(uint64_t first, uint64_t updates) {
  uint64_t r[PARTS];
  for (uint64_t p = 0; p < PARTS; p++) r[p] = power_of_x(first + p * (updates / PARTS));
  for (uint64_t i = 0; i < updates / PARTS; i++)
    for (int p = 0; p < PARTS; p++) {
      r[p] = next(r[p]);
      table[r[p] & (WORDS - 1)] ^= r[p];
    }
}

__attribute__((noinline)) static uint64_t undo_and_count_errors(uint64_t updates) {
  uint64_t r = 1, errors = 0;
  for (uint64_t i = 0; i < updates; i++) {
    r = next(r);
    table[r & (WORDS - 1)] ^= r;
  }
  for (uint64_t i = 0; i < WORDS; i++) errors += table[i] != i;
  return errors;
}

int main(int argc, char **argv) {
  static double gups[MAX_PASSES];
  uint64_t updates = (uint64_t)argument(argc, argv, 1, 4) << 20, passes = (uint64_t)argument(argc, argv, 2, 12);
  if (passes > MAX_PASSES) return fprintf(stderr, "randomaccess: at most %d passes\n", MAX_PASSES), 2;
  pages_apply(0);
  for (uint64_t i = 0; i < WORDS; i++) table[i] = i;
  for (uint64_t k = 0; k < passes; k++) {
    take_turn("turn");
    double t = seconds();
    update(k * updates, updates);
    gups[k] = (double)updates / (seconds() - t) * 1e-9;
  }
  take_turn("last");
  long huge = pages_huge_kib();
  uint64_t changed = 0;
  for (uint64_t i = 0; i < WORDS; i++) changed += table[i] != i; // a pass that did nothing would verify too
  uint64_t errors = undo_and_count_errors(passes * updates);
  int verified = errors == 0 && changed > 0;
  printf("{\"series\": {");
  print_series("gups", gups, passes);
  double middle = median(gups, passes);
  printf("}, \"gups\": %.6f, \"gups_best\": %.6f, \"changed\": %lu, \"errors\": %lu, \"huge_kib\": %ld, \"verified\": %s}\n", middle, gups[passes - 1], changed,
         errors, huge, verified ? "true" : "false");
  return verified ? 0 : 1;
}
