/* Asynchronous signals: sending, blocking, waiting, interrupting calls, timers, delivery to threads. */
#include "harness.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

static volatile int count, last, value, sender, code;
static void note(int number) {
  count++;
  last = number;
}
static void note_info(int number, siginfo_t *info, void *context) {
  (void)context;
  count++;
  last = number, value = info->si_value.sival_int, sender = info->si_pid, code = info->si_code;
}
static void on(int number, void (*handler)(int), int flags) {
  struct sigaction act = {.sa_handler = handler, .sa_flags = flags};
  OK(sigaction(number, &act, NULL));
  count = last = value = sender = code = 0;
}
static void on_info(int number, int flags) {
  struct sigaction act = {.sa_sigaction = note_info, .sa_flags = SA_SIGINFO | flags};
  OK(sigaction(number, &act, NULL));
  count = last = value = sender = code = 0;
}
static sigset_t set_of(int a, int b) {
  sigset_t set;
  sigemptyset(&set);
  if (a) sigaddset(&set, a);
  if (b) sigaddset(&set, b);
  return set;
}
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void send_to_self(void) {
  for (int s = 1; s <= 31; s++) {
    if (s == SIGKILL || s == SIGSTOP) continue;
    on(s, note, 0);
    CHECK_EQ(kill(getpid(), s), 0);
    CHECK(count == 1 && last == s, "signal %d: count %d last %d", s, count, last); /* delivered before kill returns */
    CHECK_EQ(raise(s), 0);
    CHECK_EQ(count, 2);
    signal(s, SIG_DFL);
  }
  for (int s = SIGRTMIN; s <= SIGRTMAX; s++) {
    on(s, note, 0);
    CHECK_EQ(kill(getpid(), s), 0);
    CHECK(count == 1 && last == s, "signal %d", s);
    signal(s, SIG_DFL);
  }
  CHECK_EQ(kill(getpid(), 0), 0);
  CHECK_ERR(kill(getpid(), 65), EINVAL);
  CHECK_ERR(kill(getpid(), -1), EINVAL);
  struct sigaction act = {.sa_handler = note};
  CHECK_ERR(sigaction(SIGKILL, &act, NULL), EINVAL);
  CHECK_ERR(sigaction(SIGSTOP, &act, NULL), EINVAL);
  CHECK_ERR(sigaction(65, &act, NULL), EINVAL);
}

static void ignored_by_default(void) {
  static const int quiet[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
  for (int i = 0; i < 4; i++) {
    signal(quiet[i], SIG_DFL);
    CHECK_EQ(raise(quiet[i]), 0);
  }
  signal(SIGTERM, SIG_IGN);
  CHECK_EQ(raise(SIGTERM), 0);
  signal(SIGTERM, SIG_DFL);
}

static void siginfo_of_kill_and_queue(void) {
  on_info(SIGUSR1, 0);
  CHECK_EQ(kill(getpid(), SIGUSR1), 0);
  CHECK_EQ(code, SI_USER);
  CHECK_EQ(sender, getpid());
  CHECK_EQ(raise(SIGUSR1), 0);
  CHECK_EQ(code, SI_TKILL);
  union sigval v = {.sival_int = 0x1234567};
  OK(sigqueue(getpid(), SIGUSR1, v));
  CHECK_EQ(code, SI_QUEUE);
  CHECK_EQ(value, 0x1234567);
  CHECK_EQ(sender, getpid());
  signal(SIGUSR1, SIG_DFL);
}

/* Real-time signals queue up and keep their order, ordinary ones merge. */
static volatile int order[200], ordered;
static void note_order(int number, siginfo_t *info, void *context) {
  (void)number, (void)context;
  order[ordered++ % 200] = info->si_value.sival_int;
}
static void queueing(void) {
  struct sigaction act = {.sa_sigaction = note_order, .sa_flags = SA_SIGINFO};
  OK(sigaction(SIGRTMIN + 3, &act, NULL));
  on(SIGUSR1, note, 0);
  sigset_t set = set_of(SIGRTMIN + 3, SIGUSR1), pending;
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
  ordered = 0;
  for (int i = 0; i < 100; i++) OK(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i}));
  for (int i = 0; i < 5; i++) OK(kill(getpid(), SIGUSR1));
  CHECK_EQ(ordered + count, 0);
  OK(sigpending(&pending));
  CHECK(sigismember(&pending, SIGUSR1) == 1 && sigismember(&pending, SIGRTMIN + 3) == 1 && sigismember(&pending, SIGUSR2) == 0);
  OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
  CHECK_EQ(ordered, 100);
  for (int i = 0; i < 100; i++) CHECK_EQ(order[i], i);
  CHECK_EQ(count, 1);
  signal(SIGUSR1, SIG_DFL), signal(SIGRTMIN + 3, SIG_DFL);
}

