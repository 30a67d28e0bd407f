/** The one table of system calls: number → level, note, handler. docs/syscalls.md is generated from it. */
import { ENOSYS } from "../../abi/errno.ts";
import { callName, NR, NR_MAX } from "../../abi/nr.ts";
import type { Family, Handler, Level } from "../call.ts";
import type { EndNode } from "../thread-loop.ts";
import { descriptorCalls } from "./descriptors.ts";
import { directoryCalls } from "./directories.ts";
import { eventCalls } from "./events.ts";
import { fileCalls } from "./files.ts";
import { ioCalls } from "./io.ts";
import { ioctlCalls } from "./ioctl.ts";
import { memoryCalls } from "./memory.ts";
import { messageCalls } from "./messages.ts";
import { pollCalls } from "./poll.ts";
import { processCalls } from "./process.ts";
import { refusedCalls } from "./refused.ts";
import { scheduleCalls } from "./schedule.ts";
import { signalCalls } from "./signals.ts";
import { signalFileCalls } from "./signalfd.ts";
import { socketCalls } from "./sockets.ts";
import { systemCalls } from "./system.ts";
import { threadCalls } from "./threads.ts";
import { timeCalls } from "./time.ts";

export interface TableEntry {
  readonly nr: number;
  readonly name: string;
  readonly level: Level;
  readonly note: string;
  readonly handler: Handler | null;
}

export interface SyscallTable {
  readonly entries: readonly TableEntry[];
  /** By number; undefined: ENOSYS. */
  readonly handlers: readonly (Handler | undefined)[];
  /** By number: the call is in the table, even if its answer is ENOSYS. */
  readonly known: readonly boolean[];
}

/** Joins all families. Throws on a name that is no call or stands in two families. */
export function buildTable(end: EndNode): SyscallTable {
  const families: Family[] = [
    descriptorCalls,
    directoryCalls,
    eventCalls,
    fileCalls,
    ioCalls,
    ioctlCalls,
    memoryCalls,
    messageCalls,
    pollCalls,
    processCalls,
    refusedCalls,
    scheduleCalls,
    signalCalls,
    signalFileCalls,
    socketCalls,
    systemCalls,
    threadCalls(end),
    timeCalls,
  ];
  const numbers: Record<string, number> = NR;
  const entries: TableEntry[] = [];
  const handlers: (Handler | undefined)[] = new Array(NR_MAX + 1);
  const known: boolean[] = new Array(NR_MAX + 1).fill(false);
  for (const family of families) {
    for (const [name, [level, note, handler]] of Object.entries(family)) {
      const nr = numbers[name];
      if (nr === undefined || known[nr]) throw new Error(`system call table: ${name} is ${nr === undefined ? "unknown" : "there twice"}`);
      known[nr] = true;
      handlers[nr] = handler ?? undefined;
      entries.push({ nr, name, level, note, handler });
    }
  }
  entries.sort((a, b) => a.nr - b.nr);
  return { entries, handlers, known };
}

/** Every call of Linux, with those that margay answers ENOSYS as level `none`: rows for docs/syscalls.md. */
export function allCalls(): TableEntry[] {
  const table = buildTable(() => {
    throw new Error("not a running table");
  });
  const rows = [...table.entries];
  for (const nr of Object.values(NR))
    if (!table.known[nr]) rows.push({ nr, name: callName(nr), level: "none", note: "", handler: () => -ENOSYS });
  return rows.sort((a, b) => a.nr - b.nr);
}
