/**
 * Runs in a Worker of its own (see gate.test.ts), bundled: opens a gate slot of the test's area and does what it is told with it. Answers with what the call gave.
 */
import { parentPort, workerData } from "node:worker_threads";
import { NR } from "../abi/nr.ts";
import { openGate, wakeIndex } from "./gate.ts";

export interface GateJob {
  readonly area: number;
  readonly slot: number;
  /** wait: sleep on `word` through the waiting gate until woken. kick: after 30 ms, wake slot `victim` on host thread `hostTid`. tid: say who you are, and stay. */
  readonly job: "wait" | "kick" | "tid";
  /** Address of a 32-bit word that holds 0. */
  readonly word?: number;
  readonly victim?: number;
  readonly hostTid?: number;
  readonly signal?: number;
}

const job = workerData as GateJob;
const gate = openGate(job.area, job.slot);
switch (job.job) {
  case "tid":
    parentPort!.on("message", () => undefined); // keeps the thread
    parentPort!.postMessage({ tid: gate.sys(NR.gettid), pid: gate.sys(NR.getpid), tsc: gate.readTsc() });
    break;
  case "wait":
    parentPort!.postMessage({ tid: gate.sys(NR.gettid) });
    setImmediate(() => parentPort!.postMessage({ result: waitOnce(), wake: gate.wakeWords[wakeIndex(job.slot)] }));
    break;
  case "kick":
    setTimeout(() => {
      Atomics.store(gate.wakeWords, wakeIndex(job.victim!), 1);
      parentPort!.postMessage({ result: gate.sys(NR.tgkill, gate.sys(NR.getpid), job.hostTid!, job.signal!) });
    }, 30);
    break;
}

function waitOnce(): number {
  const timeout = job.word! + 16; // struct timespec that the test has written behind the word
  return gate.wait(NR.futex, job.word!, 0, 0, timeout);
}
