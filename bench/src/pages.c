// The page policy of the benchmark programs. THP is `madvise` on a stock Debian, so native 2M pages have to be asked for.
#include "bench.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // Linux 6.1, include/uapi/asm-generic/mman-common.h
#endif

struct range { uintptr_t start, end; };

/// Whole 2M pages of the private, writable, anonymous mappings; stacks are left alone. Returns how many ranges it wrote.
static size_t large_ranges(struct range *out, size_t room) {
  FILE *maps = fopen("/proc/self/maps", "r");
  if (!maps) return 0;
  char line[512], perms[5], name[256];
  size_t n = 0;
  while (n < room && fgets(line, sizeof line, maps)) {
    unsigned long start, end, inode;
    name[0] = 0;
    if (sscanf(line, "%lx-%lx %4s %*s %*s %lu %255s", &start, &end, perms, &inode, name) < 4) continue;
    if (inode || strcmp(perms, "rw-p") || !strncmp(name, "[stack", 6)) continue;
    start = (start + HUGE - 1) & -HUGE;
    end &= -HUGE;
    if (start < end) out[n++] = (struct range){start, end};
  }
  fclose(maps);
  return n;
}

void pages_apply(int touched) {
  const char *policy = getenv("BENCH_PAGES");
  if (!policy) return;
  if (!strcmp(policy, "4K")) {
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    return;
  }
  if (strcmp(policy, "2M")) {
    fprintf(stderr, "BENCH_PAGES must be 2M or 4K, not \"%s\"\n", policy);
    exit(2);
  }
  // Collected first: madvise on a mapping while its line is being read could split it.
  struct range ranges[256];
  size_t n = large_ranges(ranges, 256);
  for (size_t i = 0; i < n; i++) {
    void *start = (void *)ranges[i].start;
    size_t length = ranges[i].end - ranges[i].start;
    madvise(start, length, MADV_HUGEPAGE);
    // Untouched pages make MADV_COLLAPSE fail for their 2M page only; that is no error here.
    if (touched) madvise(start, length, MADV_COLLAPSE);
  }
}

long pages_huge_kib(void) {
  FILE *rollup = fopen("/proc/self/smaps_rollup", "r");
  if (!rollup) return -1;
  char line[256];
  long total = 0, kib;
  while (fgets(line, sizeof line, rollup))
    if (sscanf(line, "AnonHugePages: %ld", &kib) == 1 || sscanf(line, "Private_Hugetlb: %ld", &kib) == 1) total += kib;
  fclose(rollup);
  return total;
}
