/* Pipes, sockets and the calls that wait on several of them: poll, select, epoll, eventfd, timerfd, signalfd. */
#include "harness.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *send_all(void *argument) {
  int to = (int)(long)argument;
  char block[10000];
  for (int i = 0; i < 200; i++) {
    memset(block, i, sizeof block);
    for (size_t sent = 0; sent < sizeof block;) {
      ssize_t n = write(to, block + sent, sizeof block - sent);
      if (n <= 0) _exit(3);
      sent += (size_t)n;
    }
  }
  close(to);
  return NULL;
}

static void pipe_between_threads(void) {
  int ends[2];
  OK(pipe2(ends, O_CLOEXEC));
  CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, send_all, (void *)(long)ends[1]), 0);
  unsigned char block[8192];
  size_t total = 0;
  for (ssize_t n; (n = read(ends[0], block, sizeof block)) > 0;)
    for (ssize_t i = 0; i < n; i++, total++)
      if (block[i] != (unsigned char)(total / 10000)) CHECK(0, "byte %zu", total);
  CHECK_EQ(total, 2000000);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  close(ends[0]);
}

static void pipe_errors(void) {
  int ends[2];
  char byte;
  OK(pipe2(ends, O_NONBLOCK));
  CHECK_ERR(read(ends[0], &byte, 1), EAGAIN);
  CHECK_ERR(lseek(ends[0], 0, SEEK_CUR), ESPIPE);
  CHECK_ERR(pread(ends[0], &byte, 1, 0), ESPIPE);
  CHECK_ERR(write(ends[0], &byte, 1), EBADF);
  static char much[200000];
  ssize_t n = OK(write(ends[1], much, sizeof much));
  CHECK_EQ(n, 65536);
  CHECK_ERR(write(ends[1], much, 1), EAGAIN);
  close(ends[1]);
  signal(SIGPIPE, SIG_IGN);
  OK(pipe(ends));
  close(ends[0]);
  CHECK_ERR(write(ends[1], "x", 1), EPIPE);
  signal(SIGPIPE, SIG_DFL);
  close(ends[1]);
  CHECK_ERR(pipe2(ends, 12345678), EINVAL);
}

static void poll_and_select(void) {
  int a[2], b[2];
  OK(pipe(a));
  OK(pipe(b));
  struct pollfd list[] = {{a[0], POLLIN, 0}, {b[0], POLLIN, 0}, {a[1], POLLOUT, 0}, {-1, POLLIN, 0}, {999, POLLIN, 0}};
  CHECK_EQ(poll(list, 2, 0), 0);
  CHECK_EQ(poll(list, 5, 0), 2);
  CHECK_EQ(list[2].revents, POLLOUT);
  CHECK_EQ(list[3].revents, 0);
  CHECK_EQ(list[4].revents, POLLNVAL);
  double before = now();
  CHECK_EQ(poll(list, 2, 50), 0);
  CHECK(now() - before >= 0.049, "%f", now() - before);
  CHECK_EQ(write(b[1], "x", 1), 1);
  CHECK_EQ(poll(list, 2, -1), 1);
  CHECK_EQ(list[1].revents, POLLIN);
  close(a[1]);
  CHECK_EQ(poll(list, 1, -1), 1);
  CHECK_EQ(list[0].revents, POLLHUP);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(b[0], &set);
  struct timeval wait = {0, 30000};
  CHECK_EQ(select(b[0] + 1, &set, NULL, NULL, &wait), 1);
  CHECK(FD_ISSET(b[0], &set));
  char byte;
  CHECK_EQ(read(b[0], &byte, 1), 1);
  FD_SET(b[0], &set);
  wait = (struct timeval){0, 30000};
  before = now();
  CHECK_EQ(select(b[0] + 1, &set, NULL, NULL, &wait), 0);
  CHECK(now() - before >= 0.029);
  CHECK(!FD_ISSET(b[0], &set));
  CHECK_EQ(wait.tv_sec + wait.tv_usec, 0); /* Linux writes what is left */
  struct timespec soon = {0, 1000000};
  FD_SET(b[0], &set);
  CHECK_EQ(pselect(b[0] + 1, &set, NULL, NULL, &soon, NULL), 0);
  CHECK_EQ(ppoll(list + 1, 1, &soon, NULL), 0);
  FD_ZERO(&set);
  FD_SET(40, &set);
  CHECK_ERR(select(41, &set, NULL, NULL, &wait), EBADF);
  CHECK_ERR(select(-1, NULL, NULL, NULL, &wait), EINVAL);
  close(a[0]), close(b[0]), close(b[1]);
}

static void *later(void *argument) {
  usleep(30000);
  uint64_t one = 5;
  if (write((int)(long)argument, &one, 8) != 8) _exit(3);
  return NULL;
}

