/** Starts Workers. A Worker needs nothing of the thread that starts it, which goes back into the guest at once. */
import type { WorkerData } from "./worker.ts";

/** A function that starts the host thread for a slot. `area` and `state` are the addresses of gate area and state. */
export function spawner(area: number, state: number): (slot: number) => void {
  return (slot) => {
    const workerData: WorkerData = { area, state, slot };
    // Asked for here and not at the top: loading the module costs a start 3 ms, and most programs have one thread.
    const threads = process.getBuiltinModule("node:worker_threads");
    new threads.Worker(new URL("../bin/worker.js", import.meta.url), {
      workerData,
      env: threads.SHARE_ENV,
      // Kept to themselves: joined to the parent's streams they would make Node open process.stdout, which makes a pipe non-blocking for the program.
      stdin: false,
      stdout: true,
      stderr: true,
      trackUnmanagedFds: false,
      resourceLimits: { stackSizeMb: 2, maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 128 },
    });
  };
}
