/**
 * Everything the LWK knows about the program, as plain tables in one shared mapping. Every thread (main thread and Workers) holds
 * views of the same bytes; nothing else holds state. All numbers little-endian. 64-bit values are two 32-bit words, low first.
 *
 * | offset     | table           | entry                                                             |
 * |------------|-----------------|-------------------------------------------------------------------|
 * | 0x0000000  | header          | words, `H`                                                        |
 * | 0x0001000  | signal actions  | 65 x 32 bytes: handler, flags, restorer, mask (u64 each)          |
 * | 0x0002000  | CPUs            | 1024 x 4 bytes: host CPU of each virtual CPU                      |
 * | 0x0003000  | CPU nodes       | 1024 x 4 bytes: virtual NUMA node of each virtual CPU             |
 * | 0x0004000  | resource limits | 16 x 16 bytes: soft, hard (u64)                                   |
 * | 0x0005000  | nodes           | 64 x 32 bytes: host node, -, memory bytes u64                     |
 * | 0x0010000  | signal queue    | 1024 x 160 bytes, `Q`                                             |
 * | 0x0040000  | threads         | 1024 x 1024 bytes, `T`                                            |
 * | 0x0140000  | memory slots    | 4096 x 32 bytes, `S`                                              |
 * | 0x0160000  | descriptors     | 65536 x 16 bytes, `D`                                             |
 * | 0x0260000  | timers          | 256 x 64 bytes                                                    |
 * | 0x0270000  | signal files    | 64 x 32 bytes: signalfd, see signal-files.ts                      |
 * | 0x0280000  | counters        | 1024 x 4096 bytes: calls u32[512], exits u32[64], ...             |
 * | 0x0680000  | mappings (VMAs) | 65536 x 64 bytes, `V`, sorted by address                          |
 * | 0x0a80000  | mapped files    | 1024 x 4352 bytes, `F`                                            |
 * | 0x0f00000  | FPU hand-over   | 1024 x 4096 bytes: XSAVE area of a thread being made             |
 * | 0x1300000  | blocks          | 1 byte each, up to 4 M blocks (8 TiB)                             |
 * | 0x1700000  | file arena      | 65536 x 16 bytes: free and used ranges                            |
 * | 0x1800000  | texts           | 1 MiB: exe path, hostname, working directory, virtual files       |
 */
import { NR } from "../abi/nr.ts";
import { GATE_COUNT, type Sys, viewMemory } from "../host/gate.ts";
import { mapAnonymous } from "../host/memory.ts";

export const STATE_SIZE = 0x1900000;
export const STATE_VERSION = 1;

export const OFFSET = {
  actions: 0x1000,
  cpus: 0x2000,
  cpuNodes: 0x3000,
  limits: 0x4000,
  nodes: 0x5000,
  signalQueue: 0x10000,
  threads: 0x40000,
  slots: 0x140000,
  descriptors: 0x160000,
  timers: 0x260000,
  signalFiles: 0x270000,
  counters: 0x280000,
  mappings: 0x680000,
  files: 0xa80000,
  fpu: 0xf00000,
  blocks: 0x1300000,
  arena: 0x1700000,
  texts: 0x1800000,
} as const;

