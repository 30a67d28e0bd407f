/** --strace: one line per call on the trace descriptor, as soon as the call is answered. */
import { NR } from "../abi/nr.ts";
import { signalName } from "../abi/signal.ts";
import type { Call } from "./call.ts";
import type { Kernel } from "./kernel.ts";
import type { Pending } from "./signals.ts";
import { H } from "./state.ts";
import { formatEntry, formatResult } from "./strace/format.ts";

export class Trace {
  private readonly kernel: Kernel;
  private entry = "";

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  enter(call: Call): void {
    this.entry = formatEntry(call);
    if (call.nr === NR.exit_group || call.nr === NR.exit) this.write(`${this.entry} = ?\n`);
  }

  leave(call: Call, result: number): void {
    this.write(`${formatResult(call, this.entry, result)}\n`);
  }

  signal(pending: Pending): void {
    this.write(`--- ${signalName(pending.signal)} ---\n`);
  }

  private write(line: string): void {
    const { kernel } = this;
    const many = kernel.state.i32[H.peakThreads]! > 1;
    const bytes = Buffer.from(many ? `[${kernel.tid}] ${line}` : line, "latin1");
    // The upper part of the texts area serves as buffer: the handler's scratch bytes stay as they are.
    kernel.traceBuffer.set(bytes.subarray(0, kernel.traceBuffer.length));
    kernel.sys(NR.write, kernel.state.i32[H.straceFd]!, kernel.traceAddress, Math.min(bytes.length, kernel.traceBuffer.length));
  }
}
