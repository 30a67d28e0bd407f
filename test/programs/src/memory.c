/* The mmap family. Sizes are chosen to cross 2M windows, where a kernel that uses large pages must split and rejoin them. */
#include "harness.h"
#include "probe.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define KB 1024UL
#define MB (1024UL * KB)
#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static unsigned char *map(size_t size, int prot) { return OK(mmap(NULL, size, prot, ANON, -1, 0)); }

/* Writes one tagged word per page; `pages_ok` says whether they are all there. */
static void tag(unsigned char *at, size_t size, uint64_t seed) {
  for (size_t o = 0; o < size; o += PAGE) *(volatile uint64_t *)(at + o) = seed + o;
}
static size_t first_wrong(const unsigned char *at, size_t size, uint64_t seed) {
  for (size_t o = 0; o < size; o += PAGE)
    if (*(const volatile uint64_t *)(at + o) != seed + o) return o;
  return (size_t)-1;
}
static size_t first_nonzero(const unsigned char *at, size_t size) {
  for (size_t o = 0; o < size; o += 8)
    if (*(const volatile uint64_t *)(at + o)) return o;
  return (size_t)-1;
}
#define CHECK_TAGS(at, size, seed) CHECK_EQ(first_wrong(at, size, seed), -1)
#define CHECK_ZERO(at, size) CHECK_EQ(first_nonzero(at, size), -1)

static void anonymous_is_zero(void) {
  static const size_t sizes[] = {PAGE, 64 * KB, 2 * MB - PAGE, 2 * MB, 2 * MB + PAGE, 8 * MB};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    unsigned char *at = map(sizes[i], RW);
    CHECK_ZERO(at, sizes[i]);
    tag(at, sizes[i], i);
    CHECK_TAGS(at, sizes[i], i);
    OK(munmap(at, sizes[i]));
  }
}

static void reuse_is_zero(void) {
  for (int round = 0; round < 20; round++) {
    size_t size = round % 2 ? 8 * MB : MB;
    unsigned char *at = map(size, RW);
    CHECK_ZERO(at, size);
    memset(at, 0xa5, size);
    OK(munmap(at, size));
  }
  /* At the very same address, without a gap in between: MAP_FIXED replaces. */
  unsigned char *at = map(4 * MB, RW);
  for (int round = 0; round < 5; round++) {
    memset(at, 0x5a, 4 * MB);
    CHECK(mmap(at, 4 * MB, RW, ANON | MAP_FIXED, -1, 0) == at);
    CHECK_ZERO(at, 4 * MB);
  }
  OK(munmap(at, 4 * MB));
}

static void unmapped_faults(void) {
  unsigned char *at = map(4 * MB, RW);
  tag(at, 4 * MB, 1);
  OK(munmap(at, 4 * MB));
  for (size_t o = 0; o < 4 * MB; o += 511 * KB) {
    CHECK_EQ(probe_read(at + o), PROBE_MAPERR);
    CHECK(probe_addr == at + o);
    CHECK_EQ(kernel_reads(at + o), 0);
  }
  OK(munmap(at, 4 * MB)); /* nothing there: succeeds */
}