static void masks(void) {
  sigset_t all, now_blocked, before;
  sigfillset(&all);
  OK(sigprocmask(SIG_SETMASK, &all, &before));
  OK(sigprocmask(SIG_BLOCK, NULL, &now_blocked));
  CHECK_EQ(sigismember(&now_blocked, SIGKILL), 0); /* cannot be blocked */
  CHECK_EQ(sigismember(&now_blocked, SIGSTOP), 0);
  CHECK_EQ(sigismember(&now_blocked, SIGTERM), 1);
  OK(sigprocmask(SIG_SETMASK, &before, NULL));
  CHECK_ERR(sigprocmask(77, &all, NULL), EINVAL);
  CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4UL), EINVAL);
  /* Ignoring drops what is pending. */
  on(SIGUSR1, note, 0);
  sigset_t one = set_of(SIGUSR1, 0);
  OK(sigprocmask(SIG_BLOCK, &one, NULL));
  raise(SIGUSR1);
  signal(SIGUSR1, SIG_IGN);
  on(SIGUSR1, note, 0);
  OK(sigprocmask(SIG_UNBLOCK, &one, NULL));
  CHECK_EQ(count, 0);
  signal(SIGUSR1, SIG_DFL);
}

static volatile int inside, nested, mask_ok;
static void blocks_itself(int number) {
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, NULL, &blocked);
  mask_ok = sigismember(&blocked, SIGUSR1) == 1 && sigismember(&blocked, SIGUSR2) == 1 && sigismember(&blocked, SIGTERM) == 0;
  if (inside++) nested = 1;
  count++;
  if (count == 1) raise(number); /* stays pending until we return */
  inside--;
}
static void handler_mask(void) {
  struct sigaction act = {.sa_handler = blocks_itself};
  sigaddset(&act.sa_mask, SIGUSR2);
  OK(sigaction(SIGUSR1, &act, NULL));
  count = nested = inside = 0;
  raise(SIGUSR1);
  CHECK_EQ(count, 2);
  CHECK_EQ(nested, 0);
  CHECK(mask_ok);
  sigset_t blocked;
  OK(sigprocmask(SIG_BLOCK, NULL, &blocked));
  CHECK_EQ(sigismember(&blocked, SIGUSR1) + sigismember(&blocked, SIGUSR2), 0);
  signal(SIGUSR1, SIG_DFL);
}

static void nest(int number) {
  count++;
  inside++;
  nested = inside > nested ? inside : nested;
  if (number < SIGRTMIN + 8) raise(number + 1);
  inside--;
}
static void nested_signals(void) {
  for (int i = 0; i <= 8; i++) on(SIGRTMIN + i, nest, 0);
  count = nested = inside = 0;
  raise(SIGRTMIN);
  CHECK_EQ(count, 9);
  CHECK_EQ(nested, 9);
  for (int i = 0; i <= 8; i++) signal(SIGRTMIN + i, SIG_DFL);
}

static void change_mask(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGUSR2); /* takes effect at the return */
}
static void mask_edited_in_the_frame(void) {
  struct sigaction act = {.sa_sigaction = change_mask, .sa_flags = SA_SIGINFO};
  OK(sigaction(SIGUSR1, &act, NULL));
  on(SIGUSR2, note, 0);
  raise(SIGUSR1);
  raise(SIGUSR2);
  CHECK_EQ(count, 0);
  sigset_t two = set_of(SIGUSR2, 0);
  OK(sigprocmask(SIG_UNBLOCK, &two, NULL));
  CHECK_EQ(count, 1);
  signal(SIGUSR1, SIG_DFL), signal(SIGUSR2, SIG_DFL);
}

static void suspend(void) {
  on(SIGALRM, note, 0);
  sigset_t block = set_of(SIGALRM, SIGUSR1), before, none;
  sigemptyset(&none);
  OK(sigprocmask(SIG_BLOCK, &block, &before));
  struct itimerval soon = {{0, 0}, {0, 20000}};
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_ERR(sigsuspend(&none), EINTR);
  CHECK_EQ(count, 1);
  sigset_t after;
  OK(sigprocmask(SIG_BLOCK, NULL, &after));
  CHECK_EQ(sigismember(&after, SIGALRM), 1); /* the mask is back */
  raise(SIGALRM); /* already pending: returns at once */
  CHECK_ERR(sigsuspend(&none), EINTR);
  CHECK_EQ(count, 2);
  OK(sigprocmask(SIG_SETMASK, &before, NULL));
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_ERR(pause(), EINTR);
  CHECK_EQ(count, 3);
  signal(SIGALRM, SIG_DFL);
}

