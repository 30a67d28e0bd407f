// What /dev/kvm does where its documentation is silent and margay relies on it. One line per fact: "name: answer".
// Runs on PVM and on textbook KVM alike; `node test/lab/run.mjs` runs it in the lab (/lab/probes), docs/lab.md says what the answers mean.
//   kvm-facts edits    does an edited guest page-table entry take effect, and what makes it do so
//   kvm-facts running  the same while another thread's vCPU uses the entry all the time
//   kvm-facts rip      is a new RIP honoured after the exit by `out`
//   kvm-facts efault   what KVM_RUN returns where the host's own mapping does not allow the access
//   kvm-facts cost     microseconds per system call: answered in the guest, by user space
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

// Guest-physical memory. The first 16 MiB are mapped one to one with 2M entries that ring 3 may use.
enum {
  MEMORY = 16 << 20,
  GDT = 0x500,
  PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x6000,
  TSS = 0x4000, TSS_LIMIT = 0x2067,
  IDT = 0x7000,
  CODE = 0x10000,      // ring 3 starts here
  LSTAR = 0x20000,     // system-call entry
  VECTORS = 0x21000,   // one stub per exception, 16 bytes apart
  IRETQ = 0x22000,
  STACK = 0x200000,
  KERNEL_STACK = 0x300000,
  PAGE_A = 0x800000, PAGE_B = 0xa00000,  // the pages behind the window; each in a 2 MiB of its own
  WINDOW = 0x30000000,                   // virtual address of a window of 4K pages, mapped by PT
  SYSCALL_PORT = 0x42, VECTOR_PORT = 0x50,
};
enum { PRESENT = 1, WRITE = 2, USER = 4, LARGE = 0x80 };

static int kvm, vm, vcpu;
static uint8_t *memory;
static struct kvm_run *run;

static void die(const char *what) {
  perror(what);
  exit(2);
}

