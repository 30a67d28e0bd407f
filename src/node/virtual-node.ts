/** A virtual node's start: partition, virtual machine, memory, program; then the calling thread becomes guest thread 0. */
import { readFileSync } from "node:fs";
import { KVM_CAP_MAX_VCPUS, KVM_CAP_SYNC_REGS } from "../abi/kvm.ts";
import { NR } from "../abi/nr.ts";
import { MargayError } from "../host/error.ts";
import { createGateArea, openGate, type Gate } from "../host/gate.ts";
import { freeInPool } from "../host/hugepages.ts";
import { checkExtension, createVm, openKvm, runSize, setMemoryRegion, supportedCpuid } from "../host/kvm.ts";
import { createScratch, reserveAddressSpace, type Scratch } from "../host/memory.ts";
import { prepareKicks, setHostAction, SIG_IGN } from "../host/signals.ts";
import { readTopology, type Topology } from "../host/topology.ts";
import { GDT_PAGE, THREAD_PAGE, VDSO_PAGE, VVAR_PAGE } from "../lwk/boot/layout.ts";
import { installSharedPages } from "../lwk/boot/install.ts";
import { startVirtualClock } from "../lwk/clock-keeper.ts";
import { hostFiles } from "../lwk/elf/files.ts";
import { chooseLayout } from "../lwk/elf/layout.ts";
import { loadProgram } from "../lwk/elf/load.ts";
import type { LoadTarget } from "../lwk/elf/target.ts";
import { NAME } from "../lwk/mm/mappings.ts";
import { H, OFFSET, S, SLOT, State, T } from "../lwk/state.ts";
import { startLimits } from "../lwk/syscalls/limits.ts";
import { BLOCK_GPA, TABLE_SIZE_MIN } from "../vmm/guest-memory.ts";
import { kvmKind } from "../vmm/kind.ts";
import { R } from "../vmm/vcpu.ts";
import { CPUID_TEXT, Carrier, openMemory } from "./carrier.ts";
import { endFrom } from "./end.ts";
import type { RunOptions } from "./options.ts";
import { choosePartition, type Partition } from "./partition.ts";
import { spawner } from "./spawn.ts";

const BLOCK = 2 ** 21;
const ARENA_MAX = 2 ** 40;
/** Host signal behind --timeout. */
const TIMEOUT_SIGNAL = 61;
/** Signals that end a program by default and may come from outside: caught from the start, so that the virtual node ends in order. */
const CAUGHT = [1, 2, 3, 10, 12, 14, 15, 26, 27];
/** SIGPIPE and SIGXFSZ: the host says EPIPE or EFBIG instead, and the guest's thread gets its signal from that. */
const IGNORED = [13, 25];
/** XCR0 components that guests get: x87, SSE, AVX, AVX-512. */
const XCR0_MASK = 0xe7;

/** CPU features as the guest will have them, from KVM's list of CPUID leaves. */
interface CpuFeatures {
  readonly leaves: Uint8Array;
  readonly hwcap: number;
  readonly xcr0: number;
  readonly xsaveSize: number;
  readonly physicalBits: number;
}

