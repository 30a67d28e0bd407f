/* Files and directories, in the (empty) working directory. */
#include "harness.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <utime.h>

static char text[200000];
static void prepare(void) {
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 23);
}

static void read_and_write(void) {
  prepare();
  int file = OK(open("a", O_CREAT | O_EXCL | O_RDWR, 0640));
  CHECK_EQ(write(file, text, sizeof text), sizeof text);
  CHECK_EQ(lseek(file, 0, SEEK_CUR), sizeof text);
  CHECK_EQ(lseek(file, -10, SEEK_END), sizeof text - 10);
  char back[sizeof text];
  CHECK_EQ(read(file, back, 100), 10);
  CHECK_EQ(read(file, back, 100), 0);
  CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
  size_t got = 0;
  for (ssize_t n; (n = read(file, back + got, 7777)) > 0;) got += (size_t)n;
  CHECK_EQ(got, sizeof text);
  CHECK(memcmp(text, back, sizeof text) == 0);
  CHECK_EQ(pwrite(file, "HELLO", 5, 1000), 5);
  CHECK_EQ(lseek(file, 0, SEEK_CUR), sizeof text); /* pwrite does not move */
  CHECK_EQ(pread(file, back, 7, 999), 7);
  CHECK(memcmp(back, "kHELLOq", 7) == 0);
  CHECK_EQ(pread(file, back, 7, sizeof text), 0);
  CHECK_ERR(lseek(file, -1, SEEK_SET), EINVAL);
  CHECK_ERR(open("a", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
  close(file);
  CHECK_ERR(read(file, back, 1), EBADF);
  CHECK_ERR(close(file), EBADF);
  CHECK_ERR(open("absent", O_RDONLY), ENOENT);
  CHECK_ERR(open("a/b", O_RDONLY), ENOTDIR);
  OK(unlink("a"));
}

static void vectors(void) {
  prepare();
  int file = OK(open("v", O_CREAT | O_RDWR, 0600));
  struct iovec parts[40];
  size_t total = 0;
  for (int i = 0; i < 40; i++) {
    parts[i] = (struct iovec){text + i * 3000, (size_t)(i * 70)};
    total += parts[i].iov_len;
  }
  CHECK_EQ(writev(file, parts, 40), total);
  static char back[120000];
  for (int i = 0; i < 40; i++) parts[i].iov_base = back + i * 3000;
  CHECK_EQ(preadv(file, parts, 40, 0), total);
  for (int i = 0; i < 40; i++) CHECK(memcmp(back + i * 3000, text + i * 3000, (size_t)i * 70) == 0, "part %d", i);
  CHECK_EQ(pwritev(file, parts, 2, 5000000), 70);
  CHECK_EQ(lseek(file, 0, SEEK_END), 5000070);
  CHECK_EQ(preadv2(file, parts, 2, 5000000, 0), 70);
  CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
  CHECK_EQ(readv(file, parts, 40), total);
  CHECK_ERR(syscall(SYS_readv, file, parts, -1), EINVAL);
  CHECK_ERR(syscall(SYS_readv, file, parts, 1025), EINVAL);
  CHECK_EQ(readv(file, parts, 0), 0);
  parts[1].iov_len = (size_t)-1; /* more than SSIZE_MAX */
  CHECK_ERR(writev(file, parts, 2), EINVAL);
  close(file);
  OK(unlink("v"));
}

static void names(void) {
  close(OK(open("one", O_CREAT | O_WRONLY, 0600)));
  OK(link("one", "two"));
  struct stat a, b;
  OK(stat("one", &a));
  OK(stat("two", &b));
  CHECK_EQ(a.st_ino, b.st_ino);
  CHECK_EQ(a.st_nlink, 2);
  OK(symlink("two", "three"));
  OK(lstat("three", &b));
  CHECK(S_ISLNK(b.st_mode));
  char target[64];
  CHECK_EQ(readlink("three", target, sizeof target), 3);
  CHECK(memcmp(target, "two", 3) == 0);
  CHECK_EQ(readlink("three", target, 2), 2); /* cut off, no error */
  CHECK_ERR(readlink("one", target, sizeof target), EINVAL);
  OK(rename("two", "four"));
  CHECK_ERR(stat("three", &a), ENOENT);
  CHECK_ERR(rename("two", "five"), ENOENT);
  OK(rename("four", "one"));
  CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "three", 1 /* RENAME_NOREPLACE */), EEXIST);
  OK(symlink("loop", "loop"));
  CHECK_ERR(open("loop", O_RDONLY), ELOOP);
  char longname[300];
  memset(longname, 'n', sizeof longname);
  longname[299] = 0;
  CHECK_ERR(open(longname, O_RDONLY), ENAMETOOLONG);
  CHECK_ERR(open("", O_RDONLY), ENOENT);
  OK(unlink("loop")), OK(unlink("three")), OK(unlink("one"));
  if (access("four", F_OK) == 0) OK(unlink("four")); /* rename of two links of one file does nothing */
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static void directories(void) {
  OK(mkdir("dir", 0750));
  CHECK_ERR(mkdir("dir", 0750), EEXIST);
  char name[64], *seen[1100];
  for (int i = 0; i < 1000; i++) {
    snprintf(name, sizeof name, "dir/file-with-a-rather-long-name-%04d", i);
    close(OK(open(name, O_CREAT | O_WRONLY, 0600)));
  }
  OK(mkdir("dir/sub", 0700));
  CHECK_ERR(rmdir("dir"), ENOTEMPTY);
  DIR *dir = opendir("dir");
  CHECK(dir != NULL);
  int count = 0, subs = 0;
  for (struct dirent *e; (e = readdir(dir)) && count < 1100;) {
    if (e->d_type == DT_DIR) subs++;
    seen[count++] = strdup(e->d_name);
  }
  closedir(dir);
  CHECK_EQ(count, 1003);
  CHECK_EQ(subs, 3);
  qsort(seen, (size_t)count, sizeof *seen, by_name);
  CHECK(strcmp(seen[0], ".") == 0 && strcmp(seen[1], "..") == 0 && strcmp(seen[1002], "sub") == 0);
  for (int i = 0; i < 1000; i++) {
    snprintf(name, sizeof name, "file-with-a-rather-long-name-%04d", i);
    CHECK(strcmp(seen[i + 2], name) == 0, "%s", seen[i + 2]);
  }
  for (int i = 0; i < count; i++) free(seen[i]);
  int at = OK(open("dir", O_RDONLY | O_DIRECTORY));
  CHECK_ERR(read(at, name, 1), EISDIR);
  CHECK_ERR(open("dir", O_WRONLY), EISDIR);
  for (int i = 0; i < 1000; i++) {
    snprintf(name, sizeof name, "file-with-a-rather-long-name-%04d", i);
    OK(unlinkat(at, name, 0));
  }
  CHECK_ERR(unlinkat(at, "sub", 0), EISDIR);
  OK(unlinkat(at, "sub", AT_REMOVEDIR));
  CHECK_ERR(syscall(SYS_getdents64, at, name, 1), EINVAL);
  close(at);
  OK(rmdir("dir"));
}

static void working_directory(void) {
  char first[4096], second[4096];
  CHECK(getcwd(first, sizeof first) != NULL);
  OK(mkdir("w", 0700));
  OK(mkdir("w/x", 0700));
  OK(chdir("w/x"));
  CHECK(getcwd(second, sizeof second) != NULL);
  CHECK(strncmp(first, second, strlen(first)) == 0 && strcmp(second + strlen(first), "/w/x") == 0, "%s then %s", first, second);
  close(OK(open("here", O_CREAT | O_WRONLY, 0600)));
  OK(access("../x/here", F_OK));
  int root = OK(open(first, O_RDONLY | O_DIRECTORY));
  OK(faccessat(root, "w/x/here", F_OK, 0));
  int beneath = OK(openat(root, "w/x/here", O_RDONLY));
  close(beneath);
  OK(fchdir(root));
  CHECK(getcwd(second, sizeof second) != NULL && strcmp(first, second) == 0);
  CHECK_ERR(chdir("absent"), ENOENT);
  CHECK_ERR(syscall(SYS_getcwd, second, 2), ERANGE);
  CHECK_ERR(openat(999, "w", O_RDONLY), EBADF);
  close(root);
  OK(unlink("w/x/here")), OK(rmdir("w/x")), OK(rmdir("w"));
}

static void status(void) {
  mode_t before = umask(022);
  int file = OK(open("s", O_CREAT | O_RDWR, 0666));
  CHECK_EQ(umask(before), 022);
  CHECK_EQ(write(file, "0123456789", 10), 10);
  struct stat s;
  OK(fstat(file, &s));
  CHECK(S_ISREG(s.st_mode));
  CHECK_EQ(s.st_mode & 0777, 0644);
  CHECK_EQ(s.st_size, 10);
  CHECK_EQ(s.st_uid, geteuid());
  CHECK_EQ(s.st_nlink, 1);
  struct statx x;
  OK(statx(AT_FDCWD, "s", 0, STATX_BASIC_STATS, &x));
  CHECK_EQ(x.stx_ino, s.st_ino);
  CHECK_EQ(x.stx_size, 10);
  CHECK_EQ(x.stx_mode, s.st_mode);
  CHECK_EQ(makedev(x.stx_dev_major, x.stx_dev_minor), s.st_dev);
  OK(statx(file, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
  CHECK_EQ(x.stx_ino, s.st_ino);
  OK(fchmod(file, 0400));
  OK(fstatat(AT_FDCWD, "s", &s, AT_SYMLINK_NOFOLLOW));
  CHECK_EQ(s.st_mode & 07777, 0400);
  OK(chmod("s", 0600));
  OK(chown("s", geteuid(), getegid()));
  struct timespec times[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
  OK(utimensat(AT_FDCWD, "s", times, 0));
  OK(stat("s", &s));
  CHECK_EQ(s.st_mtim.tv_sec, 1100000000);
  CHECK_EQ(s.st_mtim.tv_nsec, 987654321);
  CHECK_EQ(s.st_atim.tv_sec, 1000000000);
  OK(futimens(file, NULL));
  OK(fsync(file)), OK(fdatasync(file));
  struct statfs f;
  OK(statfs(".", &f));
  CHECK(f.f_bsize > 0 && f.f_blocks > 0);
  OK(fstatfs(file, &f));
  close(file);
  OK(unlink("s"));
}

static void sizes(void) {
  prepare();
  int file = OK(open("z", O_CREAT | O_RDWR, 0600));
  CHECK_EQ(write(file, text, 5000), 5000);
  OK(ftruncate(file, 1234));
  struct stat s;
  OK(fstat(file, &s));
  CHECK_EQ(s.st_size, 1234);
  OK(truncate("z", 8000));
  char back[8000];
  CHECK_EQ(pread(file, back, sizeof back, 0), 8000);
  CHECK(memcmp(back, text, 1234) == 0);
  for (int i = 1234; i < 8000; i++) CHECK_EQ(back[i], 0);
  CHECK_ERR(ftruncate(file, -1), EINVAL);
  if (fallocate(file, 0, 0, 100000) == 0) {
    OK(fstat(file, &s));
    CHECK_EQ(s.st_size, 100000);
  } else {
    CHECK_EQ(errno, EOPNOTSUPP);
  }
  /* copying inside the kernel */
  int copy = OK(open("y", O_CREAT | O_RDWR, 0600));
  off_t from = 100, to = 0;
  ssize_t n = copy_file_range(file, &from, copy, &to, 500, 0);
  CHECK(n == 500 || (n == -1 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS)), "%zd", n);
  if (n == 500) {
    CHECK_EQ(from, 600);
    CHECK_EQ(pread(copy, back, 500, 0), 500);
    CHECK(memcmp(back, text + 100, 500) == 0);
  }
  from = 200;
  CHECK_EQ(syscall(SYS_sendfile, copy, file, &from, 300), 300);
  CHECK_EQ(from, 500);
  close(copy), close(file);
  OK(unlink("y")), OK(unlink("z"));
}

static void descriptors(void) {
  int file = OK(open("d", O_CREAT | O_RDWR, 0600));
  int copy = OK(dup(file));
  CHECK(copy > file);
  CHECK_EQ(write(file, "abc", 3), 3);
  CHECK_EQ(lseek(copy, 0, SEEK_CUR), 3); /* one offset for both */
  CHECK_EQ(dup2(file, 77), 77);
  CHECK_EQ(dup2(77, 77), 77);
  CHECK_EQ(dup3(file, 78, O_CLOEXEC), 78);
  CHECK_EQ(fcntl(78, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(fcntl(77, F_GETFD), 0);
  CHECK_ERR(dup3(file, file, 0), EINVAL);
  CHECK_ERR(dup2(999, 5), EBADF);
  CHECK_ERR(dup2(file, 1 << 30), EBADF);
  OK(fcntl(77, F_SETFD, FD_CLOEXEC));
  CHECK_EQ(fcntl(77, F_GETFD), FD_CLOEXEC);
  int high = OK(fcntl(file, F_DUPFD, 100));
  CHECK_EQ(high, 100);
  CHECK_EQ(fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR);
  OK(fcntl(file, F_SETFL, O_APPEND));
  CHECK_EQ(fcntl(copy, F_GETFL) & O_APPEND, O_APPEND);
  CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
  CHECK_EQ(write(file, "def", 3), 3); /* appended */
  char back[8] = {0};
  CHECK_EQ(pread(file, back, 8, 0), 6);
  CHECK(strcmp(back, "abcdef") == 0);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 3};
  OK(fcntl(file, F_SETLK, &lock));
  OK(flock(file, LOCK_EX | LOCK_NB));
  OK(flock(file, LOCK_UN));
  int lowest = OK(open("d", O_RDONLY));
  close(lowest);
  CHECK_EQ(OK(open("d", O_RDONLY)), lowest); /* the lowest free number */
  close(lowest);
  int available = -1;
  OK(lseek(file, 2, SEEK_SET));
  OK(ioctl(file, FIONREAD, &available));
  CHECK_EQ(available, 4);
  CHECK_ERR(ioctl(file, TIOCGWINSZ, back), ENOTTY);
  close(copy), close(77), close(78), close(100), close(file);
  OK(unlink("d"));
}

static void unlinked_and_temporary(void) {
  int file = OK(open("t", O_CREAT | O_RDWR, 0600));
  OK(unlink("t"));
  CHECK_EQ(write(file, "xyz", 3), 3);
  struct stat s;
  OK(fstat(file, &s));
  CHECK_EQ(s.st_nlink, 0);
  CHECK_EQ(s.st_size, 3);
  close(file);
  file = open(".", O_TMPFILE | O_RDWR, 0600);
  CHECK(file >= 0 || errno == EOPNOTSUPP || errno == EISDIR);
  if (file >= 0) close(file);
  FILE *stream = tmpfile();
  CHECK(stream != NULL);
  fputs("through stdio", stream);
  rewind(stream);
  char back[32] = {0};
  CHECK(fgets(back, sizeof back, stream) != NULL && strcmp(back, "through stdio") == 0);
  fclose(stream);
}

static void standard_io(void) {
  FILE *f = fopen("stdio", "w+");
  CHECK(f != NULL);
  for (int i = 0; i < 20000; i++) fprintf(f, "line %d %.3f\n", i, i / 7.0);
  CHECK_EQ(fseek(f, 0, SEEK_SET), 0);
  int n;
  double x;
  for (int i = 0; i < 20000; i++) {
    CHECK_EQ(fscanf(f, "line %d %lf\n", &n, &x), 2);
    CHECK_EQ(n, i);
    CHECK(x - i / 7.0 < 0.001 && i / 7.0 - x < 0.001);
  }
  CHECK(feof(f) || fgetc(f) == EOF);
  fclose(f);
  OK(unlink("stdio"));
}

static void devices(void) {
  char back[64];
  int null = OK(open("/dev/null", O_RDWR)), zero = OK(open("/dev/zero", O_RDWR)), random = OK(open("/dev/urandom", O_RDONLY));
  CHECK_EQ(read(null, back, 64), 0);
  CHECK_EQ(write(null, back, 64), 64);
  memset(back, 1, 64);
  CHECK_EQ(read(zero, back, 64), 64);
  for (int i = 0; i < 64; i++) CHECK_EQ(back[i], 0);
  CHECK_EQ(read(random, back, 64), 64);
  unsigned char *at = OK(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0));
  CHECK_EQ(at[4096], 0);
  at[4096] = 1;
  OK(munmap(at, 8192));
  close(null), close(zero), close(random);
}

static void attributes(void) {
  close(OK(open("x", O_CREAT | O_WRONLY, 0600)));
  char back[32];
  long r = syscall(SYS_getxattr, "x", "user.absent", back, sizeof back);
  CHECK(r == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
  OK(syscall(SYS_access, "x", R_OK | W_OK));
  CHECK_ERR(access("absent", F_OK), ENOENT);
  CHECK_ERR(access("x", 99), EINVAL);
  CHECK_ERR(syscall(SYS_faccessat2, AT_FDCWD, "absent", F_OK, AT_EACCESS), ENOENT);
  OK(mknod("fifo", S_IFIFO | 0600, 0));
  struct stat s;
  OK(stat("fifo", &s));
  CHECK(S_ISFIFO(s.st_mode));
  OK(unlink("fifo")), OK(unlink("x"));
}

PROGRAM(T(read_and_write), T(vectors), T(names), T(directories), T(working_directory), T(status), T(sizes), T(descriptors),
        T(unlinked_and_temporary), T(standard_io), T(devices), T(attributes))
