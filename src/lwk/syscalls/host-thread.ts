/** The host thread that carries a guest thread. */
import { ESRCH } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { T } from "../state.ts";
import { ROOM } from "./marshal.ts";

const LOOKS = 10_000;
const MILLISECOND = 1_000_000n;

/**
 * Host thread id of the thread in slot `slot`. A thread just made has none until its Worker runs: glibc sets priorities of a new thread right
 * after clone, so this waits for it. Throws ESRCH when it does not come within 10 s. Overwrites the scratch buffer's structures.
 */
export function hostThreadOf(k: Kernel, slot: number): number {
  const at = k.state.thread(slot) + T.hostTid;
  for (let look = 0; look < LOOKS; look++) {
    const tid = Atomics.load(k.state.i32, at);
    if (tid !== 0) return tid;
    k.scratch.view.setBigInt64(ROOM.structs, 0n, true);
    k.scratch.view.setBigInt64(ROOM.structs + 8, MILLISECOND, true);
    k.sys(NR.nanosleep, k.scratch.address + ROOM.structs, 0);
  }
  throw new GuestError(ESRCH);
}
