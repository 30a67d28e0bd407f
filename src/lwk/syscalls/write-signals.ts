/** Signals that a failing write brings with it. The host process ignores them, so that only the guest's thread gets them. */
import { EFBIG, EPIPE } from "../../abi/errno.ts";
import { SI_USER, SIGPIPE, SIGXFSZ } from "../../abi/signal.ts";
import type { Kernel } from "../kernel.ts";
import { makeInfo } from "../signals.ts";
import { H, OFFSET } from "../state.ts";

const RLIMIT_FSIZE = 1;
/** Limits from here on are none. */
const UNLIMITED = 2 ** 63;

/** True when the program has a file-size limit; without one, EFBIG is the file system's own and brings no signal. */
function sizeLimited(k: Kernel): boolean {
  return k.state.getU64((OFFSET.limits >> 2) + RLIMIT_FSIZE * 4) < UNLIMITED;
}

/** Sends SIGPIPE for -EPIPE and SIGXFSZ for -EFBIG to this thread (pipe(7), write(2)); passes the result on. */
export function withWriteSignal(k: Kernel, result: number): number {
  if (result === -EPIPE || (result === -EFBIG && sizeLimited(k))) {
    const signal = result === -EPIPE ? SIGPIPE : SIGXFSZ;
    k.signals.send(k.slot, signal, makeInfo(signal, SI_USER, { pid: k.pid, uid: k.state.u32[H.uid]! }));
  }
  return result;
}