static void epoll_and_eventfd(void) {
  int ep = OK(epoll_create1(EPOLL_CLOEXEC)), ev = OK(eventfd(0, EFD_NONBLOCK));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0UL};
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, ev, &event));
  CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, ev, &event), EEXIST);
  CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &event), EINVAL);
  struct epoll_event got[4];
  CHECK_EQ(epoll_wait(ep, got, 4, 0), 0);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, later, (void *)(long)ev), 0);
  CHECK_EQ(epoll_wait(ep, got, 4, -1), 1);
  CHECK_EQ(got[0].events, EPOLLIN);
  CHECK_EQ(got[0].data.u64, 0x123456789abcdef0UL);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  uint64_t value;
  CHECK_EQ(read(ev, &value, 8), 8);
  CHECK_EQ(value, 5);
  CHECK_ERR(read(ev, &value, 8), EAGAIN);
  CHECK_ERR(read(ev, &value, 4), EINVAL);
  event.events = EPOLLIN | EPOLLET | EPOLLONESHOT;
  OK(epoll_ctl(ep, EPOLL_CTL_MOD, ev, &event));
  value = 1;
  CHECK_EQ(write(ev, &value, 8), 8);
  CHECK_EQ(epoll_pwait(ep, got, 4, 100, NULL), 1);
  CHECK_EQ(write(ev, &value, 8), 8);
  CHECK_EQ(epoll_wait(ep, got, 4, 0), 0); /* one shot */
  OK(epoll_ctl(ep, EPOLL_CTL_DEL, ev, NULL));
  CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_DEL, ev, NULL), ENOENT);
  CHECK_ERR(epoll_wait(ep, got, 0, 0), EINVAL);
  close(ev), close(ep);
  ev = OK(eventfd(3, EFD_SEMAPHORE));
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(read(ev, &value, 8), 8);
    CHECK_EQ(value, 1);
  }
  close(ev);
}

static void timerfd(void) {
  int timer = OK(timerfd_create(CLOCK_MONOTONIC, 0));
  struct itimerspec spec = {{0, 10000000}, {0, 20000000}}, left;
  double before = now();
  OK(timerfd_settime(timer, 0, &spec, NULL));
  uint64_t total = 0, n;
  while (total < 5) {
    CHECK_EQ(read(timer, &n, 8), 8);
    total += n;
  }
  CHECK(now() - before >= 0.059, "%f", now() - before);
  OK(timerfd_gettime(timer, &left));
  CHECK_EQ(left.it_interval.tv_nsec, 10000000);
  close(timer);
}

static void signal_descriptor(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
  int file = OK(signalfd(-1, &set, SFD_NONBLOCK));
  struct signalfd_siginfo info;
  CHECK_ERR(read(file, &info, sizeof info), EAGAIN);
  kill(getpid(), SIGUSR2);
  struct pollfd list = {file, POLLIN, 0};
  CHECK_EQ(poll(&list, 1, 1000), 1);
  CHECK_EQ(read(file, &info, sizeof info), sizeof info);
  CHECK_EQ(info.ssi_signo, SIGUSR2);
  CHECK_EQ(info.ssi_pid, getpid());
  close(file);
}

static void *echo(void *argument) {
  int server = (int)(long)argument, peer = accept(server, NULL, NULL);
  char text[64];
  if (peer < 0) _exit(3);
  for (ssize_t n; (n = recv(peer, text, sizeof text, 0)) > 0;)
    if (send(peer, text, (size_t)n, 0) != n) _exit(4);
  close(peer);
  return NULL;
}
static void tcp_on_loopback(void) {
  int server = OK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), one = 1;
  OK(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  OK(bind(server, (struct sockaddr *)&address, sizeof address));
  OK(listen(server, 4));
  socklen_t length = sizeof address;
  OK(getsockname(server, (struct sockaddr *)&address, &length));
  CHECK_EQ(length, sizeof address);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, echo, (void *)(long)server), 0);
  int client = OK(socket(AF_INET, SOCK_STREAM, 0));
  OK(connect(client, (struct sockaddr *)&address, sizeof address));
  char text[64];
  for (int i = 0; i < 50; i++) {
    int n = snprintf(text, sizeof text, "message %d", i);
    CHECK_EQ(send(client, text, (size_t)n, MSG_NOSIGNAL), n);
    char back[64] = {0};
    CHECK_EQ(recv(client, back, (size_t)n, MSG_WAITALL), n);
    CHECK(strcmp(text, back) == 0);
  }
  length = sizeof one;
  OK(getsockopt(client, SOL_SOCKET, SO_ERROR, &one, &length));
  CHECK_EQ(one, 0);
  OK(shutdown(client, SHUT_WR));
  CHECK_EQ(recv(client, text, sizeof text, 0), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  close(client), close(server);
}

static void socket_pair_and_messages(void) {
  int pair[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  int file = OK(open("passed", O_CREAT | O_RDWR, 0600));
  CHECK_EQ(write(file, "content", 7), 7);
  /* two parts of data and one descriptor */
  struct iovec parts[] = {{"he", 2}, {"llo", 3}};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
  memcpy(CMSG_DATA(c), &file, sizeof file);
  CHECK_EQ(sendmsg(pair[0], &message, 0), 5);
  char text[16] = {0}, content[16] = {0};
  struct iovec into = {text, sizeof text};
  memset(&control, 0, sizeof control);
  message = (struct msghdr){.msg_iov = &into, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  CHECK_EQ(recvmsg(pair[1], &message, 0), 5);
  CHECK(strcmp(text, "hello") == 0);
  c = CMSG_FIRSTHDR(&message);
  CHECK(c != NULL && c->cmsg_type == SCM_RIGHTS);
  int received;
  memcpy(&received, CMSG_DATA(c), sizeof received);
  CHECK(received != file);
  CHECK_EQ(pread(received, content, 16, 0), 7);
  CHECK(strcmp(content, "content") == 0);
  close(received), close(file), close(pair[0]);
  CHECK_EQ(read(pair[1], text, 1), 0);
  close(pair[1]);
  OK(unlink("passed"));
}

PROGRAM(T(pipe_between_threads), T(pipe_errors), T(poll_and_select), T(epoll_and_eventfd), T(timerfd), T(signal_descriptor), T(tcp_on_loopback),
        T(socket_pair_and_messages))
