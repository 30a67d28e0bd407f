/** File status, x86-64. Source: arch/x86/include/uapi/asm/stat.h, linux/stat.h, asm/statfs.h. */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

/** Offsets in struct stat. */
export const STAT = { size: 144, dev: 0, ino: 8, nlink: 16, mode: 24, uid: 28, gid: 32, blksize: 56, atime: 72, mtime: 88, ctime: 104 } as const;

/** Offsets in struct statx. */
export const STATX = {
  size: 256,
  mask: 0,
  blksize: 4,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  atime: 64,
  ctime: 96,
  mtime: 112,
  devMinor: 140,
} as const;
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_RESERVED = 0x8000_0000;
export const AT_STATX_SYNC_TYPE = 0x6000;

export const STATFS_SIZE = 120;

/** d_type of directory entries (linux/fs_types.h). */
export const DT = { directory: 4, file: 8, link: 10 } as const;
