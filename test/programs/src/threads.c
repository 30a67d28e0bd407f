/* POSIX threads. More threads than CPUs throughout. */
#include "harness.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static void start(pthread_t *threads, int n, void *(*function)(void *)) {
  for (long i = 0; i < n; i++) CHECK_EQ(pthread_create(&threads[i], NULL, function, (void *)i), 0);
}
static void join(pthread_t *threads, int n) {
  for (int i = 0; i < n; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;
static void *add(void *argument) {
  for (int i = 0; i < 2000; i++) {
    pthread_mutex_lock(&mutex);
    counter++;
    pthread_mutex_unlock(&mutex);
  }
  return argument;
}
static void mutexes(void) {
  pthread_t threads[8];
  counter = 0;
  start(threads, 8, add);
  join(threads, 8);
  CHECK_EQ(counter, 16000);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_t checking;
  pthread_mutex_init(&checking, &attributes);
  CHECK_EQ(pthread_mutex_lock(&checking), 0);
  CHECK_EQ(pthread_mutex_lock(&checking), EDEADLK);
  CHECK_EQ(pthread_mutex_unlock(&checking), 0);
  CHECK_EQ(pthread_mutex_unlock(&checking), EPERM);
  CHECK_EQ(pthread_mutex_destroy(&checking), 0);
  /* a lock that is held: trylock and timedlock */
  CHECK_EQ(pthread_mutex_lock(&mutex), 0);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 30000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
  double before = now();
  CHECK_EQ(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
  CHECK(now() - before > 0.025);
  CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}

/* A queue with one condition for "not full" and one for "not empty". */
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static long queue[8], head, tail, sum, taken;
static void *producer(void *argument) {
  for (long i = 0; i < 500; i++) {
    pthread_mutex_lock(&mutex);
    while (tail - head == 8) pthread_cond_wait(&not_full, &mutex);
    queue[tail++ % 8] = i + 1000 * (long)argument;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&mutex);
  }
  return NULL;
}
static void *consumer(void *argument) {
  for (;;) {
    pthread_mutex_lock(&mutex);
    while (tail == head && taken < 2000) pthread_cond_wait(&not_empty, &mutex);
    if (taken == 2000) {
      pthread_cond_broadcast(&not_empty);
      pthread_mutex_unlock(&mutex);
      return argument;
    }
    sum += queue[head++ % 8];
    if (++taken == 2000) pthread_cond_broadcast(&not_empty);
    pthread_cond_signal(&not_full);
    pthread_mutex_unlock(&mutex);
  }
}
static void conditions(void) {
  pthread_t producers[4], consumers[3];
  head = tail = sum = taken = 0;
  start(consumers, 3, consumer);
  start(producers, 4, producer);
  join(producers, 4);
  join(consumers, 3);
  CHECK_EQ(sum, 4 * 499 * 500 / 2 + 1000 * 500 * 6);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 20000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_mutex_lock(&mutex);
  CHECK_EQ(pthread_cond_timedwait(&not_full, &mutex, &until), ETIMEDOUT);
  pthread_mutex_unlock(&mutex);
}

static pthread_barrier_t barrier;
static volatile long phase[8], serial;
static void *steps(void *argument) {
  for (long step = 1; step <= 100; step++) {
    phase[(long)argument] = step;
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) __atomic_add_fetch(&serial, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 8; i++)
      if (phase[i] != step) _exit(3);
    pthread_barrier_wait(&barrier);
  }
  return NULL;
}
static void barriers(void) {
  pthread_t threads[8];
  serial = 0;
  CHECK_EQ(pthread_barrier_init(&barrier, NULL, 8), 0);
  start(threads, 8, steps);
  join(threads, 8);
  CHECK_EQ(serial, 100);
  CHECK_EQ(pthread_barrier_destroy(&barrier), 0);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static volatile long pair[2];
static void *reads_or_writes(void *argument) {
  for (int i = 0; i < 400; i++) {
    if ((long)argument == 0) {
      pthread_rwlock_wrlock(&rwlock);
      pair[0]++;
      sched_yield();
      pair[1]++;
      pthread_rwlock_unlock(&rwlock);
    } else {
      pthread_rwlock_rdlock(&rwlock);
      if (pair[0] != pair[1]) _exit(3);
      pthread_rwlock_unlock(&rwlock);
    }
  }
  return NULL;
}
static void rwlocks(void) {
  pthread_t threads[4];
  start(threads, 4, reads_or_writes);
  join(threads, 4);
  CHECK_EQ(pair[1], 400);
}

static sem_t semaphores[2];
static volatile long turns;
static void *take_turns(void *argument) {
  long me = (long)argument;
  for (int i = 0; i < 300; i++) {
    while (sem_wait(&semaphores[me]) != 0) {}
    if (turns++ % 2 != me) _exit(3);
    sem_post(&semaphores[1 - me]);
  }
  return NULL;
}
static void semaphore_ping_pong(void) {
  pthread_t threads[2];
  turns = 0;
  OK(sem_init(&semaphores[0], 0, 1));
  OK(sem_init(&semaphores[1], 0, 0));
  start(threads, 2, take_turns);
  join(threads, 2);
  CHECK_EQ(turns, 600);
}

static __thread long local = 5, zeroed, table[100];
static pthread_key_t key;
static volatile long destroyed;
static void destroy(void *value) { __atomic_add_fetch(&destroyed, (long)value, __ATOMIC_SEQ_CST); }
static void *uses_local(void *argument) {
  if (local != 5 || zeroed != 0 || table[99] != 0) _exit(3);
  local = (long)argument, zeroed = local + 1, table[99] = local + 2;
  pthread_setspecific(key, (void *)((long)argument + 1));
  for (int i = 0; i < 20; i++) sched_yield();
  if (local != (long)argument || zeroed != local + 1 || table[99] != local + 2) _exit(4);
  if (pthread_getspecific(key) != (void *)((long)argument + 1)) _exit(5);
  return NULL;
}
static void thread_local_storage(void) {
  pthread_t threads[16];
  destroyed = 0;
  CHECK_EQ(pthread_key_create(&key, destroy), 0);
  start(threads, 16, uses_local);
  join(threads, 16);
  CHECK_EQ(destroyed, 16 * 17 / 2);
  CHECK_EQ(local, 5);
  CHECK_EQ(pthread_key_delete(key), 0);
}

static volatile int cleaned;
static void cleanup(void *argument) { cleaned += (int)(long)argument; }
static void unlock(void *argument) { pthread_mutex_unlock(argument); }
static void *waits_to_be_cancelled(void *argument) {
  pthread_cleanup_push(cleanup, (void *)1L);
  if (argument) { /* in a lock: a condition is a cancellation point */
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(unlock, &mutex);
    for (;;) pthread_cond_wait(&not_empty, &mutex);
    pthread_cleanup_pop(1);
  } else {
    for (;;) sleep(100);
  }
  pthread_cleanup_pop(1);
  return NULL;
}
static void *spins_to_be_cancelled(void *argument) {
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  cleaned = 100;
  for (;;) {}
  return argument;
}
static void cancellation(void) {
  for (long way = 0; way < 2; way++) {
    pthread_t thread;
    void *result;
    cleaned = 0;
    CHECK_EQ(pthread_create(&thread, NULL, waits_to_be_cancelled, (void *)way), 0);
    usleep(30000);
    CHECK_EQ(pthread_cancel(thread), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK_EQ(cleaned, 1);
  }
  CHECK_EQ(pthread_mutex_lock(&mutex), 0); /* the handler has released it */
  CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
  pthread_t thread;
  void *result;
  cleaned = 0;
  CHECK_EQ(pthread_create(&thread, NULL, spins_to_be_cancelled, NULL), 0);
  while (cleaned != 100) usleep(1000);
  CHECK_EQ(pthread_cancel(thread), 0);
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK(result == PTHREAD_CANCELED);
}

static sem_t done;
static void *posts(void *argument) {
  sem_post(&done);
  return argument;
}
static void detached(void) {
  OK(sem_init(&done, 0, 0));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, &attributes, posts, NULL), 0);
    CHECK_EQ(sem_wait(&done), 0);
  }
  pthread_attr_destroy(&attributes);
}