static void answer(const char *name, const char *format, ...) {
  va_list list;
  va_start(list, format);
  printf("%s: ", name);
  vprintf(format, list);
  printf("\n");
  va_end(list);
  fflush(stdout);
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static int pvm(void) { return access("/sys/module/kvm_pvm", F_OK) == 0; }

static uint64_t *words(uint64_t physical) { return (uint64_t *)(memory + physical); }

static void code(uint64_t physical, const void *bytes, size_t length) { memcpy(memory + physical, bytes, length); }

static void set_window(int page, uint64_t entry) { words(PT)[page] = entry; }

// What the guest's memory is on the host.
enum backing { SMALL, THP, HUGETLB, FILE_SHARED, BACKINGS };
static const char *backing_names[] = {"4K", "THP", "hugetlb", "shared file"};

/** The guest's memory, 2M-aligned; NULL where this machine has no huge pages to give. */
static uint8_t *allocate(enum backing backing) {
  int file = backing == FILE_SHARED ? memfd_create("guest", MFD_CLOEXEC) : -1;
  if (file >= 0 && ftruncate(file, MEMORY + (2 << 20))) die("ftruncate");
  int flags = file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | (backing == HUGETLB ? MAP_HUGETLB : 0);
  uint8_t *raw = mmap(0, MEMORY + (2 << 20), PROT_READ | PROT_WRITE, flags, file, 0);
  if (raw == MAP_FAILED && backing == HUGETLB) return NULL;
  if (raw == MAP_FAILED) die("mmap");
  uint8_t *aligned = (uint8_t *)(((uintptr_t)raw + 0x1fffff) & ~(uintptr_t)0x1fffff);
  if (backing == THP || backing == SMALL) madvise(aligned, MEMORY, backing == THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return aligned;
}

/** Makes the machine; false where it cannot have such memory. */
static int prepare(enum backing backing) {
  memory = allocate(backing);
  if (memory == NULL) return 0;
  kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) die("/dev/kvm");
  vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) die("KVM_CREATE_VM");
  struct kvm_userspace_memory_region slot = {.memory_size = MEMORY, .userspace_addr = (uintptr_t)memory};
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot)) die("KVM_SET_USER_MEMORY_REGION");
  vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  if (vcpu < 0) die("KVM_CREATE_VCPU");
  run = mmap(0, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entries[256]; } cpuid = {.head.nent = 256};
  if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) || ioctl(vcpu, KVM_SET_CPUID2, &cpuid)) die("cpuid");

  words(PML4)[0] = PDPT | PRESENT | WRITE | USER;
  words(PDPT)[0] = PD | PRESENT | WRITE | USER;
  for (uint64_t i = 0; i < MEMORY >> 21; i++) words(PD)[i] = i << 21 | LARGE | PRESENT | WRITE | USER;
  words(PD)[WINDOW >> 21] = PT | PRESENT | WRITE | USER;

  uint64_t *gdt = words(GDT);
  gdt[2] = 0x00af9b000000ffff;  // 0x10 kernel code
  gdt[3] = 0x00cf93000000ffff;  // 0x18 kernel data
  gdt[5] = 0x00cff3000000ffff;  // 0x28 user data
  gdt[6] = 0x00affb000000ffff;  // 0x30 user code
  gdt[8] = TSS_LIMIT | (uint64_t)TSS << 16 | 0x8bULL << 40;
  *(uint64_t *)(memory + TSS + 4) = KERNEL_STACK;
  *(uint16_t *)(memory + TSS + 0x66) = 0x68;  // the I/O bitmap: all zero, every port allowed
  for (int vector = 0; vector < 32; vector++) {
    uint64_t stub = VECTORS + vector * 16;
    words(IDT + vector * 16)[0] = (stub & 0xffff) | 0x10 << 16 | 0xee00ULL << 32 | (stub >> 16) << 48;
    code(stub, (uint8_t[]){0xe6, VECTOR_PORT + vector, 0xeb, 0xfe}, 4);  // out; jmp .
  }
  if (pvm()) code(LSTAR, "\xe6\x42\xff\xe1", 4);      // out %al,$0x42; jmp *%rcx
  else code(LSTAR, "\xe6\x42\x48\x0f\x07", 5);        // out %al,$0x42; sysretq
  code(IRETQ, "\x48\xcf", 2);

  struct kvm_sregs s;
  ioctl(vcpu, KVM_GET_SREGS, &s);
  s.cr3 = PML4;
  s.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT
  s.cr0 = 0x80050033;
  s.efer = 0xd01;
  s.cs = (struct kvm_segment){.limit = ~0u, .selector = 0x33, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1};
  s.ss = (struct kvm_segment){.limit = ~0u, .selector = 0x2b, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1};
  s.ds = s.es = s.fs = s.gs = s.ss;
  s.gdt.base = GDT, s.gdt.limit = 10 * 8 - 1;
  s.idt.base = IDT, s.idt.limit = 32 * 16 - 1;
  s.tr = (struct kvm_segment){.base = TSS, .limit = TSS_LIMIT, .selector = 0x40, .type = 11, .present = 1};
  if (ioctl(vcpu, KVM_SET_SREGS, &s)) die("KVM_SET_SREGS");
  struct { struct kvm_msrs head; struct kvm_msr_entry entries[3]; } msrs = {.head.nmsrs = 3, .entries = {
    {.index = 0xc0000081, .data = 0x23ULL << 48 | 0x10ULL << 32},
    {.index = 0xc0000082, .data = LSTAR},
    {.index = 0xc0000084, .data = 0}}};
  if (ioctl(vcpu, KVM_SET_MSRS, &msrs) != 3) die("KVM_SET_MSRS");
  run->kvm_valid_regs = KVM_SYNC_X86_REGS;
  return 1;
}

#define REGS run->s.regs.regs

static void start_at(uint64_t rip, uint64_t rax) {
  // The sync area holds nothing of use before the first run.
  struct kvm_regs regs = {.rip = rip, .rsp = STACK, .rflags = 0x202, .rax = rax};
  if (ioctl(vcpu, KVM_SET_REGS, &regs)) die("KVM_SET_REGS");
}

/** One KVM_RUN; -errno where it fails. */
static int enter(void) { return ioctl(vcpu, KVM_RUN, 0) < 0 ? -errno : 0; }

