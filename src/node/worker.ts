/** Entry of a Worker: carries guest threads in the slot it was made for. */
import { workerData } from "node:worker_threads";
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

const { area, state: address, slot } = workerData as WorkerData;
const gate = openGate(area, slot);
const state = new State(address, gate.sys);
const parts = openMemory(gate, state);
try {
  new Carrier(parts, spawner(area, address), endFrom).serve();
} catch (error) {
  endFrom({ gate, state, scratch: parts.scratch }, 125, `${formatError(error)}\n${error instanceof Error ? error.stack : ""}\n`);
}
