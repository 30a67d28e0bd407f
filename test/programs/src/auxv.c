/* The auxiliary vector, compared with what the program can find out itself. */
#include "harness.h"
#include <cpuid.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

extern char **environ;

/* The vector as the kernel wrote it: glibc's getauxval answers AT_HWCAP with flags of its own. */
static unsigned long raw(unsigned long type) {
  char **after = environ;
  while (*after) after++;
  for (const ElfW(auxv_t) *v = (const ElfW(auxv_t) *)(after + 1); v->a_type != AT_NULL; v++)
    if (v->a_type == type) return v->a_un.a_val;
  return 0;
}

static void numbers(void) {
  CHECK_EQ(getauxval(AT_PAGESZ), 4096);
  CHECK_EQ(getauxval(AT_CLKTCK), 100);
  CHECK_EQ(getauxval(AT_SECURE), 0);
  CHECK_EQ(getauxval(AT_FLAGS), 0);
  CHECK_EQ(getauxval(AT_UID), getuid());
  CHECK_EQ(getauxval(AT_EUID), geteuid());
  CHECK_EQ(getauxval(AT_GID), getgid());
  CHECK_EQ(getauxval(AT_EGID), getegid());
  unsigned a, b, c, d;
  CHECK(__get_cpuid(1, &a, &b, &c, &d));
  CHECK_EQ(raw(AT_HWCAP), d);
  /* Signal frames hold the extended state: legacy frame (about 0.5 KB) + XSAVE area, 2048 being the old constant. */
  unsigned size;
  __cpuid_count(0xd, 0, a, size, c, d);
  unsigned long least = raw(AT_MINSIGSTKSZ);
  CHECK(least >= 512 + size, "%lu for an XSAVE area of %u", least, size);
  CHECK(least < 32768, "%lu", least);
}

static void strings(void) {
  const char *platform = (const char *)getauxval(AT_PLATFORM);
  CHECK(platform && strcmp(platform, "x86_64") == 0);
  const char *name = (const char *)getauxval(AT_EXECFN);
  CHECK(name && access(name, X_OK) == 0, "%s", name ? name : "NULL");
  const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
  CHECK(random != NULL);
  int different = 0;
  for (int i = 1; i < 16; i++) different += random[i] != random[0];
  CHECK(different > 4, "16 random bytes are nearly constant");
}

static void headers(void) {
  const ElfW(Phdr) *header = (const ElfW(Phdr) *)getauxval(AT_PHDR);
  unsigned long count = getauxval(AT_PHNUM);
  CHECK(header != NULL);
  CHECK_EQ(getauxval(AT_PHENT), sizeof *header);
  CHECK(count >= 2 && count < 64, "%lu", count);
  unsigned long entry = getauxval(AT_ENTRY), bias = 0;
  int inside = 0, interpreter = 0, dynamic = 0;
  for (unsigned long i = 0; i < count; i++) {
    if (header[i].p_type == PT_PHDR) bias = (unsigned long)header - header[i].p_vaddr;
    if (header[i].p_type == PT_INTERP) interpreter = 1;
    if (header[i].p_type == PT_DYNAMIC) dynamic = 1;
  }
  if (dynamic && bias == 0) { /* static-PIE has no PT_PHDR: the first segment starts with the ELF header */
    bias = (unsigned long)header & ~0xfffUL;
  }
  for (unsigned long i = 0; i < count; i++)
    if (header[i].p_type == PT_LOAD && (header[i].p_flags & PF_X) && entry >= header[i].p_vaddr + bias && entry < header[i].p_vaddr + bias + header[i].p_memsz) inside = 1;
  CHECK(inside, "entry %#lx lies in no executable segment, bias %#lx", entry, bias);
  unsigned long base = getauxval(AT_BASE);
  if (interpreter)
    CHECK(base != 0 && memcmp((void *)base, ELFMAG, 4) == 0, "AT_BASE %#lx", base);
  else
    CHECK_EQ(base, 0);
}

/* The vDSO must be a loadable ELF image that exports what libcs look for. */
static void vdso(void) {
  const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
  CHECK(image != NULL);
  const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)image;
  CHECK(memcmp(elf->e_ident, ELFMAG, 4) == 0);
  const ElfW(Phdr) *header = (const ElfW(Phdr) *)(image + elf->e_phoff);
  const ElfW(Dyn) *dynamic = NULL;
  unsigned long bias = 0;
  int loads = 0;
  for (int i = 0; i < elf->e_phnum; i++) {
    if (header[i].p_type == PT_LOAD && loads++ == 0) bias = (unsigned long)image + header[i].p_offset - header[i].p_vaddr;
    if (header[i].p_type == PT_DYNAMIC) dynamic = (const ElfW(Dyn) *)(image + header[i].p_offset);
  }
  CHECK(loads > 0 && dynamic != NULL);
  const char *names = NULL;
  const ElfW(Sym) *symbols = NULL;
  for (; dynamic->d_tag != DT_NULL; dynamic++) {
    if (dynamic->d_tag == DT_STRTAB) names = (const char *)(dynamic->d_un.d_ptr + bias);
    if (dynamic->d_tag == DT_SYMTAB) symbols = (const ElfW(Sym) *)(dynamic->d_un.d_ptr + bias);
  }
  CHECK(names && symbols);
  static const char *const wanted[] = {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu", "__vdso_clock_getres"};
  for (unsigned w = 0; w < sizeof wanted / sizeof *wanted; w++) {
    int found = 0;
    /* The string table follows the symbol table in every vDSO; its start bounds the walk. */
    for (const ElfW(Sym) *s = symbols; (const char *)(s + 1) <= names && !found; s++) found = strcmp(names + s->st_name, wanted[w]) == 0 && s->st_shndx != SHN_UNDEF;
    CHECK(found, "%s", wanted[w]);
  }
}

/* argv, envp, auxv and their strings lie in this order from the stack pointer up. */
static void layout(void) {
  char **after = environ;
  while (*after) after++;
  const ElfW(auxv_t) *first = (const ElfW(auxv_t) *)(after + 1), *v = first;
  int pagesize = 0, entries = 0;
  for (; v->a_type != AT_NULL; v++, entries++)
    if (v->a_type == AT_PAGESZ) pagesize = (int)v->a_un.a_val;
  CHECK_EQ(pagesize, 4096);
  CHECK(entries >= 15 && entries < 40, "%d", entries);
  CHECK(environ[0] > (char *)v, "strings lie above the vector");
  CHECK((const char *)getauxval(AT_EXECFN) > (char *)v);
}

PROGRAM(T(numbers), T(strings), T(headers), T(vdso), T(layout))
