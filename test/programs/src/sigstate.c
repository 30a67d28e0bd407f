/*
 * Signals in a computation: 10,000 of them hit a loop that keeps known values in every register. The handler destroys them all, and
 * sets the timer for the next one: between two signals the loop gets some time however long a delivery takes.
 * argv[1]: another number of signals.
 */
#include "harness.h"
#include "vectors.h"
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int kind;
static volatile long signals;
static struct vectors junk;

static const struct itimerval soon = {{0, 0}, {0, 120}};
static volatile long wanted;

static void destroy(int number) {
  (void)number;
  if (++signals < wanted) setitimer(ITIMER_REAL, &soon, NULL);
  uint32_t mxcsr;
  uint16_t control;
  /* The kernel hands a handler the interrupted MXCSR and x87 control word; the handler changes both. */
  __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
  mxcsr ^= 0x6000;
  __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
  __asm__ volatile("fninit; fnstcw %0" : "=m"(control));
  control ^= 0xc00;
  __asm__ volatile("fldcw %0; fld1; fldpi; fldz; fld1" ::"m"(control));
  vectors_load(&junk, kind);
  __asm__ volatile("xor %%eax, %%eax; not %%rax; mov %%rax, %%rcx; mov %%rax, %%rdx; mov %%rax, %%r8; mov %%rax, %%r9; mov %%rax, %%r10; mov %%rax, %%r11; mov %%rax, %%r12; mov %%rax, %%r13; mov %%rax, %%r14; mov %%rax, %%r15; cmp %%rax, %%rax"
                   ::: "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc");
}

/* General registers at the start and the end of the loop: rax rbx rcx rdx rbp r8..r15. rsi and rdi carry the addresses. */
struct general {
  uint64_t r[13];
};
__attribute__((used)) static volatile uint64_t loop_count, saved_sp; /* used by the assembler text below */

/* The loop counts down in memory, so that all registers are still. Flags are taken from the load: stc must survive through "dec". */
#define ROUND(load, save)                                                                                                                                    \
  __asm__ volatile(                                                                                                                                          \
      load                                                                                                                                                   \
      "push %%rbp; push %%rbx; push %%rdx\n"                                                                                                                 \
      "mov %%rsp, saved_sp(%%rip)\n"                                                                                                                         \
      "mov 0(%%rdx), %%rax; mov 8(%%rdx), %%rbx; mov 16(%%rdx), %%rcx; mov 32(%%rdx), %%rbp; mov 40(%%rdx), %%r8; mov 48(%%rdx), %%r9; mov 56(%%rdx), %%r10\n" \
      "mov 64(%%rdx), %%r11; mov 72(%%rdx), %%r12; mov 80(%%rdx), %%r13; mov 88(%%rdx), %%r14; mov 96(%%rdx), %%r15; mov 24(%%rdx), %%rdx\n"                 \
      "stc\n"                                                                                                                                                \
      "1: decq loop_count(%%rip); jnz 1b\n"                                                                                                                  \
      "cmp %%rsp, saved_sp(%%rip); je 2f; ud2; 2:\n"                                                                                                         \
      "push %%rdx; mov 8(%%rsp), %%rdx\n"                                                                                                                    \
      "mov %%rax, 104(%%rdx); mov %%rbx, 112(%%rdx); mov %%rcx, 120(%%rdx); popq 128(%%rdx); mov %%rbp, 136(%%rdx); mov %%r8, 144(%%rdx)\n"                  \
      "mov %%r9, 152(%%rdx); mov %%r10, 160(%%rdx); mov %%r11, 168(%%rdx); mov %%r12, 176(%%rdx); mov %%r13, 184(%%rdx); mov %%r14, 192(%%rdx); mov %%r15, 200(%%rdx)\n" \
      "pop %%rdx; pop %%rbx; pop %%rbp\n" save                                                                                                               \
      :                                                                                                                                                      \
      : "S"(in), "D"(out), "d"(g)                                                                                                                            \
      : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc")

static void everything_survives(void) {
  static struct vectors before, after;
  static struct general pair[2];
  struct vectors *in = &before, *out = &after;
  struct general *g = pair;
  struct sigaction act = {.sa_handler = destroy, .sa_flags = SA_RESTART};
  vectors_pattern(&junk, 99);
  OK(sigaction(SIGALRM, &act, NULL));
  const char *asked = getenv("SIGNALS");
  wanted = asked ? atol(asked) : 10000;
  uint32_t mxcsr = 0x1f80 | 0x4000, mxcsr_after, usual = 0x1f80; /* rounding up */
  uint16_t control = 0x37f | 0x400, control_after;               /* x87 rounding down */
  long double x = 1.25L, y = -3.5L, x_after, y_after;
  time_t until = time(NULL) + 80;
  OK(setitimer(ITIMER_REAL, &soon, NULL));
  for (uint64_t round = 1; signals < wanted && time(NULL) < until; round++) {
    vectors_pattern(in, round);
    for (int i = 0; i < 13; i++) g->r[i] = round * 0x9e3779b97f4a7c15UL + (uint64_t)i;
    loop_count = 50000;
    __asm__ volatile("fninit; fldcw %0; ldmxcsr %1; fldt %2; fldt %3" ::"m"(control), "m"(mxcsr), "m"(x), "m"(y));
    if (kind == VECTORS_AVX512)
      ROUND(EACH16(LOAD_Z) EACH16H(LOAD_Z) EACH8(LOAD_K), EACH16(SAVE_Z) EACH16H(SAVE_Z) EACH8(SAVE_K));
    else if (kind == VECTORS_AVX)
      ROUND(EACH16(LOAD_Y), EACH16(SAVE_Y));
    else
      ROUND(EACH16(LOAD_X), EACH16(SAVE_X));
    __asm__ volatile("fstpt %0; fstpt %1; fnstcw %2; stmxcsr %3; fninit; ldmxcsr %4" : "=m"(y_after), "=m"(x_after), "=m"(control_after), "=m"(mxcsr_after) : "m"(usual));
    int wrong = vectors_differ(in, out, kind);
    CHECK(wrong == -1, "after %ld signals vector register %d changed", signals, wrong);
    for (int i = 0; i < 13; i++) CHECK(pair[0].r[i] == pair[1].r[i], "after %ld signals general register %d changed: %#lx %#lx", signals, i, pair[0].r[i], pair[1].r[i]);
    CHECK(x == x_after && y == y_after, "x87 stack");
    CHECK_EQ(control_after, control);
    CHECK_EQ(mxcsr_after & 0xffc0, mxcsr & 0xffc0);
  }
  CHECK(signals >= wanted, "%ld signals in 80 s", signals);
}

int main(int argc, char **argv) {
  static const struct test tests[] = {T(everything_survives)};
  kind = vectors_kind();
  if (argc > 1) setenv("SIGNALS", argv[1], 1);
  return harness_run(1, argv, tests, 1);
}
