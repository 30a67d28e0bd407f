/* Synchronous signals: what a handler is told (siginfo, ucontext), what it may change, and where it runs. */
#include "harness.h"
#include <fenv.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define PAGE 4096UL

/* What the last handler saw. */
static struct {
  volatile int count, signo, code, sicode_errno;
  void *volatile addr;
  volatile greg_t rip, rsp, err, trapno, cr2, eflags, rax;
} saw;
/* What it does to rip: skip this many bytes, or go to `resume`. */
static volatile long skip;
static void *volatile resume;

static void note(int number, siginfo_t *info, void *context) {
  greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
  saw.count++, saw.signo = number, saw.code = info->si_code, saw.sicode_errno = info->si_errno, saw.addr = info->si_addr;
  saw.rip = g[REG_RIP], saw.rsp = g[REG_RSP], saw.err = g[REG_ERR], saw.trapno = g[REG_TRAPNO], saw.cr2 = g[REG_CR2];
  saw.eflags = g[REG_EFL], saw.rax = g[REG_RAX];
  if (resume)
    g[REG_RIP] = (greg_t)(uintptr_t)resume;
  else
    g[REG_RIP] += skip;
}

static void handle(int number, void (*function)(int, siginfo_t *, void *), int flags) {
  struct sigaction act = {.sa_sigaction = function, .sa_flags = SA_SIGINFO | flags};
  OK(sigaction(number, &act, NULL));
  memset((void *)&saw, 0, sizeof saw);
  skip = 0, resume = NULL;
}
static void unhandle(void) {
  static const int all[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGUSR1};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) signal(all[i], SIG_DFL);
}

/* Executes `setup`, then the instruction that faults; whatever handler runs goes on behind it. The value is the instruction's address. */
#define FAULT_AT(setup, instruction, ...)                                                                                          \
  ({                                                                                                                               \
    void *here_;                                                                                                                   \
    __asm__ volatile("lea 1f(%%rip), %%r11; lea 2f(%%rip), %%r10; mov %%r10, %1; mov %%r11, %0; " setup "; 1: " instruction "; 2:" \
                     : "=m"(here_), "=m"(resume)                                                                                   \
                     : __VA_ARGS__                                                                                                 \
                     : "rax", "rcx", "rdx", "r10", "r11", "memory", "cc");                                                         \
    here_;                                                                                                                         \
  })

static void unmapped_address(void) {
  unsigned char *at = OK(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(munmap(at, 2 * PAGE));
  handle(SIGSEGV, note, 0);
  void *rip = FAULT_AT("", "movl $1, (%2)", "r"(at + 123));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.signo, SIGSEGV);
  CHECK_EQ(saw.code, SEGV_MAPERR);
  CHECK_EQ(saw.sicode_errno, 0);
  CHECK(saw.addr == at + 123, "%p", saw.addr);
  CHECK(saw.rip == (greg_t)(uintptr_t)rip, "rip %#llx, instruction %p", saw.rip, rip);
  CHECK_EQ(saw.trapno, 14);
  CHECK_EQ(saw.err, 6); /* user, write, not present */
  CHECK(saw.cr2 == (greg_t)(uintptr_t)(at + 123));
  rip = FAULT_AT("", "mov (%2), %%al", "r"(at + PAGE));
  CHECK_EQ(saw.count, 2);
  CHECK_EQ(saw.err, 4);
  CHECK(saw.addr == at + PAGE);
  CHECK(mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
  FAULT_AT("", "mov (%2), %%rax", "r"(at + PAGE - 4)); /* starts in a good page and crosses into the next */
  CHECK_EQ(saw.count, 3);
  CHECK(saw.addr == at + PAGE, "%p", saw.addr);
  OK(munmap(at, PAGE));
  unhandle();
}

static void access_rights(void) {
  unsigned char *at = OK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  unsigned char first = *(volatile unsigned char *)at;
  CHECK_EQ(first, 0);
  handle(SIGSEGV, note, 0);
  FAULT_AT("", "movb $1, (%2)", "r"(at + 5));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.code, SEGV_ACCERR);
  CHECK(saw.addr == at + 5);
  CHECK_EQ(saw.err, 7); /* user, write, present */
  OK(mprotect(at, PAGE, PROT_NONE));
  FAULT_AT("", "mov (%2), %%al", "r"(at + 5));
  CHECK_EQ(saw.count, 2);
  CHECK_EQ(saw.code, SEGV_ACCERR);
  unhandle();
  OK(munmap(at, PAGE));
}

