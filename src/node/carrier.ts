/** A host thread that carries guest threads: the main thread and every Worker make one of these from two addresses and a slot number. */
import { NR } from "../abi/nr.ts";
import type { Gate } from "../host/gate.ts";
import { createVcpu } from "../host/kvm.ts";
import { createScratch, type Scratch } from "../host/memory.ts";
import { GDT_SIZE, IDT_SIZE, TSS_BYTES } from "../lwk/boot/descriptors.ts";
import { GDT_PAGE, IDT_PAGE, STAR, STUB_PAGE, syscallFlagMask, TSS_PAGE, TSS_SELECTOR, USER_CS, USER_DS } from "../lwk/boot/layout.ts";
import { installVcpuPages, takeTablePages } from "../lwk/boot/install.ts";
import { STUB_ENTRY } from "../lwk/boot/stub.ts";
import { Kernel } from "../lwk/kernel.ts";
import { AddressSpace } from "../lwk/mm/address-space.ts";
import { H, OFFSET, type State, T, THREAD } from "../lwk/state.ts";
import { buildTable } from "../lwk/syscalls/table.ts";
import { ThreadEnded } from "../lwk/thread-ended.ts";
import { type EndNode, ThreadLoop } from "../lwk/thread-loop.ts";
import { Threads } from "../lwk/threads.ts";
import { GuestMemory } from "../vmm/guest-memory.ts";
import { PageTables } from "../vmm/page-table.ts";
import { R, Vcpu } from "../vmm/vcpu.ts";

/** Offset in the texts table where CPUID leaves stand, and their room. */
export const CPUID_TEXT = 0x40000;

/** Handles of the memory parts that exist before there is a vCPU. */
export interface MemoryParts {
  readonly gate: Gate;
  readonly scratch: Scratch;
  readonly state: State;
  readonly memory: GuestMemory;
  readonly space: AddressSpace;
}

/** Views of the guest's memory for this host thread. The state's addresses are set. */
export function openMemory(gate: Gate, state: State): MemoryParts {
  const memory = new GuestMemory({
    tableHost: state.getU64(H.tableBase),
    tableSize: state.getU64(H.tableSize),
    blockHost: state.getU64(H.blockBase),
    blockSize: state.getU64(H.blockSize),
    arenaHost: state.getU64(H.arenaBase),
    arenaGpa: state.getU64(H.arenaGpa),
    arenaSize: state.getU64(H.arenaSize),
  });
  const tables = new PageTables(
    memory,
    state.i32[H.rootTable]!,
    (pages) => takeTablePages(state, pages),
    (index, low, high) => {
      for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
        const root = state.i32[state.thread(slot) + T.rootPage]!;
        if (!root) continue;
        memory.tables[root * 1024 + index * 2 + 1] = high;
        memory.tables[root * 1024 + index * 2] = low;
      }
    },
  );
  // The address space's own scratch: it works in the middle of handlers that use theirs.
  const space = new AddressSpace(state, memory, tables, gate.sys, createScratch(gate));
  return { gate, scratch: createScratch(gate), state, memory, space };
}

export class Carrier {
  readonly parts: MemoryParts;
  readonly kernel: Kernel;
  private readonly loop: ThreadLoop;
  private readonly cpuid: Uint8Array;

  constructor(parts: MemoryParts, spawn: (slot: number) => void, end: (k: Kernel, code: number, message: string) => never) {
    const { gate, scratch, state, memory, space } = parts;
    this.parts = parts;
    const record = state.thread(gate.slot);
    state.i32[record + T.hostTid] = gate.sys(NR.gettid);
    space.locked(() => installVcpuPages(state, memory, gate.slot));
    const fd = createVcpu(gate.sys, state.i32[H.vmFd]!, gate.slot);
    state.i32[record + T.vcpuFd] = fd;
    const vcpu = new Vcpu(gate, scratch, fd, state.i32[H.runSize]!);
    const threads = new Threads(state, gate, memory, spawn);
    this.kernel = new Kernel({ gate, scratch, state, space, vcpu, threads });
    const flavour = state.i32[H.kvmKind] === 0 ? "pvm" : "textbook";
    const endNode: EndNode = (code, message) => end(this.kernel, code, message);
    this.loop = new ThreadLoop(this.kernel, memory, buildTable(endNode), flavour, endNode, null);
    this.cpuid = this.cpuidOfThisCpu();
  }

