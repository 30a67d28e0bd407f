/* The system-call convention: everything but rax, rcx and r11 survives, the stack and its red zone too, whoever answers the call. */
#include "harness.h"
#include "vectors.h"
#include <fcntl.h>
#include <math.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

/* One system call with every register known. in: rdi rsi rdx r10 r8 r9 (arguments), rbx rbp r12..r15 (must stay); out: the same and rax, rcx, r11. */
struct state {
  uint64_t rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15; /* 0..88 */
  uint64_t rax, rcx, r11, flags, after, rsp;                        /* 96..136 */
};
__attribute__((used)) static struct state *volatile state_address;
static volatile uint64_t red[16];

static void call(long number, struct state *s) {
  state_address = s;
  __asm__ volatile(
      "push %%rbx; push %%rbp\n"
      "sub $256, %%rsp\n"
      "lea -8(%%rsp), %%rdi; mov $16, %%ecx\n"
      "1: mov %%rcx, (%%rdi); sub $8, %%rdi; dec %%ecx; jnz 1b\n" /* red zone */
      "mov %0, %%rax\n"
      "mov state_address(%%rip), %%r11\n"
      "lea 2f(%%rip), %%rcx; mov %%rcx, 128(%%r11); mov %%rsp, 136(%%r11)\n"
      "mov 0(%%r11), %%rdi; mov 8(%%r11), %%rsi; mov 16(%%r11), %%rdx; mov 24(%%r11), %%r10; mov 32(%%r11), %%r8; mov 40(%%r11), %%r9\n"
      "mov 48(%%r11), %%rbx; mov 56(%%r11), %%rbp; mov 64(%%r11), %%r12; mov 72(%%r11), %%r13; mov 80(%%r11), %%r14; mov 88(%%r11), %%r15\n"
      "std; stc\n"
      "syscall\n"
      "2: mov %%rsp, red_check(%%rip)\n"
      "xchg %%r11, red_check+8(%%rip)\n"
      "pushfq; cld\n"
      "mov state_address(%%rip), %%r11\n"
      "mov %%rax, 96(%%r11); mov %%rcx, 104(%%r11); popq 120(%%r11)\n"
      "mov %%rdi, 0(%%r11); mov %%rsi, 8(%%r11); mov %%rdx, 16(%%r11); mov %%r10, 24(%%r11); mov %%r8, 32(%%r11); mov %%r9, 40(%%r11)\n"
      "mov %%rbx, 48(%%r11); mov %%rbp, 56(%%r11); mov %%r12, 64(%%r11); mov %%r13, 72(%%r11); mov %%r14, 80(%%r11); mov %%r15, 88(%%r11)\n"
      "mov red_check+8(%%rip), %%rax; mov %%rax, 112(%%r11)\n"
      "mov red_check(%%rip), %%rax; cmp %%rax, 136(%%r11); je 3f; ud2; 3:\n"
      "lea -16(%%rsp), %%rsi; lea red+8(%%rip), %%rdi; mov $15, %%ecx\n" /* the word pushfq has overwritten is left out */
      "4: mov (%%rsi), %%rax; mov %%rax, (%%rdi); sub $8, %%rsi; add $8, %%rdi; dec %%ecx; jnz 4b\n"
      "add $256, %%rsp\n"
      "pop %%rbp; pop %%rbx\n"
      :
      : "r"(number)
      : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}
__attribute__((used)) static volatile uint64_t red_check[2];

static char buffer[64];
static struct timespec when;
static const struct {
  const char *name;
  long number;
  long a, b, c;
  long result; /* -1: any */
} calls[] = {
    {"getpid", SYS_getpid, 0, 0, 0, -1},
    {"gettid", SYS_gettid, 0, 0, 0, -1},
    {"getppid", SYS_getppid, 0, 0, 0, -1},
    {"getuid", SYS_getuid, 0, 0, 0, -1},
    {"sched_yield", SYS_sched_yield, 0, 0, 0, 0},
    {"write", SYS_write, -2, 0, 0, -EBADF},
    {"lseek", SYS_lseek, -3, 0, 0, -EBADF},
    {"clock_gettime", SYS_clock_gettime, CLOCK_MONOTONIC, (long)&when, 0, 0},
    {"getrandom", SYS_getrandom, (long)buffer, 64, 0, 64},
    {"mmap", SYS_mmap, 0, 0, 0, -EBADF},
    {"futex", SYS_futex, (long)buffer, 1, 1, 0},
    {"unknown 450", 100000, 0, 0, 0, -ENOSYS},
    {"unknown -1", -1, 0, 0, 0, -ENOSYS},
    {"sched_yield + 2^40", 1L << 40 | SYS_sched_yield, 0, 0, 0, 0}, /* the kernel looks at 32 bits */
};

static int status_flags_too;
static void one_call(unsigned i, uint64_t seed) {
  struct state s, before;
  uint64_t *words = (uint64_t *)&s;
  for (int w = 0; w < 12; w++) words[w] = seed = seed * 6364136223846793005UL + 1442695040888963407UL;
  s.rdi = (uint64_t)calls[i].a, s.rsi = (uint64_t)calls[i].b, s.rdx = (uint64_t)calls[i].c;
  if (calls[i].number == SYS_mmap) s.r10 = 0, s.r8 = (uint64_t)-1, s.r9 = 0;
  before = s;
  call(calls[i].number, &s);
  const char *name = calls[i].name;
  if (calls[i].result != -1) CHECK((long)s.rax == calls[i].result, "%s: rax %ld", name, (long)s.rax);
  static const char *const names[] = {"rdi", "rsi", "rdx", "r10", "r8", "r9", "rbx", "rbp", "r12", "r13", "r14", "r15"};
  for (int w = 0; w < 12; w++) CHECK(((uint64_t *)&before)[w] == words[w], "%s: %s %#lx became %#lx", name, names[w], ((uint64_t *)&before)[w], words[w]);
  if (status_flags_too)
    CHECK((s.flags & 0xcd5) == 0x445, "%s: flags %#lx, direction, zero, parity and carry were set", name, s.flags);
  else
    CHECK(s.flags & 0x400, "%s: flags %#lx, direction was set", name, s.flags);
  CHECK(s.rcx == s.after, "%s: rcx %#lx, the next instruction is at %#lx", name, s.rcx, s.after);
  for (uint64_t w = 1; w < 16; w++) CHECK(red[w] == 16 - w, "%s: red zone word %lu is %#lx", name, w, red[w]);
}

static void general_registers(void) {
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
    for (uint64_t round = 0; round < 20; round++) one_call(i, round * 1000 + i);
}

/* Linux gives back the arithmetic flags as well, though compilers take every call for one that changes them. */
static void status_flags(void) {
  status_flags_too = 1;
  general_registers();
  status_flags_too = 0;
}

static void vector_registers(void) {
  static struct vectors before, after;
  struct vectors *in = &before, *out = &after;
  int kind = vectors_kind();
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
    long number = calls[i].number, a = calls[i].a, b = calls[i].b, c = calls[i].c;
    if (number == SYS_mmap) continue; /* six arguments */
    for (uint64_t round = 0; round < 10; round++) {
      vectors_pattern(in, round * 100 + i);
      memset(out, 0, sizeof *out);
#define CALL(load, save)                                                                                                       \
  __asm__ volatile(load "push %%rdi; mov %0, %%rax; mov %1, %%rdi; mov %2, %%rsi; mov %3, %%rdx; syscall; pop %%rdi\n" save :: \
                       "r"(number), "r"(a), "r"(b), "r"(c), "S"(in), "D"(out)                                                  \
                   : "rax", "rcx", "rdx", "r11", "memory")
      if (kind == VECTORS_AVX512)
        CALL(EACH16(LOAD_Z) EACH16H(LOAD_Z) EACH8(LOAD_K), EACH16(SAVE_Z) EACH16H(SAVE_Z) EACH8(SAVE_K));
      else if (kind == VECTORS_AVX)
        CALL(EACH16(LOAD_Y), EACH16(SAVE_Y));
      else
        CALL(EACH16(LOAD_X), EACH16(SAVE_X));
      int wrong = vectors_differ(in, out, kind);
      CHECK(wrong == -1, "%s: vector register %d", calls[i].name, wrong);
    }
  }
}