static void execute_fault(void) {
  unsigned char *at = OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  at[0] = 0xc3;
  handle(SIGSEGV, note, 0);
  FAULT_AT("sub $128, %%rsp", "call *%2", "r"(at)); /* resumes with a misplaced stack, put right below */
  __asm__ volatile("add $136, %%rsp" ::: "memory");
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.code, SEGV_ACCERR);
  CHECK(saw.addr == at && saw.rip == (greg_t)(uintptr_t)at);
  CHECK_EQ(saw.err & 16, 16); /* instruction fetch */
  unhandle();
  OK(munmap(at, PAGE));
}

static void non_canonical(void) {
  handle(SIGSEGV, note, 0);
  FAULT_AT("", "mov (%2), %%al", "r"(0x8000000000000000UL));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.code, SI_KERNEL);
  CHECK(saw.addr == NULL);
  CHECK_EQ(saw.trapno, 13);
  FAULT_AT("", "mov (%2), %%al", "r"(0xffff800000000000UL)); /* canonical, but the kernel's half */
  CHECK_EQ(saw.count, 2);
  CHECK_EQ(saw.signo, SIGSEGV);
  CHECK_EQ(saw.code, SEGV_MAPERR);
  unhandle();
}

/* What ring 3 must not do. */
static void privileged_instructions(void) {
  handle(SIGSEGV, note, 0);
  int n = 0;
#define PRIVILEGED(instruction)                                            \
  do {                                                                     \
    void *rip_ = FAULT_AT("xor %%ecx, %%ecx", instruction, "r"(0));                            \
    CHECK_EQ(saw.count, ++n);                                              \
    CHECK(saw.signo == SIGSEGV && saw.code == SI_KERNEL, instruction);     \
    CHECK(saw.rip == (greg_t)(uintptr_t)rip_, instruction);                \
    CHECK(saw.trapno == 13, instruction);                                  \
  } while (0)
  PRIVILEGED("hlt");
  PRIVILEGED("cli");
  PRIVILEGED("sti");
  PRIVILEGED("mov %%cr0, %%rax");
  PRIVILEGED("mov %%rax, %%cr3");
  PRIVILEGED("rdmsr");
  PRIVILEGED("wbinvd");
  PRIVILEGED("mov %%rax, %%dr7");
  unhandle();
}

static void port_instructions(void) {
  handle(SIGSEGV, note, 0);
  FAULT_AT("mov $0x80, %%dx", "out %%al, %%dx", "r"(0));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.trapno, 13);
  FAULT_AT("", "in $0x70, %%al", "r"(0));
  CHECK_EQ(saw.count, 2);
  FAULT_AT("", "out %%eax, $0x10", "r"(0));
  CHECK_EQ(saw.count, 3);
  unhandle();
}

static void divide_errors(void) {
  handle(SIGFPE, note, 0);
  void *rip = FAULT_AT("xor %%eax, %%eax; xor %%edx, %%edx", "div %2", "r"(0));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.signo, SIGFPE);
  CHECK_EQ(saw.code, FPE_INTDIV);
  CHECK(saw.addr == rip && saw.rip == (greg_t)(uintptr_t)rip);
  CHECK_EQ(saw.trapno, 0);
  FAULT_AT("mov $0x80000000, %%eax; cltd", "idiv %2", "r"(-1)); /* the quotient does not fit */
  CHECK_EQ(saw.count, 2);
  CHECK_EQ(saw.code, FPE_INTDIV);
  unhandle();
}