static void wait_for_signals(void) {
  sigset_t set = set_of(SIGUSR1, SIGRTMIN + 1);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
  OK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 42}));
  siginfo_t info;
  CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
  CHECK_EQ(info.si_value.sival_int, 42);
  CHECK_EQ(info.si_code, SI_QUEUE);
  struct timespec soon = {0, 20000000};
  double before = now();
  CHECK_ERR(sigtimedwait(&set, &info, &soon), EAGAIN);
  CHECK(now() - before >= 0.019);
  soon = (struct timespec){0, 0};
  CHECK_ERR(sigtimedwait(&set, &info, &soon), EAGAIN);
  soon = (struct timespec){0, -1};
  CHECK_ERR(sigtimedwait(&set, &info, &soon), EINVAL);
  raise(SIGUSR1);
  int number = 0;
  CHECK_EQ(sigwait(&set, &number), 0);
  CHECK_EQ(number, SIGUSR1);
  OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
}

/* A call that waits: interrupted with EINTR, or started again with SA_RESTART. */
static void *write_later(void *argument) {
  usleep(120000);
  if (write((int)(long)argument, "x", 1) != 1) _exit(3);
  return NULL;
}
static void restart_and_interrupt(void) {
  int ends[2];
  char byte;
  OK(pipe(ends));
  struct itimerval soon = {{0, 0}, {0, 30000}};
  on(SIGALRM, note, 0);
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_ERR(read(ends[0], &byte, 1), EINTR);
  CHECK_EQ(count, 1);
  on(SIGALRM, note, SA_RESTART);
  sigset_t set = set_of(SIGALRM, 0);
  pthread_t thread;
  OK(sigprocmask(SIG_BLOCK, &set, NULL)); /* the helper does not take it */
  CHECK_EQ(pthread_create(&thread, NULL, write_later, (void *)(long)ends[1]), 0);
  OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_EQ(read(ends[0], &byte, 1), 1);
  CHECK_EQ(count, 1);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  /* Some calls do not start again even with SA_RESTART (signal(7)). */
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  fd_set fds;
  FD_ZERO(&fds);
  FD_SET(ends[0], &fds);
  CHECK_ERR(select(ends[0] + 1, &fds, NULL, NULL, NULL), EINTR);
  CHECK_EQ(count, 2);
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_ERR(usleep(500000), EINTR);
  CHECK_EQ(count, 3);
  close(ends[0]), close(ends[1]);
  signal(SIGALRM, SIG_DFL);
}

static void alarm_interrupts(void) {
  int ends[2];
  char byte;
  OK(pipe(ends));
  on(SIGALRM, note, 0);
  CHECK_EQ(alarm(1), 0);
  CHECK_EQ(alarm(1), 1);
  double before = now();
  CHECK_ERR(read(ends[0], &byte, 1), EINTR);
  CHECK(now() - before > 0.9 && now() - before < 5);
  CHECK_EQ(alarm(0), 0);
  close(ends[0]), close(ends[1]);
  signal(SIGALRM, SIG_DFL);
}

static void interrupted_sleep(void) {
  on(SIGALRM, note, 0);
  struct itimerval soon = {{0, 0}, {0, 30000}};
  struct timespec want = {0, 400000000}, left = {9, 9};
  double before = now();
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_ERR(nanosleep(&want, &left), EINTR);
  CHECK(now() - before < 0.39);
  CHECK(left.tv_sec == 0 && left.tv_nsec > 10000000 && left.tv_nsec < 400000000, "%ld left", left.tv_nsec); /* the timer ran before the sleep began */
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &want, &left), EINTR);
  CHECK_EQ(count, 2);
  signal(SIGALRM, SIG_IGN); /* ignored: nothing is interrupted */
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  want.tv_nsec = 80000000;
  before = now();
  OK(nanosleep(&want, NULL));
  CHECK(now() - before >= 0.079);
  signal(SIGALRM, SIG_DFL);
}

