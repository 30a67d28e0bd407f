/* Ways to end. argv[1] names the way, argv[2] a number. The exit code (128+N for a signal) and the output are compared with native. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void first(void) { puts("atexit 1"); }
static void second(void) { puts("atexit 2"); }
__attribute__((destructor)) static void last(void) { puts("destructor"); }

static void *exits(void *argument) {
  exit((int)(long)argument);
}
static void *returns(void *argument) {
  usleep(20000);
  puts("thread after main's pthread_exit");
  return argument;
}
static void *groups(void *argument) {
  usleep(10000);
  syscall(SYS_exit_group, (long)argument);
  return NULL;
}
static void *sleeps(void *argument) {
  for (;;) pause();
  return argument;
}
static void *spins(void *argument) {
  for (volatile long i = 0;; i++) {}
  return argument;
}
static void *faults(void *argument) {
  *(volatile int *)8 = 1;
  return argument;
}
static pthread_t start(void *(*function)(void *), long value) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, function, (void *)value) != 0) abort();
  return thread;
}
__attribute__((noinline)) static long overflow(long depth) {
  volatile char space[4096];
  space[depth % 4096] = (char)depth;
  return overflow(depth + 1) + space[(depth * 7) % 4096];
}

int main(int argc, char **argv) {
  const char *way = argc > 1 ? argv[1] : "return";
  int number = argc > 2 ? atoi(argv[2]) : 0;
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  setvbuf(stdout, NULL, _IOLBF, 0);
  atexit(first);
  atexit(second);
  if (!strcmp(way, "return")) return number;
  if (!strcmp(way, "exit")) exit(number);
  if (!strcmp(way, "_exit")) _exit(number);
  if (!strcmp(way, "exit-syscall")) syscall(SYS_exit, number);
  if (!strcmp(way, "exit-from-thread")) pthread_join(start(exits, number), NULL);
  if (!strcmp(way, "group-while-main-sleeps")) {
    start(groups, number);
    sleeps(NULL);
  }
  if (!strcmp(way, "group-while-main-spins")) {
    start(groups, number);
    spins(NULL);
  }
  if (!strcmp(way, "exit-while-threads-block")) {
    start(sleeps, 0);
    start(spins, 0);
    usleep(10000);
    exit(number);
  }
  if (!strcmp(way, "main-pthread-exit")) {
    start(returns, 0);
    pthread_exit(NULL);
  }
  if (!strcmp(way, "abort")) abort();
  if (!strcmp(way, "segv")) *(volatile int *)8 = 1;
  if (!strcmp(way, "segv-thread")) {
    start(faults, 0);
    sleeps(NULL);
  }
  if (!strcmp(way, "segv-ignored")) { /* the kernel does not let a fault be ignored */
    signal(SIGSEGV, SIG_IGN);
    *(volatile int *)8 = 1;
  }
  if (!strcmp(way, "segv-blocked")) {
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *(volatile int *)8 = 1;
  }
  if (!strcmp(way, "execute-data")) ((void (*)(void))(void *)&none)();
  if (!strcmp(way, "jump-to-zero")) ((void (*)(void))0)();
  if (!strcmp(way, "noncanonical")) *(volatile int *)0x8000000000000000UL = 1;
  if (!strcmp(way, "write-text")) *(volatile char *)(void *)main = 1;
  if (!strcmp(way, "overflow")) return (int)overflow(0);
  if (!strcmp(way, "fpe")) __asm__ volatile("xor %%eax, %%eax; cltd; div %%eax" ::: "rax", "rdx", "cc");
  if (!strcmp(way, "ill")) __asm__ volatile("ud2");
  if (!strcmp(way, "trap")) __asm__ volatile("int3");
  if (!strcmp(way, "privileged")) __asm__ volatile("hlt");
  if (!strcmp(way, "raise")) raise(number);
  if (!strcmp(way, "kill")) kill(getpid(), number);
  if (!strcmp(way, "tgkill")) syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), number);
  if (!strcmp(way, "kill-with-blocked-thread")) {
    start(sleeps, 0);
    kill(getpid(), number);
    sleeps(NULL);
  }
  if (!strcmp(way, "sigpipe")) {
    int ends[2];
    if (pipe(ends) != 0) abort();
    close(ends[0]);
    if (write(ends[1], "x", 1) != 1) puts("write failed");
  }
  if (!strcmp(way, "alarm")) {
    alarm(1);
    sleeps(NULL);
  }
  if (!strcmp(way, "rlimit-fsize")) {
    struct rlimit small = {100, 100};
    setrlimit(RLIMIT_FSIZE, &small);
    FILE *f = fopen("big", "w");
    for (int i = 0; f && i < 100; i++) fputs("0123456789", f);
    if (f) fclose(f);
  }
  printf("survived %s\n", way);
  return 99;
}