/** The exit in words. */
static const char *exit_text(int rc) {
  static char text[200];
  if (rc != 0) {
    // The union in kvm_run means something only if KVM says so; print what a program would find there.
    uint64_t *fault = (uint64_t *)((uint8_t *)run + 32);
    snprintf(text, sizeof text, "rc=%s exit_reason=%u at32={%#llx %#llx %#llx} rip=%#llx", rc == -EFAULT ? "-EFAULT" : strerror(-rc),
             run->exit_reason, (unsigned long long)fault[0], (unsigned long long)fault[1], (unsigned long long)fault[2], REGS.rip);
  } else if (run->exit_reason == KVM_EXIT_IO && run->io.port == SYSCALL_PORT) {
    snprintf(text, sizeof text, "syscall rax=%#llx", REGS.rax);
  } else if (run->exit_reason == KVM_EXIT_IO) {
    struct kvm_sregs s;
    ioctl(vcpu, KVM_GET_SREGS, &s);
    snprintf(text, sizeof text, "vector %d cr2=%#llx", run->io.port - VECTOR_PORT, s.cr2);
  } else {
    snprintf(text, sizeof text, "exit_reason=%u rip=%#llx", run->exit_reason, REGS.rip);
  }
  return text;
}

/** One of this VM's counters, from the file descriptor that describes itself; -1 where there is none. Documentation/virt/kvm/api.rst 4.133. */
static long long counter(int of, const char *name) {
  int fd = ioctl(of, KVM_GET_STATS_FD, NULL);
  if (fd < 0) return -1;
  struct kvm_stats_header head;
  long long found = -1;
  if (pread(fd, &head, sizeof head, 0) == sizeof head) {
    size_t size = sizeof(struct kvm_stats_desc) + head.name_size;
    struct kvm_stats_desc *d = malloc(size);
    for (uint32_t i = 0; i < head.num_desc && found < 0; i++) {
      uint64_t value;
      if (pread(fd, d, size, head.desc_offset + i * size) != (ssize_t)size) break;
      if (strcmp(d->name, name) == 0 && pread(fd, &value, 8, head.data_offset + d->offset) == 8) found = value;
    }
    free(d);
  }
  close(fd);
  return found;
}

// --- edits ---------------------------------------------------------------------------------------------------------------------------

enum way { NOTHING, DONTNEED, TO_READ, TO_NONE, TO_RWX, WAYS };
static const char *way_names[] = {"nothing", "madvise(DONTNEED)", "mprotect(READ) and back", "mprotect(NONE) and back", "mprotect(RWX) and back"};

/** Makes KVM forget the page at this guest-physical address in one of several ways. */
static void invalidate(enum way way, enum backing backing, uint64_t physical) {
  void *page = memory + physical;
  size_t size = backing == HUGETLB ? 2 << 20 : 4096;
  uint64_t keep = *(uint64_t *)page;
  int protections[] = {[TO_READ] = PROT_READ, [TO_NONE] = PROT_NONE, [TO_RWX] = PROT_READ | PROT_WRITE | PROT_EXEC};
  if (way == DONTNEED) {
    if (madvise(page, size, MADV_DONTNEED)) die("madvise");
    if (backing != FILE_SHARED) *(uint64_t *)page = keep;  // a shared file keeps it
  } else if (way != NOTHING) {
    if (mprotect(page, size, protections[way])) die("mprotect");
    if (mprotect(page, size, PROT_READ | PROT_WRITE)) die("mprotect back");
  }
}

/** Reads (write: writes 0x99 to) the window's first word in ring 3. */
static const char *touch(int write) {
  static const uint8_t load[] = {0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0x30, 0x0f, 0x05, 0xeb, 0xfe};   // mov 0x30000000,%rax; syscall; jmp .
  static const uint8_t store[] = {0x48, 0x89, 0x04, 0x25, 0, 0, 0, 0x30, 0x0f, 0x05, 0xeb, 0xfe};  // mov %rax,0x30000000; syscall; jmp .
  code(CODE, load, sizeof load);
  code(CODE + 64, store, sizeof store);
  start_at(CODE + (write ? 64 : 0), 0x99);
  return exit_text(enter());
}

