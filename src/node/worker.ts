/** Entry of a Worker: carries guest threads in the slot it was made for. */
import { NR } from "../abi/nr.ts";
import { formatError } from "../host/error.ts";
import { type Gate, openGate } from "../host/gate.ts";
import { H, State } from "../lwk/state.ts";
import { Carrier, type MemoryParts, openMemory } from "./carrier.ts";
import { endFrom } from "./end.ts";
import { spawner } from "./spawn.ts";

/** Addresses in this process and the slot number. */
export interface WorkerData {
  readonly area: number;
  readonly state: number;
  readonly slot: number;
}

/** The end when not even a buffer for the last words could be had: Node writes them. */
function endWithoutMemory(gate: Gate, state: State, message: string): never {
  try {
    process.getBuiltinModule("node:fs").writeSync(state.i32[H.messageFd]!, message);
  } finally {
    gate.sys(NR.exit_group, 125);
  }
  throw new Error("exit_group came back");
}

/** Carries guest threads for ever. The Worker's data say where. */
export function worker(): never {
  const { area, state: address, slot } = process.getBuiltinModule("node:worker_threads").workerData as WorkerData;
  const gate = openGate(area, slot);
  const state = new State(address, gate.sys);
  let parts: MemoryParts | undefined;
  try {
    parts = openMemory(gate, state);
    return new Carrier(parts, spawner(area, address), endFrom).serve();
  } catch (error) {
    // Nobody listens to a Worker's uncaught error: its guest thread would be gone and the others would wait for it for ever.
    const message = `${formatError(error)}\n${error instanceof Error ? error.stack : ""}\n`;
    if (parts) return endFrom({ gate, state, scratch: parts.scratch }, 125, message);
    return endWithoutMemory(gate, state, message);
  }
}
