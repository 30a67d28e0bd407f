// A stopwatch for one program: `wall FD PROGRAM ARGS...` runs it and writes one JSON line to descriptor FD: wall time from before
// the fork to after the wait, CPU time and context switches of it and its children, exit status as a shell shows it.
// Small on purpose: Node's own spawn costs milliseconds, and this must not count.
#define _GNU_SOURCE
#include "bench.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

static double in_seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

int main(int argc, char **argv) {
  if (argc < 3) return fputs("usage: wall FD PROGRAM ARGS...\n", stderr), 2;
  int fd = (int)argument(argc, argv, 1, 3);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  pid_t child;
  double start = seconds();
  int error = posix_spawnp(&child, argv[2], NULL, NULL, argv + 2, environ);
  if (error) return fprintf(stderr, "wall: %s: %s\n", argv[2], strerror(error)), 127;
  int status;
  struct rusage used;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return perror("wait"), 1;
  double wall = seconds() - start;
  getrusage(RUSAGE_CHILDREN, &used);
  int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  dprintf(fd, "{\"wall\": %.6f, \"user\": %.6f, \"system\": %.6f, \"preempted\": %ld, \"maxRssKib\": %ld, \"code\": %d}\n", wall, in_seconds(used.ru_utime),
          in_seconds(used.ru_stime), used.ru_nivcsw, used.ru_maxrss, code);
  return code;
}
