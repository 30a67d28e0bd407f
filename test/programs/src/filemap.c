/* File mappings: one content seen through memory and through read and write, and what happens at the end of the file. */
#include "harness.h"
#include "probe.h"
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096UL
#define MB (1024UL * 1024UL)
#define RW (PROT_READ | PROT_WRITE)

static int fresh(const char *name, off_t size) {
  int file = OK(open(name, O_CREAT | O_RDWR | O_TRUNC, 0600));
  OK(ftruncate(file, size));
  return file;
}
static void fill(int file, size_t size) {
  unsigned char page[PAGE];
  for (size_t o = 0; o < size; o += PAGE) {
    for (size_t i = 0; i < PAGE; i++) page[i] = (unsigned char)((o / PAGE) * 31 + i);
    CHECK_EQ(pwrite(file, page, PAGE, (off_t)o), PAGE);
  }
}
static unsigned char expected(size_t at) { return (unsigned char)((at / PAGE) * 31 + at % PAGE); }

static void shared_and_write(void) {
  int file = fresh("shared", 3 * MB);
  char *at = OK(mmap(NULL, 3 * MB, RW, MAP_SHARED, file, 0));
  for (int i = 0; i < 100; i++) {
    off_t place = (off_t)i * 31337 % (off_t)(3 * MB - 32);
    char text[32], back[32] = {0};
    snprintf(text, sizeof text, "written %d", i);
    CHECK_EQ(pwrite(file, text, sizeof text, place), sizeof text);
    CHECK(memcmp(at + place, text, strlen(text)) == 0, "write(2) is not seen in memory, round %d", i);
    snprintf(at + place, 32, "stored %d", i);
    CHECK_EQ(pread(file, back, sizeof back, place), sizeof back);
    CHECK(memcmp(back, at + place, 32) == 0, "a store is not seen by read(2), round %d", i);
  }
  OK(msync(at, 3 * MB, MS_SYNC));
  OK(munmap(at, 3 * MB));
  close(file);
  OK(unlink("shared"));
}

static void two_mappings_of_one_file(void) {
  int file = fresh("two", 64 * PAGE);
  char *a = OK(mmap(NULL, 64 * PAGE, RW, MAP_SHARED, file, 0));
  char *b = OK(mmap(NULL, 32 * PAGE, RW, MAP_SHARED, file, 16 * PAGE));
  close(file); /* the mapping keeps the file */
  for (size_t i = 0; i < 32; i++) a[(16 + i) * PAGE + i] = (char)(i + 1);
  for (size_t i = 0; i < 32; i++) CHECK_EQ(b[i * PAGE + i], i + 1);
  b[5 * PAGE] = 'x';
  CHECK_EQ(a[21 * PAGE], 'x');
  OK(munmap(a, 64 * PAGE));
  CHECK_EQ(b[5 * PAGE], 'x');
  OK(munmap(b, 32 * PAGE));
  OK(unlink("two"));
}

static void private_is_not_seen(void) {
  int file = fresh("private", 0);
  fill(file, 5 * MB);
  unsigned char *at = OK(mmap(NULL, 5 * MB, RW, MAP_PRIVATE, file, 0));
  for (size_t o = 0; o < 5 * MB; o += 4093) CHECK_EQ(at[o], expected(o));
  memset(at + MB, 0xcc, MB);
  unsigned char byte;
  CHECK_EQ(pread(file, &byte, 1, (off_t)MB + 5), 1);
  CHECK_EQ(byte, expected(MB + 5));
  OK(madvise(at + MB, MB, MADV_DONTNEED)); /* the file's contents come back */
  for (size_t o = MB; o < 2 * MB; o += 997) CHECK_EQ(at[o], expected(o));
  OK(munmap(at, 5 * MB));
  /* read-only, with an offset that is not a multiple of 2M */
  at = OK(mmap(NULL, 2 * MB, PROT_READ, MAP_PRIVATE, file, 3 * PAGE));
  for (size_t o = 0; o < 2 * MB; o += 1021) CHECK_EQ(at[o], expected(o + 3 * PAGE));
  CHECK_EQ(probe_write(at), PROBE_ACCERR);
  OK(mprotect(at, 2 * MB, RW)); /* allowed: private */
  at[0] = 1;
  OK(munmap(at, 2 * MB));
  close(file);
  OK(unlink("private"));
}

static void end_of_file(void) {
  int file = fresh("end", 2 * PAGE + 100);
  unsigned char byte = 0x11;
  CHECK_EQ(pwrite(file, &byte, 1, 2 * PAGE + 99), 1);
  unsigned char *at = OK(mmap(NULL, 5 * PAGE, RW, MAP_SHARED, file, 0));
  CHECK_EQ(at[2 * PAGE + 99], 0x11);
  for (size_t i = 2 * PAGE + 100; i < 3 * PAGE; i++) CHECK_EQ(at[i], 0); /* the last page's rest is zero */
  CHECK_EQ(probe_read(at + 3 * PAGE), PROBE_BUS);
  CHECK(probe_addr == at + 3 * PAGE);
  CHECK_EQ(probe_write(at + 4 * PAGE + 7), PROBE_BUS);
  CHECK_EQ(kernel_reads(at + 3 * PAGE), 0);
  OK(ftruncate(file, 5 * PAGE)); /* the file grows into the mapping */
  CHECK_EQ(probe_read(at + 3 * PAGE), 0);
  at[4 * PAGE] = 0x22;
  CHECK_EQ(pread(file, &byte, 1, 4 * PAGE), 1);
  CHECK_EQ(byte, 0x22);
  OK(ftruncate(file, PAGE)); /* and shrinks away under it */
  CHECK_EQ(probe_read(at), 0);
  CHECK_EQ(probe_read(at + PAGE), PROBE_BUS);
  CHECK_EQ(probe_read(at + 4 * PAGE), PROBE_BUS);
  OK(munmap(at, 5 * PAGE));
  /* the same for a private mapping */
  at = OK(mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0));
  CHECK_EQ(probe_read(at), 0);
  CHECK_EQ(probe_read(at + PAGE), PROBE_BUS);
  OK(munmap(at, 3 * PAGE));
  close(file);
  OK(unlink("end"));
}

