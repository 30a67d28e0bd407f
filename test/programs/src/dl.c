/* dlopen and what hangs on it. argv[0] leads to the library beside the program. */
#include "harness.h"
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <math.h>
#include <pthread.h>

__attribute__((constructor(101))) static void earliest(void) { puts("constructor 101"); }
__attribute__((constructor)) static void early(void) { puts("constructor"); }
__attribute__((destructor)) static void late(void) { puts("destructor"); }
static void at_exit(void) { puts("atexit"); }

int callback(int x) { return x + 1; }

static void *open_plugin(void) {
  char path[PATH_MAX], library[PATH_MAX + 32];
  ssize_t n = OK(readlink("/proc/self/exe", path, sizeof path - 1));
  path[n] = 0;
  snprintf(library, sizeof library, "%s/dl-plugin.shared", dirname(path));
  void *handle = dlopen(library, RTLD_NOW);
  CHECK(handle != NULL, "%s", dlerror());
  return handle;
}

static int (*plugin_calls)(void);
static void *in_thread(void *argument) {
  (void)argument;
  int a = plugin_calls(), b = plugin_calls(); /* a fresh copy in every thread, also in one older than the library */
  return (void *)(long)(a * 1000 + b);
}
static pthread_barrier_t barrier;
static void *older_thread(void *argument) {
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return in_thread(argument);
}

static void plugin(void) {
  pthread_t older, newer;
  void *result;
  pthread_barrier_init(&barrier, NULL, 2);
  CHECK_EQ(pthread_create(&older, NULL, older_thread, NULL), 0);
  pthread_barrier_wait(&barrier);
  void *handle = open_plugin();
  plugin_calls = (int (*)(void))dlsym(handle, "plugin_calls");
  int (*back)(int) = (int (*)(int))dlsym(handle, "plugin_back"), (*choice)(void) = (int (*)(void))dlsym(handle, "plugin_choice");
  CHECK(plugin_calls && back && choice);
  CHECK_EQ(plugin_calls(), 101);
  CHECK_EQ(plugin_calls(), 102);
  pthread_barrier_wait(&barrier);
  CHECK_EQ(pthread_join(older, &result), 0);
  CHECK_EQ((long)result, 101102);
  CHECK_EQ(pthread_create(&newer, NULL, in_thread, NULL), 0);
  CHECK_EQ(pthread_join(newer, &result), 0);
  CHECK_EQ((long)result, 101102);
  CHECK_EQ(back(5), 42);
  CHECK_EQ(choice(), 42);
  *(int *)dlsym(handle, "plugin_data") = 10;
  CHECK_EQ(back(5), 60);
  Dl_info info;
  CHECK(dladdr((void *)back, &info) && strcmp(info.dli_sname, "plugin_back") == 0);
  CHECK(dlsym(handle, "absent") == NULL && dlerror() != NULL);
  CHECK_EQ(dlclose(handle), 0);
}

static void again_and_again(void) {
  for (int i = 0; i < 5; i++) {
    void *handle = open_plugin();
    int (*back)(int) = (int (*)(int))dlsym(handle, "plugin_back");
    CHECK_EQ(back(5), 42); /* the data is fresh: unmapped and mapped anew */
    CHECK_EQ(dlclose(handle), 0);
  }
  CHECK(dlopen("/absent.so", RTLD_NOW) == NULL);
}

static void system_library(void) {
  void *handle = dlopen("libm.so.6", RTLD_LAZY);
  CHECK(handle != NULL, "%s", dlerror());
  double (*cosine)(double) = (double (*)(double))dlsym(handle, "cos"); /* an IFUNC: chosen by the processor's features */
  CHECK(cosine && fabs(cosine(1.0) - 0.5403023058681398) < 1e-15);
  CHECK_EQ(dlclose(handle), 0);
}

static int count_objects(struct dl_phdr_info *info, size_t size, void *data) {
  (void)info, (void)size;
  ++*(int *)data;
  return 0;
}
static void loaded_objects(void) {
  int count = 0;
  dl_iterate_phdr(count_objects, &count);
  CHECK(count >= 4, "%d", count); /* the program, the vDSO, libc, ld.so */
  atexit(at_exit);
}

PROGRAM(T(plugin), T(again_and_again), T(system_library), T(loaded_objects))