static void edits_with(enum way way, enum backing backing) {
  const char *host = backing_names[backing];
  char name[120];
  const uint64_t all = PRESENT | WRITE | USER;
  if (!prepare(backing)) {
    if (way == NOTHING) answer("edits, host hugetlb", "no huge pages here");
    return;
  }
  memset(memory + PAGE_A, 0, 8192), memset(memory + PAGE_B, 0, 8192);
  words(PAGE_A)[0] = 0x1111, words(PAGE_B)[0] = 0x2222;
  set_window(0, PAGE_A | all);
  touch(0), touch(1);
  words(PAGE_A)[0] = 0x1111;
  touch(0);

  // KVM's own book-keeping, because an emulated machine (the lab) keeps no stale translations that would show its absence: nothing is
  // edited here, so a new fault means that KVM had dropped its entry for the page.
  long long flushes = counter(vm, "remote_tlb_flush_requests"), faults = counter(vcpu, "pf_fixed");
  invalidate(way, backing, PAGE_A);
  touch(0);
  snprintf(name, sizeof name, "edits, host %s, %s: KVM counted", host, way_names[way]);
  answer(name, "flush requests +%lld, faults mended +%lld", counter(vm, "remote_tlb_flush_requests") - flushes, counter(vcpu, "pf_fixed") - faults);

  set_window(0, PAGE_B | all);
  invalidate(way, backing, PAGE_A);
  snprintf(name, sizeof name, "edits, host %s, %s: remap", host, way_names[way]);
  answer(name, "%s", strcmp(touch(0), "syscall rax=0x2222") == 0 ? "seen" : "OLD");

  set_window(0, PAGE_B | PRESENT | USER);
  touch(0);
  invalidate(way, backing, PAGE_B);
  snprintf(name, sizeof name, "edits, host %s, %s: write-protect", host, way_names[way]);
  answer(name, "%s", strncmp(touch(1), "vector 14", 9) == 0 ? "seen" : "OLD");

  set_window(0, 0);
  invalidate(way, backing, PAGE_B);
  snprintf(name, sizeof name, "edits, host %s, %s: unmap", host, way_names[way]);
  answer(name, "%s", strncmp(touch(0), "vector 14", 9) == 0 ? "seen" : "OLD");
}

static void edits(void) {
  for (enum backing backing = 0; backing < BACKINGS; backing++)
    for (enum way way = 0; way < WAYS; way++) edits_with(way, backing);
}

// --- running -------------------------------------------------------------------------------------------------------------------------

enum { ANSWER = 0x900000 };

static void *spin(void *result) {
  *(int *)result = enter();
  return NULL;
}

/** Microseconds until the running vCPU shows that value in the window; -1 after a second. */
static double seen_after(uint64_t value) {
  double begin = seconds(), passed;
  while ((passed = seconds() - begin) < 1)
    if (*(volatile uint64_t *)(memory + ANSWER) == value) return passed * 1e6;
  return -1;
}

static void running(void) {
  for (enum way way = DONTNEED; way < WAYS; way++) {
    if (way == TO_NONE) continue;  // an access meanwhile would end KVM_RUN with EFAULT, now and then
    char name[120];
    pthread_t thread;
    int rc;
    prepare(SMALL);
    // 1: mov 0x30000000,%rax; mov %rax,0x900000; jmp 1b
    code(CODE, (uint8_t[]){0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0x30, 0x48, 0x89, 0x04, 0x25, 0, 0, 0x90, 0, 0xeb, 0xee}, 18);
    words(PAGE_A)[0] = 0x1111, words(PAGE_B)[0] = 0x2222;
    set_window(0, PAGE_A | PRESENT | WRITE | USER);
    start_at(CODE, 0);
    pthread_create(&thread, NULL, spin, &rc);
    snprintf(name, sizeof name, "running vCPU, %s", way_names[way]);
    if (seen_after(0x1111) < 0) {
      answer(name, "the vCPU does not run");
      return;
    }
    set_window(0, PAGE_B | PRESENT | WRITE | USER);
    invalidate(way, SMALL, PAGE_A);
    double remap = seen_after(0x2222);
    // Taking the entry away ends the guest's loop with a page fault, and with it the thread.
    set_window(0, 0);
    double begin = seconds();
    invalidate(way, SMALL, PAGE_B);
    pthread_join(thread, NULL);
    answer(name, "remap seen after %.0f us, unmap after %.0f us: %s", remap, (seconds() - begin) * 1e6, exit_text(rc));
  }
}