static void unlinked_file_lives(void) {
  int file = fresh("gone", 4 * PAGE);
  char *at = OK(mmap(NULL, 4 * PAGE, RW, MAP_SHARED, file, 0));
  OK(unlink("gone"));
  strcpy(at + PAGE, "still here");
  char back[16] = {0};
  CHECK_EQ(pread(file, back, 10, PAGE), 10);
  CHECK(strcmp(back, "still here") == 0);
  close(file);
  CHECK(strcmp(at + PAGE, "still here") == 0);
  OK(munmap(at, 4 * PAGE));
}

static void memory_file(void) {
  int file = OK(memfd_create("buffer", MFD_CLOEXEC));
  OK(ftruncate(file, 4 * MB));
  char *a = OK(mmap(NULL, 4 * MB, RW, MAP_SHARED, file, 0));
  char *b = OK(mmap(NULL, 4 * MB, PROT_READ, MAP_SHARED, file, 0));
  for (size_t o = 0; o < 4 * MB; o += PAGE) a[o] = (char)(o / PAGE);
  for (size_t o = 0; o < 4 * MB; o += PAGE) CHECK_EQ(b[o], (char)(o / PAGE));
  CHECK_EQ(probe_write(b), PROBE_ACCERR);
  OK(munmap(a, 4 * MB));
  CHECK_EQ(b[PAGE], 1);
  OK(munmap(b, 4 * MB));
  close(file);
}

static void punched_hole(void) {
  int file = fresh("hole", 0);
  fill(file, MB);
  unsigned char *at = OK(mmap(NULL, MB, RW, MAP_SHARED, file, 0));
  if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, 8 * PAGE) == 0) {
    for (size_t o = 4 * PAGE; o < 12 * PAGE; o++) CHECK_EQ(at[o], 0);
  } else {
    CHECK_EQ(errno, EOPNOTSUPP);
  }
  CHECK_EQ(at[4 * PAGE - 1], expected(4 * PAGE - 1));
  CHECK_EQ(at[12 * PAGE], expected(12 * PAGE));
  OK(munmap(at, MB));
  close(file);
  OK(unlink("hole"));
}

static void read_into_a_mapping(void) {
  /* read(2) with a buffer that is itself a shared mapping of another file, and across a protection boundary. */
  int source = fresh("source", 0), target = fresh("target", MB);
  fill(source, MB);
  unsigned char *at = OK(mmap(NULL, MB, RW, MAP_SHARED, target, 0));
  CHECK_EQ(pread(source, at + 100, MB - 100, 0), MB - 100);
  unsigned char back[64];
  CHECK_EQ(pread(target, back, 64, 5 * PAGE), 64);
  for (size_t i = 0; i < 64; i++) CHECK_EQ(back[i], expected(5 * PAGE + i - 100));
  OK(mprotect(at + 8 * PAGE, PAGE, PROT_READ));
  CHECK_EQ(pread(source, at + 6 * PAGE, 8 * PAGE, 0), 2 * PAGE); /* what fits before the fault counts */
  CHECK_ERR(pread(source, at + 8 * PAGE, PAGE, 0), EFAULT);
  OK(munmap(at, MB));
  close(source), close(target);
  OK(unlink("source")), OK(unlink("target"));
}

static void large_file(void) {
  int file = fresh("large", 0);
  fill(file, 40 * MB);
  const unsigned char *at = OK(mmap(NULL, 40 * MB, PROT_READ, MAP_PRIVATE, file, 0));
  const unsigned char *shared = OK(mmap(NULL, 40 * MB, PROT_READ, MAP_SHARED, file, 0));
  for (size_t o = 0; o < 40 * MB; o += 4 * PAGE + 1) {
    CHECK_EQ(at[o], expected(o));
    CHECK_EQ(shared[o], expected(o));
  }
  OK(munmap((void *)(uintptr_t)at, 40 * MB));
  OK(munmap((void *)(uintptr_t)shared, 40 * MB));
  close(file);
  OK(unlink("large"));
}

static void remapped_file(void) {
  int file = fresh("remap", 0);
  fill(file, 4 * MB);
  unsigned char *at = OK(mmap(NULL, MB, RW, MAP_SHARED, file, 0));
  at = OK(mremap(at, MB, 4 * MB, MREMAP_MAYMOVE));
  for (size_t o = 0; o < 4 * MB; o += 997) CHECK_EQ(at[o], expected(o));
  at[3 * MB] = 0xab;
  unsigned char byte;
  CHECK_EQ(pread(file, &byte, 1, 3 * MB), 1);
  CHECK_EQ(byte, 0xab);
  OK(munmap(at, 4 * MB));
  close(file);
  OK(unlink("remap"));
}

PROGRAM(T(shared_and_write), T(two_mappings_of_one_file), T(private_is_not_seen), T(end_of_file), T(unlinked_file_lives), T(memory_file),
        T(punched_hole), T(read_into_a_mapping), T(large_file), T(remapped_file))
