/** Relative time-outs of calls that may be made to the host several times: they count from the guest's one call. */
import { EINVAL } from "../../abi/errno.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { ROOM } from "./marshal.ts";

const SECOND = 1_000_000_000n;
/** Where the remaining time stands for the host, as a struct timespec: no call has both a path and a time-out. */
const AT = ROOM.secondPath;

export class Countdown {
  /** Nanoseconds asked for; -1: for ever. */
  private readonly total: bigint;
  private readonly start: bigint;

  constructor(nanoseconds: bigint) {
    this.total = nanoseconds;
    this.start = nanoseconds > 0n ? process.hrtime.bigint() : 0n;
  }

  /** An int of milliseconds; negative: for ever. */
  static milliseconds(count: number): Countdown {
    return new Countdown(count < 0 ? -1n : BigInt(count) * 1_000_000n);
  }

  /** A struct timespec of the guest; NULL: for ever. Throws EINVAL, EFAULT. */
  static timespec(k: Kernel, va: number): Countdown {
    if (va === 0) return new Countdown(-1n);
    const seconds = BigInt.asIntN(64, k.mem.big(va));
    const nanoseconds = BigInt.asIntN(64, k.mem.big(va + 8));
    if (seconds < 0n || nanoseconds < 0n || nanoseconds >= SECOND) throw new GuestError(EINVAL);
    return new Countdown(seconds * SECOND + nanoseconds);
  }

  /** A struct timeval of the guest; NULL: for ever. Microseconds may exceed a second, as select(2) allows. Throws EINVAL, EFAULT. */
  static timeval(k: Kernel, va: number): Countdown {
    if (va === 0) return new Countdown(-1n);
    const seconds = BigInt.asIntN(64, k.mem.big(va));
    const microseconds = BigInt.asIntN(64, k.mem.big(va + 8));
    if (seconds < 0n || microseconds < 0n) throw new GuestError(EINVAL);
    return new Countdown(seconds * SECOND + microseconds * 1000n);
  }

  /** Nanoseconds left, 0 when over; -1: for ever. */
  left(): bigint {
    if (this.total <= 0n) return this.total;
    const left = this.total - (process.hrtime.bigint() - this.start);
    return left > 0n ? left : 0n;
  }

  /** What is left in milliseconds for the host, rounded up so as not to be early; -1: for ever. */
  leftMilliseconds(): number {
    const left = this.left();
    return left < 0n ? -1 : Number((left + 999_999n) / 1_000_000n > 0x7fff_ffffn ? 0x7fff_ffffn : (left + 999_999n) / 1_000_000n);
  }

  /** Host address of a struct timespec with what is left, in the scratch buffer; 0 (NULL): for ever. */
  leftTimespec(k: Kernel): number {
    const left = this.left();
    if (left < 0n) return 0;
    const seconds = left / SECOND;
    k.scratch.view.setBigInt64(AT, seconds > 0x7fff_ffff_ffffn ? 0x7fff_ffff_ffffn : seconds, true);
    k.scratch.view.setBigInt64(AT + 8, left % SECOND, true);
    return k.scratch.address + AT;
  }

  /** Writes what is left back to the guest, as Linux does for select and ppoll; an unwritable place is ignored there too. `unit`: nanoseconds per unit of the second word. */
  giveBack(k: Kernel, va: number, unit: bigint): void {
    const left = this.left();
    if (va === 0 || left < 0n) return;
    try {
      k.mem.setBig(va, left / SECOND);
      k.mem.setBig(va + 8, (left % SECOND) / unit);
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
    }
  }
}
