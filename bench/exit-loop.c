// What a forwarded system call costs when the whole monitor is C: the yardstick for margay's run loop. `exit-loop [CALLS]`.
//
// A virtual machine with one vCPU, one 64-bit address space and no kernel: a loop in ring 3 makes CALLS system calls (default 20,000) of each kind; the LSTAR
// stub leaves the guest by `out`; this process reads the registers from the shared kvm_run page, makes the call on the host, puts
// the result into rax and enters again. That is the least any monitor in user space can do, and margay does the same in TypeScript.
//   bare   answered here, no call on the host: the exit alone
//   lseek  one host call without pointers
//   write  one host call with a pointer into guest memory, checked and translated
// A turn is 1,000 calls of each kind; the figure is the median turn, in microseconds per call. The twin that runs under margay is src/forwarded.c.
//
// On PVM (a software KVM) ring-3 `syscall` jumps to LSTAR still in ring 3, and `sysretq` there would fault: the stub returns by `jmp *%rcx`, and `out`
// is allowed by the I/O bitmap in the TSS. On VMX/SVM the stub runs in ring 0 and returns by `sysretq`.
#define _GNU_SOURCE
#include "src/bench.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH 1000
#define MAX_TURNS 10000
#define PORT 0x42
#define BARE 0x1000 // no Linux call has this number

// Guest-physical layout; virtual addresses are the same. Everything below 2M except the program's own byte at DATA.
enum {
  GDT = 0x0500,
  PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  TSS = 0x4000,        // 0x68 bytes, then an all-zero I/O bitmap of 8 KiB: every port allowed
  IO_BITMAP = 0x68,
  TSS_LIMIT = IO_BITMAP + 0x2000 - 1,
  CODE = 0x10000,
  STUB = 0x20000,
  DATA = 0x30000,
  MEMORY = 0x200000,
};

// Selectors. SYSRET takes CS = STAR[63:48] + 16 and SS = STAR[63:48] + 8; SYSCALL takes CS = STAR[47:32] and SS = that + 8 (AMD APM vol. 2, 6.1.1).
enum { KERNEL_CODE = 0x10, KERNEL_DATA = 0x18, USER_BASE = 0x20 | 3, USER_DATA = 0x28 | 3, USER_CODE = 0x30 | 3, TASK = 0x40 };

// MSR numbers and EFER, CR0, CR4 bits: AMD APM vol. 2, 3.1 and appendix A.
enum { MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_SFMASK = 0xc0000084 };
enum { EFER_SCE = 1, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };
enum { CR4_PAE = 1 << 5, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10 };
#define CR0_PE_MP_ET_NE_WP_AM_PG 0x80050033

// The guest's whole program: r12 = call number, r13 to r15 = arguments, rbx = how many times. Then exit(0).
extern const uint8_t guest_loop[], guest_loop_end[], stub_pvm[], stub_pvm_end[], stub_hardware[], stub_hardware_end[];
__asm__(".pushsection .rodata\n"
        "guest_loop:\n"
        "1: mov %r12, %rax\n   mov %r13, %rdi\n   mov %r14, %rsi\n   mov %r15, %rdx\n   syscall\n   dec %rbx\n   jnz 1b\n"
        "   mov $60, %eax\n    syscall\n   ud2\n"
        "guest_loop_end:\n"
        "stub_pvm:      out %al, $0x42\n   jmp *%rcx\n   stub_pvm_end:\n"
        "stub_hardware: out %al, $0x42\n   sysretq\n     stub_hardware_end:\n"
        ".popsection");

static _Noreturn void fail(const char *format, ...) {
  int error = errno;
  va_list args;
  va_start(args, format);
  fputs("exit-loop: ", stderr);
  vfprintf(stderr, format, args);
  fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
  exit(1);
}

static int control(int fd, unsigned long request, void *argument, const char *name) {
  int result = ioctl(fd, request, argument);
  if (result < 0) fail("%s", name);
  return result;
}
#define CONTROL(fd, request, argument) control(fd, request, (void *)(argument), #request)

