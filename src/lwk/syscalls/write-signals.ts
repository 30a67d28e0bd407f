/** Signals that a failing write brings with it. The host process ignores them, so that only the guest's thread gets them. */
import { EFBIG, EPIPE } from "../../abi/errno.ts";
import { SI_USER, SIGPIPE, SIGXFSZ } from "../../abi/signal.ts";
import type { Kernel } from "../kernel.ts";
import { makeInfo } from "../signals.ts";
import { H } from "../state.ts";

/** Sends SIGPIPE for -EPIPE and SIGXFSZ for -EFBIG to this thread (pipe(7), write(2)); passes the result on. */
export function withWriteSignal(k: Kernel, result: number): number {
  if (result === -EPIPE || result === -EFBIG) {
    const signal = result === -EPIPE ? SIGPIPE : SIGXFSZ;
    k.signals.send(k.slot, signal, makeInfo(signal, SI_USER, { pid: k.pid, uid: k.state.u32[H.uid]! }));
  }
  return result;
}
