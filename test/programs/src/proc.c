/* /proc and /sys as a program sees them: its own process, and a machine that fits what the system calls say. */
#include "harness.h"
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

/* The whole file, NUL-terminated, in a static buffer. */
static char text[1 << 18];
static size_t slurp(const char *path) {
  int file = open(path, O_RDONLY);
  CHECK(file >= 0, "%s", path);
  size_t n = 0;
  for (ssize_t got; n < sizeof text - 1 && (got = read(file, text + n, n ? sizeof text - 1 - n : 100)) > 0;) n += (size_t)got; /* first a short read */
  close(file);
  text[n] = 0;
  CHECK(n > 0, "%s is empty", path);
  return n;
}
/* The number behind "key:" at the start of a line, or -1. */
static long number_after(const char *key) {
  size_t length = strlen(key);
  for (char *line = text; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, length) == 0) {
      char *at = line + length;
      while (*at == ' ' || *at == '\t' || *at == ':') at++;
      return strtol(at, NULL, 10);
    }
    if (!*line) break;
  }
  return -1;
}

static char program_path[PATH_MAX];
static void exe(void) {
  char path[PATH_MAX], byte[4];
  ssize_t n = OK(readlink("/proc/self/exe", path, sizeof path - 1));
  path[n] = 0;
  strcpy(program_path, path);
  const char *name = (const char *)getauxval(AT_EXECFN);
  struct stat a, b;
  OK(stat(path, &a));
  OK(stat(name, &b));
  CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "%s and %s", path, name);
  int file = OK(open("/proc/self/exe", O_RDONLY)); /* opens the program, not the monitor */
  CHECK_EQ(read(file, byte, 4), 4);
  CHECK(memcmp(byte, ELFMAG, 4) == 0);
  OK(fstat(file, &a));
  CHECK_EQ(a.st_ino, b.st_ino);
  close(file);
  char other[64];
  snprintf(other, sizeof other, "/proc/%d/exe", getpid());
  n = OK(readlink(other, path, sizeof path - 1));
  path[n] = 0;
  CHECK(strcmp(path, program_path) == 0, "%s", path);
}

