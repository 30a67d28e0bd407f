/**
 * ioctl requests and what their third argument is. Source: asm-generic/ioctls.h, linux/sockios.h, linux/fs.h, linux/random.h; sizes checked
 * with a C program against Linux 6.1's headers. `none`: nothing or a plain number; `in`, `out`, `inout`: a pointer to `size` bytes.
 */
export type IoctlShape = readonly [direction: "none" | "in" | "out" | "inout", size: number];

export const FIONBIO = 0x5421;
export const FIONCLEX = 0x5450;
export const FIOCLEX = 0x5451;
export const TIOCGPTPEER = 0x5441;
export const SIOCGIFCONF = 0x8912;
export const FICLONE = 0x40049409;
export const FICLONERANGE = 0x4020940d;
/** struct file_clone_range: source descriptor (i64), three u64. */
export const CLONE_RANGE_SIZE = 32;
/** struct ifconf: length (i32), padding, pointer; struct ifreq. */
export const IFCONF_SIZE = 16;
export const IFREQ_SIZE = 40;

const none: IoctlShape = ["none", 0];
const termios = 36;
const termios2 = 44;
const termio = 18;
const ifreq: IoctlShape = ["inout", IFREQ_SIZE];

/** Requests that go to the host as they are. */
export const IOCTLS: ReadonlyMap<number, IoctlShape> = new Map<number, IoctlShape>([
  [0x5401, ["out", termios]], // TCGETS
  [0x5402, ["in", termios]], // TCSETS
  [0x5403, ["in", termios]], // TCSETSW
  [0x5404, ["in", termios]], // TCSETSF
  [0x5405, ["out", termio]], // TCGETA
  [0x5406, ["in", termio]], // TCSETA
  [0x5407, ["in", termio]], // TCSETAW
  [0x5408, ["in", termio]], // TCSETAF
  [0x802c542a, ["out", termios2]], // TCGETS2
  [0x402c542b, ["in", termios2]], // TCSETS2
  [0x402c542c, ["in", termios2]], // TCSETSW2
  [0x402c542d, ["in", termios2]], // TCSETSF2
  [0x5409, none], // TCSBRK
  [0x5425, none], // TCSBRKP
  [0x5427, none], // TIOCSBRK
  [0x5428, none], // TIOCCBRK
  [0x540a, none], // TCXONC
  [0x540b, none], // TCFLSH
  [0x540c, none], // TIOCEXCL
  [0x540d, none], // TIOCNXCL
  [0x540e, none], // TIOCSCTTY
  [0x540f, ["out", 4]], // TIOCGPGRP
  [0x5410, ["in", 4]], // TIOCSPGRP
  [0x5411, ["out", 4]], // TIOCOUTQ, SIOCOUTQ
  [0x5413, ["out", 8]], // TIOCGWINSZ
  [0x5414, ["in", 8]], // TIOCSWINSZ
  [0x5415, ["out", 4]], // TIOCMGET
  [0x5416, ["in", 4]], // TIOCMBIS
  [0x5417, ["in", 4]], // TIOCMBIC
  [0x5418, ["in", 4]], // TIOCMSET
  [0x5419, ["out", 4]], // TIOCGSOFTCAR
  [0x541a, ["in", 4]], // TIOCSSOFTCAR
  [0x541b, ["out", 4]], // FIONREAD, TIOCINQ, SIOCINQ
  [0x5420, ["in", 4]], // TIOCPKT
  [FIONBIO, ["in", 4]],
  [0x5422, none], // TIOCNOTTY
  [0x5423, ["in", 4]], // TIOCSETD
  [0x5424, ["out", 4]], // TIOCGETD
  [0x5429, ["out", 4]], // TIOCGSID
  [0x80045430, ["out", 4]], // TIOCGPTN
  [0x40045431, ["in", 4]], // TIOCSPTLCK
  [0x80045432, ["out", 4]], // TIOCGDEV
  [0x80045439, ["out", 4]], // TIOCGPTLCK
  [0x80045440, ["out", 4]], // TIOCGEXCL
  [0x5452, ["in", 4]], // FIOASYNC
  [0x5460, ["out", 8]], // FIOQSIZE
  [0x8902, ["in", 4]], // SIOCSPGRP
  [0x8904, ["out", 4]], // SIOCGPGRP
  [0x8905, ["out", 4]], // SIOCATMARK
  [0x8906, ["out", 16]], // SIOCGSTAMP
  [0x8907, ["out", 16]], // SIOCGSTAMPNS
  [0x8910, ifreq], // SIOCGIFNAME
  [0x8913, ifreq], // SIOCGIFFLAGS
  [0x8915, ifreq], // SIOCGIFADDR
  [0x8917, ifreq], // SIOCGIFDSTADDR
  [0x8919, ifreq], // SIOCGIFBRDADDR
  [0x891b, ifreq], // SIOCGIFNETMASK
  [0x891d, ifreq], // SIOCGIFMETRIC
  [0x8921, ifreq], // SIOCGIFMTU
  [0x8927, ifreq], // SIOCGIFHWADDR
  [0x8933, ifreq], // SIOCGIFINDEX
  [0x8942, ifreq], // SIOCGIFTXQLEN
  [0x8970, ifreq], // SIOCGIFMAP
  [0x125e, ["out", 4]], // BLKROGET
  [0x1260, ["out", 8]], // BLKGETSIZE
  [0x1261, none], // BLKFLSBUF
  [0x1263, ["out", 8]], // BLKRAGET
  [0x1268, ["out", 4]], // BLKSSZGET
  [0x1278, ["out", 4]], // BLKIOMIN
  [0x1279, ["out", 4]], // BLKIOOPT
  [0x127a, ["out", 4]], // BLKALIGNOFF
  [0x127b, ["out", 4]], // BLKPBSZGET
  [0x127c, ["out", 4]], // BLKDISCARDZEROES
  [0x127e, ["out", 2]], // BLKROTATIONAL
  [0x80081270, ["out", 4]], // BLKBSZGET
  [0x80081272, ["out", 8]], // BLKGETSIZE64
  [0x1, ["inout", 4]], // FIBMAP
  [0x2, ["out", 4]], // FIGETBSZ
  [0x80086601, ["out", 4]], // FS_IOC_GETFLAGS: an int, whatever its number says
  [0x40086602, ["in", 4]], // FS_IOC_SETFLAGS: likewise
  [0x80087601, ["out", 4]], // FS_IOC_GETVERSION
  [0x801c581f, ["out", 28]], // FS_IOC_FSGETXATTR
  [0x401c5820, ["in", 28]], // FS_IOC_FSSETXATTR
  [0x81009431, ["out", 256]], // FS_IOC_GETFSLABEL
  [0x80045200, ["out", 4]], // RNDGETENTCNT
]);
