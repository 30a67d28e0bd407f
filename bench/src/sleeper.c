// Holds still with N threads, to be looked at from outside: `sleeper N`. Prints "ready" when all threads run, ends when stdin does.
#include "bench.h"
#include <pthread.h>
#include <unistd.h>

static pthread_barrier_t all_run;

static void *wait_for_ever(void *unused) {
  (void)unused;
  pthread_barrier_wait(&all_run);
  for (;;) pause();
  return NULL;
}

int main(int argc, char **argv) {
  long threads = argument(argc, argv, 1, 1);
  if (pthread_barrier_init(&all_run, NULL, threads)) return 1;
  for (long i = 1; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_ever, NULL)) return perror("pthread_create"), 1;
  }
  pthread_barrier_wait(&all_run);
  puts("ready");
  fflush(stdout);
  char c;
  while (read(0, &c, 1) > 0) {}
  return 0;
}