static void floating_point_errors(void) {
  handle(SIGFPE, note, 0);
  uint32_t unmasked = 0x1f80 & ~0x200u, usual = 0x1f80;
  double one = 1, zero = 0;
  __asm__ volatile("ldmxcsr %0" ::"m"(unmasked));
  FAULT_AT("movsd %2, %%xmm0", "divsd %3, %%xmm0", "m"(one), "m"(zero));
  uint32_t after;
  __asm__ volatile("stmxcsr %0; ldmxcsr %1" : "=m"(after) : "m"(usual));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.code, FPE_FLTDIV);
  CHECK_EQ(saw.trapno, 19);
  CHECK_EQ(after & 0x3f80, unmasked & 0x3f80);
  uint16_t control = 0x37f & ~4, normal = 0x37f;
  __asm__ volatile("fldcw %0" ::"m"(control));
  FAULT_AT("fld1; fldz; fdivrp", "fwait", "r"(0));
  __asm__ volatile("fnclex; fninit; fldcw %0" ::"m"(normal));
  CHECK_EQ(saw.count, 2);
  CHECK_EQ(saw.code, FPE_FLTDIV);
  CHECK_EQ(saw.trapno, 16);
  unhandle();
}

static void illegal_instruction(void) {
  handle(SIGILL, note, 0);
  void *rip = FAULT_AT("", "ud2", "r"(0));
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.signo, SIGILL);
  CHECK_EQ(saw.code, ILL_ILLOPN);
  CHECK(saw.addr == rip && saw.rip == (greg_t)(uintptr_t)rip);
  CHECK_EQ(saw.trapno, 6);
  unhandle();
}

static void breakpoint(void) {
  handle(SIGTRAP, note, 0);
  void *volatile here;
  __asm__ volatile("lea 1f(%%rip), %%r11; mov %%r11, %0; int3; 1:" : "=m"(here)::"r11", "memory");
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.signo, SIGTRAP);
  CHECK_EQ(saw.code, SI_KERNEL);
  CHECK(saw.rip == (greg_t)(uintptr_t)here, "rip points after the instruction");
  CHECK_EQ(saw.trapno, 3);
  unhandle();
}

static volatile int steps;
static void step(int number, siginfo_t *info, void *context) {
  (void)number;
  if (info->si_code != TRAP_TRACE) _exit(9);
  steps++;
  (void)context;
}
static void single_step(void) {
  handle(SIGTRAP, step, 0);
  steps = 0;
  __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; nop; nop; pushfq; andl $~0x100, (%%rsp); popfq; nop" ::: "memory", "cc");
  CHECK(steps == 7 || steps == 8, "%d", steps); /* four nops, pushf, and, popf */
  unhandle();
}

static void alignment_check(void) {
  handle(SIGBUS, note, 0);
  /* The handler must not run with AC set: the kernel clears it at entry. */
  static uint64_t words[2];
  FAULT_AT("pushfq; orl $0x40000, (%%rsp); popfq", "mov 1(%2), %%rax", "r"(words));
  __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(saw.code, BUS_ADRALN);
  CHECK_EQ(saw.trapno, 17);
  unhandle();
}

