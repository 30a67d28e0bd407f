/*
 * Random mmap, munmap, mprotect, mremap, madvise and writes over a 24 MB arena, checked against a model of it: one record per
 * page. Contents are compared wherever they can be read; what must fault is probed by instructions and by system calls.
 * argv: [operations [seed [page]]]. Same seed, same operations: a failure names the operation at which it was seen; with `page` that
 * page is compared after every operation, which finds the one that broke it, and the operations on it are printed.
 */
#include "harness.h"
#include "probe.h"
#include <sys/mman.h>

#define PAGE 4096UL
#define PAGES 6144UL /* twelve 2M windows */

struct page {
  unsigned char mapped, prot, shared;
  uint64_t token; /* first and last word of the page; 0 = never written */
};
static struct page model[PAGES];
static unsigned char *arena;
static uint64_t state;
static long operation, watched = -1;

static uint32_t rnd(uint32_t below) { /* xorshift64* */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return (uint32_t)((state * 2685821657736338717UL) >> 32) % below;
}
static unsigned char *at(size_t page) { return arena + page * PAGE; }

/* Mostly short ranges, sometimes several windows, sometimes whole windows exactly. */
static size_t length(size_t most) {
  size_t n = rnd(8) == 0 ? rnd(1600) + 1 : rnd(6) == 0 ? 512 * (1 + rnd(3)) : rnd(24) + 1;
  return n < most ? n : most;
}
static size_t start(void) { return rnd(4) == 0 ? rnd(12) * 512 : rnd(PAGES); }

#define WRONG(page, ...)                                                                                                            \
  do {                                                                                                                              \
    printf("operation %ld, page %zu (window %zu + %zu): ", operation, (size_t)(page), (size_t)(page) / 512, (size_t)(page) % 512);   \
    printf(__VA_ARGS__);                                                                                                            \
    printf("; model: mapped %d prot %d shared %d token %#lx\n", model[page].mapped, model[page].prot, model[page].shared, model[page].token); \
    exit(1);                                                                                                                        \
  } while (0)

static void compare(size_t page, int faults_too) {
  struct page *m = &model[page];
  if (m->mapped && (m->prot & PROT_READ)) {
    uint64_t first = *(volatile uint64_t *)at(page), last = *(volatile uint64_t *)(at(page) + PAGE - 8), middle = *(volatile uint64_t *)(at(page) + PAGE / 2);
    if (first != m->token || last != m->token || middle != 0) WRONG(page, "contents %#lx %#lx %#lx", first, middle, last);
    if (faults_too && !(m->prot & PROT_WRITE)) {
      int got = probe_write(at(page));
      if (got != PROBE_ACCERR) WRONG(page, "write: %d", got);
      if (kernel_writes(at(page))) WRONG(page, "the kernel wrote");
    }
  } else if (faults_too) {
    int got = probe_read(at(page)), expected = m->mapped ? PROBE_ACCERR : PROBE_MAPERR;
    if (got != expected) WRONG(page, "read: %d, expected %d", got, expected);
    if (kernel_reads(at(page))) WRONG(page, "the kernel read");
  }
}

static void put(size_t page, uint64_t token) {
  *(volatile uint64_t *)at(page) = token;
  *(volatile uint64_t *)(at(page) + PAGE - 8) = token;
  model[page].token = token;
}

static void set(size_t page, size_t n, struct page value) {
  for (size_t i = 0; i < n; i++) model[page + i] = value;
}

static int random_prot(void) {
  static const int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
  return prots[rnd(5)];
}

static void tell(const char *what, size_t page, size_t n, long more);
static void map(size_t page, size_t n, int prot, int shared) {
  tell(shared ? "shared map" : "map", page, n, prot);
  int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED;
  if (mmap(at(page), n * PAGE, prot, flags, -1, 0) != at(page)) WRONG(page, "mmap of %zu pages: %s", n, strerror(errno));
  set(page, n, (struct page){1, (unsigned char)prot, (unsigned char)shared, 0});
}

static void tell(const char *what, size_t page, size_t n, long more) {
  if (watched >= 0 && (size_t)watched >= page && (size_t)watched < page + n) printf("operation %ld: %s pages %zu..%zu, %ld\n", operation, what, page, page + n - 1, more);
}

