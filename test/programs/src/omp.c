/* OpenMP by libgomp: its threads wait by spinning and futexes, are bound by sched_setaffinity, and read the topology. */
#include "harness.h"
#include <math.h>
#include <omp.h>
#include <sched.h>

static void team(void) {
  int seen[64] = {0}, size = 0;
#pragma omp parallel num_threads(6)
  {
#pragma omp atomic
    seen[omp_get_thread_num()]++;
#pragma omp single
    size = omp_get_num_threads();
  }
  CHECK_EQ(size, 6);
  for (int i = 0; i < 6; i++) CHECK_EQ(seen[i], 1);
  cpu_set_t set;
  OK(sched_getaffinity(0, sizeof set, &set));
  CHECK_EQ(omp_get_num_procs(), CPU_COUNT(&set));
}

static void loops(void) {
  static double a[100000], b[100000];
  for (int round = 0; round < 10; round++) {
#pragma omp parallel for schedule(static)
    for (int i = 0; i < 100000; i++) a[i] = i * 0.5;
#pragma omp parallel for schedule(dynamic, 1000)
    for (int i = 0; i < 100000; i++) b[i] = 2 * a[i] + 1;
    double sum = 0;
#pragma omp parallel for reduction(+ : sum) schedule(guided)
    for (int i = 0; i < 100000; i++) sum += b[i];
    CHECK(sum == 100000.0 * 99999 / 2 + 100000, "%f", sum);
  }
}

static void barriers(void) {
  int cells[8] = {0}, wrong = 0;
#pragma omp parallel num_threads(4)
  {
    int me = omp_get_thread_num();
    for (int step = 1; step <= 200; step++) {
      cells[me] = step;
#pragma omp barrier
      for (int i = 0; i < 4; i++)
        if (cells[i] != step) {
#pragma omp atomic
          wrong++;
        }
#pragma omp barrier
    }
  }
  CHECK_EQ(wrong, 0);
}

static void critical_and_locks(void) {
  long a = 0, b = 0;
  omp_lock_t lock;
  omp_init_lock(&lock);
#pragma omp parallel num_threads(4)
  for (int i = 0; i < 1000; i++) {
#pragma omp critical
    a++;
    omp_set_lock(&lock);
    b++;
    omp_unset_lock(&lock);
  }
  omp_destroy_lock(&lock);
  CHECK_EQ(a, 4000);
  CHECK_EQ(b, 4000);
}

static long fibonacci(int n) {
  long x, y;
  if (n < 12) return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
#pragma omp task shared(x)
  x = fibonacci(n - 1);
#pragma omp task shared(y)
  y = fibonacci(n - 2);
#pragma omp taskwait
  return x + y;
}
static void tasks(void) {
  long result = 0;
#pragma omp parallel
#pragma omp single
  result = fibonacci(22);
  CHECK_EQ(result, 17711);
}

static int private_value = 3;
#pragma omp threadprivate(private_value)
static void thread_private(void) {
  int sum = 0;
  private_value = 5;
#pragma omp parallel copyin(private_value) reduction(+ : sum) num_threads(3)
  {
    private_value += omp_get_thread_num();
    sum += private_value;
  }
  CHECK_EQ(sum, 5 + 6 + 7);
}

static void nested_and_simd(void) {
  omp_set_max_active_levels(2);
  int count = 0;
#pragma omp parallel num_threads(2)
#pragma omp parallel num_threads(2)
#pragma omp atomic
  count++;
  CHECK_EQ(count, 4);
  float x[1000], y = 0;
#pragma omp simd
  for (int i = 0; i < 1000; i++) x[i] = sqrtf((float)(i * i));
#pragma omp parallel for simd reduction(+ : y)
  for (int i = 0; i < 1000; i++) y += x[i];
  CHECK(y == 499500.0f, "%f", y);
  double before = omp_get_wtime();
  CHECK(omp_get_wtime() >= before);
}

PROGRAM(T(team), T(loops), T(barriers), T(critical_and_locks), T(tasks), T(thread_private), T(nested_and_simd))
