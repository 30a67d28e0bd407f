/** Keeps the vvar page true: called on exits, looks at the host's clocks when a while has passed. */
import { performance } from "node:perf_hooks"; // the global is a getter, 1 % of a call's time
import { NR } from "../abi/nr.ts";
import { viewMemory } from "../host/gate.ts";
import { type ClockPage, clockPage, initialClock, refreshClock, sampleClocks } from "./clock.ts";
import type { Kernel } from "./kernel.ts";
import { H } from "./state.ts";

const PERIOD_MS = 250;

/** This host thread's view of the page, and when it last looked at the host's clocks (ms of Node's clock). A host thread has one kernel. */
let page: ClockPage | undefined;
let last = 0;

function pageOf(k: Kernel): ClockPage {
  page ??= clockPage(viewMemory(k.state.getU64(H.vvarAddress), 4096));
  return page;
}

function readNs(k: Kernel): (id: number) => bigint {
  return (id) => {
    k.sys(NR.clock_gettime, id, k.scratch.address);
    return k.scratch.view.getBigInt64(0, true) * 1_000_000_000n + k.scratch.view.getBigInt64(8, true);
  };
}

/** Fills the vvar page at start. `usable`: the host itself trusts the TSC. */
export function startVirtualClock(k: Kernel, tscKhz: number, usable: boolean): void {
  k.scratch.u8.fill(0, 0, 208);
  const timex = k.sys(NR.adjtimex, k.scratch.address) >= 0 ? k.scratch.u8.slice(0, 208) : undefined;
  const options = { tscKhz: Math.max(1, tscKhz), usable: usable && tscKhz > 0 };
  last = performance.now();
  initialClock(pageOf(k), timex ? { ...options, timex } : options, sampleClocks(k.gate.readTsc, readNs(k)));
}

/** Called after each system call; costs one look at a clock, and a refresh a few times a second. */
export function refreshVirtualClock(k: Kernel): void {
  const now = performance.now();
  if (now - last < PERIOD_MS) return;
  last = now;
  refreshClock(pageOf(k), sampleClocks(k.gate.readTsc, readNs(k), 1), k.gate.readTsc);
}
