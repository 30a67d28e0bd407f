/** Files behind mappings: a host descriptor of our own, identity and path for /proc/self/maps. Rows of the shared state; the memory lock guards them. */
import { NR } from "../../abi/nr.ts";
import type { Sys } from "../../host/gate.ts";
import type { Scratch } from "../../host/memory.ts";
import { F, H, OFFSET, type State, V } from "../state.ts";

const F_DUPFD_CLOEXEC = 1030;
/** Our own descriptors stay above this number, out of the way of what the program passes on. */
const HIGH_DESCRIPTOR = 512;

/** What fstat(2) says that mapping needs. Offsets of struct stat, x86-64. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly mode: number;
  readonly size: number;
  readonly rdev: bigint;
}

/** fstat of a host descriptor; null with EBADF. */
export function identify(sys: Sys, scratch: Scratch, fd: number): FileIdentity | null {
  if (sys(NR.fstat, fd, scratch.address) < 0) return null;
  const v = scratch.view;
  return {
    device: v.getBigUint64(0, true),
    inode: v.getBigUint64(8, true),
    mode: v.getUint32(24, true),
    size: Number(v.getBigInt64(48, true)),
    rdev: v.getBigUint64(40, true),
  };
}

export class MappedFiles {
  private readonly state: State;
  private readonly sys: Sys;

  constructor(state: State, sys: Sys) {
    this.state = state;
    this.sys = sys;
  }

  private row(index: number): number {
    return (OFFSET.files >> 2) + index * F.size;
  }

  /** Index of the row for this file, made when new (keeping a duplicate of `fd`); -errno when descriptors or rows run out. */
  open(fd: number, identity: FileIdentity, path: string): number {
    const { state } = this;
    let spare = -1;
    for (let i = 0; i < state.i32[H.fileCount]!; i++) {
      const row = this.row(i);
      if (!state.i32[row + F.host]) spare = i;
      else if (state.getBig(row + F.inode) === identity.inode && state.getBig(row + F.device) === identity.device) return i;
    }
    if (spare < 0 && state.i32[H.fileCount]! >= F.count) spare = this.sweep();
    if (spare < 0 && state.i32[H.fileCount]! >= F.count) return -23;
    const host = this.sys(NR.fcntl, fd, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
    const kept = host >= 0 ? host : this.sys(NR.fcntl, fd, F_DUPFD_CLOEXEC, 3);
    if (kept < 0) return kept;
    const index = spare >= 0 ? spare : state.i32[H.fileCount]!++;
    const row = this.row(index);
    state.i32[row + F.host] = kept + 1;
    state.setBig(row + F.device, identity.device);
    state.setBig(row + F.inode, identity.inode);
    const bytes = Buffer.from(path, "latin1").subarray(0, 4095);
    state.i32[row + F.pathLength] = bytes.length;
    state.u8.set(bytes, (row + F.path / 4) * 4);
    return index;
  }

  /** Closes rows that no mapping names any more. Returns a free row or -1. */
  private sweep(): number {
    const { state } = this;
    const used = new Uint8Array(F.count);
    for (let i = 0; i < state.i32[H.mappingCount]!; i++) {
      const file = state.u32[(OFFSET.mappings >> 2) + i * V.size + V.file]!;
      if (file) used[file - 1] = 1;
    }
    let spare = -1;
    for (let i = 0; i < state.i32[H.fileCount]!; i++) {
      if (used[i]) continue;
      const row = this.row(i);
      if (state.i32[row + F.host]) this.sys(NR.close, state.i32[row + F.host]! - 1);
      state.i32[row + F.host] = 0;
      spare = i;
    }
    return spare;
  }

  hostDescriptor(index: number): number {
    return this.state.i32[this.row(index) + F.host]! - 1;
  }

  /** Path (latin1), device and inode for reports. */
  describe(index: number): { path: string; device: bigint; inode: bigint } {
    const { state } = this;
    const row = this.row(index);
    const at = (row + F.path / 4) * 4;
    return {
      path: Buffer.from(state.u8.buffer, state.u8.byteOffset + at, state.i32[row + F.pathLength]!).toString("latin1"),
      device: state.getBig(row + F.device),
      inode: state.getBig(row + F.inode),
    };
  }
}
