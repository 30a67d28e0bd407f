// A program to look at from outside: `hold MIB THREADS` touches so much memory, keeps so many threads busy with it, says "ready" and ends when its
// standard input does.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t bytes;
static unsigned char *memory;

static void *work(void *unused) {
  (void)unused;
  for (volatile unsigned char *at = memory;; at = at + 4096 < memory + bytes ? at + 4096 : memory) (void)*at;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  bytes = (size_t)atoi(argv[1]) << 20;
  memory = malloc(bytes);
  if (memory == NULL) return 1;
  memset(memory, 1, bytes);
  for (int i = 0; i < atoi(argv[2]); i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL)) return 1;
  }
  puts("ready");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0);
  return 0;
}
