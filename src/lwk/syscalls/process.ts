/** System calls on the process: ids, credentials, limits and usage, per-thread machine state. The program's process is the host process. */
import { ECHILD, EINVAL, ENODEV, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../../abi/errno.ts";
import { SREGS } from "../../abi/kvm.ts";
import { NR } from "../../abi/nr.ts";
import { CAPABILITY_VERSION_3, CAPABILITY_VERSIONS, RUSAGE_SIZE, TMS_SIZE } from "../../abi/resource.ts";
import type { Call, Family, Handler } from "../call.ts";
import type { Kernel } from "../kernel.ts";
import { USER_END } from "../mm/address-space.ts";
import { H } from "../state.ts";
import { forward, INT, output } from "./forward.ts";
import { getrlimit, prlimit64, setrlimit } from "./limits.ts";
import { ROOM } from "./marshal.ts";
import { prctl } from "./prctl.ts";

// arch/x86/include/uapi/asm/prctl.h
const ARCH_SET_GS = 0x1001;
const ARCH_SET_FS = 0x1002;
const ARCH_GET_FS = 0x1003;
const ARCH_GET_GS = 0x1004;
const ARCH_GET_CPUID = 0x1011;
const ARCH_SET_CPUID = 0x1012;
const ARCH_GET_XCOMP_SUPP = 0x1021;
const ARCH_GET_XCOMP_PERM = 0x1022;
const ARCH_REQ_XCOMP_PERM = 0x1023;

function archPrctl(c: Call): number {
  const { kernel } = c;
  const value = c.num(1);
  switch (c.int(0)) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
      if (value >= USER_END) return -EPERM;
      c.vcpu.setSegmentBase(c.int(0) === ARCH_SET_FS ? SREGS.fs : SREGS.gs, BigInt(value));
      return 0;
    case ARCH_GET_FS:
      kernel.mem.setBig(value, c.vcpu.segmentBases().fs);
      return 0;
    case ARCH_GET_GS:
      kernel.mem.setBig(value, c.vcpu.segmentBases().gs);
      return 0;
    case ARCH_GET_CPUID:
      return 1;
    case ARCH_SET_CPUID:
      return -ENODEV; // what a CPU without CPUID faulting says
    case ARCH_GET_XCOMP_SUPP:
    case ARCH_GET_XCOMP_PERM:
      kernel.mem.setBig(value, kernel.state.getBig(H.xcr0));
      return 0;
    case ARCH_REQ_XCOMP_PERM:
      // Only tile data (AMX, component 18) has to be asked for, and virtual nodes do not have it.
      return value < 64 && (kernel.state.getBig(H.xcr0) >> BigInt(value)) & 1n ? 0 : value < 64 ? -EOPNOTSUPP : -EINVAL;
    default:
      return -EINVAL;
  }
}

/** A header word of the shared state: ids that do not change while the program runs. */
function constant(word: number): Handler {
  return (c) => c.kernel.state.i32[word]!;
}

/** The host's name for a process id of the guest: our own threads are virtual, everything else is the same. */
function hostPid(k: Kernel, pid: number): number {
  return pid === k.pid || k.threads.alive(pid) ? 0 : pid;
}

const KEEP = 0xffff_ffff;

/**
 * setuid(2) and its kin: Linux changes credentials thread by thread, and margay's host threads must not differ, so only what is so already is
 * granted. `words` says which id each argument sets; `mayKeep`: -1 leaves it as it is.
 */
function onlyAsIs(words: readonly number[], mayKeep: boolean): Handler {
  return (c) => {
    for (const [i, word] of words.entries()) {
      const id = c.u32(i);
      if (id === KEEP) {
        if (!mayKeep) return -EINVAL;
      } else if (id !== c.kernel.state.u32[word]) return -EPERM;
    }
    return 0;
  };
}

/** capget(2) and capset(2): header version and process as Linux checks them; sets come from the host thread. */
function capabilities(c: Call, set: boolean): number {
  const { kernel } = c;
  const { mem, scratch } = kernel;
  const header = c.num(0);
  const data = c.num(1);
  const size = CAPABILITY_VERSIONS.get(mem.u32(header));
  if (size === undefined) {
    mem.setU32(header, CAPABILITY_VERSION_3);
    return !set && data === 0 ? 0 : -EINVAL;
  }
  const pid = mem.i32(header + 4);
  if (pid < 0) return -EINVAL;
  const own = hostPid(kernel, pid) === 0;
  if (!own && set) return -EPERM;
  if (data === 0 && !set) return 0;
  const wanted = set ? mem.bytes(data, size) : null;
  const at = ROOM.structs;
  scratch.view.setUint32(at, mem.u32(header), true);
  scratch.view.setInt32(at + 4, own ? 0 : pid, true);
  const result = kernel.sys(NR.capget, scratch.address + at, scratch.address + at + 16);
  if (result < 0) return result;
  const now = scratch.u8.slice(at + 16, at + 16 + size);
  if (!wanted) {
    mem.write(data, now);
    return 0;
  }
  return Buffer.compare(now, wanted) === 0 ? 0 : -EPERM;
}

/** getgroups(2): group ids of four bytes, up to 16384 of Linux's 65536. */
function getgroups(c: Call): number {
  const { kernel } = c;
  const count = c.int(0);
  if (count < 0) return -EINVAL;
  if (count === 0) return kernel.sys(NR.getgroups, 0, 0);
  const most = (ROOM.end - ROOM.data) / 4;
  const result = kernel.sys(NR.getgroups, Math.min(count, most), kernel.scratch.address + ROOM.data);
  if (result > 0) kernel.mem.write(c.num(1), kernel.scratch.u8.slice(ROOM.data, ROOM.data + result * 4));
  return result;
}