static void floating_point_modes(void) {
  for (unsigned mode = 0; mode < 4; mode++) {
    uint32_t mxcsr = 0x1f80 | mode << 13 | 0x8040, mxcsr_after, usual = 0x1f80;
    uint16_t control = (uint16_t)(0x37f | mode << 10), control_after, status;
    double value = 0;
    __asm__ volatile("ldmxcsr %0; fninit; fldcw %1; fldpi; fld1" ::"m"(mxcsr), "m"(control));
    for (int i = 0; i < 5; i++) {
      long r;
      __asm__ volatile("syscall" : "=a"(r) : "a"(i % 2 ? SYS_getppid : SYS_getpid) : "rcx", "r11", "memory");
    }
    __asm__ volatile("fnstsw %3; faddp; fstpl %0; stmxcsr %1; fnstcw %2; ldmxcsr %4; fninit" : "=m"(value), "=m"(mxcsr_after), "=m"(control_after), "=m"(status) : "m"(usual));
    CHECK_EQ(mxcsr_after & 0xffc0, mxcsr & 0xffc0);
    CHECK_EQ(control_after, control);
    CHECK_EQ((status >> 11) & 7, 6); /* two values on the stack */
    CHECK(value > 4.1415926 && value < 4.1415927, "%.9f", value);
  }
}

/* fs and gs bases can be set by the program; gs is free for its use. */
static void segment_bases(void) {
  unsigned long before, read_back = 0, data[4] = {11, 22, 33, 44}, loaded;
  OK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &before));
  CHECK(before != 0);
  OK(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, data));
  OK(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &read_back));
  CHECK_EQ(read_back, (unsigned long)data);
  for (int i = 0; i < 10; i++) {
    syscall(i % 2 ? SYS_getppid : SYS_getpid);
    __asm__ volatile("mov %%gs:16, %0" : "=r"(loaded));
    CHECK_EQ(loaded, 33);
  }
  OK(syscall(SYS_arch_prctl, 0x1001, 0));
  CHECK_ERR(syscall(SYS_arch_prctl, 0x1002, 1UL << 63), EPERM);
  CHECK_ERR(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
}

/* Unknown calls, also those of the x32 range, change nothing and answer ENOSYS. */
static void unknown_calls(void) {
  static const long numbers[] = {-1, -4096, 1023, 4095, 100000, 0x3fffffff, 0x7fffffff, 180 /* nfsservctl */, 183 /* afs_syscall */, 214 /* epoll_ctl_old */};
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) CHECK_ERR(syscall(numbers[i], -1, -1, -1, -1, -1, -1), ENOSYS);
}

PROGRAM(T(general_registers), T(status_flags), T(vector_registers), T(floating_point_modes), T(segment_bases), T(unknown_calls))
