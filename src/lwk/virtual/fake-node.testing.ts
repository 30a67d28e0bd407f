/** A virtual node's tables for unit tests: CPUs, NUMA nodes, threads, over the FakeMachine of the system calls. */
import { NR } from "../../abi/nr.ts";
import type { GuestMemory } from "../../vmm/guest-memory.ts";
import { H, OFFSET, T, THREAD } from "../state.ts";
import { FakeMachine } from "../syscalls/fake-call.testing.ts";
import { Threads } from "../threads.ts";

export interface FakeNode {
  /** Host CPU of each virtual CPU; default [0]. */
  readonly cpus?: readonly number[];
  /** Virtual NUMA node of each virtual CPU; default all 0. */
  readonly nodes?: readonly number[];
  /** Guest thread ids besides the first, which is the process id. */
  readonly tids?: readonly number[];
}

export function fakeNode({ cpus = [0], nodes = cpus.map(() => 0), tids = [] }: FakeNode = {}): FakeMachine {
  const machine = new FakeMachine();
  const { kernel } = machine;
  const { state, gate } = kernel;
  const threads = new Threads(state, gate, { tables: new Uint32Array(1024), seeTables: () => undefined } as unknown as GuestMemory, () => undefined);
  Object.assign(kernel, { threads });
  Object.assign(kernel.space, { locked: <T>(action: () => T): T => action() });
  const { i32 } = state;
  i32[H.cpuCount] = cpus.length;
  i32[H.nodeCount] = Math.max(...nodes) + 1;
  for (const [i, cpu] of cpus.entries()) {
    i32[(OFFSET.cpus >> 2) + i] = cpu;
    i32[(OFFSET.cpuNodes >> 2) + i] = nodes[i]!;
  }
  for (const [slot, tid] of [i32[H.pid]!, ...tids].entries()) {
    const record = state.thread(slot);
    i32[record + T.state] = THREAD.KERNEL;
    i32[record + T.tid] = tid;
    i32[record + T.hostTid] = gate.sys(NR.gettid);
    for (let cpu = 0; cpu < cpus.length; cpu++) state.u32[record + T.affinity + (cpu >> 5)]! |= 1 << (cpu & 31);
  }
  i32[H.slotsInUse] = 1 + tids.length;
  i32[H.threadsAlive] = 1 + tids.length;
  return machine;
}
