/* IFUNC symbols of our own and libc's, resolved before main; thread-local data with every alignment; constructors. */
#include "harness.h"
#include <pthread.h>
#include <stdint.h>

static int resolved;
static int plain(int x) { return x * 3; }
static int (*resolve(void))(int) {
  resolved = 1;
  return plain;
}
int times_three(int) __attribute__((ifunc("resolve")));

static int constructed;
__attribute__((constructor)) static void construct(void) { constructed = times_three(4); }

static void own(void) {
  CHECK_EQ(times_three(14), 42);
  CHECK_EQ(constructed, 12);
  int (*volatile pointer)(int) = times_three;
  CHECK_EQ(pointer(2), 6);
}

/* The string functions chosen for this processor, at every alignment and near the end of a page. */
static void strings(void) {
  static char a[8192], b[8192];
  for (int i = 0; i < 8192; i++) a[i] = (char)('A' + i % 26);
  for (size_t offset = 0; offset < 70; offset++)
    for (size_t length = 0; length < 600; length += 1 + length / 7) {
      memset(b, 0, sizeof b);
      memcpy(b + 64 - offset % 64, a + offset, length);
      CHECK_EQ(memcmp(b + 64 - offset % 64, a + offset, length), 0);
      CHECK_EQ(strlen(b + 64 - offset % 64), length);
      CHECK(length == 0 || memchr(b + 64 - offset % 64, a[offset + length / 2], length) != NULL);
      memmove(b + 64 - offset % 64 + 3, b + 64 - offset % 64, length);
      CHECK_EQ(memcmp(b + 64 - offset % 64 + 3, a + offset, length), 0);
    }
}

static __thread struct {
  char first;
  double aligned __attribute__((aligned(64)));
} wide = {1, 2.5};
static __thread uint8_t byte = 7;
static __thread uint64_t zeros[64];
static void *check_local(void *argument) {
  if (wide.first != 1 || wide.aligned != 2.5 || ((uintptr_t)&wide.aligned & 63) || byte != 7) return (void *)1;
  for (int i = 0; i < 64; i++)
    if (zeros[i]) return (void *)2;
  memset(zeros, 255, sizeof zeros);
  return argument;
}
static void thread_local_data(void) {
  for (int i = 0; i < 5; i++) {
    pthread_t thread;
    void *result;
    CHECK_EQ(pthread_create(&thread, NULL, check_local, NULL), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ((long)result, 0);
  }
  CHECK_EQ((long)check_local(NULL), 0);
}

PROGRAM(T(own), T(strings), T(thread_local_data))
