/** Host signals: handlers made of the gate area's machine code, kicks. */
import { NR } from "../abi/nr.ts";
import { type Gate, KICK_SIGNAL, wakeIndex } from "./gate.ts";
import { HostError } from "./host-error.ts";
import type { Scratch } from "./memory.ts";

const SA_SIGINFO = 4;
const SA_RESTORER = 0x04000000;
export const SIG_DFL = 0;
export const SIG_IGN = 1;

/** Sets a signal's host action: SIG_DFL, SIG_IGN, or "catch", the gate area's handler. */
export function setHostAction(gate: Gate, scratch: Scratch, signal: number, action: number | "catch"): void {
  scratch.u8.fill(0, 0, 32);
  if (action === "catch") {
    scratch.view.setBigUint64(0, BigInt(gate.handlerAddress), true);
    scratch.view.setBigUint64(8, BigInt(SA_SIGINFO | SA_RESTORER), true);
    scratch.view.setBigUint64(16, BigInt(gate.restorerAddress), true);
  } else scratch.view.setBigUint64(0, BigInt(action), true);
  const result = gate.sys(NR.rt_sigaction, signal, scratch.address, 0, 8);
  if (result < 0) throw new HostError("rt_sigaction", -result, `signal ${signal}`);
}

/** Makes kicks work and tells the handler whom to wake: guest thread 0, on the calling host thread. */
export function prepareKicks(gate: Gate, scratch: Scratch): void {
  gate.signalTarget[0] = gate.sys(NR.getpid);
  gate.signalTarget[1] = gate.sys(NR.gettid);
  setHostAction(gate, scratch, KICK_SIGNAL, "catch");
}

/** Wakes the host thread `hostTid` whose gate slot is `slot`: out of the guest, out of a blocking call. */
export function kick(gate: Gate, slot: number, hostTid: number): void {
  Atomics.store(gate.wakeWords, wakeIndex(slot), 1);
  if (hostTid) gate.sys(NR.tgkill, gate.signalTarget[0]!, hostTid, KICK_SIGNAL);
}