/** Ids of other processes pass to the host; a thread or process of the program is the host process itself. */
function ofProcess(nr: number): Handler {
  return (c) => c.kernel.sys(nr, hostPid(c.kernel, c.int(0)));
}

function setpgid(c: Call): number {
  const { kernel } = c;
  if (c.int(1) < 0) return -EINVAL;
  return kernel.sys(NR.setpgid, hostPid(kernel, c.int(0)), c.int(1));
}

/** personality(2). Those flags that change how a program runs are not there; ADDR_NO_RANDOMIZE is remembered for a later execve. */
function personality(c: Call): number {
  const { i32 } = c.kernel.state;
  const ADDR_NO_RANDOMIZE = 0x40000;
  const before = i32[H.personality]!;
  const next = c.u32(0);
  if (next === 0xffff_ffff) return before;
  if (next & ~ADDR_NO_RANDOMIZE) return -EINVAL;
  i32[H.personality] = next;
  return before;
}

/** wait4(2), waitid(2): there are no children yet. */
const noChildren: Handler = () => -ECHILD;
const notThere: Handler = () => -ENOSYS;
const NO_PROCESSES = "processes come later";
const AS_IS = "only to the ids that the program has already: credentials belong to the host process";
const IN_STUB = "in the stub, without an exit";

export const processCalls: Family = {
  getpid: ["guest", IN_STUB, constant(H.pid)],
  gettid: ["guest", IN_STUB, (c) => c.kernel.tid],
  getppid: ["guest", `${IN_STUB}; the parent that margay was started by`, constant(H.ppid)],
  getuid: ["guest", IN_STUB, constant(H.uid)],
  geteuid: ["guest", IN_STUB, constant(H.euid)],
  getgid: ["guest", IN_STUB, constant(H.gid)],
  getegid: ["guest", IN_STUB, constant(H.egid)],
  getresuid: ["forwarded", "", forward(NR.getresuid, [output(4), output(4), output(4)])],
  getresgid: ["forwarded", "", forward(NR.getresgid, [output(4), output(4), output(4)])],
  getgroups: ["forwarded", "", getgroups],
  setuid: ["partial", AS_IS, onlyAsIs([H.euid], false)],
  setgid: ["partial", AS_IS, onlyAsIs([H.egid], false)],
  setreuid: ["partial", AS_IS, onlyAsIs([H.uid, H.euid], true)],
  setregid: ["partial", AS_IS, onlyAsIs([H.gid, H.egid], true)],
  setresuid: ["partial", AS_IS, onlyAsIs([H.uid, H.euid, H.euid], true)],
  setresgid: ["partial", AS_IS, onlyAsIs([H.gid, H.egid, H.egid], true)],
  setfsuid: ["partial", AS_IS, constant(H.euid)],
  setfsgid: ["partial", AS_IS, constant(H.egid)],
  setgroups: ["partial", "EPERM, as for an unprivileged user", () => -EPERM],
  capget: ["forwarded", "", (c) => capabilities(c, false)],
  capset: ["partial", "only to the sets that the thread has already", (c) => capabilities(c, true)],
  getpgid: ["forwarded", "", ofProcess(NR.getpgid)],
  getpgrp: ["forwarded", "", (c) => c.kernel.sys(NR.getpgrp)],
  setpgid: ["forwarded", "", setpgid],
  getsid: ["forwarded", "", ofProcess(NR.getsid)],
  setsid: ["forwarded", "", (c) => c.kernel.sys(NR.setsid)],
  getrlimit: ["lwk", "", getrlimit],
  setrlimit: ["partial", "memory limits (AS, DATA, STACK, RSS) are kept but not enforced; RLIMIT_NOFILE is at most 65536", setrlimit],
  prlimit64: ["partial", "as setrlimit; other processes by the host", prlimit64],
  getrusage: ["forwarded", "the host process's: margay's own share is in it", forward(NR.getrusage, [INT, output(RUSAGE_SIZE)])],
  times: ["forwarded", "the host process's: margay's own share is in it", forward(NR.times, [output(TMS_SIZE)])],
  prctl: ["partial", "names, parent-death signal, timer slack, capability queries, no_new_privs and what is read only; others EINVAL", prctl],
  arch_prctl: ["lwk", "FS and GS bases, XSAVE components; no CPUID faulting, no shadow stacks", archPrctl],
  personality: ["partial", "only ADDR_NO_RANDOMIZE may be set", personality],
  fork: ["none", NO_PROCESSES, notThere],
  vfork: ["none", NO_PROCESSES, notThere],
  execve: ["none", NO_PROCESSES, notThere],
  execveat: ["none", NO_PROCESSES, notThere],
  wait4: ["partial", `ECHILD: ${NO_PROCESSES}`, noChildren],
  waitid: ["partial", `ECHILD: ${NO_PROCESSES}`, noChildren],
  kcmp: ["none", "", notThere],
  pidfd_getfd: ["none", "", notThere],
  process_mrelease: ["none", "", notThere],
  ptrace: ["none", "EPERM: no process of the host may be traced from a virtual node", () => -EPERM],
  process_vm_readv: ["none", "only other processes' memory could be meant: ESRCH", () => -ESRCH],
  process_vm_writev: ["none", "only other processes' memory could be meant: ESRCH", () => -ESRCH],
};