// --- rip -----------------------------------------------------------------------------------------------------------------------------

static void rip(void) {
  prepare(SMALL);
  static const uint8_t calls[] = {0x0f, 0x05, 0xeb, 0xfe};                                    // syscall; jmp .
  static const uint8_t lands[] = {0x0f, 0x05, 0xeb, 0xfe};
  code(CODE, calls, sizeof calls);
  code(CODE + 256, lands, sizeof lands);
  start_at(CODE, 1);
  int rc = enter();
  answer("rip, at the exit", "%s rip=%#llx (stub at %#x, rcx=%#llx r11=%#llx)", exit_text(rc), REGS.rip, LSTAR, REGS.rcx, REGS.r11);

  // To an iretq with a frame on the ring-0 stack: the way to reach ring 3 with any rcx and r11.
  uint64_t *frame = words(KERNEL_STACK - 40);
  frame[0] = CODE + 256, frame[1] = 0x33, frame[2] = 0x202, frame[3] = STACK - 64, frame[4] = 0x2b;
  if (pvm()) {
    // The stub runs in ring 3 there: no ring-0 frame is needed, RIP itself goes back to the program.
    REGS.rip = CODE + 256, REGS.rsp = STACK - 64;
  } else {
    REGS.rip = IRETQ, REGS.rsp = KERNEL_STACK - 40;
  }
  // The landing's own syscall overwrites rcx and r11, so stop before it: the landing is `ud2` first.
  code(CODE + 256, "\x0f\x0b", 2);
  REGS.rcx = 0x1234567, REGS.r11 = 0x7654321, REGS.rax = 77;
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
  rc = enter();
  const char *text = exit_text(rc);
  answer("rip, after setting it to another address", "%s rcx=%#llx r11=%#llx rax=%lld", text, REGS.rcx, REGS.r11, REGS.rax);
  uint64_t *trap = words(REGS.rsp);
  answer("rip, the trap's frame", "rip=%#llx cs=%#llx rflags=%#llx rsp=%#llx ss=%#llx", (unsigned long long)trap[0], (unsigned long long)trap[1],
         (unsigned long long)trap[2], (unsigned long long)trap[3], (unsigned long long)trap[4]);
  int honoured = strncmp(text, "vector 6", 8) == 0 && trap[0] == CODE + 256 && trap[3] == STACK - 64 && REGS.rcx == 0x1234567 && REGS.r11 == 0x7654321;
  answer("rip, honoured through sync regs", "%s", honoured ? "yes" : "NO");

  // The same RIP as at the exit: KVM cannot tell that from an untouched one.
  code(CODE + 256, lands, sizeof lands);
  start_at(CODE, 1);
  enter();
  uint64_t at = REGS.rip;
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
  REGS.rax = 5;
  REGS.rcx = CODE + 256;  // where the stub returns to
  rc = enter();
  answer("rip, unchanged", "rip was %#llx, then %s from rcx=%#llx", (unsigned long long)at, exit_text(rc), REGS.rcx);
}

// --- efault --------------------------------------------------------------------------------------------------------------------------

static void fault_case(const char *what, void (*spoil)(void), void (*mend)(void), int write) {
  char name[120];
  prepare(SMALL);
  words(PAGE_A)[0] = 0x1111;
  set_window(0, PAGE_A | PRESENT | WRITE | USER);
  touch(0);  // a first, good run: the next answer is not that of a virgin vCPU
  spoil();
  run->exit_reason = 99;
  memset((uint8_t *)run + 32, 0, 24);
  snprintf(name, sizeof name, "efault, %s, %s", what, write ? "write" : "read");
  const char *text = touch(write);
  answer(name, "%s", text);
  if (strncmp(text, "rc=", 3) != 0) return;  // the program went on: no error to mend
  snprintf(name, sizeof name, "efault, %s, %s, mended and run again", what, write ? "write" : "read");
  mend();
  answer(name, "%s", exit_text(enter()));
}

