/*
 * Waits for signals from outside. argv[1]: "handle" (prints each signal by its handler, ends with 5 after SIGTERM), "default" (dies
 * of it), "compute" (as handle, but computing instead of waiting), "threads" (as handle, the other thread takes them).
 * "ready" on stdout says that signals may come.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop;
static void note(int number) {
  char text[] = "signal 00\n";
  text[7] = (char)('0' + number / 10);
  text[8] = (char)('0' + number % 10);
  if (write(1, text, 10) != 10) _exit(9);
  if (number == SIGTERM) stop = 1;
}
static void *wait_here(void *argument) {
  while (!stop) usleep(1000);
  return argument;
}

int main(int argc, char **argv) {
  const char *way = argc > 1 ? argv[1] : "default";
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
  if (strcmp(way, "default") != 0)
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) signal(numbers[i], note);
  pthread_t thread;
  if (strcmp(way, "threads") == 0) {
    if (pthread_create(&thread, NULL, wait_here, NULL) != 0) return 9;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
  }
  if (write(1, "ready\n", 6) != 6) return 9;
  if (strcmp(way, "threads") == 0)
    pthread_join(thread, NULL);
  else if (strcmp(way, "compute") == 0)
    while (!stop) {}
  else
    while (!stop) pause();
  return 5;
}
