/** The program's descriptor table: guest number → host descriptor. Rows of the shared state, guarded by the descriptor lock. */
import { EBADF, EMFILE } from "../abi/errno.ts";
import { NR } from "../abi/nr.ts";
import type { Sys } from "../host/gate.ts";
import { GuestError } from "./guest-error.ts";
import { D, DESCRIPTOR_COUNT, H, OFFSET, type State } from "./state.ts";

/** Flag bits of a row. */
export const FD_CLOEXEC = 1;
/** The program wants this signalfd not to block. Its eventfd on the host never does. */
export const FD_NONBLOCK = 2;
/** A directory known to lie where no synthetic files are. */
export const FD_OUTSIDE = 4;

/**
 * What a row is. HOST: everything is the host descriptor's business. VIRTUAL_FILE: a snapshot of a synthetic file in a memfd (aux = number of the virtual file).
 * VIRTUAL_DIRECTORY: a synthetic directory (aux = its number); the host descriptor is an empty memfd whose offset counts entries.
 * SIGNALS: a signalfd (aux = its row in the table of signal files); the host descriptor is the row's eventfd.
 */
export const FILE_KIND = { HOST: 0, VIRTUAL_FILE: 1, VIRTUAL_DIRECTORY: 2, SIGNALS: 3 } as const;

/** Number of RLIMIT_NOFILE in the table of limits. */
const RLIMIT_NOFILE = 7;

export class Descriptors {
  private readonly state: State;
  private readonly sys: Sys;

  constructor(state: State, sys: Sys) {
    this.state = state;
    this.sys = sys;
  }

  private row(fd: number): number {
    return (OFFSET.descriptors >> 2) + fd * D.size;
  }

  /** Host descriptor behind guest descriptor `fd`; -1 when it is not open. */
  peek(fd: number): number {
    if (fd < 0 || fd >= DESCRIPTOR_COUNT) return -1;
    return this.state.i32[this.row(fd) + D.host]! - 1;
  }

  /** Host descriptor behind guest descriptor `fd`. Throws EBADF. */
  host(fd: number): number {
    const host = this.peek(fd);
    if (host < 0) throw new GuestError(EBADF);
    return host;
  }

  flags(fd: number): number {
    return this.state.i32[this.row(fd) + D.flags]!;
  }

  setFlags(fd: number, flags: number): void {
    this.state.i32[this.row(fd) + D.flags] = flags;
  }

  kind(fd: number): number {
    return fd < 0 || fd >= DESCRIPTOR_COUNT ? FILE_KIND.HOST : this.state.i32[this.row(fd) + D.kind]!;
  }

  aux(fd: number): number {
    return this.state.i32[this.row(fd) + D.aux]!;
  }

  /** Highest number + 1 that may be used now: RLIMIT_NOFILE. */
  get limit(): number {
    const soft = this.state.getU64((OFFSET.limits >> 2) + RLIMIT_NOFILE * 4);
    return Math.min(DESCRIPTOR_COUNT, soft);
  }

  /** Puts `host` at the lowest free number from `from` on. Returns the number, or -EMFILE after closing `host`. */
  add(host: number, flags: number, kind: number = FILE_KIND.HOST, aux = 0, from = 0): number {
    const { state } = this;
    state.lock(H.lockDescriptors);
    try {
      const limit = this.limit;
      for (let fd = from; fd < limit; fd++) {
        if (state.i32[this.row(fd) + D.host] === 0) {
          this.put(fd, host, flags, kind, aux);
          return fd;
        }
      }
    } finally {
      state.unlock(H.lockDescriptors);
    }
    this.sys(NR.close, host);
    return -EMFILE;
  }

  private put(fd: number, host: number, flags: number, kind: number, aux: number): void {
    const row = this.row(fd);
    const { i32 } = this.state;
    i32[row + D.flags] = flags;
    i32[row + D.kind] = kind;
    i32[row + D.aux] = aux;
    i32[row + D.host] = host + 1;
  }

  /** Puts `host` at number `fd`, closing what was there (dup2). Returns `fd` or -EBADF. */
  replace(fd: number, host: number, flags: number, kind: number, aux: number): number {
    const { state } = this;
    if (fd < 0 || fd >= this.limit) {
      this.sys(NR.close, host);
      return -EBADF;
    }
    state.lock(H.lockDescriptors);
    const old = this.peek(fd);
    this.put(fd, host, flags, kind, aux);
    state.unlock(H.lockDescriptors);
    if (old >= 0) this.sys(NR.close, old);
    return fd;
  }

  /** close(2). Returns 0 or -errno. */
  close(fd: number): number {
    const { state } = this;
    if (fd < 0 || fd >= DESCRIPTOR_COUNT) return -EBADF;
    state.lock(H.lockDescriptors);
    const host = this.peek(fd);
    if (host >= 0) this.put(fd, -1, 0, 0, 0);
    state.unlock(H.lockDescriptors);
    return host < 0 ? -EBADF : this.sys(NR.close, host);
  }

  /** Guest number of a host descriptor, -1 when it is not the program's: what messages about descriptors need. */
  guestOf(host: number): number {
    for (let fd = 0; fd < DESCRIPTOR_COUNT; fd++) if (this.peek(fd) === host) return fd;
    return -1;
  }

  /** Open guest numbers, ascending. */
  open(): number[] {
    const result: number[] = [];
    for (let fd = 0; fd < DESCRIPTOR_COUNT; fd++) if (this.peek(fd) >= 0) result.push(fd);
    return result;
  }
}