static void interval_timers(void) {
  on(SIGALRM, note, 0);
  struct itimerval each = {{0, 5000}, {0, 5000}}, left, off = {{0, 0}, {0, 0}};
  OK(setitimer(ITIMER_REAL, &each, NULL));
  double until = now() + 10;
  while (count < 10 && now() < until) {} /* computing, not waiting */
  CHECK(count >= 10, "%d", count);
  OK(getitimer(ITIMER_REAL, &left));
  CHECK_EQ(left.it_interval.tv_usec, 5000);
  OK(setitimer(ITIMER_REAL, &off, &left));
  CHECK_EQ(left.it_interval.tv_usec, 5000);
  int seen = count;
  usleep(20000);
  CHECK_EQ(count, seen);
  signal(SIGALRM, SIG_DFL);
  on(SIGVTALRM, note, 0); /* counts computing time */
  OK(setitimer(ITIMER_VIRTUAL, &each, NULL));
  until = now() + 10;
  for (volatile long i = 0; count < 3 && (i % 1000 || now() < until); i++) {}
  CHECK(count >= 3, "virtual timer: %d", count);
  OK(setitimer(ITIMER_VIRTUAL, &off, NULL));
  signal(SIGVTALRM, SIG_DFL);
  on(SIGPROF, note, 0);
  OK(setitimer(ITIMER_PROF, &each, NULL));
  until = now() + 10;
  for (volatile long i = 0; count < 3 && (i % 1000 || now() < until); i++) {}
  CHECK(count >= 3, "profiling timer: %d", count);
  OK(setitimer(ITIMER_PROF, &off, NULL));
  signal(SIGPROF, SIG_DFL);
}

static void posix_timers(void) {
  on_info(SIGRTMIN + 2, 0);
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 77};
  OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
  struct itimerspec spec = {{0, 10000000}, {0, 10000000}}, left;
  OK(timer_settime(timer, 0, &spec, NULL));
  double until = now() + 10;
  while (count < 5 && now() < until) usleep(1000);
  CHECK(count >= 5);
  CHECK_EQ(value, 77);
  CHECK_EQ(code, SI_TIMER);
  OK(timer_gettime(timer, &left));
  CHECK_EQ(left.it_interval.tv_nsec, 10000000);
  CHECK(timer_getoverrun(timer) >= 0);
  OK(timer_delete(timer));
  int seen = count;
  usleep(30000);
  CHECK_EQ(count, seen);
  CHECK_ERR(timer_create(12345, &event, &timer), EINVAL);
  signal(SIGRTMIN + 2, SIG_DFL);
}

static volatile int notified;
static void notify(union sigval v) { notified = v.sival_int; }
static void timer_thread(void) {
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify, .sigev_value.sival_int = 88};
  OK(timer_create(CLOCK_REALTIME, &event, &timer));
  struct itimerspec spec = {{0, 0}, {0, 10000000}};
  OK(timer_settime(timer, 0, &spec, NULL));
  for (double until = now() + 10; !notified && now() < until;) usleep(1000);
  CHECK_EQ(notified, 88);
  OK(timer_delete(timer));
}

/* Signals to one thread, in every state it can be in. */
static _Thread_local volatile int got;
static volatile int ready, stop;
static void note_thread(int number) {
  (void)number;
  got++;
}
static void *blocked_in_read(void *argument) {
  char byte;
  ready = 1;
  errno = 0;
  ssize_t n = read((int)(long)argument, &byte, 1);
  return (void *)(long)(n == -1 && errno == EINTR && got == 1);
}
static void *blocked_in_lock(void *argument) {
  ready = 1;
  int r = pthread_mutex_lock(argument); /* a signal does not end it */
  if (r == 0) pthread_mutex_unlock(argument);
  return (void *)(long)(r == 0 && got == 1);
}
static void *computing(void *argument) {
  (void)argument;
  ready = 1;
  while (!got) {}
  return (void *)1L;
}
static void *sleeping(void *argument) {
  (void)argument;
  struct timespec want = {30, 0};
  ready = 1;
  return (void *)(long)(nanosleep(&want, NULL) == -1 && errno == EINTR && got == 1);
}
static void expect_thread(void *(*function)(void *), void *argument, void (*before_join)(void *)) {
  pthread_t thread;
  void *result;
  ready = 0;
  CHECK_EQ(pthread_create(&thread, NULL, function, argument), 0);
  while (!ready) usleep(1000);
  usleep(30000);
  CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
  usleep(10000);
  if (before_join) before_join(argument);
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK(result == (void *)1L);
}
static void release(void *mutex) { pthread_mutex_unlock(mutex); }
static void to_a_thread(void) {
  int ends[2];
  OK(pipe(ends));
  on(SIGUSR1, note_thread, 0);
  expect_thread(blocked_in_read, (void *)(long)ends[0], NULL);
  expect_thread(computing, NULL, NULL);
  expect_thread(sleeping, NULL, NULL);
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  expect_thread(blocked_in_lock, &mutex, release);
  CHECK_EQ(got, 0); /* none of them came to this thread */
  CHECK_ERR(syscall(SYS_tgkill, getpid(), 0x7ffffff, SIGUSR1), ESRCH);
  CHECK_ERR(syscall(SYS_tgkill, getpid(), -1, SIGUSR1), EINVAL);
  close(ends[0]), close(ends[1]);
  signal(SIGUSR1, SIG_DFL);
}

