/* The calls below pthreads: futex operations, clone and clone3, tid addresses, robust lists. */
#include "harness.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

static long futex(void *word, int op, unsigned value, const void *timeout, void *second, unsigned third) {
  return syscall(SYS_futex, word, op, value, timeout, second, third);
}
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static struct timespec in(clockid_t clock, long nanoseconds) {
  struct timespec t;
  clock_gettime(clock, &t);
  t.tv_nsec += nanoseconds;
  t.tv_sec += t.tv_nsec / 1000000000;
  t.tv_nsec %= 1000000000;
  return t;
}

static volatile unsigned word, other, awake, asleep;

static void errors(void) {
  struct timespec soon = {0, 20000000}, bad = {0, 1000000000};
  word = 5;
  CHECK_ERR(futex((void *)&word, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
  double before = now();
  CHECK_ERR(futex((void *)&word, FUTEX_WAIT, 5, &soon, NULL, 0), ETIMEDOUT);
  CHECK(now() - before >= 0.019);
  CHECK_ERR(futex((void *)&word, FUTEX_WAIT, 5, &bad, NULL, 0), EINVAL);
  CHECK_ERR(futex((char *)&word + 1, FUTEX_WAIT, 5, &soon, NULL, 0), EINVAL);
  CHECK_ERR(futex((void *)8, FUTEX_WAIT, 5, &soon, NULL, 0), EFAULT);
  CHECK_ERR(futex((void *)&word, 99, 5, &soon, NULL, 0), ENOSYS);
  CHECK_ERR(futex((void *)&word, FUTEX_WAIT_BITSET, 5, NULL, NULL, 0), EINVAL);
  CHECK_EQ(futex((void *)&word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
  struct timespec until = in(CLOCK_MONOTONIC, 20000000);
  CHECK_ERR(futex((void *)&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 5, &until, NULL, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
  until = in(CLOCK_REALTIME, 20000000);
  CHECK_ERR(futex((void *)&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5, &until, NULL, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
}

static void *sleeper(void *argument) {
  unsigned bits = (unsigned)(long)argument;
  __atomic_add_fetch(&asleep, 1, __ATOMIC_SEQ_CST);
  while (futex((void *)&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 5, NULL, NULL, bits) != 0) {
    if (errno != EINTR) _exit(errno);
  }
  __atomic_add_fetch(&awake, 1, __ATOMIC_SEQ_CST);
  return NULL;
}
static void settle(volatile unsigned *value, unsigned expected) {
  for (int i = 0; i < 5000 && *value != expected; i++) usleep(1000);
  usleep(20000);
  CHECK_EQ(*value, expected);
}
static void wake_counts_and_bits(void) {
  pthread_t threads[6];
  word = 5, awake = asleep = 0;
  for (int i = 0; i < 6; i++) CHECK_EQ(pthread_create(&threads[i], NULL, sleeper, (void *)(i < 3 ? 1L : 2L)), 0);
  settle(&asleep, 6);
  usleep(50000);
  CHECK_EQ(futex((void *)&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 4), 0);
  CHECK_EQ(futex((void *)&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 2, NULL, NULL, 1), 2);
  settle(&awake, 2);
  CHECK_EQ(futex((void *)&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 2), 3);
  settle(&awake, 5);
  CHECK_EQ(futex((void *)&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0), 1);
  for (int i = 0; i < 6; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void requeue(void) {
  pthread_t threads[4];
  word = 5, other = 9, awake = asleep = 0;
  for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, sleeper, (void *)-1L), 0);
  settle(&asleep, 4);
  usleep(50000);
  CHECK_ERR(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 10, &other, 6), EAGAIN);
  CHECK_EQ(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 10, &other, 5), 4); /* one woken, three moved */
  settle(&awake, 1);
  CHECK_EQ(futex((void *)&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0), 0);
  CHECK_EQ(futex((void *)&other, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0), 3);
  for (int i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void wake_op(void) {
  pthread_t thread;
  word = 5, other = 7, awake = asleep = 0;
  CHECK_EQ(pthread_create(&thread, NULL, sleeper, (void *)-1L), 0);
  settle(&asleep, 1);
  usleep(50000);
  /* other = other + 3; wake one on word; if the old value was 7, wake on other */
  long r = syscall(SYS_futex, &word, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1, &other, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 7));
  CHECK_EQ(r, 1);
  CHECK_EQ(other, 10);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* The same memory at two addresses: only a shared futex finds the waiter. */
static unsigned *first_view, *second_view;
static void *shared_sleeper(void *argument) {
  asleep = 1;
  while (*first_view == 5) futex(first_view, FUTEX_WAIT, 5, NULL, NULL, 0);
  return argument;
}
static void shared_futex(void) {
  int file = OK(memfd_create("futex", 0));
  OK(ftruncate(file, 4096));
  first_view = OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  second_view = OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  CHECK(first_view != second_view);
  *first_view = 5, asleep = 0;
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, shared_sleeper, NULL), 0);
  settle(&asleep, 1);
  usleep(30000);
  *second_view = 6;
  CHECK_EQ(futex(second_view, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  OK(munmap(first_view, 4096)), OK(munmap(second_view, 4096));
  close(file);
}

static void *pi_holder(void *argument) {
  if (futex((void *)&word, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) != 0) _exit(3);
  asleep = 1;
  while (!awake) usleep(1000);
  usleep(30000); /* the other thread is in its call by now */
  if (futex((void *)&word, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) != 0) _exit(4);
  return argument;
}
static void priority_inheritance(void) {
  word = 0, asleep = awake = 0;
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, pi_holder, NULL), 0);
  settle(&asleep, 1);
  CHECK_ERR(futex((void *)&word, FUTEX_TRYLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0), EAGAIN);
  awake = 1;
  CHECK_EQ(futex((void *)&word, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0), 0);
  CHECK_EQ(word & FUTEX_TID_MASK, syscall(SYS_gettid));
  CHECK_ERR(futex((void *)&word, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0), EDEADLK);
  CHECK_EQ(futex((void *)&word, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0), 0);
  CHECK_EQ(word, 0);
  CHECK_ERR(futex((void *)&word, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0), EPERM);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* A thread without pthreads: child stack, tid words set and cleared by the kernel, wake at the end. */
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
static volatile int child_tid, parent_tid, child_seen;
static void wait_for_end(void) {
  for (int tid; (tid = child_tid) != 0;) futex((void *)&child_tid, FUTEX_WAIT, (unsigned)tid, NULL, NULL, 0);
}

/* Runs `body` on the new stack by hand: the C code of a clone child must not return through the parent's frame. */
__attribute__((used)) static void raw_child(void) {
  child_seen = (int)syscall(SYS_gettid);
  syscall(SYS_exit, 0);
}
static void raw_clone(void) {
  char *stack = OK(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < 10; i++) {
    long tid;
    child_tid = 1, parent_tid = child_seen = 0;
    register long r10 __asm__("r10") = (long)&child_tid;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile(
        "syscall; test %%rax, %%rax; jnz 1f; xor %%ebp, %%ebp; call raw_child; ud2; 1:"
        : "=a"(tid)
        : "a"(SYS_clone), "D"((long)THREAD_FLAGS), "S"(stack + 65536 - 64), "d"(&parent_tid), "r"(r10), "r"(r8)
        : "rcx", "r11", "memory");
    CHECK(tid > 0, "%ld", tid);
    wait_for_end();
    CHECK_EQ(parent_tid, tid);
    CHECK_EQ(child_seen, tid);
  }
  OK(munmap(stack, 65536));
}

static void raw_clone3(void) {
  char *stack = OK(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct clone_args args = {.flags = THREAD_FLAGS, .child_tid = (uint64_t)&child_tid, .parent_tid = (uint64_t)&parent_tid, .stack = (uint64_t)stack, .stack_size = 65536 - 64}; /* libc's syscall() looks above its return address */
  for (int i = 0; i < 10; i++) {
    long tid;
    child_tid = 1, parent_tid = child_seen = 0;
    __asm__ volatile("syscall; test %%rax, %%rax; jnz 1f; xor %%ebp, %%ebp; call raw_child; ud2; 1:"
                     : "=a"(tid)
                     : "a"(SYS_clone3), "D"(&args), "S"(sizeof args)
                     : "rcx", "r11", "memory");
    CHECK(tid > 0, "%ld", tid);
    wait_for_end();
    CHECK_EQ(parent_tid, tid);
    CHECK_EQ(child_seen, tid);
  }
  CHECK_ERR(syscall(SYS_clone3, &args, 8), EINVAL);
  CHECK_ERR(syscall(SYS_clone3, 8, sizeof args), EFAULT);
  args.flags = CLONE_THREAD; /* a thread needs shared signal handlers and memory */
  CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
  OK(munmap(stack, 65536));
}

static void *sets_address(void *argument) {
  long r = syscall(SYS_set_tid_address, argument);
  if (r != syscall(SYS_gettid)) _exit(3);
  syscall(SYS_exit, 0); /* below pthreads' feet: only our word is cleared */
  return NULL;
}
static void tid_address(void) {
  static volatile int cell;
  cell = 7;
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, sets_address, (void *)&cell), 0);
  while (cell == 7) futex((void *)&cell, FUTEX_WAIT, 7, NULL, NULL, 0);
  CHECK_EQ(cell, 0);
}

/* A robust list by hand: the kernel walks it when the thread ends and marks the lock. */
static struct {
  struct robust_list list;
  volatile unsigned lock;
} entry;
static struct robust_list_head list_head;
static void *leaves_lock(void *argument) {
  list_head = (struct robust_list_head){.list = {&entry.list}, .futex_offset = (long)((char *)&entry.lock - (char *)&entry.list)};
  entry.list.next = &list_head.list;
  entry.lock = (unsigned)syscall(SYS_gettid) | FUTEX_WAITERS;
  if (syscall(SYS_set_robust_list, &list_head, sizeof list_head) != 0) _exit(3);
  asleep = 1;
  return argument;
}
static void robust_list(void) {
  CHECK_ERR(syscall(SYS_set_robust_list, &list_head, 5UL), EINVAL);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, leaves_lock, NULL), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  CHECK_EQ(entry.lock, FUTEX_OWNER_DIED | FUTEX_WAITERS);
}

static void affinity_calls(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  OK(sched_getaffinity(0, sizeof set, &set));
  int count = CPU_COUNT(&set);
  CHECK(count >= 1);
  int first = -1;
  for (int c = 0; c < CPU_SETSIZE && first < 0; c++)
    if (CPU_ISSET(c, &set)) first = c;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  OK(sched_setaffinity(0, sizeof one, &one));
  cpu_set_t back;
  OK(sched_getaffinity(0, sizeof back, &back));
  CHECK_EQ(CPU_COUNT(&back), 1);
  CHECK_EQ(sched_getcpu(), first);
  OK(sched_setaffinity(0, sizeof set, &set));
  CPU_ZERO(&one);
  CHECK_ERR(sched_setaffinity(0, sizeof one, &one), EINVAL);
}

PROGRAM(T(errors), T(wake_counts_and_bits), T(requeue), T(wake_op), T(shared_futex), T(priority_inheritance), T(raw_clone), T(raw_clone3),
        T(tid_address), T(robust_list), T(affinity_calls))