static void *meets(void *argument) {
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 10; i++) sched_yield();
  return (void *)((long)argument * 3);
}
static void sixty_four_at_once(void) {
  pthread_t threads[64];
  CHECK_EQ(pthread_barrier_init(&barrier, NULL, 64), 0); /* they all live at the same time */
  start(threads, 64, meets);
  for (long i = 0; i < 64; i++) {
    void *result;
    CHECK_EQ(pthread_join(threads[i], &result), 0);
    CHECK_EQ((long)result, i * 3);
  }
  CHECK_EQ(pthread_barrier_destroy(&barrier), 0);
}

static void *identity(void *argument) { return argument; }
static void a_thousand_in_a_row(void) {
  for (long i = 0; i < 1000; i++) {
    pthread_t thread;
    void *result;
    CHECK_EQ(pthread_create(&thread, NULL, identity, (void *)i), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ((long)result, i);
  }
}

static pthread_mutex_t robust;
static void *dies_with_lock(void *argument) {
  pthread_mutex_lock(&robust);
  return argument;
}
static void *tries_lock(void *argument) {
  int r = pthread_mutex_lock(&robust); /* waits; the owner dies meanwhile */
  if (r == EOWNERDEAD) pthread_mutex_consistent(&robust);
  pthread_mutex_unlock(&robust);
  (void)argument;
  return (void *)(long)r;
}
static void *holds_then_dies(void *argument) {
  pthread_mutex_lock(&robust);
  usleep(50000);
  return argument;
}
static void robust_mutexes(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  CHECK_EQ(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
  CHECK_EQ(pthread_mutex_init(&robust, &attributes), 0);
  pthread_t thread, waiter;
  void *result;
  CHECK_EQ(pthread_create(&thread, NULL, dies_with_lock, NULL), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  CHECK_EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
  CHECK_EQ(pthread_mutex_consistent(&robust), 0);
  CHECK_EQ(pthread_mutex_unlock(&robust), 0);
  CHECK_EQ(pthread_create(&thread, NULL, holds_then_dies, NULL), 0);
  usleep(20000);
  CHECK_EQ(pthread_create(&waiter, NULL, tries_lock, NULL), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  CHECK_EQ(pthread_join(waiter, &result), 0);
  CHECK_EQ((long)result, EOWNERDEAD);
  CHECK_EQ(pthread_mutex_lock(&robust), 0);
  CHECK_EQ(pthread_mutex_unlock(&robust), 0);
}

static pthread_mutex_t inheriting;
static void *add_inheriting(void *argument) {
  for (int i = 0; i < 300; i++) {
    if (pthread_mutex_lock(&inheriting) != 0) _exit(3);
    counter++;
    if (i % 50 == 0) sched_yield();
    if (pthread_mutex_unlock(&inheriting) != 0) _exit(4);
  }
  return argument;
}
static void priority_inheritance(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  CHECK_EQ(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
  CHECK_EQ(pthread_mutex_init(&inheriting, &attributes), 0);
  pthread_t threads[4];
  counter = 0;
  start(threads, 4, add_inheriting);
  join(threads, 4);
  CHECK_EQ(counter, 1200);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static volatile int initialised;
static void initialise(void) {
  usleep(5000);
  initialised++;
}
static void *calls_once(void *argument) {
  pthread_once(&once, initialise);
  if (initialised != 1) _exit(3);
  return argument;
}
static void once_only(void) {
  pthread_t threads[8];
  start(threads, 8, calls_once);
  join(threads, 8);
  CHECK_EQ(initialised, 1);
}

static pthread_spinlock_t spin;
static void *add_spinning(void *argument) {
  for (int i = 0; i < 1000; i++) {
    pthread_spin_lock(&spin);
    counter++;
    pthread_spin_unlock(&spin);
  }
  return argument;
}
static void spinning(void) {
  pthread_t threads[2];
  counter = 0;
  CHECK_EQ(pthread_spin_init(&spin, 0), 0);
  start(threads, 2, add_spinning);
  join(threads, 2);
  CHECK_EQ(counter, 2000);
}

/* Each thread has its own id and stack; its stack size is the one asked for and can be used. */
static void *stack_user(void *argument) {
  volatile char room[3 << 20];
  for (size_t i = 0; i < sizeof room; i += 4096) room[i] = (char)i;
  (void)argument;
  return (void *)syscall(SYS_gettid);
}
static void stacks_and_ids(void) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  CHECK_EQ(pthread_attr_setstacksize(&attributes, 4 << 20), 0);
  long ids[5] = {syscall(SYS_gettid)};
  CHECK_EQ(ids[0], getpid());
  for (int i = 1; i < 5; i++) {
    pthread_t thread;
    void *result;
    CHECK_EQ(pthread_create(&thread, &attributes, stack_user, NULL), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    ids[i] = (long)result;
    CHECK(ids[i] > 0 && ids[i] != ids[0]);
  }
}

/*
 * Two threads run at the same time where there are two CPUs: they hand a ball to and fro by memory alone, without a system call. On one
 * CPU, in turns, every hand-over costs a time slice, and a thousand of them at least half a second; a busy machine may need some tries
 * until both threads have a CPU.
 */
static volatile long ball;
static void *plays(void *argument) {
  for (long i = 0; i < 500; i++) {
    while (ball != 2 * i + (long)argument) __builtin_ia32_pause();
    ball++;
  }
  return NULL;
}
static void parallel(void) {
  pthread_t threads[2];
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2) return;
  double least = 1e9;
  for (double end = now() + 25; least > 0.2 && now() < end;) {
    ball = 0;
    double before = now();
    start(threads, 2, plays);
    join(threads, 2);
    CHECK_EQ(ball, 1000);
    if (now() - before < least) least = now() - before;
  }
  CHECK(least <= 0.2, "%f s for a thousand hand-overs", least);
}

PROGRAM(T(mutexes), T(conditions), T(barriers), T(rwlocks), T(semaphore_ping_pong), T(thread_local_storage), T(cancellation), T(detached),
        T(sixty_four_at_once), T(a_thousand_in_a_row), T(robust_mutexes), T(priority_inheritance), T(once_only), T(spinning), T(stacks_and_ids),
        T(parallel))
