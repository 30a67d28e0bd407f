/*
 * All registers a program can see, filled, kept busy and read back. Used with signals (sigstate.c) and system calls (registers.c).
 * Vector registers: 32 zmm and 8 opmask with AVX-512, else 16 ymm with AVX, else 16 xmm.
 */
#ifndef VECTORS_H
#define VECTORS_H
#include <stdint.h>

struct vectors {
  uint8_t zmm[32][64];
  uint64_t k[8];
} __attribute__((aligned(64)));

enum { VECTORS_SSE, VECTORS_AVX, VECTORS_AVX512 };

static int vectors_kind(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return VECTORS_AVX512;
  return __builtin_cpu_supports("avx") ? VECTORS_AVX : VECTORS_SSE;
}

#define EACH16(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define EACH16H(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27) M(28) M(29) M(30) M(31)
#define EACH8(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define LOAD_Z(n) "vmovdqu64 " #n "*64(%%rsi), %%zmm" #n "\n"
#define SAVE_Z(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%%rdi)\n"
#define LOAD_Y(n) "vmovdqu " #n "*64(%%rsi), %%ymm" #n "\n"
#define SAVE_Y(n) "vmovdqu %%ymm" #n ", " #n "*64(%%rdi)\n"
#define LOAD_X(n) "movdqu " #n "*64(%%rsi), %%xmm" #n "\n"
#define SAVE_X(n) "movdqu %%xmm" #n ", " #n "*64(%%rdi)\n"
#define LOAD_K(n) "kmovq 2048+" #n "*8(%%rsi), %%k" #n "\n"
#define SAVE_K(n) "kmovq %%k" #n ", 2048+" #n "*8(%%rdi)\n"

/* Bytes of each vector register that take part. */
static inline unsigned vectors_width(int kind) { return kind == VECTORS_AVX512 ? 64 : kind == VECTORS_AVX ? 32 : 16; }
static inline unsigned vectors_count(int kind) { return kind == VECTORS_AVX512 ? 32 : 16; }

/* Index of the first vector register that differs, 32 + n for an opmask register, or -1. */
static inline int vectors_differ(const struct vectors *a, const struct vectors *b, int kind) {
  for (unsigned r = 0; r < vectors_count(kind); r++)
    for (unsigned i = 0; i < vectors_width(kind); i++)
      if (a->zmm[r][i] != b->zmm[r][i]) return (int)r;
  for (int r = 0; kind == VECTORS_AVX512 && r < 8; r++)
    if (a->k[r] != b->k[r]) return 32 + r;
  return -1;
}

static inline void vectors_pattern(struct vectors *v, uint64_t seed) {
  uint8_t *bytes = (uint8_t *)v;
  for (unsigned i = 0; i < sizeof *v; i++) {
    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    bytes[i] = (uint8_t)(seed >> 56);
  }
}

/* Loads and saves without anything in between: for handlers that want to destroy everything. */
static inline void vectors_load(const struct vectors *v, int kind) {
  if (kind == VECTORS_AVX512)
    __asm__ volatile(EACH16(LOAD_Z) EACH16H(LOAD_Z) EACH8(LOAD_K)::"S"(v) : "memory");
  else if (kind == VECTORS_AVX)
    __asm__ volatile(EACH16(LOAD_Y)::"S"(v) : "memory");
  else
    __asm__ volatile(EACH16(LOAD_X)::"S"(v) : "memory");
}
#endif
