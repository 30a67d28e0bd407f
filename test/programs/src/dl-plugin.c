/* The library that dl.c opens: thread-local data, constructor and destructor, a call back into the program, an IFUNC. */
#include <stdio.h>

static __thread int calls = 100;
static __thread char large[100000];
int plugin_data = 7;

extern int callback(int);

__attribute__((constructor)) static void begin(void) { puts("plugin constructor"); }
__attribute__((destructor)) static void end(void) { puts("plugin destructor"); }

int plugin_calls(void) {
  calls++;
  large[calls]++;
  return calls + large[calls] - 1; /* each element is still zero before */
}
int plugin_back(int x) { return callback(x) * plugin_data; }

static int chosen(void) { return 42; }
static int (*choose(void))(void) { return chosen; }
int plugin_choice(void) __attribute__((ifunc("choose")));
