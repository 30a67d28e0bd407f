/** prctl(2). What concerns the thread goes to its host thread; what concerns the LWK is kept in the state. */
import { EFAULT, EINVAL, EPERM } from "../../abi/errno.ts";
import { NR } from "../../abi/nr.ts";
import { SIGNAL_COUNT } from "../../abi/signal.ts";
import type { Call } from "../call.ts";
import { H, OFFSET, T } from "../state.ts";
import { ROOM } from "./marshal.ts";

/** Options. Source: include/uapi/linux/prctl.h. */
const PR = {
  SET_PDEATHSIG: 1,
  GET_PDEATHSIG: 2,
  GET_DUMPABLE: 3,
  SET_DUMPABLE: 4,
  GET_KEEPCAPS: 7,
  SET_KEEPCAPS: 8,
  GET_TIMING: 13,
  SET_TIMING: 14,
  SET_NAME: 15,
  GET_NAME: 16,
  CAPBSET_READ: 23,
  CAPBSET_DROP: 24,
  GET_TSC: 25,
  SET_TSC: 26,
  GET_SECUREBITS: 27,
  SET_TIMERSLACK: 29,
  GET_TIMERSLACK: 30,
  MCE_KILL_GET: 34,
  SET_CHILD_SUBREAPER: 36,
  GET_CHILD_SUBREAPER: 37,
  SET_NO_NEW_PRIVS: 38,
  GET_NO_NEW_PRIVS: 39,
  GET_TID_ADDRESS: 40,
  SET_THP_DISABLE: 41,
  GET_THP_DISABLE: 42,
  CAP_AMBIENT: 47,
  GET_AUXV: 0x4155_5856,
} as const;
const PR_TSC_ENABLE = 1;
const PR_CAP_AMBIENT_IS_SET = 1;
/** Bytes of a thread's name with its NUL (TASK_COMM_LEN). */
const NAME_SIZE = 16;

/** A thread's name (latin1), at most 15 bytes. */
export function threadName(c: Call): string {
  const at = (c.kernel.record + T.name) * 4;
  const bytes = c.kernel.state.u8.subarray(at, at + NAME_SIZE);
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.slice(0, end < 0 ? NAME_SIZE - 1 : end)).toString("latin1");
}

function setName(c: Call): number {
  const { kernel } = c;
  const name = new Uint8Array(NAME_SIZE);
  for (let i = 0; i < NAME_SIZE - 1; i++) {
    const byte = kernel.mem.u8(c.num(1) + i);
    if (byte === 0) break;
    name[i] = byte;
  }
  kernel.state.u8.set(name, (kernel.record + T.name) * 4);
  // The host's tools show the thread under its own name too.
  kernel.scratch.u8.set(name, ROOM.structs);
  return kernel.sys(NR.prctl, PR.SET_NAME, kernel.scratch.address + ROOM.structs, 0, 0, 0);
}

function getName(c: Call): number {
  const name = new Uint8Array(NAME_SIZE);
  name.set(Buffer.from(threadName(c), "latin1"));
  c.kernel.mem.write(c.num(1), name);
  return 0;
}

/** The auxiliary vector (PR_GET_AUXV, Linux 6.4): copies what fits, answers its whole length. */
function getAuxv(c: Call): number {
  const { kernel } = c;
  const { state } = kernel;
  if (c.num(3) || c.num(4)) return -EINVAL;
  const at = OFFSET.texts + state.i32[H.auxvOffset]!;
  const length = state.i32[H.auxvLength]!;
  kernel.mem.write(c.num(1), state.u8.slice(at, at + Math.min(length, c.num(2))));
  return length;
}

/** The option goes to the calling host thread, which is the guest's thread. */
function toHost(c: Call): number {
  return c.kernel.sys(NR.prctl, c.int(0), c.big(1), c.big(2), c.big(3), c.big(4));
}

export function prctl(c: Call): number {
  const { kernel } = c;
  const { state, mem } = kernel;
  const value = c.num(1);
  switch (c.int(0)) {
    case PR.SET_PDEATHSIG:
      return value > SIGNAL_COUNT ? -EINVAL : toHost(c);
    case PR.GET_PDEATHSIG: {
      const result = kernel.sys(NR.prctl, PR.GET_PDEATHSIG, kernel.scratch.address + ROOM.structs, 0, 0, 0);
      if (result === 0) mem.setU32(value, kernel.scratch.u32[ROOM.structs >> 2]!);
      return result;
    }
    // Kept inverted, because a program starts dumpable. The host process itself must stay so: its /proc entries would change owner.
    case PR.GET_DUMPABLE:
      return state.i32[H.dumpable]! ^ 1;
    case PR.SET_DUMPABLE:
      if (value > 1) return -EINVAL;
      state.i32[H.dumpable] = value ^ 1;
      return 0;
    case PR.SET_NAME:
      return setName(c);
    case PR.GET_NAME:
      return getName(c);
    case PR.GET_TSC:
      mem.setU32(value, PR_TSC_ENABLE);
      return 0;
    case PR.SET_TSC:
      return value === PR_TSC_ENABLE ? 0 : -EINVAL;
    case PR.GET_TIMING:
    case PR.GET_THP_DISABLE:
      return 0;
    case PR.SET_TIMING:
    case PR.SET_THP_DISABLE:
      return value === 0 ? 0 : -EINVAL;
    case PR.SET_CHILD_SUBREAPER:
      state.i32[H.childSubreaper] = value ? 1 : 0;
      return 0;
    case PR.GET_CHILD_SUBREAPER:
      mem.setU32(value, state.u32[H.childSubreaper]!);
      return 0;
    case PR.GET_TID_ADDRESS:
      mem.setBig(value, state.getBig(kernel.record + T.clearChildTid));
      return 0;
    case PR.GET_AUXV:
      return value ? getAuxv(c) : -EFAULT;
    case PR.GET_KEEPCAPS:
    case PR.SET_KEEPCAPS:
    case PR.CAPBSET_READ:
    case PR.GET_SECUREBITS:
    case PR.SET_TIMERSLACK:
    case PR.GET_TIMERSLACK:
    case PR.MCE_KILL_GET:
    case PR.SET_NO_NEW_PRIVS:
    case PR.GET_NO_NEW_PRIVS:
      return toHost(c);
    case PR.CAP_AMBIENT:
      return value === PR_CAP_AMBIENT_IS_SET ? toHost(c) : -EPERM;
    case PR.CAPBSET_DROP:
      return -EPERM;
    default:
      return -EINVAL;
  }
}
