/* Asks whether memory can be touched, in both ways that must agree: by an instruction (page tables) and by a system call (the kernel's check). */
#ifndef PROBE_H
#define PROBE_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static sigjmp_buf probe_out;
static volatile sig_atomic_t probe_code;
static void *volatile probe_addr;

static void probe_handler(int number, siginfo_t *info, void *context) {
  (void)context;
  probe_addr = info->si_addr;
  probe_code = number * 1000 + info->si_code;
  siglongjmp(probe_out, 1);
}

/* Expected answers of probe_read and probe_write beside 0 (= possible). */
#define PROBE_MAPERR (SIGSEGV * 1000 + SEGV_MAPERR)
#define PROBE_ACCERR (SIGSEGV * 1000 + SEGV_ACCERR)
#define PROBE_BUS (SIGBUS * 1000 + BUS_ADRERR)

static int probe(volatile unsigned char *at, int writing) {
  struct sigaction act = {.sa_sigaction = probe_handler, .sa_flags = SA_SIGINFO | SA_NODEFER}, segv, bus;
  sigaction(SIGSEGV, &act, &segv);
  sigaction(SIGBUS, &act, &bus);
  probe_code = 0;
  if (sigsetjmp(probe_out, 0) == 0) {
    unsigned char value = *at;
    if (writing) *at = value;
  }
  sigaction(SIGSEGV, &segv, NULL);
  sigaction(SIGBUS, &bus, NULL);
  return probe_code;
}

/* 0, or signal * 1000 + si_code. */
static inline int probe_read(const void *at) { return probe((volatile unsigned char *)(uintptr_t)at, 0); }
static inline int probe_write(void *at) { return probe((volatile unsigned char *)at, 1); }

/* Does the kernel read (write) one byte there? 1 or 0. */
static inline int kernel_reads(const void *at) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  ssize_t n = write(ends[1], at, 1);
  close(ends[0]);
  close(ends[1]);
  return n == 1;
}
static inline int kernel_writes(void *at) {
  int ends[2];
  unsigned char value = 0;
  if (pipe(ends) != 0) return -1;
  if (write(ends[1], &value, 1) != 1) return -1;
  ssize_t n = read(ends[0], at, 1);
  close(ends[0]);
  close(ends[1]);
  return n == 1;
}

#endif
