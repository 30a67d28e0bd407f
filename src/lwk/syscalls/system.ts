/** System calls on the machine as a whole: what it is, barriers; and what only an administrator of the host may do. */
import { EINVAL, ENOSYS, EPERM } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { SYSINFO, UTSNAME_SIZE } from "../../abi/resource.ts";
import {
  MEMBARRIER_CMD_GLOBAL,
  MEMBARRIER_CMD_GLOBAL_EXPEDITED,
  MEMBARRIER_CMD_PRIVATE_EXPEDITED,
  MEMBARRIER_CMD_QUERY,
  MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
} from "../../abi/sched.ts";
import type { Call, Family } from "../call.ts";
import { H } from "../state.ts";
import { forward, output } from "./forward.ts";
import { ROOM } from "./marshal.ts";

const BLOCK = 2 ** 21;
/** sysinfo(2): up time and load are the host's, memory and threads the virtual node's. */
function sysinfo(c: Call): number {
  const { kernel: k } = c;
  const { state, scratch } = k;
  const at = ROOM.structs;
  const result = k.sys(NR.sysinfo, scratch.address + at);
  if (result < 0) return result;
  const info = new DataView(new ArrayBuffer(SYSINFO.size));
  for (let i = 0; i < SYSINFO.totalRam; i++) info.setUint8(i, scratch.u8[at + i]!);
  const total = state.getU64(H.memoryBytes);
  info.setBigUint64(SYSINFO.totalRam, BigInt(total), true);
  info.setBigUint64(SYSINFO.freeRam, BigInt(Math.max(0, total - state.i32[H.blocksUsed]! * BLOCK)), true);
  info.setUint16(SYSINFO.procs, state.i32[H.threadsAlive]!, true);
  info.setUint32(SYSINFO.memUnit, 1, true);
  k.mem.write(c.num(0), new Uint8Array(info.buffer));
  return 0;
}

/**
 * membarrier(2). The host's call interrupts every CPU that runs a thread of margay's process; one that is in the guest leaves it for that interrupt, whose
 * handler is a full barrier before the guest goes on. So the host's answer holds for guest threads too. The commands that also serialise the
 * instruction stream (SYNC_CORE) or restart rseq sections are not offered: nothing promises that entering a guest does that.
 */
const MEMBARRIER_COMMANDS =
  MEMBARRIER_CMD_GLOBAL |
  MEMBARRIER_CMD_GLOBAL_EXPEDITED |
  MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |
  MEMBARRIER_CMD_PRIVATE_EXPEDITED |
  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;

function membarrier(c: Call): number {
  const command = c.int(0);
  if (c.u32(1) !== 0) return -EINVAL;
  if (command === MEMBARRIER_CMD_QUERY) {
    const result = c.kernel.sys(NR.membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return result < 0 ? result : result & MEMBARRIER_COMMANDS;
  }
  if (!(command & MEMBARRIER_COMMANDS) || command & (command - 1)) return -EINVAL;
  return c.kernel.sys(NR.membarrier, command, 0, 0);
}

const administrator = ["none", "EPERM: for the host's administrator", () => -EPERM] as const;
const absent = ["none", "ENOSYS", () => -ENOSYS] as const;

export const systemCalls: Family = {
  uname: ["forwarded", "the host's kernel and name", forward(NR.uname, [output(UTSNAME_SIZE)])],
  sysinfo: ["lwk", "memory and threads of the virtual node; up time and load of the host", sysinfo],
  membarrier: ["forwarded", "not the SYNC_CORE and RSEQ commands", membarrier],
  rseq: ["none", "ENOSYS: the LWK does not see when the host preempts a thread inside the guest, so it could not restart a sequence", () => -ENOSYS],
  sethostname: administrator,
  setdomainname: administrator,
  syslog: administrator,
  acct: administrator,
  vhangup: administrator,
  reboot: administrator,
  kexec_load: administrator,
  kexec_file_load: administrator,
  init_module: administrator,
  finit_module: administrator,
  delete_module: administrator,
  iopl: administrator,
  ioperm: administrator,
  bpf: administrator,
  setns: administrator,
  unshare: administrator,
  perf_event_open: ["none", "ENOSYS: counters would count margay with the program", () => -ENOSYS],
  seccomp: ["none", "ENOSYS, as a kernel without filters", () => -ENOSYS],
  modify_ldt: absent,
  add_key: absent,
  request_key: absent,
  keyctl: absent,
};
