/** Sockets, x86-64. Source: include/linux/socket.h, asm-generic/socket.h; layouts of struct msghdr and cmsghdr: linux/socket.h. */
export const SOL_SOCKET = 1;
export const SO_RCVTIMEO = 20;
export const SO_SNDTIMEO = 21;
export const SO_ATTACH_FILTER = 26;
export const SO_ATTACH_REUSEPORT_CBPF = 51;

export const SCM_RIGHTS = 1;
export const SCM_PIDFD = 4;

export const MSG_CTRUNC = 0x8;
export const MSG_WAITALL = 0x100;
export const MSG_DONTWAIT = 0x40;
export const MSG_WAITFORONE = 0x10000;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** sizeof(struct sockaddr_storage): no socket address is longer. */
export const SOCKADDR_MAX = 128;

/** Offsets in struct msghdr. */
export const MSGHDR = { size: 56, name: 0, nameLength: 8, iov: 16, iovLength: 24, control: 32, controlLength: 40, flags: 48 } as const;
/** struct mmsghdr: a msghdr and the number of bytes moved, padded. */
export const MMSGHDR = { size: 64, length: 56 } as const;
/** struct cmsghdr: length with header (u64), level, type (i32), then the data; each header starts on a multiple of 8. */
export const CMSGHDR = { size: 16, length: 0, level: 8, type: 12 } as const;
/** Messages that one sendmmsg takes (UIO_MAXIOV). */
export const MMSG_MAX = 1024;

/** Error numbers that only sockets know. */
export const EMSGSIZE = 90;
export const ENOBUFS = 105;
