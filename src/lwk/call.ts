/** A system call as its handler sees it: number, six arguments, and everything of this thread. One object per thread, used again for each call. */
import { EINTR, ERESTARTSYS } from "../abi/errno.ts";
import { R, type Vcpu } from "../vmm/vcpu.ts";
import type { Kernel } from "./kernel.ts";

/** A handler returns the result, or -errno; it may throw GuestError. -ERESTARTSYS and -ERESTARTNOHAND mean what they mean inside Linux. */
export type Handler = (c: Call) => number;

/**
 * How well a call is served. `guest`: answered without leaving the guest; `lwk`: by the LWK; `forwarded`: by the host, every pointer translated and checked;
 * `partial`: see the note; `none`: ENOSYS on purpose.
 */
export type Level = "guest" | "lwk" | "forwarded" | "partial" | "none";

/** Entries of one family of calls: name → level, note for docs/syscalls.md, handler. */
export type Family = Record<string, readonly [level: Level, note: string, handler: Handler | null]>;

const ARGUMENTS = [R.rdi, R.rsi, R.rdx, R.r10, R.r8, R.r9] as const;

export class Call {
  readonly kernel: Kernel;
  readonly vcpu: Vcpu;
  nr = -1;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.vcpu = kernel.vcpu;
  }

  /** Argument `i` as an unsigned number: addresses, sizes. Exact below 2^53; above, still larger than any valid one. */
  num(i: number): number {
    return this.vcpu.get(ARGUMENTS[i]!);
  }

  /** Argument `i` as int: its low 32 bits, signed. */
  int(i: number): number {
    return this.vcpu.low(ARGUMENTS[i]!) | 0;
  }

  /** Argument `i` as unsigned int. */
  u32(i: number): number {
    return this.vcpu.low(ARGUMENTS[i]!);
  }

  /** Argument `i` as long; exact within +-2^53. */
  long(i: number): number {
    return (this.vcpu.high(ARGUMENTS[i]!) | 0) * 0x1_0000_0000 + this.vcpu.low(ARGUMENTS[i]!);
  }

  big(i: number): bigint {
    return this.vcpu.big(ARGUMENTS[i]!);
  }

  /**
   * Makes a host call that may block, again after wake-ups that bring no signal. `attempt` must work out what is left of a relative time-out by itself.
   * When a signal is there to be delivered: `interrupted` (-ERESTARTSYS: as the handler's SA_RESTART says; -ERESTARTNOHAND: EINTR if a handler runs; -EINTR: always).
   */
  blocking(attempt: () => number, interrupted = -ERESTARTSYS): number {
    for (;;) {
      const result = attempt();
      if (result !== -EINTR) return result;
      if (this.kernel.interrupted()) return interrupted;
    }
  }
}