/* A fresh mapping with some contents, moved and resized: always one mapping, as mremap demands. */
static void move(void) {
  size_t from = start(), n = length(PAGES - from), to, m;
  int shared = rnd(5) == 0;
  map(from, n, PROT_READ | PROT_WRITE, shared);
  for (size_t i = rnd(4); i < n; i += 1 + rnd(40)) put(from + i, (uint64_t)operation << 16 | i);
  int prot = random_prot();
  if (mprotect(at(from), n * PAGE, prot) != 0) WRONG(from, "mprotect: %s", strerror(errno));
  for (size_t i = 0; i < n; i++) model[from + i].prot = (unsigned char)prot;
  do {
    to = start();
    m = shared ? 1 + rnd((uint32_t)n) : length(PAGES - to);
  } while (to + m > PAGES || (to < from + n && from < to + m));
  tell("move from", from, n, (long)to);
  tell("move to", to, m, (long)from);
  if (mremap(at(from), n * PAGE, m * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(to)) != at(to)) WRONG(from, "mremap of %zu to %zu pages at %zu: %s", n, m, to, strerror(errno));
  for (size_t i = 0; i < m; i++) model[to + i] = i < n ? model[from + i] : (struct page){1, (unsigned char)prot, (unsigned char)shared, 0};
  set(from, n, (struct page){0, 0, 0, 0});
}

static void step(void) {
  size_t page = start(), n = length(PAGES - page);
  int whole = 1, writable = 1;
  for (size_t i = 0; i < n; i++) whole &= model[page + i].mapped;
  switch (rnd(10)) {
    case 0: map(page, n, random_prot(), rnd(6) == 0); break;
    case 1:
    case 2:
      tell("munmap", page, n, 0);
      if (munmap(at(page), n * PAGE) != 0) WRONG(page, "munmap: %s", strerror(errno));
      set(page, n, (struct page){0, 0, 0, 0});
      break;
    case 3:
    case 4: {
      int prot = random_prot();
      tell("mprotect", page, n, prot);
      int done = mprotect(at(page), n * PAGE, prot);
      if (whole != (done == 0) || (done != 0 && errno != ENOMEM)) WRONG(page, "mprotect of %zu pages: %d %s", n, done, strerror(errno));
      for (size_t i = 0; i < n && model[page + i].mapped; i++) model[page + i].prot = (unsigned char)prot; /* up to the first hole */
      break;
    }
    case 5: move(); break;
    case 6:
      if (whole) {
        tell("dontneed", page, n, 0);
        if (madvise(at(page), n * PAGE, MADV_DONTNEED) != 0) WRONG(page, "madvise: %s", strerror(errno));
        for (size_t i = 0; i < n; i++)
          if (!model[page + i].shared) model[page + i].token = 0;
      }
      break;
    case 7: /* shrink in place: the tail goes */
      map(page, n, PROT_READ | PROT_WRITE, 0);
      put(page, (uint64_t)operation << 16 | 1);
      if (n > 1) {
        size_t m = 1 + rnd((uint32_t)n - 1);
        tell("shrink", page, n, (long)m);
        if (mremap(at(page), n * PAGE, m * PAGE, 0) != at(page)) WRONG(page, "mremap shrinking: %s", strerror(errno));
        set(page + m, n - m, (struct page){0, 0, 0, 0});
      }
      break;
    default:
      for (size_t i = 0; i < n; i++) writable &= model[page + i].mapped && (model[page + i].prot & PROT_WRITE);
      if (writable)
        for (size_t i = 0; i < n; i++) put(page + i, (uint64_t)operation << 16 | (i + 1));
  }
}

int main(int argc, char **argv) {
  long operations = argc > 1 ? atol(argv[1]) : 10000;
  state = argc > 2 ? strtoul(argv[2], NULL, 0) : 20240607;
  if (argc > 3) watched = atol(argv[3]);
  setvbuf(stdout, NULL, _IOLBF, 0);
  unsigned char *room = mmap(NULL, (PAGES + 512) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return 2;
  arena = (unsigned char *)(((uintptr_t)room + 512 * PAGE - 1) & ~(512 * PAGE - 1));
  set(0, PAGES, (struct page){1, PROT_NONE, 0, 0});
  for (operation = 1; operation <= operations; operation++) {
    step();
    if (watched >= 0) compare((size_t)watched, 0);
    for (int i = 0; i < 3; i++) compare(rnd(PAGES), operation % 8 == 0);
    if (operation % 500 == 0)
      for (size_t page = 0; page < PAGES; page++) compare(page, page % 97 == (size_t)operation / 500 % 97);
  }
  uint64_t hash = 14695981039346656037UL;
  for (size_t page = 0; page < PAGES; page++) hash = (hash ^ (model[page].mapped + model[page].prot * 2UL + model[page].token * 16)) * 1099511628211UL;
  printf("%ld operations, model %016lx\n", operations, hash);
  return 0;
}
