/** Entry of a Worker: carries guest threads in the slot it was made for. */
import { openGate } from "../host/gate.ts";
import { formatError } from "../host/error.ts";
import { State } from "../lwk/state.ts";
import { Carrier, openMemory } from "./carrier.ts";
import { endFrom } from "./end.ts";
import { spawner } from "./spawn.ts";

/** Addresses in this process and the slot number. */
export interface WorkerData {
  readonly area: number;
  readonly state: number;
  readonly slot: number;
}

/** Carries guest threads for ever. The Worker's data say where. */
export function worker(): never {
  const { area, state: address, slot } = process.getBuiltinModule("node:worker_threads").workerData as WorkerData;
  const gate = openGate(area, slot);
  const state = new State(address, gate.sys);
  const parts = openMemory(gate, state);
  try {
    return new Carrier(parts, spawner(area, address), endFrom).serve();
  } catch (error) {
    return endFrom({ gate, state, scratch: parts.scratch }, 125, `${formatError(error)}\n${error instanceof Error ? error.stack : ""}\n`);
  }
}
