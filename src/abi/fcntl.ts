/** Opening, naming and controlling files, x86-64. Source: include/uapi/asm-generic/fcntl.h, linux/fcntl.h, linux/openat2.h, linux/fs.h. */
export const O_ACCMODE = 3;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_NONBLOCK = 0o4000;
export const O_DIRECTORY = 0o200000;
export const O_NOFOLLOW = 0o400000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
/** __O_TMPFILE | O_DIRECTORY. */
export const O_TMPFILE = 0o20200000;

/** struct open_how: flags, mode, resolve, u64 each. */
export const OPEN_HOW_SIZE = 24;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EACCESS = 0x200;
export const AT_EMPTY_PATH = 0x1000;

export const SEEK_SET = 0;
export const SEEK_CUR = 1;

export const F_DUPFD = 0;
export const F_GETFD = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_GETLK = 5;
export const F_SETLK = 6;
export const F_SETLKW = 7;
export const F_SETOWN = 8;
export const F_GETOWN = 9;
export const F_SETSIG = 10;
export const F_GETSIG = 11;
export const F_SETOWN_EX = 15;
export const F_GETOWN_EX = 16;
export const F_GETOWNER_UIDS = 17;
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
export const F_OFD_SETLKW = 38;
export const F_SETLEASE = 1024;
export const F_GETLEASE = 1025;
export const F_NOTIFY = 1026;
export const F_DUPFD_QUERY = 1027;
export const F_CREATED_QUERY = 1028;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;
export const F_GETPIPE_SZ = 1032;
export const F_ADD_SEALS = 1033;
export const F_GET_SEALS = 1034;
export const F_GET_RW_HINT = 1035;
export const F_SET_RW_HINT = 1036;
export const F_GET_FILE_RW_HINT = 1037;
export const F_SET_FILE_RW_HINT = 1038;
/** struct flock on x86-64: type and whence (i16), start, length (i64), pid (i32), padded. */
export const FLOCK_SIZE = 32;
/** struct f_owner_ex: type, pid (i32). */
export const F_OWNER_EX_SIZE = 8;

export const CLOSE_RANGE_UNSHARE = 2;
export const CLOSE_RANGE_CLOEXEC = 4;

export const MFD_CLOEXEC = 1;
/** Largest name and value of an extended attribute, largest list of names (linux/limits.h). */
export const XATTR_SIZE_MAX = 65536;
export const XATTR_LIST_MAX = 65536;
/** Parts of a vectored transfer (linux/uio.h), and most bytes that one call moves (MAX_RW_COUNT). */
export const IOV_MAX = 1024;
export const MAX_RW_COUNT = 0x7fff_f000;