/* A garbage collector's read barrier: the handler makes the page accessible, the instruction runs again. */
static unsigned char *guarded;
static void open_page(int number, siginfo_t *info, void *context) {
  (void)number, (void)context;
  saw.count++;
  mprotect((void *)((uintptr_t)info->si_addr & ~(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE);
}
static void repair_and_retry(void) {
  guarded = OK(mmap(NULL, 300 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  handle(SIGSEGV, open_page, 0);
  for (size_t i = 0; i < 300; i++) {
    ((volatile unsigned char *)guarded)[i * PAGE + i] += 1;
    CHECK_EQ(saw.count, i + 1);
    CHECK_EQ(guarded[i * PAGE + i], 1);
  }
  unhandle();
  OK(munmap(guarded, 300 * PAGE));
}

/* The handler decodes and emulates: it writes a register. */
static void set_register(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
  saw.count++;
  g[REG_RBX] = 0x1122334455667788;
  g[REG_R15] = ~g[REG_R15];
  g[REG_EFL] |= 1; /* carry */
  g[REG_RIP] += 2; /* ud2 */
}
static void registers_edited(void) {
  handle(SIGILL, set_register, 0);
  uint64_t b, r15, carry;
  __asm__ volatile("mov $5, %%r15; xor %%ebx, %%ebx; clc; ud2; mov $0, %%ecx; adc $0, %%rcx; mov %%rbx, %0; mov %%r15, %1; mov %%rcx, %2"
                   : "=m"(b), "=m"(r15), "=m"(carry)::"rbx", "r15", "rcx", "cc", "memory");
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(b, 0x1122334455667788);
  CHECK_EQ(r15, ~5UL);
  CHECK_EQ(carry, 1);
  unhandle();
}

/* The 128 bytes below the stack pointer belong to the function (System V ABI 3.2.2): a frame must not touch them. */
static void red_zone(void) {
  handle(SIGILL, note, 0);
  skip = 2;
  uint64_t wrong = 0;
  __asm__ volatile(
      "lea -8(%%rsp), %%rdi; mov $16, %%ecx\n"
      "1: mov %%rcx, (%%rdi); sub $8, %%rdi; dec %%ecx; jnz 1b\n"
      "ud2\n"
      "lea -8(%%rsp), %%rdi; mov $16, %%ecx; xor %%eax, %%eax\n"
      "2: cmp %%rcx, (%%rdi); je 3f; inc %%eax\n"
      "3: sub $8, %%rdi; dec %%ecx; jnz 2b\n"
      : "+a"(wrong)::"rdi", "rcx", "memory", "cc");
  CHECK_EQ(saw.count, 1);
  CHECK_EQ(wrong, 0);
  unhandle();
}

/* At entry of a handler: stack aligned as after a call, direction flag clear, whatever the interrupted code did. */
__attribute__((naked)) static void entry_state(int number, siginfo_t *info, void *context) {
  (void)number, (void)info, (void)context;
  __asm__(
      "pushfq; pop %rax; and $0x400, %eax\n"
      "lea 8(%rsp), %rcx; and $15, %ecx; or %ecx, %eax\n"
      "mov %eax, entry_flaws(%rip)\n"
      "mov 168(%rdx), %rcx; add $2, %rcx; mov %rcx, 168(%rdx)\n" /* uc_mcontext.gregs[REG_RIP] */
      "ret");
}
int entry_flaws = -1;
static void handler_entry(void) {
  CHECK_EQ(offsetof(ucontext_t, uc_mcontext.gregs[REG_RIP]), 168);
  handle(SIGILL, entry_state, 0);
  for (int i = 0; i < 16; i++) {
    entry_flaws = -1;
    __asm__ volatile("mov %%rsp, %%rbx; sub %0, %%rsp; std; ud2; pushfq; cld; pop %%rax; mov %%rbx, %%rsp" ::"r"((long)(128 + i)) : "rbx", "rax", "memory", "cc");
    CHECK_EQ(entry_flaws, 0);
  }
  unhandle();
}

/* Stack overflow on the alternate stack. */
static char *alternate;
static volatile int on_alternate, flags_inside;
static sigjmp_buf out;
static void overflowed(int number, siginfo_t *info, void *context) {
  char local;
  stack_t now;
  (void)number, (void)context;
  saw.count++, saw.addr = info->si_addr;
  on_alternate = &local >= alternate && &local < alternate + 65536;
  sigaltstack(NULL, &now);
  flags_inside = now.ss_flags;
  siglongjmp(out, 1);
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) static long recurse(long depth) {
  volatile char space[2000];
  space[depth % 2000] = (char)depth;
  return recurse(depth + 1) + space[0];
}
#pragma GCC diagnostic pop
static void overflow_twice(void) {
  stack_t stack = {.ss_sp = alternate, .ss_size = 65536}, old;
  OK(sigaltstack(&stack, &old));
  handle(SIGSEGV, overflowed, SA_ONSTACK);
  for (int i = 1; i <= 2; i++) {
    if (sigsetjmp(out, 1) == 0) {
      recurse(0);
      CHECK(0, "no fault");
    }
    CHECK_EQ(saw.count, i);
    CHECK(on_alternate);
    CHECK_EQ(flags_inside, SS_ONSTACK);
  }
  unhandle();
  stack_t now;
  OK(sigaltstack(NULL, &now));
  CHECK_EQ(now.ss_flags, 0);
  CHECK(now.ss_sp == alternate && now.ss_size == 65536);
  stack.ss_flags = SS_DISABLE;
  OK(sigaltstack(&stack, NULL));
  OK(sigaltstack(NULL, &now));
  CHECK_EQ(now.ss_flags, SS_DISABLE);
  stack = (stack_t){.ss_sp = alternate, .ss_size = 100};
  CHECK_ERR(sigaltstack(&stack, NULL), ENOMEM);
}
static void stack_overflow(void) {
  alternate = OK(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  overflow_twice();
  OK(munmap(alternate, 65536));
}
static void *overflow_thread(void *argument) {
  alternate = argument;
  harness_thread = 0;
  overflow_twice();
  return NULL;
}
static void stack_overflow_in_a_thread(void) {
  char *at = OK(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, overflow_thread, at), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  OK(munmap(at, 65536));
}

/* A fault inside a handler of another signal, and one inside its own handler with SA_NODEFER. */
static volatile int depth, deepest;
static void inner(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
  deepest = ++depth > deepest ? depth : deepest;
  if (depth < 5) __asm__ volatile("ud2");
  depth--;
}
static void outer(int number) {
  (void)number;
  depth++;
  __asm__ volatile("ud2");
  depth--;
}
static void nested_faults(void) {
  handle(SIGILL, inner, SA_NODEFER);
  signal(SIGUSR1, outer);
  depth = deepest = 0;
  raise(SIGUSR1);
  CHECK_EQ(deepest, 5);
  CHECK_EQ(depth, 0);
  unhandle();
}

static void jump_out(int number) {
  siglongjmp(out, number);
}
static void a_thousand_jumps_out(void) {
  signal(SIGSEGV, jump_out);
  volatile int count = 0;
  for (volatile int i = 0; i < 1000; i++) {
    if (sigsetjmp(out, 1) == 0)
      *(volatile int *)(16 + (uintptr_t)i % 2 * 8) = 1;
    else
      count++;
  }
  CHECK_EQ(count, 1000);
  sigset_t now;
  sigprocmask(SIG_BLOCK, NULL, &now);
  CHECK_EQ(sigismember(&now, SIGSEGV), 0);
  unhandle();
}

static void reset_hand(void) {
  handle(SIGILL, note, SA_RESETHAND);
  skip = 2;
  __asm__ volatile("ud2");
  CHECK_EQ(saw.count, 1);
  struct sigaction now;
  OK(sigaction(SIGILL, NULL, &now));
  CHECK(now.sa_handler == SIG_DFL);
  unhandle();
}

/* Faults in two threads at once: each handler sees its own. */
static void *volatile thread_addr[4];
static _Thread_local volatile long mine;
static void own(int number, siginfo_t *info, void *context) {
  (void)number;
  mine = (long)info->si_addr;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 3; /* movb $1,(%rax) */
}
static void *fault_often(void *argument) {
  unsigned char *base = argument;
  for (int i = 0; i < 300; i++) {
    __asm__ volatile("movb $1, (%%rax)" ::"a"(base + i) : "memory");
    if (mine != (long)(base + i)) return (void *)1;
  }
  return NULL;
}
static void faults_in_threads(void) {
  unsigned char *at = OK(mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  handle(SIGSEGV, own, 0);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, fault_often, at + (size_t)i * PAGE), 0);
  for (int i = 0; i < 4; i++) {
    void *result;
    CHECK_EQ(pthread_join(threads[i], &result), 0);
    CHECK(result == NULL);
  }
  unhandle();
  OK(munmap(at, 4 * PAGE));
}

PROGRAM(T(unmapped_address), T(access_rights), T(execute_fault), T(non_canonical), T(privileged_instructions), T(port_instructions), T(divide_errors),
        T(floating_point_errors), T(illegal_instruction), T(breakpoint), T(single_step), T(alignment_check), T(repair_and_retry), T(registers_edited),
        T(red_zone), T(handler_entry), T(stack_overflow), T(stack_overflow_in_a_thread), T(nested_faults), T(a_thousand_jumps_out), T(reset_hand),
        T(faults_in_threads))
