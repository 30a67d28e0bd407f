/** Resource limits of the program: a table of its own, filled from the host's at start. */
import { NR } from "../../abi/nr.ts";
import type { Sys } from "../../host/gate.ts";
import type { Scratch } from "../../host/memory.ts";
import { OFFSET, type State } from "../state.ts";

/** Copies the host's limits (16 pairs of soft and hard) into the state. */
export function startLimits(state: State, sys: Sys, scratch: Scratch): void {
  for (let i = 0; i < 16; i++) {
    if (sys(NR.prlimit64, 0, i, 0, scratch.address) < 0) continue;
    state.u8.set(scratch.u8.subarray(0, 16), OFFSET.limits + i * 16);
  }
}
