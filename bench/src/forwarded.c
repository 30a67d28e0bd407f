// Cost of system calls that only the host can answer, in microseconds: `forwarded [CALLS]`, 20,000 of each. Its twin is ../exit-loop.c.
//  lseek  no pointer: what the way out and back costs
//  write  one byte to /dev/null: one pointer to translate and check
// A turn is 1,000 calls of each, as in the twin; the figure is the median turn. Verified: each call returns what Linux returns.
#define _GNU_SOURCE
#include "bench.h"
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH 1000
#define MAX_TURNS 10000

static inline long call3(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

/// Microseconds per call over one batch; adds to *wrong how many answers were not `expected`.
static double batch(long number, long a, long b, long c, long expected, long *wrong) {
  double t = seconds();
  for (int i = 0; i < BATCH; i++) *wrong += call3(number, a, b, c) != expected;
  return (seconds() - t) / BATCH * 1e6;
}

int main(int argc, char **argv) {
  static double lseek_us[MAX_TURNS], write_us[MAX_TURNS];
  size_t turns = (size_t)argument(argc, argv, 1, 20000) / BATCH;
  if (turns < 1 || turns > MAX_TURNS) return fprintf(stderr, "forwarded: %d to %d calls\n", BATCH, BATCH * MAX_TURNS), 2;
  int null = open("/dev/null", O_WRONLY);
  if (null < 0) return perror("/dev/null"), 1;
  char byte = 'x';
  long wrong = 0;
  for (size_t k = 0; k < turns; k++) {
    take_turn("turn");
    lseek_us[k] = batch(SYS_lseek, null, 0, SEEK_CUR, 0, &wrong);
    write_us[k] = batch(SYS_write, null, (long)&byte, 1, 1, &wrong);
  }
  take_turn("last");
  printf("{\"series\": {");
  print_series("lseek_us", lseek_us, turns);
  printf(", ");
  print_series("write_us", write_us, turns);
  printf("}, \"lseek_us\": %.4f, \"write_us\": %.4f, \"verified\": %s}\n", median(lseek_us, turns), median(write_us, turns), wrong ? "false" : "true");
  return wrong ? 1 : 0;
}
