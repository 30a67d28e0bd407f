/** Waiting for several descriptors. Source: asm-generic/poll.h, linux/eventpoll.h, fs/select.c (what select means in terms of poll). */
export const POLLIN = 0x001;
export const POLLPRI = 0x002;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;
export const POLLRDNORM = 0x040;
export const POLLRDBAND = 0x080;
export const POLLWRNORM = 0x100;
export const POLLWRBAND = 0x200;
/** struct pollfd: descriptor (i32), events, revents (u16). */
export const POLLFD_SIZE = 8;

/** What makes a descriptor ready for each of select's sets. */
export const SELECT_READ = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR;
export const SELECT_WRITE = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR;
export const SELECT_EXCEPT = POLLPRI;

/** struct epoll_event is packed on x86-64: events u32, data u64. */
export const EPOLL_EVENT_SIZE = 12;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