  /** The virtual node's CPUID leaves with this vCPU's number where they name the CPU (APIC ids). */
  private cpuidOfThisCpu(): Uint8Array {
    const { state, gate } = this.parts;
    const bytes = state.u8.slice(OFFSET.texts + CPUID_TEXT, OFFSET.texts + CPUID_TEXT + state.i32[H.cpuidLength]!);
    const view = new DataView(bytes.buffer);
    for (let at = 8; at < bytes.length; at += 40) {
      const leaf = view.getUint32(at, true);
      if (leaf === 1) view.setUint32(at + 16, (view.getUint32(at + 16, true) & 0xffffff) | (gate.slot << 24), true);
      if (leaf === 0xb || leaf === 0x1f) view.setUint32(at + 24, gate.slot, true);
    }
    return bytes;
  }

  /** Runs the guest thread whose registers stand in this slot's record. Returns when it has ended. */
  runThread(): void {
    const { state, gate } = this.parts;
    const { kernel } = this;
    const { vcpu, record } = kernel;
    const base = state.getU64(H.lwkBase);
    kernel.threads.place(gate.slot);
    kernel.space.node = state.i32[(OFFSET.cpuNodes >> 2) + state.i32[record + T.cpu]!]!;
    kernel.threads.writeThreadPage(gate.slot);
    vcpu.setup({
      root: state.i32[record + T.rootPage]! * 4096,
      gdt: base + GDT_PAGE,
      gdtLimit: GDT_SIZE - 1,
      idt: base + IDT_PAGE,
      idtLimit: IDT_SIZE - 1,
      tss: base + TSS_PAGE,
      tssLimit: TSS_BYTES - 1,
      tssSelector: TSS_SELECTOR,
      syscallEntry: base + STUB_PAGE + STUB_ENTRY,
      star: STAR,
      syscallMask: BigInt(syscallFlagMask(state.i32[H.kvmKind] === 0 ? "pvm" : "textbook")),
      fsBase: state.getBig(record + T.fsBase),
      gsBase: state.getBig(record + T.gsBase),
      xcr0: state.i32[H.xcr0]!,
      cpuid: this.cpuid,
      userCode: USER_CS,
      userData: USER_DS,
    });
    if (state.i32[record + T.hasFpu]) {
      const at = OFFSET.fpu + gate.slot * 4096;
      vcpu.setXsave(state.u8.slice(at, at + 4096));
    }
    for (let r = 0; r < 18; r++) vcpu.setBig(r, state.getBig(record + T.startRegs + r * 2));
    vcpu.setBig(R.rflags, (vcpu.big(R.rflags) & 0xcd5n) | 0x202n);
    state.i32[record + T.state] = THREAD.GUEST;
    try {
      this.loop.run();
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
    }
  }

  /** Waits for a thread to carry, for ever: thread after thread. Guest thread 0's host thread keeps passing on signals from outside meanwhile. */
  serve(): never {
    const { state, gate } = this.parts;
    const record = this.kernel.record;
    const word = state.address + (record + T.assignment) * 4;
    for (;;) {
      if (Atomics.load(state.i32, record + T.assignment) === 1) {
        Atomics.store(state.i32, record + T.assignment, 0);
        this.runThread();
        Atomics.store(state.i32, record + T.parked, 1);
        continue;
      }
      const result = gate.wait(NR.futex, word, 0, 0, 0, 0, 0);
      if (result === -4 && this.kernel.interrupted()) this.afterSignal();
    }
  }

  /** A parked thread 0 was woken by a signal from outside: whoever can take it was kicked; fatal ones and time-outs it must see to itself when nobody else runs. */
  private afterSignal(): void {
    const { state } = this.parts;
    if (state.i32[H.timedOut]) for (const slot of this.kernel.threads.living()) this.kernel.signals.wakeSlot(slot);
  }
}