/* A signal to the process goes to a thread that does not block it. */
static volatile pid_t receiver;
static void note_receiver(int number) {
  (void)number;
  receiver = (pid_t)syscall(SYS_gettid);
}
static void *open_to_signals(void *argument) {
  sigset_t set = set_of(SIGUSR2, 0);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  *(pid_t *)argument = (pid_t)syscall(SYS_gettid);
  ready = 1;
  while (!stop) usleep(1000);
  return NULL;
}
static void to_whoever_takes_it(void) {
  on(SIGUSR2, note_receiver, 0);
  sigset_t set = set_of(SIGUSR2, 0), before;
  OK(sigprocmask(SIG_BLOCK, &set, &before));
  pid_t expected = 0;
  pthread_t thread;
  ready = stop = 0, receiver = 0;
  CHECK_EQ(pthread_create(&thread, NULL, open_to_signals, &expected), 0);
  while (!ready) usleep(1000);
  OK(kill(getpid(), SIGUSR2));
  for (int i = 0; i < 5000 && !receiver; i++) usleep(1000);
  stop = 1;
  CHECK_EQ(pthread_join(thread, NULL), 0);
  CHECK_EQ(receiver, expected);
  OK(sigprocmask(SIG_SETMASK, &before, NULL));
  signal(SIGUSR2, SIG_DFL);
}

/* Two threads signal each other as fast as they can. */
static volatile int ping;
static void note_ping(int number) {
  (void)number;
  __atomic_add_fetch(&ping, 1, __ATOMIC_SEQ_CST);
}
static void *ping_main(void *argument) {
  for (int i = 1; i <= 200; i++) {
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    while (ping < i) {}
  }
  return NULL;
}
static void storm(void) {
  on(SIGUSR1, note_ping, SA_RESTART);
  pthread_t self = pthread_self(), thread;
  ping = 0;
  sigset_t set = set_of(SIGUSR1, 0);
  CHECK_EQ(pthread_create(&thread, NULL, ping_main, &self), 0);
  (void)set;
  while (ping < 200) syscall(SYS_getppid); /* now in a call, now outside */
  CHECK_EQ(pthread_join(thread, NULL), 0);
  CHECK_EQ(ping, 200);
  signal(SIGUSR1, SIG_DFL);
}

/* On the alternate stack, with the flags that go with it. */
static volatile int where;
static char other[32768];
static void note_stack(int number) {
  char local;
  (void)number;
  where = &local >= other && &local < other + sizeof other;
}
static void alternate_stack(void) {
  stack_t stack = {.ss_sp = other, .ss_size = sizeof other}, old, off = {.ss_flags = SS_DISABLE};
  OK(sigaltstack(&stack, &old));
  on(SIGUSR1, note_stack, SA_ONSTACK);
  on(SIGUSR2, note_stack, 0);
  raise(SIGUSR1);
  CHECK_EQ(where, 1);
  raise(SIGUSR2);
  CHECK_EQ(where, 0);
  OK(sigaltstack(&off, NULL));
  raise(SIGUSR1);
  CHECK_EQ(where, 0);
  signal(SIGUSR1, SIG_DFL), signal(SIGUSR2, SIG_DFL);
}

static sigjmp_buf away;
static void jump_away(int number) { siglongjmp(away, number); }
static void jumping_out_of_waits(void) {
  on(SIGALRM, jump_away, 0);
  struct itimerval soon = {{0, 0}, {0, 2000}};
  for (volatile int i = 0; i < 30; i++) {
    if (sigsetjmp(away, 1) == 0) {
      OK(setitimer(ITIMER_REAL, &soon, NULL));
      for (;;) pause();
    }
  }
  signal(SIGALRM, SIG_DFL);
}

PROGRAM(T(send_to_self), T(ignored_by_default), T(siginfo_of_kill_and_queue), T(queueing), T(masks), T(handler_mask), T(nested_signals),
        T(mask_edited_in_the_frame), T(suspend), T(wait_for_signals), T(restart_and_interrupt), T(alarm_interrupts), T(interrupted_sleep),
        T(interval_timers), T(posix_timers), T(timer_thread), T(to_a_thread), T(to_whoever_takes_it), T(storm), T(alternate_stack),
        T(jumping_out_of_waits))
