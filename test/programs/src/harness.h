/*
 * A guest program is a list of named tests. `program` runs them all, `program NAME...` the named ones: one failure can be
 * looked at alone. Each test prints "NAME ok"; a failed check prints where and why to stderr, the remaining tests still run,
 * and the exit code is 1. All output is deterministic: the native run of the same binary is the oracle for the guest's.
 * Programs create files in the working directory only; whoever starts them supplies an empty one.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test {
  const char *name;
  void (*run)(void);
};

static sigjmp_buf harness_out;
static _Thread_local int harness_thread; /* 1 in the thread that runs the tests: only there can a failure jump out */
static const char *harness_name = "?";

/* Reports a failed check. In the test's own thread the next test goes on; in any other thread the program ends with 1. */
__attribute__((noreturn, format(printf, 4, 5))) static void harness_fail(const char *file, int line, const char *what, const char *more, ...) {
  int saved = errno;
  char text[512];
  va_list list;
  va_start(list, more);
  vsnprintf(text, sizeof text, more, list);
  va_end(list);
  fflush(stdout);
  fprintf(stderr, "FAIL %s: %s:%d: %s%s%s (errno %d %s)\n", harness_name, file, line, what, text[0] ? ": " : "", text, saved, strerror(saved));
  if (harness_thread) siglongjmp(harness_out, 1);
  _exit(1);
}

/* The condition must hold; what follows is a printf format that says more. */
#define CHECK(cond, ...) ((cond) ? (void)0 : harness_fail(__FILE__, __LINE__, #cond, "" __VA_ARGS__))
/* Both are compared as long. */
#define CHECK_EQ(a, b)                                                                                        \
  do {                                                                                                        \
    long a_ = (long)(a), b_ = (long)(b);                                                                      \
    if (a_ != b_) harness_fail(__FILE__, __LINE__, #a " == " #b, "%ld (%#lx) != %ld (%#lx)", a_, a_, b_, b_); \
  } while (0)
/* The call must return -1 with this errno. */
#define CHECK_ERR(call, err)                                                                                                                      \
  do {                                                                                                                                            \
    errno = 0;                                                                                                                                    \
    long r_ = (long)(call);                                                                                                                       \
    if (r_ != -1 || errno != (err)) harness_fail(__FILE__, __LINE__, #call " fails with " #err, "returned %ld (%#lx)", r_, r_);                   \
  } while (0)
/* The call must not return -1; its value is the macro's. */
#define OK(call)                                                                     \
  ({                                                                                 \
    __auto_type r_ = (call);                                                         \
    if ((long)r_ == -1) harness_fail(__FILE__, __LINE__, #call, "%s", "returned -1"); \
    r_;                                                                              \
  })

static int harness_run(int argc, char **argv, const struct test *tests, int count) {
  volatile int failed = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (volatile int i = 0; i < count; i++) {
    int wanted = argc < 2;
    for (int a = 1; a < argc; a++) wanted |= strcmp(argv[a], tests[i].name) == 0;
    if (!wanted) continue;
    harness_name = tests[i].name;
    harness_thread = 1;
    if (sigsetjmp(harness_out, 1) == 0) {
      tests[i].run();
      printf("%s ok\n", tests[i].name);
    } else {
      failed = 1;
    }
  }
  return failed;
}

#define T(function) {#function, function}
#define PROGRAM(...)                                                                     \
  int main(int argc, char **argv) {                                                      \
    static const struct test tests[] = {__VA_ARGS__};                                    \
    return harness_run(argc, argv, tests, (int)(sizeof tests / sizeof tests[0]));        \
  }

#endif
