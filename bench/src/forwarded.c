// Cost of system calls that only the host can answer, in microseconds: `forwarded [CALLS]`, 20,000 of each. Its twin is ../exit-loop.c.
//  lseek  no pointer: what the way out and back costs
//  write  one byte to /dev/null: one pointer to translate and check
// Timed in batches of 1,000 as the twin does; the figure is the median batch. Verified: each call returns what Linux returns.
#define _GNU_SOURCE
#include "bench.h"
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH 1000
#define MAX_BATCHES 10000

static inline long call3(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

/// Median microseconds per call; adds to *wrong how many answers were not `expected`.
static double cost(long batches, long number, long a, long b, long c, long expected, long *wrong) {
  static double batch[MAX_BATCHES];
  for (long k = 0; k < batches; k++) {
    double t = seconds();
    for (int i = 0; i < BATCH; i++) *wrong += call3(number, a, b, c) != expected;
    batch[k] = (seconds() - t) / BATCH * 1e6;
  }
  return median(batch, (size_t)batches);
}

int main(int argc, char **argv) {
  long batches = argument(argc, argv, 1, 20000) / BATCH, wrong = 0;
  if (batches < 1 || batches > MAX_BATCHES) return fprintf(stderr, "forwarded: %d to %d calls\n", BATCH, BATCH * MAX_BATCHES), 2;
  int null = open("/dev/null", O_WRONLY);
  if (null < 0) return perror("/dev/null"), 1;
  char byte = 'x';
  double lseek_us = cost(batches, SYS_lseek, null, 0, SEEK_CUR, 0, &wrong);
  double write_us = cost(batches, SYS_write, null, (long)&byte, 1, 1, &wrong);
  printf("{\"lseek_us\": %.4f, \"write_us\": %.4f, \"verified\": %s}\n", lseek_us, write_us, wrong ? "false" : "true");
  return wrong ? 1 : 0;
}