struct line {
  unsigned long from, to;
  char rights[8], path[256];
};
static int parse(char *at, struct line *line) {
  line->path[0] = 0;
  return sscanf(at, "%lx-%lx %7s %*x %*x:%*x %*d %255[^\n]", &line->from, &line->to, line->rights, line->path) >= 3;
}
/* The mapping that holds the address. */
static int mapping_of(const void *address, struct line *found) {
  slurp("/proc/self/maps");
  for (char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
    if (parse(at, found) && (unsigned long)address >= found->from && (unsigned long)address < found->to) return 1;
  return 0;
}
static int data = 5;
static void maps(void) {
  struct line line, last = {0};
  int local, lines = 0, stack = 0;
  slurp("/proc/self/maps");
  for (char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL, lines++) {
    CHECK(parse(at, &line), "%.80s", at);
    CHECK(line.from < line.to && line.from >= last.to, "%.80s", at); /* sorted, apart */
    CHECK((line.from | line.to) % 4096 == 0);
    last = line;
    stack += strcmp(line.path, "[stack]") == 0;
  }
  CHECK(lines >= 4, "%d", lines);
  CHECK_EQ(stack, 1);
  CHECK(mapping_of((void *)maps, &line) && line.rights[2] == 'x' && strstr(line.path, "proc."), "text in %lx %s %s", line.from, line.rights, line.path);
  CHECK(mapping_of(&data, &line) && strncmp(line.rights, "rw", 2) == 0);
  CHECK(mapping_of(&local, &line) && strcmp(line.path, "[stack]") == 0, "%s", line.path);
  char *at = OK(mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(mapping_of(at + 4096, &line) && strcmp(line.rights, "r--p") == 0);
  OK(munmap(at + 4096, 4096));
  CHECK(!mapping_of(at + 4096, &line));
  CHECK(mapping_of(at, &line) && mapping_of(at + 8192, &line));
  OK(munmap(at, 3 * 4096));
}

static void status(void) {
  slurp("/proc/self/status");
  CHECK_EQ(number_after("Pid"), getpid());
  CHECK_EQ(number_after("Tgid"), getpid());
  CHECK_EQ(number_after("PPid"), getppid());
  CHECK_EQ(number_after("Uid"), getuid());
  CHECK_EQ(number_after("Gid"), getgid());
  CHECK_EQ(number_after("Threads"), 1);
  CHECK(number_after("VmRSS") > 0 && number_after("VmSize") >= number_after("VmRSS"), "VmRSS %ld VmSize %ld", number_after("VmRSS"), number_after("VmSize"));
  CHECK(number_after("VmPeak") > 0 || number_after("VmHWM") > 0);
  CHECK(strstr(text, "Cpus_allowed_list:") != NULL);
  CHECK(strncmp(text, "Name:\tproc.", 11) == 0, "%.30s", text);
}

static void *count_threads(void *argument) {
  slurp("/proc/self/status");
  return (void *)(number_after("Threads") + (long)argument);
}
static void threads(void) {
  pthread_t thread;
  void *result;
  harness_thread = 1;
  CHECK_EQ(pthread_create(&thread, NULL, count_threads, NULL), 0);
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK_EQ((long)result, 2);
}

static void stat_line(void) {
  slurp("/proc/self/stat");
  CHECK_EQ(strtol(text, NULL, 10), getpid());
  char *after = strrchr(text, ')');
  CHECK(after != NULL);
  char state;
  long ppid;
  CHECK_EQ(sscanf(after + 2, "%c %ld", &state, &ppid), 2);
  CHECK(state == 'R');
  CHECK_EQ(ppid, getppid());
  int fields = 2;
  for (char *at = after + 1; *at; at++) fields += *at == ' ';
  CHECK(fields >= 52, "%d", fields);
  slurp("/proc/self/statm");
  long size, resident;
  CHECK_EQ(sscanf(text, "%ld %ld", &size, &resident), 2);
  CHECK(size >= resident && resident > 0);
}

static void cmdline_environ_auxv(void) {
  extern char **environ;
  size_t n = slurp("/proc/self/cmdline");
  CHECK(strstr(text, "proc.") != NULL && text[n - 1] == 0);
  if (environ[0]) {
    slurp("/proc/self/environ");
    CHECK(strcmp(text, environ[0]) == 0, "%s", text);
  }
  n = slurp("/proc/self/auxv");
  const ElfW(auxv_t) *v = (const ElfW(auxv_t) *)text;
  int seen = 0;
  for (size_t i = 0; i < n / sizeof *v; i++)
    if (v[i].a_type == AT_RANDOM) seen = v[i].a_un.a_val == getauxval(AT_RANDOM);
  CHECK(seen);
  slurp("/proc/self/comm");
  CHECK(strncmp(text, "proc.", 5) == 0, "%s", text);
}

static void descriptors(void) {
  int file = OK(open("a-file", O_CREAT | O_RDWR, 0600));
  char path[64], target[PATH_MAX], dir[PATH_MAX];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  ssize_t n = OK(readlink(path, target, sizeof target - 1));
  target[n] = 0;
  CHECK(getcwd(dir, sizeof dir) != NULL);
  CHECK(strncmp(target, dir, strlen(dir)) == 0 && strcmp(target + strlen(dir), "/a-file") == 0, "%s", target);
  int again = OK(open(path, O_RDONLY)); /* opening the link opens the file */
  CHECK_EQ(write(file, "abc", 3), 3);
  CHECK_EQ(read(again, target, 8), 3);
  close(again);
  DIR *list = opendir("/proc/self/fd");
  CHECK(list != NULL);
  char listed[1024] = {0};
  int count = 0;
  for (struct dirent *e; (e = readdir(list));) {
    int number = atoi(e->d_name);
    if (e->d_name[0] == '.') continue;
    CHECK(number >= 0 && number < 1024, "%s", e->d_name);
    listed[number] = 1;
    count++;
  }
  CHECK(listed[file] && listed[dirfd(list)]);
  for (int i = 0; i < 1024; i++) CHECK(listed[i] == (fcntl(i, F_GETFD) != -1), "descriptor %d: listed %d", i, listed[i]);
  closedir(list);
  printf("%d descriptors\n", count); /* as many as natively: the monitor's are neither listed nor usable */
  close(file);
  CHECK_ERR(readlink(path, target, sizeof target), ENOENT);
  OK(unlink("a-file"));
  n = OK(readlink("/proc/self/cwd", target, sizeof target - 1));
  target[n] = 0;
  CHECK(strcmp(target, dir) == 0, "%s", target);
}

static void processors(void) {
  cpu_set_t set;
  OK(sched_getaffinity(0, sizeof set, &set));
  slurp("/proc/cpuinfo");
  int count = 0;
  for (char *at = text; (at = strstr(at, "processor\t:")); at++) count++;
  CHECK(count >= CPU_COUNT(&set), "%d processors in cpuinfo, %d in the affinity mask", count, CPU_COUNT(&set));
  CHECK(strstr(text, "model name") && strstr(text, "flags") && strstr(text, " sse2"));
  CHECK_EQ(count, sysconf(_SC_NPROCESSORS_ONLN));
  slurp("/sys/devices/system/cpu/online");
  int first, last, online = 0;
  for (char *at = text; *at && *at != '\n'; at += *at == ',') {
    first = last = (int)strtol(at, &at, 10);
    if (*at == '-') last = (int)strtol(at + 1, &at, 10);
    online += last - first + 1;
  }
  CHECK_EQ(online, count);
  for (int c = 0; c < CPU_SETSIZE; c++) {
    char path[96];
    if (!CPU_ISSET(c, &set)) continue;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", c);
    CHECK_EQ(access(path, R_OK), 0);
  }
  slurp("/proc/stat");
  CHECK(strncmp(text, "cpu ", 4) == 0);
}

static void memory(void) {
  struct sysinfo info;
  OK(sysinfo(&info));
  slurp("/proc/meminfo");
  long total = number_after("MemTotal"), available = number_after("MemAvailable"), unused = number_after("MemFree");
  CHECK(total > 10000 && unused > 0 && unused <= total && available > 0 && available <= total, "%ld %ld %ld", total, available, unused);
  CHECK_EQ(total, info.totalram * info.mem_unit / 1024);
  CHECK_EQ(number_after("Hugepagesize"), 2048);
}

static void nodes(void) {
  slurp("/sys/devices/system/node/online");
  CHECK(text[0] == '0');
  slurp("/sys/devices/system/node/node0/cpulist");
  CHECK(text[0] >= '0' && text[0] <= '9');
}

static void others(void) {
  static const char *const files[] = {"/proc/version", "/proc/uptime", "/proc/loadavg", "/proc/filesystems", "/proc/mounts", "/proc/self/limits", "/proc/sys/kernel/osrelease"};
  for (unsigned i = 0; i < sizeof files / sizeof *files; i++) slurp(files[i]);
  CHECK_ERR(open("/proc/self/absent", O_RDONLY), ENOENT);
}

PROGRAM(T(exe), T(maps), T(status), T(threads), T(stat_line), T(cmdline_environ_auxv), T(descriptors), T(processors), T(memory), T(nodes), T(others))