/** Header words (indices into `State.i32`). Pairs of words marked u64 are read with `getU64`. */
export const H = {
  version: 0,
  pid: 1,
  ppid: 2,
  /** Locks: 0 free, 1 held, 2 held and somebody waits. */
  lockMemory: 4,
  lockThreads: 5,
  lockSignals: 6,
  lockDescriptors: 7,
  lockLog: 8,
  exitCode: 11,
  threadsAlive: 12,
  nextTid: 13,
  /** Virtual CPUs and NUMA nodes of this virtual node. */
  cpuCount: 14,
  nodeCount: 15,
  /** Counts every edit of the page tables; a thread's translation cache is valid for one value. */
  mappingGeneration: 16,
  mappingCount: 17,
  slotCount: 18,
  fileCount: 19,
  /** 0 = 4K, 1 = 2M: pages of the host under blocks, pages of the guest. */
  hostHuge: 20,
  guestHuge: 21,
  /** Options: bit 0 strace, bit 1 stats, bit 2 no ASLR, bit 3 hugetlb pools only. */
  options: 22,
  straceFd: 23,
  /** Table pages handed out in slot 0 (next free table page number). */
  nextTablePage: 24,
  /** PML4 page of the address space (the master copy). */
  rootTable: 25,
  blocksUsed: 26,
  blocksLimit: 27,
  blocksMapped: 28,
  uid: 30,
  euid: 31,
  gid: 32,
  egid: 33,
  /** 0 PVM, 1 textbook. */
  kvmKind: 34,
  kvmFd: 35,
  vmFd: 36,
  queueSequence: 39,
  arenaCount: 40,
  /** Gate area and fixed host addresses, u64. */
  gateArea: 42,
  tableBase: 44,
  blockBase: 46,
  arenaBase: 48,
  arenaGpa: 50,
  arenaMapped: 52,
  lwkBase: 54,
  /** Address-space marks, u64. */
  mmapBase: 56,
  brkStart: 58,
  brkEnd: 60,
  stackTop: 62,
  stackLimit: 64,
  codeStart: 66,
  codeEnd: 68,
  dataStart: 70,
  dataEnd: 72,
  stackStart: 74,
  argStart: 76,
  argEnd: 78,
  envStart: 80,
  envEnd: 82,
  auxvLength: 86,
  memoryBytes: 88,
  vvarAddress: 90,
  xsaveSize: 92,
  xcr0: 94,
  peakThreads: 101,
  unknownCalls: 102,
  dumpable: 108,
  personality: 109,
  childSubreaper: 110,
  timeoutSignal: 114,
  arenaSize: 118,
  textsUsed: 120,
  exePathOffset: 121,
  exePathLength: 122,
  memoryPolicy: 125,
  /** Signals in the queue. */
  queueCount: 129,
  /** Thread records ever used: slots 0 to this - 1. */
  slotsInUse: 130,
  /** --timeout has run out. */
  timedOut: 131,
  /** First table page of the boot pages that all vCPUs share, in the order of BOOT_RANGES. */
  bootPages: 132,
  tablePages: 133,
  /** u64: bytes of slot 0 and of the block range. */
  tableSize: 134,
  blockSize: 136,
  runSize: 138,
  hwcap: 139,
  cpuidLength: 140,
  /** Raised by the thread that ends the virtual node: others stop quietly. */
  stopping: 141,
  /** Our own duplicate of standard error. */
  messageFd: 143,
  /** u64: nanoseconds of the monotonic clock at start. */
  startNs: 144,
  /** Offset and length in the texts of the statistics file's path; length 0: stderr. */
  statsPathOffset: 146,
  statsPathLength: 147,
  /** Offset of the auxiliary vector in the texts (auxvLength bytes). */
  auxvOffset: 148,
  /** 1: threads are pinned one to one, because CPUs were named or the affinity that margay inherited names some. */
  pin: 149,
  /** 1: the working directory is known to lie where no synthetic files are. */
  cwdOutside: 150,
  /** u64: host address of the futex waiter counts (futex-waiters.ts). */
  waiters: 152,
} as const;

/** Thread record words, from the record's start. */
export const T = {
  size: 256,
  state: 0,
  tid: 1,
  hostTid: 2,
  vcpuFd: 3,
  cpu: 4,
  /** Tables of this thread's vCPU: PML4 page, thread page (guest-physical page numbers), ring-0 stack page. */
  rootPage: 5,
  threadPage: 6,
  stackPage: 7,
  /** u64 each. */
  clearChildTid: 8,
  robustList: 10,
  robustLength: 12,
  signalMask: 14,
  savedMask: 16,
  hasSavedMask: 18,
  altStack: 20,
  altStackSize: 22,
  altStackFlags: 24,
  fsBase: 26,
  gsBase: 28,
  exitCode: 30,
  /** 1: look for signals and stop requests before going back to the guest. */
  /** Call that the thread is in (-1: none), for ps, restart and reports. */
  call: 31,
  callArgs: 32, // 6 x u64
  /** Registers for a thread being made: 18 x u64 in kvm_regs order. */
  startRegs: 44,
  affinity: 80, // 32 words: 1024 CPUs
  name: 112, // 16 bytes
  hasFpu: 116,
  lastSignal: 117,
  restartHint: 118,
  policy: 119,
  priority: 120,
  nice: 121,
  /** Pinned by margay to one CPU (1), by the program (2), not pinned (0). */
  pinned: 122,
  generationSeen: 123,
  /** Futex wait in progress: u64 address, bitset. */
  futexAddress: 124,
  futexBitset: 126,
  /** Signals that sigtimedwait waits for, u64. */
  waitMask: 128,
  rseqArea: 130,
  timerSlack: 132,
  parked: 134,
  assignment: 135,
  userNs: 136,
  secondWake: 138,
} as const;

