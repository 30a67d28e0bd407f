/** The end of a virtual node: one thread says the last words and ends the process with the system call itself; nothing can hang after it. */
import { NR } from "../abi/nr.ts";
import type { Gate } from "../host/gate.ts";
import type { Scratch } from "../host/memory.ts";
import { H, type State } from "../lwk/state.ts";
import { writeStatistics } from "./stats.ts";

/** What ending needs; a Kernel has it. */
export interface Ending {
  readonly gate: Gate;
  readonly state: State;
  readonly scratch: Scratch;
}

let lastAct: (() => void) | undefined;

/** Something to do in this thread before the process ends (the build makes the code cache so). */
export function atEnd(act: () => void): void {
  lastAct = act;
}

/** Ends the process with `code` after writing `message` to stderr; -1: another thread is doing it. Never returns. */
export function endFrom(k: Ending, code: number, message: string): never {
  const { state, gate, scratch } = k;
  const first = code >= 0 && Atomics.compareExchange(state.i32, H.stopping, 0, 1) === 0;
  if (first) {
    state.i32[H.exitCode] = code;
    try {
      if (message) say(k, message);
      lastAct?.();
      if (state.i32[H.options]! & 2) writeStatistics(state, gate, scratch, (text) => say(k, text));
    } finally {
      gate.sys(NR.exit_group, code);
    }
  }
  for (;;) gate.sys(NR.ppoll, 0, 0, 0, 0, 8);
}

/** Writes to the standard error that margay was started with, even if the program has closed its own. */
export function say(k: Ending, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    const part = bytes.subarray(done, done + 65536);
    k.scratch.u8.set(part);
    const written = k.gate.sys(NR.write, k.state.i32[H.messageFd]!, k.scratch.address, part.length);
    if (written === -4) continue;
    if (written <= 0) return;
    done += written;
  }
}