/** Starts the program of `options`, tracing to host descriptor `straceFd` (-1: stderr), and never returns: the process ends with the program. Throws MargayError or HostError when it cannot be started. */
export function startVirtualNode(options: RunOptions, straceFd: number): never {
  const area = createGateArea();
  const gate = openGate(area, 0);
  const scratch = createScratch(gate);
  const kvm = openKvm(gate.sys, scratch);
  for (const [capability, name] of [[KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS"]] as const) {
    if (!checkExtension(gate.sys, kvm, capability)) throw new MargayError("E_KVM_CAP", `this KVM has no ${name}`);
  }
  if (options.hugetlb && freeInPool("/", BLOCK) === 0)
    throw new MargayError("E_HUGE_MISSING", "the pool of 2 MiB hugetlb pages has none free", { where: "--hugetlb" });
  const topology = readTopology("/", { caches: false, cores: false });
  const partition = choosePartition(topology, {
    cpus: options.cpus,
    numa: options.numa,
    mem: options.mem,
    maxCpus: checkExtension(gate.sys, kvm, KVM_CAP_MAX_VCPUS) || 1,
    hugetlb: options.pages.hostHuge,
  });
  const features = cpuFeatures(supportedCpuid(gate.sys, scratch, kvm));
  const state = State.create(gate.sys);
  fillState(state, gate, scratch, area, kvm, partition, topology, features, options);
  if (straceFd >= 0) state.i32[H.straceFd] = straceFd;
  const layout = chooseLayout(
    options.aslr ? (bits) => new DataView(randomBytes(gate, scratch, 4).buffer).getUint32(0, true) % 2 ** bits : null,
    stackSize(state),
  );
  state.setU64(H.lwkBase, layout.lwkBase);
  state.setU64(H.mmapBase, layout.mmapBase);
  state.setU64(H.stackTop, layout.stackTop);
  state.setU64(H.stackLimit, layout.stackLimit);

  const parts = openMemory(gate, state);
  installSharedPages(state, parts.memory, state.i32[H.kvmKind] === 0 ? "pvm" : "textbook", !options.strace);
  startThreadRecord(state);
  prepareKicks(gate, scratch);
  for (const signal of CAUGHT) setHostAction(gate, scratch, signal, "catch");
  for (const signal of IGNORED) setHostAction(gate, scratch, signal, SIG_IGN);
  inheritDescriptors(state, gate);

  const { space } = parts;
  const target: LoadTarget = {
    mmap: (address, length, prot, flags, fd, offset, path) =>
      space.mmap(address, length, prot, flags, fd, offset, path, path === "[stack]" ? NAME.STACK : NAME.NONE),
    munmap: (address, length) => space.munmap(address, length),
    mprotect: (address, length, prot) => space.mprotect(address, length, prot),
    poke: (address, bytes) => space.poke(address, bytes),
  };
  const program = loadProgram(target, hostFiles, {
    path: options.program,
    argv: options.argv,
    envp: options.env,
    layout,
    auxv: {
      // On PVM ring 3 sees the host's CPUID, so the host's own AT_HWCAP is the truth.
      hwcap: state.i32[H.kvmKind] === 0 ? hostHwcap(features.hwcap) : features.hwcap,
      hwcap2: 2,
      minSigStackSize: Math.ceil((1024 + features.xsaveSize) / 16) * 16,
      uid: state.i32[H.uid]!,
      euid: state.i32[H.euid]!,
      gid: state.i32[H.gid]!,
      egid: state.i32[H.egid]!,
      random: randomBytes(gate, scratch, 16),
      vdso: layout.vdso,
    },
  });
  space.addBootMapping(layout.lwkBase + VVAR_PAGE, layout.lwkBase + THREAD_PAGE + 0x1000, 1, NAME.VVAR);
  space.addBootMapping(layout.lwkBase + VDSO_PAGE, layout.lwkBase + GDT_PAGE - 0x2000, 5, NAME.VDSO);
  state.setU64(H.brkStart, program.programBreak);
  state.setU64(H.brkEnd, program.programBreak);
  state.setU64(H.codeStart, program.codeStart);
  state.setU64(H.codeEnd, program.codeEnd);
  state.setU64(H.dataStart, program.dataStart);
  state.setU64(H.dataEnd, program.dataEnd);
  state.setU64(H.stackStart, program.stackStart);
  state.setU64(H.argStart, program.argStart);
  state.setU64(H.argEnd, program.argEnd);
  state.setU64(H.envStart, program.envStart);
  state.setU64(H.envEnd, program.envEnd);
  const auxv = putText(state, program.auxvBytes);
  state.i32[H.auxvOffset] = auxv;
  state.i32[H.auxvLength] = program.auxvBytes.length;
  const exe = Buffer.from(program.exePath, "latin1");
  state.i32[H.exePathOffset] = putText(state, exe);
  state.i32[H.exePathLength] = exe.length;

  const record = state.thread(0);
  state.setU64(record + T.startRegs + R.rip * 2, program.entry);
  state.setU64(record + T.startRegs + R.rsp * 2, program.stackPointer);
  const name = Buffer.from(program.exePath.slice(program.exePath.lastIndexOf("/") + 1), "latin1").subarray(0, 15);
  state.u8.set(name, (record + T.name) * 4);

  const carrier = new Carrier(parts, spawner(area, state.address), endFrom);
  startVirtualClock(carrier.kernel, carrier.kernel.vcpu.tscKhz(), tscTrusted());
  if (options.timeoutSeconds !== undefined) armTimeout(state, gate, scratch, options.timeoutSeconds);
  try {
    state.i32[record + T.assignment] = 1;
    return carrier.serve();
  } catch (error) {
    const details = error instanceof Error ? (error.stack ?? String(error)) : String(error);
    return endFrom(
      carrier.kernel,
      125,
      `margay: E_INTERNAL: ${details.split("\n")[0]}: this is a mistake in margay; please report it\n${details}\n`,
    );
  }
}

/** Bytes from the kernel's random source. Not node:crypto, which takes 3 ms to load and starts OpenSSL. */
function randomBytes(gate: Gate, scratch: Scratch, count: number): Uint8Array {
  const got = gate.sys(NR.getrandom, scratch.address, count, 0);
  if (got !== count) throw new MargayError("E_SYSCALL", "the kernel gives no random bytes");
  return scratch.u8.slice(0, count);
}

/** What the guest's CPU can do. Leaves: function, index, flags, eax, ebx, ecx, edx, 3 x padding. */
function cpuFeatures(leaves: Uint8Array): CpuFeatures {
  const view = new DataView(leaves.buffer, leaves.byteOffset, leaves.byteLength);
  const leaf = (number: number, index = 0): readonly number[] => {
    for (let at = 8; at + 40 <= leaves.length; at += 40) {
      if (view.getUint32(at, true) === number && view.getUint32(at + 4, true) === index)
        return [12, 16, 20, 24].map((o) => view.getUint32(at + o, true));
    }
    return [0, 0, 0, 0];
  };
  const xcr0 = leaf(0xd)[0]! & XCR0_MASK || 3;
  let xsaveSize = 576;
  for (let bit = 2; bit < 31; bit++) {
    if (!(xcr0 & (1 << bit))) continue;
    const [size, offset] = leaf(0xd, bit);
    xsaveSize = Math.max(xsaveSize, offset! + size!);
  }
  return { leaves, hwcap: leaf(1)[3]!, xcr0, xsaveSize, physicalBits: Math.max(36, Math.min(52, leaf(0x80000008)[0]! & 0xff || 36)) };
}

/** Numbers of the virtual node, its address ranges on the host, its first memory slot. */
function fillState(
  state: State,
  gate: Gate,
  scratch: Scratch,
  area: number,
  kvm: number,
  partition: Partition,
  topology: Topology,
  features: CpuFeatures,
  options: RunOptions,
): void {
  const { sys } = gate;
  const { i32 } = state;
  i32[H.pid] = sys(NR.getpid);
  i32[H.ppid] = sys(NR.getppid);
  i32[H.nextTid] = i32[H.pid]! + 1;
  i32[H.uid] = sys(NR.getuid);
  i32[H.euid] = sys(NR.geteuid);
  i32[H.gid] = sys(NR.getgid);
  i32[H.egid] = sys(NR.getegid);
  i32[H.cpuCount] = partition.cpus.length;
  i32[H.nodeCount] = partition.nodes.length;
  for (const [i, cpu] of partition.cpus.entries()) i32[(OFFSET.cpus >> 2) + i] = cpu;
  const distances = OFFSET.nodes + 64 * 32;
  const hostNodes = topology.nodes.length;
  for (const [i, node] of partition.nodes.entries()) {
    const at = (OFFSET.nodes >> 2) + i * 8;
    // -1: the host has one node only, nothing to bind to.
    i32[at] = hostNodes < 2 ? -1 : node.hostNode;
    state.setU64(at + 2, node.memBytes);
    i32[at + 4] = node.hostNode;
    for (const cpu of node.vcpus) i32[(OFFSET.cpuNodes >> 2) + cpu] = i;
    for (const [j, distance] of (partition.distances[i] ?? []).entries()) state.u8[distances + i * 64 + j] = distance;
  }
  i32[H.pin] = options.cpus !== undefined || options.numa !== undefined || partition.cpus.length < topology.online.length ? 1 : 0;
  i32[H.hostHuge] = options.pages.hostHuge ? 1 : 0;
  i32[H.guestHuge] = options.pages.guestHuge ? 1 : 0;
  i32[H.options] = (options.strace ? 1 : 0) | (options.stats ? 2 : 0) | (options.aslr ? 0 : 4) | (options.hugetlb ? 8 : 0);
  i32[H.kvmKind] = kvmKind() === "pvm" ? 0 : 1;
  i32[H.kvmFd] = kvm;
  i32[H.vmFd] = createVm(sys, kvm);
  i32[H.runSize] = runSize(sys, kvm);
  i32[H.hwcap] = features.hwcap;
  i32[H.cpuidLength] = features.leaves.length;
  state.u8.set(features.leaves, OFFSET.texts + CPUID_TEXT);
  state.setU64(H.xcr0, features.xcr0);
  state.setU64(H.xsaveSize, features.xsaveSize);
  state.setU64(H.memoryBytes, partition.memBytes);
  state.setU64(H.gateArea, area);
  i32[H.blocksLimit] = partition.memBytes / BLOCK;
  sys(NR.clock_gettime, 1, scratch.address);
  state.setU64(H.startNs, Number(scratch.view.getBigInt64(0, true)) * 1e9 + Number(scratch.view.getBigInt64(8, true)));
  const messages = sys(NR.fcntl, 2, 1030, 512);
  i32[H.messageFd] = messages >= 0 ? messages : 2;
  if (typeof options.stats === "string") {
    const path = Buffer.from(options.stats, "latin1");
    i32[H.statsPathOffset] = putText(state, path);
    i32[H.statsPathLength] = path.length;
  }
  i32[H.straceFd] = i32[H.messageFd]!;

  const half = 2 ** (features.physicalBits - 1);
  const tableSize = Math.min(2 ** 32, Math.ceil((TABLE_SIZE_MIN + partition.memBytes / 400) / BLOCK) * BLOCK);
  const blockSize = Math.min(partition.memBytes, half - BLOCK_GPA);
  const arenaSize = Math.min(half, ARENA_MAX);
  state.setU64(H.tableSize, tableSize);
  state.setU64(H.blockSize, blockSize);
  state.setU64(H.arenaSize, arenaSize);
  state.setU64(H.arenaGpa, half);
  state.setU64(H.blockBase, reserveAddressSpace(sys, blockSize, BLOCK));
  state.setU64(H.arenaBase, reserveAddressSpace(sys, arenaSize, BLOCK));
  const tables = reserveAddressSpace(sys, tableSize, BLOCK);
  sys(NR.mprotect, tables, tableSize, 3);
  sys(NR.madvise, tables, tableSize, 15);
  state.setU64(H.tableBase, tables);
  i32[H.tablePages] = tableSize / 4096;
  i32[H.rootTable] = 1;
  i32[H.nextTablePage] = 2;
  setMemoryRegion(sys, scratch, i32[H.vmFd]!, 0, 0, tableSize, tables);
  const slot = OFFSET.slots >> 2;
  state.setU64(slot + S.bytes, tableSize);
  i32[slot + S.kind] = SLOT.TABLES;
  i32[H.slotCount] = 1;
  startLimits(state, sys, scratch);
}

/** AT_HWCAP (16) of this process. */
function hostHwcap(fallback: number): number {
  try {
    const auxv = readFileSync("/proc/self/auxv");
    for (let at = 0; at + 16 <= auxv.length; at += 16) if (auxv.readBigUInt64LE(at) === 16n) return Number(auxv.readBigUInt64LE(at + 8));
  } catch {
    // no /proc: KVM's word must do
  }
  return fallback;
}

/** Soft RLIMIT_STACK; without a limit, what Linux gives by default times eight. */
function stackSize(state: State): number {
  const soft = state.getU64((OFFSET.limits >> 2) + 3 * 4);
  return soft > 2 ** 30 ? 64 * 2 ** 20 : Math.max(128 * 1024, soft);
}

/** The record of guest thread 0, the calling thread. */
function startThreadRecord(state: State): void {
  const record = state.thread(0);
  state.i32[H.slotsInUse] = 1;
  state.i32[H.threadsAlive] = 1;
  state.i32[H.peakThreads] = 1;
  state.i32[record + T.tid] = state.i32[H.pid]!;
  state.u32[record + T.altStackFlags] = 2;
  state.setU64(record + T.startRegs + R.rflags * 2, 0x202);
  for (let cpu = 0; cpu < state.i32[H.cpuCount]!; cpu++) state.u32[record + T.affinity + (cpu >> 5)]! |= 1 << (cpu & 31);
}

/** Descriptors that the program inherits: 0 to 2, and what was open across exec besides. */
function inheritDescriptors(state: State, gate: Gate): void {
  for (let fd = 0; fd < 256; fd++) {
    const flags = gate.sys(NR.fcntl, fd, 1, 0);
    if (flags < 0 || (fd > 2 && flags & 1)) continue;
    state.i32[(OFFSET.descriptors >> 2) + fd * 4] = fd + 1;
  }
}

/** Puts bytes into the texts table; returns their offset there. */
function putText(state: State, bytes: Uint8Array): number {
  const offset = state.i32[H.textsUsed]!;
  state.u8.set(bytes, OFFSET.texts + offset);
  state.i32[H.textsUsed] = offset + Math.ceil(bytes.length / 8) * 8;
  return offset;
}

/** The host runs its own clock on the TSC: then it is good enough for the guest's. */
function tscTrusted(): boolean {
  try {
    return readFileSync("/sys/devices/system/clocksource/clocksource0/current_clocksource", "latin1").trim() === "tsc";
  } catch {
    return false;
  }
}

/** A host timer whose signal ends the virtual node with exit code 124. */
function armTimeout(state: State, gate: Gate, scratch: Scratch, seconds: number): void {
  state.i32[H.timeoutSignal] = TIMEOUT_SIGNAL;
  setHostAction(gate, scratch, TIMEOUT_SIGNAL, "catch");
  scratch.u8.fill(0, 0, 128);
  scratch.i32[2] = TIMEOUT_SIGNAL; // struct sigevent: value, signo, notify = SIGEV_SIGNAL
  if (gate.sys(NR.timer_create, 1, scratch.address, scratch.address + 96) < 0) throw new MargayError("E_SYSCALL", "no timer for --timeout");
  const id = scratch.i32[24]!;
  scratch.u8.fill(0, 0, 32);
  scratch.view.setBigInt64(16, BigInt(Math.floor(seconds)), true);
  scratch.view.setBigInt64(24, BigInt(Math.max(1, Math.round((seconds % 1) * 1e9))), true);
  gate.sys(NR.timer_settime, id, 0, scratch.address, 0);
}