struct machine {
  int vcpu, pvm;
  uint8_t *memory;
  struct kvm_run *run;
};

static void put64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof value); }

static void write_memory(uint8_t *memory, int pvm) {
  put64(memory + PML4, PDPT | 7); // present, writable, user
  put64(memory + PDPT, PD | 7);
  put64(memory + PD, 0x87); // one 2M page on itself
  put64(memory + GDT + KERNEL_CODE, 0x00af9b000000ffff);
  put64(memory + GDT + KERNEL_DATA, 0x00cf93000000ffff);
  put64(memory + GDT + (USER_DATA & ~3), 0x00cff3000000ffff);
  put64(memory + GDT + (USER_CODE & ~3), 0x00affb000000ffff);
  put64(memory + GDT + TASK, TSS_LIMIT | (uint64_t)(TSS & 0xffffff) << 16 | 0x8bULL << 40 | (uint64_t)(TSS >> 24) << 56);
  memory[TSS + 0x66] = IO_BITMAP; // offset of the I/O bitmap, from the start of the TSS
  memory[DATA] = 'x';
  memcpy(memory + CODE, guest_loop, guest_loop_end - guest_loop);
  if (pvm) memcpy(memory + STUB, stub_pvm, stub_pvm_end - stub_pvm);
  else memcpy(memory + STUB, stub_hardware, stub_hardware_end - stub_hardware);
}

static void set_mode(int vcpu) {
  struct kvm_sregs s;
  CONTROL(vcpu, KVM_GET_SREGS, &s);
  s.cr0 = CR0_PE_MP_ET_NE_WP_AM_PG;
  s.cr3 = PML4;
  s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
  s.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
  struct kvm_segment data = {.limit = 0xffffffff, .selector = USER_DATA, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1};
  s.ds = s.es = s.fs = s.gs = s.ss = data;
  s.cs = (struct kvm_segment){.limit = 0xffffffff, .selector = USER_CODE, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1};
  s.tr = (struct kvm_segment){.base = TSS, .limit = TSS_LIMIT, .selector = TASK, .type = 11, .present = 1};
  s.gdt.base = GDT;
  s.gdt.limit = TASK + 15;
  CONTROL(vcpu, KVM_SET_SREGS, &s);
  struct { struct kvm_msrs head; struct kvm_msr_entry entry[3]; } msrs = {
      .head.nmsrs = 3,
      .entry = {{.index = MSR_STAR, .data = (uint64_t)USER_BASE << 48 | (uint64_t)KERNEL_CODE << 32}, {.index = MSR_LSTAR, .data = STUB}, {.index = MSR_SFMASK, .data = 0}}};
  if (CONTROL(vcpu, KVM_SET_MSRS, &msrs) != 3) fail("KVM_SET_MSRS took fewer than three registers");
}

static struct machine make_machine(void) {
  struct machine m = {.pvm = access("/sys/module/kvm_pvm", F_OK) == 0};
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) fail("/dev/kvm");
  if (!(CONTROL(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS)) errno = 0, fail("this KVM has no KVM_CAP_SYNC_REGS");
  int vm = CONTROL(kvm, KVM_CREATE_VM, 0);
  m.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (m.memory == MAP_FAILED) fail("guest memory");
  write_memory(m.memory, m.pvm);
  struct kvm_userspace_memory_region slot = {.memory_size = MEMORY, .userspace_addr = (uintptr_t)m.memory};
  CONTROL(vm, KVM_SET_USER_MEMORY_REGION, &slot);
  m.vcpu = CONTROL(vm, KVM_CREATE_VCPU, 0);
  struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entry[256]; } cpuid = {.head.nent = 256};
  CONTROL(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
  CONTROL(m.vcpu, KVM_SET_CPUID2, &cpuid);
  int size = CONTROL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  m.run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, 0);
  if (m.run == MAP_FAILED) fail("kvm_run");
  set_mode(m.vcpu);
  m.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
  return m;
}

