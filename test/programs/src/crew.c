/* A short threaded program for the soak test: it starts, shares work through a mutex, a condition and signals, and ends. Prints one sum. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long next, sum;
static volatile int signals;

static void note(int number) {
  (void)number;
  __atomic_add_fetch(&signals, 1, __ATOMIC_SEQ_CST);
}

static void *work(void *argument) {
  char *scratch = malloc(300000);
  for (;;) {
    pthread_mutex_lock(&mutex);
    long mine = next < 200 ? next++ : -1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    if (mine < 0) break;
    memset(scratch, (int)mine, 300000);
    pthread_mutex_lock(&mutex);
    sum += scratch[mine * 1000];
    pthread_mutex_unlock(&mutex);
  }
  free(scratch);
  return argument;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 4;
  pthread_t threads[64];
  signal(SIGUSR1, note);
  for (long i = 0; i < n; i++)
    if (pthread_create(&threads[i], NULL, work, (void *)i)) return 2;
  pthread_mutex_lock(&mutex);
  while (next < 100) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < n; i++) pthread_kill(threads[i], SIGUSR1);
  for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
  printf("sum %ld\n", sum);
  if (argc > 2) { /* end while threads still run and wait */
    for (long i = 0; i < n; i++) pthread_create(&threads[i], NULL, (void *(*)(void *))(void *)(i % 2 ? (void *)pause : (void *)sleep), (void *)1000L);
    exit(3);
  }
  return 0;
}