export const THREAD = { FREE: 0, STARTING: 1, GUEST: 2, KERNEL: 3, BLOCKED: 4, EXITED: 5 } as const;

/** Memory slot record words: guest-physical start u64, size u64, NUMA node, kind (SLOT), first block. */
export const S = { size: 8, gpa: 0, bytes: 2, node: 4, kind: 5, firstBlock: 6, blocks: 7 } as const;
/** Rows of the table of memory slots; what follows it is the table of descriptors. */
export const SLOT_LIMIT = 4096;
export const SLOT = { TABLES: 0, THP: 1, HUGETLB: 2, SMALL: 3, ARENA: 4 } as const;

/** Descriptor record words: host descriptor + 1 (0 = free), flags, kind, number that the kind gives a meaning. */
export const D = { size: 4, host: 0, flags: 1, kind: 2, aux: 3 } as const;
export const DESCRIPTOR_COUNT = 65536;

/** Signal-queue record words: used, signal, target thread slot (-1 process), sequence, siginfo from word 8 (128 bytes). */
export const Q = { size: 40, used: 0, signal: 1, target: 2, sequence: 3, info: 8, count: 1024 } as const;

/** Mapping (VMA) record words. */
export const V = {
  size: 16,
  start: 0,
  end: 2,
  prot: 4,
  flags: 5,
  kind: 6,
  file: 7,
  offset: 8,
  /** Guest-physical address of the mapping's first byte, for KIND.ARENA; also end of the file's valid pages for KIND.COPY. */
  gpa: 10,
  validEnd: 12,
  name: 14,
} as const;
export const MAPPING_LIMIT = 65530;

/** Mapped-file record words: host descriptor + 1, flags, device u64, inode u64, path length; path bytes from byte 64 of the row. */
export const F = { size: 1088, host: 0, flags: 1, device: 2, inode: 4, pathLength: 6, path: 64, count: 1024 } as const;

export const COUNTER_WORDS = 1024;
/** Counter words of a thread. */
export const C = { calls: 0, exits: 512, faults: 576, kicks: 577, fastBytes: 578, signals: 579 } as const;

/** Views of the state mapping and the few operations on it that every table shares. */
export class State {
  readonly address: number;
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly view: DataView;
  private readonly sys: Sys;

  constructor(address: number, sys: Sys) {
    this.address = address;
    this.sys = sys;
    const memory = viewMemory(address, STATE_SIZE);
    this.u8 = new Uint8Array(memory);
    this.i32 = new Int32Array(memory);
    this.u32 = new Uint32Array(memory);
    this.view = new DataView(memory);
  }

  /** Maps a fresh, zeroed state. */
  static create(sys: Sys): State {
    const state = new State(mapAnonymous(sys, STATE_SIZE, 3, 0x4021), sys);
    state.i32[H.version] = STATE_VERSION;
    return state;
  }

  /** The u64 at word `index`; exact below 2^53. */
  getU64(index: number): number {
    return this.u32[index + 1]! * 0x100000000 + this.u32[index]!;
  }

  setU64(index: number, value: number): void {
    this.u32[index] = value >>> 0;
    this.u32[index + 1] = Math.floor(value / 0x100000000);
  }

  getBig(index: number): bigint {
    return (BigInt(this.u32[index + 1]!) << 32n) | BigInt(this.u32[index]!);
  }

  setBig(index: number, value: bigint): void {
    this.u32[index] = Number(value & 0xffffffffn);
    this.u32[index + 1] = Number((value >> 32n) & 0xffffffffn);
  }

  /** First word of thread `slot`'s record. */
  thread(slot: number): number {
    return (OFFSET.threads >> 2) + slot * T.size;
  }

  /** First counter word of thread `slot`. */
  counters(slot: number): number {
    return (OFFSET.counters >> 2) + slot * COUNTER_WORDS;
  }

  get threadLimit(): number {
    return GATE_COUNT;
  }

  /** Takes the lock at header word `index`; sleeps when another thread holds it. Not recursive. */
  lock(index: number): void {
    if (Atomics.compareExchange(this.i32, index, 0, 1) === 0) return;
    while (Atomics.exchange(this.i32, index, 2) !== 0) this.sys(NR.futex, this.address + index * 4, 0, 2, 0);
  }

  unlock(index: number): void {
    if (Atomics.exchange(this.i32, index, 0) === 2) this.sys(NR.futex, this.address + index * 4, 1, 1);
  }
}