static void reservation_of_4_terabytes(void) {
  size_t size = 4UL << 40;
  unsigned char *at = OK(mmap(NULL, size, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
  CHECK_EQ(probe_read(at + size / 2), PROBE_ACCERR);
  for (int i = 0; i < 16; i++) {
    unsigned char *piece = at + (size / 16) * (size_t)i + 123 * PAGE;
    OK(mprotect(piece, 3 * MB, RW));
    CHECK_ZERO(piece, 3 * MB);
    tag(piece, 3 * MB, (uint64_t)i);
    CHECK_EQ(probe_write(piece - 1), PROBE_ACCERR);
    CHECK_EQ(probe_write(piece + 3 * MB), PROBE_ACCERR);
  }
  for (int i = 0; i < 16; i++) CHECK_TAGS(at + (size / 16) * (size_t)i + 123 * PAGE, 3 * MB, (uint64_t)i);
  OK(munmap(at, size));
  CHECK_EQ(probe_read(at + 123 * PAGE), PROBE_MAPERR);
}

static void mprotect_keeps_contents(void) {
  unsigned char *at = map(6 * MB, RW);
  tag(at, 6 * MB, 7);
  OK(mprotect(at + MB, 3 * MB, PROT_READ));
  CHECK_TAGS(at, 6 * MB, 7);
  CHECK_EQ(probe_write(at + MB), PROBE_ACCERR);
  CHECK_EQ(probe_write(at + 4 * MB - 1), PROBE_ACCERR);
  CHECK_EQ(probe_write(at + MB - 1), 0);
  CHECK_EQ(probe_write(at + 4 * MB), 0);
  CHECK_EQ(kernel_writes(at + 2 * MB), 0);
  CHECK_EQ(kernel_reads(at + 2 * MB), 1);
  OK(mprotect(at + 2 * MB, PAGE, PROT_NONE)); /* one page inside the read-only part */
  CHECK_EQ(probe_read(at + 2 * MB), PROBE_ACCERR);
  CHECK_EQ(kernel_reads(at + 2 * MB), 0);
  CHECK_EQ(probe_read(at + 2 * MB + PAGE), 0);
  OK(mprotect(at, 6 * MB, RW));
  CHECK_TAGS(at, 6 * MB, 7);
  tag(at, 6 * MB, 8);
  CHECK_TAGS(at, 6 * MB, 8);
  OK(munmap(at, 6 * MB));
}

static void mprotect_takes_effect_at_once(void) {
  /* The write right is used just before it goes: a stale translation would let the next write through. */
  unsigned char *at = map(4 * MB, RW);
  for (int i = 0; i < 50; i++) {
    unsigned char *page = at + ((size_t)i * 37 % 1024) * PAGE;
    page[0] = (unsigned char)i;
    OK(mprotect(page, PAGE, PROT_READ));
    CHECK_EQ(probe_write(page), PROBE_ACCERR);
    CHECK_EQ(page[0], i);
    OK(mprotect(page, PAGE, RW));
    CHECK_EQ(probe_write(page), 0);
  }
  OK(munmap(at, 4 * MB));
}

static void mprotect_errors(void) {
  unsigned char *at = map(3 * PAGE, RW);
  OK(munmap(at + PAGE, PAGE));
  CHECK_ERR(mprotect(at, 3 * PAGE, PROT_READ), ENOMEM);
  CHECK_ERR(syscall(SYS_mprotect, at + 1, PAGE, PROT_READ), EINVAL); /* musl rounds the address */
  CHECK_ERR(mprotect(at, PAGE, 0x1000), EINVAL);
  OK(mprotect(at, 0, PROT_READ));
  CHECK_EQ(probe_write(at + 2 * PAGE), 0); /* the part after the hole was not reached */
  OK(munmap(at, 3 * PAGE));
}

static void mremap_in_place_and_moved(void) {
  unsigned char *at = map(64 * MB, PROT_NONE);
  OK(munmap(at, 64 * MB));
  CHECK(mmap(at, 3 * MB, RW, ANON | MAP_FIXED, -1, 0) == at);
  tag(at, 3 * MB, 3);
  unsigned char *grown = OK(mremap(at, 3 * MB, 9 * MB, MREMAP_MAYMOVE));
  CHECK_TAGS(grown, 3 * MB, 3);
  CHECK_ZERO(grown + 3 * MB, 6 * MB);
  tag(grown, 9 * MB, 4);
  CHECK(mremap(grown, 9 * MB, 2 * MB + PAGE, 0) == grown);
  CHECK_TAGS(grown, 2 * MB + PAGE, 4);
  CHECK_EQ(probe_read(grown + 2 * MB + PAGE), PROBE_MAPERR);
  /* Shrunk and grown again: what was cut off comes back as zeros. */
  grown = OK(mremap(grown, 2 * MB + PAGE, 9 * MB, MREMAP_MAYMOVE));
  CHECK_TAGS(grown, 2 * MB + PAGE, 4);
  CHECK_ZERO(grown + 2 * MB + PAGE, 7 * MB - PAGE);
  /* Forced moves to places with another offset inside the 2M window. */
  unsigned char *room = map(32 * MB, PROT_NONE);
  unsigned char *old = grown;
  for (int i = 1; i <= 4; i++) {
    unsigned char *target = room + (size_t)i * 5 * PAGE + (i % 2 ? 16 * MB : 0);
    CHECK(mremap(old, 9 * MB, 9 * MB, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
    CHECK_TAGS(target, 2 * MB + PAGE, 4);
    CHECK_EQ(probe_read(old), PROBE_MAPERR);
    CHECK_EQ(kernel_reads(old), 0);
    old = target;
  }
  OK(munmap(room, 32 * MB));
}

static void mremap_errors(void) {
  unsigned char *at = map(4 * PAGE, RW);
  CHECK_ERR(mremap(at + 1, PAGE, PAGE, 0), EINVAL);
  CHECK_ERR(mremap(at, PAGE, 0, 0), EINVAL);
  CHECK_ERR(mremap(at, PAGE, 2 * PAGE, 0), ENOMEM); /* the next page is taken and it may not move */
  CHECK_ERR(mremap(at, PAGE, PAGE, MREMAP_FIXED, at + 2 * PAGE), EINVAL); /* FIXED needs MAYMOVE */
  CHECK_ERR(mremap(at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + PAGE), EINVAL); /* overlap */
  OK(munmap(at, 4 * PAGE));
  CHECK_ERR(mremap(at, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
}

static void fixed_over_parts(void) {
  unsigned char *at = map(8 * MB, RW);
  tag(at, 8 * MB, 5);
  CHECK(mmap(at + 2 * MB - 8 * PAGE, 16 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == at + 2 * MB - 8 * PAGE);
  CHECK_ZERO(at + 2 * MB - 8 * PAGE, 16 * PAGE);
  CHECK_TAGS(at, 2 * MB - 8 * PAGE, 5);
  for (size_t o = 2 * MB + 8 * PAGE; o < 8 * MB; o += PAGE) CHECK_EQ(*(uint64_t *)(at + o), 5 + o);
  CHECK(mmap(at + 4 * MB, 2 * MB, PROT_READ, ANON | MAP_FIXED, -1, 0) == at + 4 * MB);
  CHECK_EQ(probe_write(at + 4 * MB), PROBE_ACCERR);
  CHECK_ZERO(at + 4 * MB, 2 * MB);
  CHECK_ERR(mmap(at + 4 * MB, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
  OK(munmap(at + 4 * MB, PAGE));
  CHECK(mmap(at + 4 * MB, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == at + 4 * MB);
  OK(munmap(at, 8 * MB));
}

static void partial_munmap(void) {
  unsigned char *at = map(64 * MB, RW);
  tag(at, 64 * MB, 9);
  for (size_t o = MB; o < 64 * MB; o += 2 * MB) OK(munmap(at + o, MB));
  for (size_t o = 0; o < 64 * MB; o += 2 * MB) {
    for (size_t i = 0; i < MB; i += PAGE) CHECK_EQ(*(uint64_t *)(at + o + i), 9 + o + i);
    CHECK_EQ(probe_read(at + o + MB), PROBE_MAPERR);
    CHECK_EQ(probe_read(at + o + 2 * MB - 1), PROBE_MAPERR);
  }
  for (size_t o = MB; o < 64 * MB; o += 2 * MB) {
    CHECK(mmap(at + o, MB, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == at + o);
    CHECK_ZERO(at + o, MB);
  }
  for (size_t o = 0; o < 64 * MB; o += 2 * MB) CHECK_EQ(*(uint64_t *)(at + o), 9 + o);
  OK(munmap(at, 64 * MB));
}

static void hole_in_the_middle_of_a_large_page(void) {
  unsigned char *room = map(8 * MB, RW);
  unsigned char *at = (unsigned char *)(((uintptr_t)room + 2 * MB - 1) & ~(2 * MB - 1));
  tag(at, 4 * MB, 11);
  for (int i = 0; i < 8; i++) {
    unsigned char *hole = at + 100 * PAGE + (size_t)i * 61 * PAGE;
    OK(munmap(hole, PAGE));
    CHECK_EQ(probe_read(hole), PROBE_MAPERR);
    CHECK_EQ(probe_read(hole - 1), 0);
    CHECK_EQ(probe_read(hole + PAGE), 0);
  }
  for (int i = 0; i < 8; i++) {
    unsigned char *hole = at + 100 * PAGE + (size_t)i * 61 * PAGE;
    CHECK(mmap(hole, PAGE, RW, ANON | MAP_FIXED, -1, 0) == hole);
    CHECK_ZERO(hole, PAGE);
    *(uint64_t *)hole = 11 + (uint64_t)(hole - at);
  }
  CHECK_TAGS(at, 4 * MB, 11);
  OK(munmap(room, 8 * MB));
}

static void dontneed_zeroes(void) {
  unsigned char *at = map(6 * MB, RW);
  tag(at, 6 * MB, 13);
  OK(madvise(at + MB, 4 * MB, MADV_DONTNEED));
  CHECK_ZERO(at + MB, 4 * MB);
  CHECK_TAGS(at, MB, 13);
  for (size_t o = 5 * MB; o < 6 * MB; o += PAGE) CHECK_EQ(*(uint64_t *)(at + o), 13 + o);
  tag(at, 6 * MB, 14);
  OK(madvise(at + 17 * PAGE, PAGE, MADV_DONTNEED));
  CHECK_ZERO(at + 17 * PAGE, PAGE);
  CHECK_EQ(*(uint64_t *)(at + 16 * PAGE), 14 + 16 * PAGE);
  CHECK_EQ(*(uint64_t *)(at + 18 * PAGE), 14 + 18 * PAGE);
  OK(mprotect(at, 2 * MB, PROT_NONE));
  OK(madvise(at, 6 * MB, MADV_DONTNEED)); /* also where nothing may be read */
  OK(mprotect(at, 2 * MB, RW));
  CHECK_ZERO(at, 6 * MB);
  CHECK_ERR(madvise(at + 1, PAGE, MADV_DONTNEED), EINVAL);
  CHECK_ERR(madvise(at, PAGE, 12345), EINVAL);
  OK(madvise(at, 6 * MB, MADV_WILLNEED));
  OK(madvise(at, 6 * MB, MADV_NORMAL));
  OK(munmap(at, 6 * MB));
  CHECK_ERR(madvise(at, PAGE, MADV_DONTNEED), ENOMEM);
}

static void *write_shared(void *at) {
  memset(at, 0x77, 3 * MB);
  return NULL;
}
static void shared_anonymous(void) {
  unsigned char *at = OK(mmap(NULL, 3 * MB, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  CHECK_ZERO(at, 3 * MB);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, write_shared, at), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  for (size_t o = 0; o < 3 * MB; o++) CHECK(at[o] == 0x77);
  OK(madvise(at, 3 * MB, MADV_DONTNEED)); /* shared contents stay */
  CHECK_EQ(at[2 * MB], 0x77);
  OK(munmap(at, 3 * MB));
}

static void brk_up_and_down(void) {
  /* malloc may use the same break: nothing allocates between the first and the last line. */
  unsigned char *start = (unsigned char *)syscall(SYS_brk, 0);
  int ok = 1;
  for (int round = 0; round < 6 && ok; round++) {
    size_t size = (size_t)(round + 1) * 700 * KB + 123;
    ok = ok && (unsigned char *)syscall(SYS_brk, start + size) == start + size;
    unsigned char *page = (unsigned char *)(((uintptr_t)start + PAGE - 1) & ~(PAGE - 1));
    size_t whole = size - (size_t)(page - start);
    ok = ok && first_nonzero(page, whole & ~7UL) == (size_t)-1;
    memset(page, 0xee, whole);
    ok = ok && (unsigned char *)syscall(SYS_brk, start) == start;
  }
  int fault = probe_read(start + 2 * MB);
  unsigned char *after = (unsigned char *)syscall(SYS_brk, 8); /* nonsense: answers the present break */
  CHECK(ok);
  CHECK_EQ(fault, PROBE_MAPERR);
  CHECK(after == start);
}

static void mmap_errors(void) {
  int file = OK(open("readonly", O_CREAT | O_RDWR, 0600));
  OK(ftruncate(file, 8192));
  close(file);
  file = OK(open("readonly", O_RDONLY));
  CHECK_ERR(mmap(NULL, 0, RW, ANON, -1, 0), EINVAL);
  CHECK_ERR(mmap((void *)0x10000001, PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL);
  CHECK_ERR(mmap(NULL, PAGE, RW, MAP_PRIVATE, 999, 0), EBADF);
  CHECK_ERR(mmap(NULL, PAGE, RW, MAP_SHARED, file, 0), EACCES);
  CHECK_ERR(mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 123), EINVAL);
  CHECK_ERR(mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL); /* neither shared nor private */
  CHECK_ERR(mmap(NULL, 1UL << 63, RW, ANON, -1, 0), ENOMEM);
  CHECK_ERR(mmap(NULL, -1UL, RW, ANON, -1, 0), ENOMEM);
  CHECK_ERR(mmap(NULL, 1UL << 50, PROT_NONE, ANON | MAP_NORESERVE, -1, 0), ENOMEM);
  CHECK_ERR(mmap((void *)0xffff800000000000UL, PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
  CHECK_ERR(munmap((void *)0x1001, PAGE), EINVAL);
  CHECK_ERR(munmap((void *)0x1000, 0), EINVAL);
  CHECK_ERR(munmap((void *)0x1000, 1UL << 63), EINVAL);
  close(file);
  OK(unlink("readonly"));
}

static void hint_is_taken_when_free(void) {
  unsigned char *at = map(2 * MB, RW);
  OK(munmap(at, 2 * MB));
  unsigned char *again = OK(mmap(at, MB, RW, ANON, -1, 0));
  CHECK(again == at);
  unsigned char *other = OK(mmap(at, MB, RW, ANON, -1, 0)); /* taken: somewhere else, nothing replaced */
  CHECK(other != at);
  OK(munmap(at, MB));
  OK(munmap(other, MB));
}

__attribute__((noinline)) static unsigned deep(unsigned depth) {
  volatile unsigned char frame[1024];
  memset((void *)frame, (int)depth, sizeof frame);
  unsigned below = depth ? deep(depth - 1) : 0;
  return below + frame[depth % 1024];
}
static void stack_grows(void) {
  unsigned expected = 0;
  for (unsigned d = 0; d <= 5500; d++) expected += d & 255;
  CHECK_EQ(deep(5500), expected); /* about 6 of the usual 8 MB */
  CHECK_EQ(deep(5500), expected);
}

/* A program that writes programs: code pages change between calls. */
static void generated_code(void) {
  unsigned char *at = map(2 * PAGE, RW);
  for (unsigned value = 1; value <= 30; value++) {
    unsigned char code[] = {0xb8, (unsigned char)value, 0x12, 0, 0, 0xc3}; /* mov $0x12vv,%eax; ret */
    memcpy(at + value * 8, code, sizeof code);
    OK(mprotect(at, 2 * PAGE, PROT_READ | PROT_EXEC));
    CHECK_EQ(((unsigned (*)(void))(void *)(at + value * 8))(), 0x1200 + value);
    CHECK_EQ(probe_write(at), PROBE_ACCERR);
    OK(mprotect(at, 2 * PAGE, RW));
  }
  OK(munmap(at, 2 * PAGE));
  at = map(PAGE, RW | PROT_EXEC); /* writable and executable at once: the same address with changing code */
  for (unsigned value = 1; value <= 30; value++) {
    unsigned char code[] = {0xb8, (unsigned char)value, 0x34, 0, 0, 0xc3};
    memcpy(at, code, sizeof code);
    CHECK_EQ(((unsigned (*)(void))(void *)at)(), 0x3400 + value);
  }
  OK(munmap(at, PAGE));
}

static sigjmp_buf execute_out;
static volatile int execute_code;
static void execute_handler(int number, siginfo_t *info, void *context) {
  (void)number, (void)context;
  execute_code = info->si_code;
  siglongjmp(execute_out, 1);
}
static void no_execute(void) {
  unsigned char *at = map(PAGE, RW);
  at[0] = 0xc3;
  struct sigaction act = {.sa_sigaction = execute_handler, .sa_flags = SA_SIGINFO}, old;
  OK(sigaction(SIGSEGV, &act, &old));
  execute_code = 0;
  if (sigsetjmp(execute_out, 1) == 0) ((void (*)(void))(void *)at)();
  OK(sigaction(SIGSEGV, &old, NULL));
  CHECK_EQ(execute_code, SEGV_ACCERR);
  OK(munmap(at, PAGE));
}

static void advice_and_locks(void) {
  unsigned char *at = map(4 * PAGE, RW);
  tag(at, 4 * PAGE, 1);
  unsigned char resident[4] = {0};
  OK(mincore(at, 4 * PAGE, resident));
  for (int i = 0; i < 4; i++) CHECK_EQ(resident[i] & 1, 1);
  OK(mlock(at, 4 * PAGE));
  OK(munlock(at, 4 * PAGE));
  OK(msync(at, 4 * PAGE, MS_SYNC));
  OK(munmap(at, 4 * PAGE));
  CHECK_ERR(mincore(at, PAGE, resident), ENOMEM);
  CHECK_ERR(msync(at, PAGE, MS_SYNC), ENOMEM);
}

/* One thread writes a window while another changes protections of its neighbours in the same 2M: no write may be lost. */
static unsigned char *busy;
static volatile int busy_stop;
static void *busy_writer(void *argument) {
  volatile uint64_t *words = (uint64_t *)(busy + 64 * PAGE);
  uint64_t n = 0;
  while (!busy_stop) {
    n++;
    for (int i = 0; i < 64; i++) words[(size_t)i * 512] = n;
    for (int i = 0; i < 64; i++)
      if (words[(size_t)i * 512] != n) _exit(3);
  }
  (void)argument;
  return NULL;
}
static void neighbours_while_another_thread_writes(void) {
  unsigned char *room = map(4 * MB, RW);
  busy = (unsigned char *)(((uintptr_t)room + 2 * MB - 1) & ~(2 * MB - 1));
  busy_stop = 0;
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, busy_writer, NULL), 0);
  for (int i = 0; i < 200; i++) {
    unsigned char *page = busy + (size_t)(130 + i) * PAGE;
    page[0] = 1;
    OK(mprotect(page, PAGE, PROT_READ));
    OK(mprotect(page, PAGE, RW));
    OK(munmap(page, PAGE));
    CHECK(mmap(page, PAGE, RW, ANON | MAP_FIXED, -1, 0) == page);
    CHECK_EQ(page[0], 0);
  }
  busy_stop = 1;
  CHECK_EQ(pthread_join(thread, NULL), 0);
  OK(munmap(room, 4 * MB));
}

static void *churn(void *argument) {
  unsigned random = (unsigned)(long)argument * 7919 + 1;
  unsigned char *blocks[64] = {0};
  size_t sizes[64] = {0};
  for (int i = 0; i < 3000; i++) {
    random = random * 1103515245 + 12345;
    unsigned slot = (random >> 16) % 64;
    for (size_t o = 0; o < sizes[slot]; o += 1021)
      if (blocks[slot][o] != (unsigned char)(slot + (unsigned)(long)argument)) _exit(4);
    size_t size = (random >> 8) % ((random & 31) == 0 ? 600000 : 4000) + 1;
    blocks[slot] = realloc(blocks[slot], size);
    if (!blocks[slot]) _exit(5);
    memset(blocks[slot], (int)(slot + (unsigned)(long)argument), size);
    sizes[slot] = size;
  }
  for (int i = 0; i < 64; i++) free(blocks[i]);
  return NULL;
}
static void malloc_in_threads(void) {
  pthread_t threads[4];
  for (long i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
  for (int i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

PROGRAM(T(anonymous_is_zero), T(reuse_is_zero), T(unmapped_faults), T(reservation_of_4_terabytes), T(mprotect_keeps_contents),
        T(mprotect_takes_effect_at_once), T(mprotect_errors), T(mremap_in_place_and_moved), T(mremap_errors), T(fixed_over_parts),
        T(partial_munmap), T(hole_in_the_middle_of_a_large_page), T(dontneed_zeroes), T(shared_anonymous), T(brk_up_and_down), T(mmap_errors),
        T(hint_is_taken_when_free), T(stack_grows), T(generated_code), T(no_execute), T(advice_and_locks),
        T(neighbours_while_another_thread_writes), T(malloc_in_threads))
