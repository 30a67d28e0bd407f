/**
 * Resource limits of the program: a table of its own (OFFSET.limits), filled from the host's at start. Margay's own descriptors and memory must not
 * count against the program's limits, so most are the LWK's to keep; those that only the host can enforce go to the host process as well.
 */
import { EINVAL, EPERM } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import {
  RLIM_INFINITY,
  RLIMIT_COUNT,
  RLIMIT_CPU,
  RLIMIT_FSIZE,
  RLIMIT_MSGQUEUE,
  RLIMIT_NICE,
  RLIMIT_NOFILE,
  RLIMIT_RTPRIO,
  RLIMIT_RTTIME,
  RLIMIT_SIZE,
} from "../../abi/resource.ts";
import type { Sys } from "../../host/gate.ts";
import type { Scratch } from "../../host/memory.ts";
import type { Call } from "../call.ts";
import type { Kernel } from "../kernel.ts";
import { DESCRIPTOR_COUNT, H, OFFSET, type State } from "../state.ts";
import { ROOM } from "./marshal.ts";

/** Limits that the host enforces for us: processor time, file size, message queues, real-time rights. */
const ON_HOST = new Set([RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME]);

/** One limit: soft and hard, RLIM_INFINITY for none. */
export interface Limit {
  readonly soft: bigint;
  readonly hard: bigint;
}

function word(resource: number): number {
  return (OFFSET.limits >> 2) + resource * 4;
}

/** The program's limit on `resource` (0 to RLIMIT_COUNT - 1). */
export function getLimit(state: State, resource: number): Limit {
  return { soft: state.getBig(word(resource)), hard: state.getBig(word(resource) + 2) };
}

function putLimit(state: State, resource: number, limit: Limit): void {
  state.setBig(word(resource), limit.soft);
  state.setBig(word(resource) + 2, limit.hard);
}

/**
 * Copies the host's limits into the state. Node raises its own soft RLIMIT_NOFILE to the hard one at start; the program gets what margay was started with,
 * which is the parent's as long as that may be asked.
 */
export function startLimits(state: State, sys: Sys, scratch: Scratch): void {
  const read = (pid: number, resource: number): Limit | null =>
    sys(NR.prlimit64, pid, resource, 0, scratch.address) < 0 ? null : { soft: scratch.view.getBigUint64(0, true), hard: scratch.view.getBigUint64(8, true) };
  for (let i = 0; i < RLIMIT_COUNT; i++) putLimit(state, i, read(0, i) ?? { soft: RLIM_INFINITY, hard: RLIM_INFINITY });
  const own = getLimit(state, RLIMIT_NOFILE);
  const parent = read(sys(NR.getppid), RLIMIT_NOFILE);
  const soft = parent && parent.hard === own.hard ? parent.soft : own.soft;
  const most = BigInt(DESCRIPTOR_COUNT);
  putLimit(state, RLIMIT_NOFILE, { soft: soft < most ? soft : most, hard: own.hard < most ? own.hard : most });
}

/** Sets a limit as prlimit64(2) does. Returns 0, -EINVAL or -EPERM. */
function setLimit(k: Kernel, resource: number, limit: Limit): number {
  if (limit.soft > limit.hard) return -EINVAL;
  const raises = limit.hard > getLimit(k.state, resource).hard;
  if (resource === RLIMIT_NOFILE && limit.hard > BigInt(DESCRIPTOR_COUNT)) return -EPERM;
  if (ON_HOST.has(resource)) {
    k.scratch.view.setBigUint64(ROOM.structs, limit.soft, true);
    k.scratch.view.setBigUint64(ROOM.structs + 8, limit.hard, true);
    const result = k.sys(NR.prlimit64, 0, resource, k.scratch.address + ROOM.structs, 0);
    if (result < 0) return result;
  } else if (raises && k.state.i32[H.euid] !== 0) return -EPERM;
  putLimit(k.state, resource, limit);
  return 0;
}

function readLimit(k: Kernel, va: number): Limit {
  return { soft: k.mem.big(va), hard: k.mem.big(va + 8) };
}

function writeLimit(k: Kernel, va: number, limit: Limit): void {
  const bytes = new DataView(new ArrayBuffer(RLIMIT_SIZE));
  bytes.setBigUint64(0, limit.soft, true);
  bytes.setBigUint64(8, limit.hard, true);
  k.mem.write(va, new Uint8Array(bytes.buffer));
}

export function getrlimit(c: Call): number {
  const { kernel } = c;
  const resource = c.u32(0);
  if (resource >= RLIMIT_COUNT) return -EINVAL;
  writeLimit(kernel, c.num(1), getLimit(kernel.state, resource));
  return 0;
}

export function setrlimit(c: Call): number {
  const resource = c.u32(0);
  if (resource >= RLIMIT_COUNT) return -EINVAL;
  return setLimit(c.kernel, resource, readLimit(c.kernel, c.num(1)));
}

/** prlimit64(2): the program's own limits by the LWK; any other process is the host's business, with this user's rights. */
export function prlimit64(c: Call): number {
  const { kernel } = c;
  const pid = c.int(0);
  const resource = c.u32(1);
  const next = c.num(2) ? readLimit(kernel, c.num(2)) : null;
  if (pid !== 0 && pid !== kernel.pid && !kernel.threads.alive(pid)) return otherProcess(c, pid, resource, next);
  if (resource >= RLIMIT_COUNT) return -EINVAL;
  const before = getLimit(kernel.state, resource);
  if (next) {
    const result = setLimit(kernel, resource, next);
    if (result < 0) return result;
  }
  if (c.num(3)) writeLimit(kernel, c.num(3), before);
  return 0;
}

function otherProcess(c: Call, pid: number, resource: number, next: Limit | null): number {
  const { kernel } = c;
  const { view, address } = kernel.scratch;
  const at = ROOM.structs;
  if (next) {
    view.setBigUint64(at, next.soft, true);
    view.setBigUint64(at + 8, next.hard, true);
  }
  const result = kernel.sys(NR.prlimit64, pid, resource, next ? address + at : 0, c.num(3) ? address + at + RLIMIT_SIZE : 0);
  if (result === 0 && c.num(3)) writeLimit(kernel, c.num(3), { soft: view.getBigUint64(at + 16, true), hard: view.getBigUint64(at + 24, true) });
  return result;
}