static int file = -1;
static void none(void) { if (mprotect(memory + PAGE_A, 4096, PROT_NONE)) die("mprotect"); }
static void read_only(void) { if (mprotect(memory + PAGE_A, 4096, PROT_READ)) die("mprotect"); }
static void usable(void) { if (mprotect(memory + PAGE_A, 4096, PROT_READ | PROT_WRITE)) die("mprotect"); }
static void hole(void) { if (munmap(memory + PAGE_A, 4096)) die("munmap"); }
static void filled(void) {
  if (mmap(memory + PAGE_A, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) die("mmap");
}
static void truncated(void) {
  file = memfd_create("truncated", 0);
  if (file < 0 || mmap(memory + PAGE_A, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) die("memfd");
}
static void grown(void) { if (ftruncate(file, 4096)) die("ftruncate"); }
static void tables_none(void) { if (mprotect(memory + PT, 4096, PROT_NONE)) die("mprotect"); }
static void tables_usable(void) { if (mprotect(memory + PT, 4096, PROT_READ | PROT_WRITE)) die("mprotect"); }

static void efault(void) {
  answer("efault, KVM_CAP_MEMORY_FAULT_INFO", "%d", (kvm = open("/dev/kvm", O_RDWR), ioctl(kvm, KVM_CHECK_EXTENSION, 232)));
  for (int write = 0; write < 2; write++) {
    fault_case("PROT_NONE", none, usable, write);
    fault_case("PROT_READ", read_only, usable, write);
    fault_case("nothing mapped", hole, filled, write);
    fault_case("file mapping past its end", truncated, grown, write);
    fault_case("page table PROT_NONE", tables_none, tables_usable, write);
  }
}

// --- cost ----------------------------------------------------------------------------------------------------------------------------

static void cost(void) {
  const uint32_t rounds = 20000;
  // mov $rounds,%ebx; 1: mov $39,%eax; syscall; dec %ebx; jnz 1b; mov $60,%eax; syscall; jmp .
  uint8_t loop[] = {0xbb, 0, 0, 0, 0, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xff, 0xcb, 0x75, 0xf5, 0xb8, 60, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe};
  memcpy(loop + 1, &rounds, 4);
  for (int inside = 0; inside < 2; inside++) {
    prepare(SMALL);
    code(CODE, loop, sizeof loop);
    if (inside && pvm()) code(LSTAR, "\x83\xf8\x27\x75\x02\xff\xe1\xe6\x42\xff\xe1", 11);            // cmp $39,%eax; jne 1f; jmp *%rcx; 1: as above
    else if (inside) code(LSTAR, "\x83\xf8\x27\x75\x03\x48\x0f\x07\xe6\x42\x48\x0f\x07", 13);        // the same with sysretq
    start_at(CODE, 0);
    double begin = seconds();
    int rc, exits = 0;
    while ((rc = enter()) == 0 && run->exit_reason == KVM_EXIT_IO && REGS.rax != 60) {
      exits++;
      REGS.rax = 1234;
      run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    }
    answer(inside ? "cost, answered in the guest" : "cost, answered by user space", "%.2f us (%d exits, last: %s)", (seconds() - begin) / rounds * 1e6, exits,
           exit_text(rc));
  }
}

int main(int argc, char **argv) {
  struct { const char *name; void (*measure)(void); } all[] = {{"edits", edits}, {"running", running}, {"rip", rip}, {"efault", efault}, {"cost", cost}};
  alarm(30);  // a guest that never leaves is an answer too
  answer("kind of KVM", "%s", pvm() ? "PVM" : "textbook");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (argc < 2 || strcmp(argv[1], all[i].name) == 0) all[i].measure();
  return 0;
}