/// Host address of `length` bytes of guest memory, or NULL when they do not all lie in it.
static void *guest_bytes(const struct machine *m, uint64_t address, uint64_t length) {
  return address <= MEMORY && length <= MEMORY - address ? m->memory + address : NULL;
}

/// The system-call table of this small kernel.
static int64_t answer(const struct machine *m, const struct kvm_regs *r) {
  switch (r->rax) {
  case BARE: return 0;
  case SYS_lseek: {
    int64_t result = syscall(SYS_lseek, (int)r->rdi, r->rsi, (int)r->rdx);
    return result < 0 ? -errno : result;
  }
  case SYS_write: {
    void *from = guest_bytes(m, r->rsi, r->rdx);
    if (!from) return -EFAULT;
    int64_t result = syscall(SYS_write, (int)r->rdi, from, r->rdx);
    return result < 0 ? -errno : result;
  }
  default: return -ENOSYS;
  }
}

/// Runs the guest loop for BATCH calls of one kind; returns microseconds per call.
static double batch(const struct machine *m, uint64_t number, uint64_t a, uint64_t b, uint64_t c, int64_t expected) {
  struct kvm_regs start = {.rip = CODE, .rsp = MEMORY, .rflags = 0x202, .rbx = BATCH, .r12 = number, .r13 = a, .r14 = b, .r15 = c};
  struct kvm_regs *r = &m->run->s.regs.regs;
  // On hardware the `out` of the last run's exit is still to be completed, and that would move the new RIP on: complete it first.
  m->run->immediate_exit = 1;
  if (ioctl(m->vcpu, KVM_RUN, 0) == 0 || errno != EINTR) fail("KVM_RUN with immediate_exit");
  m->run->immediate_exit = 0;
  set_mode(m->vcpu); // back to ring 3: the last run of the loop ended inside the stub
  CONTROL(m->vcpu, KVM_SET_REGS, &start);
  double t = seconds();
  for (;;) {
    if (ioctl(m->vcpu, KVM_RUN, 0) < 0) {
      if (errno == EINTR) continue;
      fail("KVM_RUN");
    }
    if (m->run->exit_reason != KVM_EXIT_IO || m->run->io.port != PORT) errno = 0, fail("unexpected exit %u at rip 0x%llx", m->run->exit_reason, r->rip);
    if (r->rax == SYS_exit) break;
    int64_t result = answer(m, r);
    if (result != expected) errno = 0, fail("call %llu returned %ld, not %ld", r->rax, (long)result, (long)expected);
    r->rax = (uint64_t)result;
    m->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
  }
  t = seconds() - t;
  if (r->rbx) errno = 0, fail("the guest ended %llu calls early", r->rbx);
  return t / BATCH * 1e6;
}

int main(int argc, char **argv) {
  static double bare[MAX_TURNS], lseek_us[MAX_TURNS], write_us[MAX_TURNS];
  size_t turns = (size_t)argument(argc, argv, 1, 20000) / BATCH;
  if (turns < 1 || turns > MAX_TURNS) errno = 0, fail("%d to %d calls", BATCH, BATCH * MAX_TURNS);
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null < 0) fail("/dev/null");
  struct machine m = make_machine();
  for (size_t k = 0; k < turns; k++) {
    take_turn("turn");
    bare[k] = batch(&m, BARE, 0, 0, 0, 0);
    lseek_us[k] = batch(&m, SYS_lseek, (uint64_t)null, 0, SEEK_CUR, 0);
    write_us[k] = batch(&m, SYS_write, (uint64_t)null, DATA, 1, 1);
  }
  take_turn("last");
  printf("{\"series\": {");
  print_series("bare_us", bare, turns);
  printf(", ");
  print_series("lseek_us", lseek_us, turns);
  printf(", ");
  print_series("write_us", write_us, turns);
  printf("}, \"bare_us\": %.4f, \"lseek_us\": %.4f, \"write_us\": %.4f, \"kvm\": \"%s\", \"verified\": true}\n", median(bare, turns), median(lseek_us, turns),
         median(write_us, turns), m.pvm ? "PVM" : "hardware");
  return 0;
}
