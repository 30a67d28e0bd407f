/**
 * The way of a trap, top to bottom: `vcpu.enter` returns an exit → the exit is decoded → the table picks a handler → the handler works on guest
 * memory through the window → the result goes into rax. One of these loops runs on every host thread that carries a guest thread.
 */
import { EFAULT, EINTR, ENOSYS, ERESTARTNOHAND, ERESTARTSYS } from "../abi/errno.ts";
import { EXIT, exitName, RUN } from "../abi/kvm.ts";
import { NR, NR_MAX } from "../abi/nr.ts";
import {
  BUS_ADRALN,
  BUS_ADRERR,
  FPE_INTDIV,
  ILL_ILLOPN,
  SA_RESTART,
  SEGV_ACCERR,
  SEGV_MAPERR,
  SI_KERNEL,
  SIGBUS,
  SIGFPE,
  SIGILL,
  SIGKILL,
  SIGSEGV,
  SIGSTOP,
  SIGTRAP,
  TRAP_TRACE,
  defaultAction,
  signalBit,
} from "../abi/signal.ts";
import { wakeIndex } from "../host/gate.ts";
import type { DeviceBus } from "../vmm/bus.ts";
import type { GuestMemory } from "../vmm/guest-memory.ts";
import { R } from "../vmm/vcpu.ts";
import { type Flavour, SYSCALL_PORT, STACK_TOP, VECTOR_PORT_BASE } from "./boot/layout.ts";
import { Call } from "./call.ts";
import { refreshVirtualClock } from "./clock-keeper.ts";
import { GuestError } from "./guest-error.ts";
import type { Kernel } from "./kernel.ts";
import { FAULT, USER_END } from "./mm/address-space.ts";
import { truncatedPages } from "./mm/truncated.ts";
import { faultReport, vcpuReport } from "./report.ts";
import { enterHandler, leaveHandler, type TrapDetails } from "./signal-frame.ts";
import { makeInfo, type Pending } from "./signals.ts";
import { C, H, T } from "./state.ts";
import type { SyscallTable } from "./syscalls/table.ts";
import { Trace } from "./trace.ts";
import { UserState } from "./user-state.ts";

/** How the virtual node ends: exit code as a shell sees it, and what is to be said on stderr first. */
export type EndNode = (code: number, message: string) => never;

const NOT_ENTERED = 0xffff;

export class ThreadLoop {
  readonly kernel: Kernel;
  readonly call: Call;
  readonly user: UserState;
  private readonly table: SyscallTable;
  private readonly flavour: Flavour;
  private readonly lwkBase: number;
  private readonly end: EndNode;
  private readonly bus: DeviceBus | null;
  private readonly trace: Trace | null;
  private trap: TrapDetails = { errorCode: 0, vector: 0, address: 0n };
  /** The interrupted call waits to be restarted (-ERESTART*), 0: none. */
  private restart = 0;
  private efaults = 0;

  constructor(kernel: Kernel, memory: GuestMemory, table: SyscallTable, flavour: Flavour, end: EndNode, bus: DeviceBus | null) {
    this.kernel = kernel;
    this.call = new Call(kernel);
    this.user = new UserState(kernel.state, memory, kernel.vcpu, flavour, kernel.record);
    this.table = table;
    this.flavour = flavour;
    this.lwkBase = kernel.state.getU64(H.lwkBase);
    this.end = end;
    this.bus = bus;
    this.trace = kernel.state.i32[H.options]! & 1 ? new Trace(kernel) : null;
  }

  /** Runs the guest thread until it ends (ThreadEnded) or the virtual node does. Registers, segment state and tables are set. */
  run(): never {
    const { kernel, user } = this;
    const { vcpu, state, counters } = kernel;
    const reasonWord = RUN.exitReason >> 2;
    this.user.fresh();
    this.restart = 0;
    for (;;) {
      if (Atomics.load(kernel.gate.wakeWords, wakeIndex(kernel.slot))) kernel.interrupted();
      if (user.known && (state.i32[H.queueCount] || state.i32[H.stopping] || state.i32[H.timedOut])) this.attend();
      user.resume();
      vcpu.words[reasonWord] = NOT_ENTERED;
      const reason = vcpu.enter();
      if (reason === EXIT.IO) {
        state.u32[counters + C.exits + EXIT.IO]!++;
        this.io();
      } else if (reason === -EINTR) {
        state.u32[counters + C.exits + EXIT.INTR]!++;
        if (vcpu.words[reasonWord] === NOT_ENTERED) user.recapture();
        else user.captureStop();
      } else if (reason === -EFAULT) this.hostFault();
      else if (reason === EXIT.MMIO && this.bus?.access(vcpu.run)) {
        state.u32[counters + C.exits + EXIT.MMIO]!++;
        user.fresh();
      } else this.failStop(reason < 0 ? `KVM_RUN failed with error ${-reason}` : `the vCPU left the guest with ${exitName(reason)}`);
    }
  }

  private io(): void {
    const { vcpu } = this.kernel;
    const port = vcpu.run.getUint16(RUN.exit + 2, true);
    const offset = vcpu.get(R.rip) - this.lwkBase;
    if (offset < 0 || offset >= STACK_TOP) {
      // A program's own `out`: the I/O bitmap lets one port through to ring 3 on PVM. Linux would have said #GP.
      this.user.fresh();
      this.force(SIGSEGV, makeInfo(SIGSEGV, SI_KERNEL, { address: 0 }), 13, 0, 0n);
      return;
    }
    this.efaults = 0;
    if (port === SYSCALL_PORT) this.systemCall();
    else if (port >= VECTOR_PORT_BASE && port < VECTOR_PORT_BASE + 32) this.exception(port - VECTOR_PORT_BASE);
    else this.failStop(`output on port 0x${port.toString(16)} from the LWK's own pages`);
  }

  private systemCall(): void {
    const { kernel, call, user } = this;
    const { vcpu, state, record } = kernel;
    user.captureCall();
    const nr = vcpu.low(R.rax);
    call.nr = nr;
    if (nr === NR.rt_sigreturn) {
      this.sigreturn();
      return;
    }
    if (nr <= NR_MAX) state.u32[kernel.counters + C.calls + nr]!++;
    state.i32[record + T.call] = nr;
    this.trace?.enter(call);
    let result: number;
    const handler = nr <= NR_MAX ? this.table.handlers[nr] : undefined;
    if (handler) {
      try {
        result = handler(call);
      } catch (error) {
        if (!(error instanceof GuestError)) throw error;
        result = -error.errno;
      }
    } else {
      result = -ENOSYS;
      if (!this.table.known[nr]) Atomics.add(state.i32, H.unknownCalls, 1);
    }
    state.i32[record + T.call] = -1;
    this.trace?.leave(call, result);
    refreshVirtualClock(kernel);
    if (result === -ERESTARTSYS || result === -ERESTARTNOHAND) {
      user.own();
      vcpu.set(R.rip, vcpu.get(R.rip) - 2);
      this.restart = result;
      this.attend();
      return;
    }
    vcpu.set(R.rax, result);
    if (state.i32[record + T.hasSavedMask]) {
      if (state.i32[H.queueCount]) this.attend();
      this.restoreMask();
    }
  }

  /** Puts back the mask that a call like sigsuspend or ppoll replaced, when no handler's return will do it. */
  private restoreMask(): void {
    const { state, record, signals, slot } = this.kernel;
    if (!state.i32[record + T.hasSavedMask]) return;
    state.i32[record + T.hasSavedMask] = 0;
    signals.setMask(slot, state.getBig(record + T.savedMask));
  }

  private sigreturn(): void {
    const { kernel, user } = this;
    kernel.state.u32[kernel.counters + C.calls + NR.rt_sigreturn]!++;
    user.own();
    if (!leaveHandler(kernel)) this.force(SIGSEGV, makeInfo(SIGSEGV, SI_KERNEL, { address: 0 }), 0, 0, 0n);
  }

  /** Delivers what waits for this thread; ends it or the virtual node when that is what waits. */
  private attend(): void {
    const { kernel } = this;
    const { state, signals, slot } = kernel;
    if (state.i32[H.timedOut])
      this.end(
        124,
        "margay: E_TIMEOUT: the program ran longer than --timeout allows: give it more time or find out what it waits for (--strace)\n",
      );
    if (state.i32[H.stopping]) this.end(-1, "");
    for (;;) {
      const pending = signals.take(slot, ~signals.mask(slot));
      if (!pending) break;
      this.deliver(pending);
    }
    if (this.restart) {
      // Nothing ran a handler: the call is made again, with the mask that it found.
      this.restart = 0;
      this.restoreMask();
    }
  }

  private deliver(pending: Pending): void {
    const { kernel, user } = this;
    const { signals } = kernel;
    const { signal } = pending;
    const action = signals.action(signal);
    if (signal === SIGKILL) this.die(signal, false);
    if (signal !== SIGSTOP && action.handler === 1) return;
    if (action.handler === 0 || signal === SIGSTOP) {
      switch (defaultAction(signal)) {
        case "ignore":
        case "continue":
          return;
        case "stop":
          kernel.sys(NR.kill, kernel.sys(NR.getpid), SIGSTOP);
          return;
        default:
          this.die(signal, defaultAction(signal) === "core");
      }
    }
    user.own();
    if (this.restart) {
      if (this.restart === -ERESTARTNOHAND || !(action.flags & SA_RESTART)) {
        kernel.vcpu.set(R.rip, kernel.vcpu.get(R.rip) + 2);
        kernel.vcpu.set(R.rax, -EINTR);
      }
      this.restart = 0;
    }
    kernel.state.u32[kernel.counters + C.signals]!++;
    this.trace?.signal(pending);
    if (!enterHandler(kernel, pending, action, this.trap)) this.die(SIGSEGV, true);
  }

  /** Ends the virtual node by a signal. */
  private die(signal: number, core: boolean): never {
    const { kernel } = this;
    this.user.own();
    const report = core && kernel.state.i32[kernel.record + T.lastSignal] === signal ? faultReport(kernel, signal, this.trap) : "";
    this.end(128 + signal, report);
  }

  /** A signal that the thread brought on itself: not to be blocked or ignored. */
  private force(signal: number, info: Uint8Array, vector: number, errorCode: number, address: bigint): void {
    const { signals, slot, state, record } = this.kernel;
    this.trap = { errorCode, vector, address };
    state.i32[record + T.lastSignal] = signal;
    const action = signals.action(signal);
    const bit = signalBit(signal);
    if (action.handler <= 1 || signals.mask(slot) & bit) this.die(signal, true);
    this.deliver({ signal, info });
    state.i32[record + T.lastSignal] = 0;
  }

  private exception(vector: number): void {
    const { kernel, user } = this;
    const { vcpu, state, counters } = kernel;
    if (user.fromRing0) this.failStop(`exception ${vector} in ring 0`);
    user.captureTrap();
    state.u32[counters + C.faults]!++;
    const rip = vcpu.get(R.rip);
    const errorCode = user.errorCode;
    switch (vector) {
      case 0:
        return this.force(SIGFPE, makeInfo(SIGFPE, FPE_INTDIV, { address: rip }), 0, 0, 0n);
      case 1:
        return this.force(SIGTRAP, makeInfo(SIGTRAP, TRAP_TRACE, { address: rip }), 1, 0, 0n);
      case 3:
        return this.force(SIGTRAP, makeInfo(SIGTRAP, SI_KERNEL, {}), 3, 0, 0n);
      case 6:
        return this.force(SIGILL, makeInfo(SIGILL, ILL_ILLOPN, { address: rip }), 6, 0, 0n);
      case 14:
        return this.pageFault(errorCode);
      case 16:
      case 19:
        return this.force(SIGFPE, makeInfo(SIGFPE, this.floatCode(vector), { address: rip }), vector, 0, 0n);
      case 17:
        return this.force(SIGBUS, makeInfo(SIGBUS, BUS_ADRALN, { address: 0 }), 17, 0, 0n);
      case 11:
      case 12:
        return this.force(SIGBUS, makeInfo(SIGBUS, SI_KERNEL, {}), vector, errorCode, 0n);
      case 4:
      case 5:
      case 10:
      case 13:
        return this.force(SIGSEGV, makeInfo(SIGSEGV, SI_KERNEL, { address: 0 }), vector, errorCode, 0n);
      default:
        this.failStop(`exception ${vector} in ring 3`);
    }
  }

  /** si_code of a floating-point exception, from MXCSR or the x87 status word (fpu__exception_code). */
  private floatCode(vector: number): number {
    const area = this.kernel.vcpu.xsave(4096);
    const view = new DataView(area.buffer, area.byteOffset, area.length);
    const control = view.getUint16(0, true);
    const status = view.getUint16(2, true);
    const mxcsr = view.getUint32(24, true);
    const raised = vector === 16 ? status & ~control : mxcsr & ~(mxcsr >> 7);
    if (raised & 1) return 7; // FPE_FLTINV
    if (raised & 4) return 3; // FPE_FLTDIV
    if (raised & 8) return 4; // FPE_FLTOVF
    if (raised & 0x12) return 5; // FPE_FLTUND
    if (raised & 0x20) return 6; // FPE_FLTRES
    return 0;
  }

  private pageFault(errorCode: number): void {
    const { kernel } = this;
    const address = kernel.vcpu.sregs().getBigUint64(232, true);
    const va = Number(address);
    const execute = (errorCode & 16) !== 0;
    let result: number = FAULT.MAPERR;
    if (va < USER_END) {
      try {
        result = kernel.space.fault(va, (errorCode & 2) !== 0, execute);
      } catch (error) {
        if (!(error instanceof GuestError)) throw error;
        result = FAULT.NOMEM;
      }
    }
    if (result === FAULT.NONE) return;
    if (result === FAULT.NOMEM)
      this.end(
        137,
        `margay: E_MEMORY_USED_UP: the virtual node has no memory left for the page at 0x${va.toString(16)}: give it more with --mem\n`,
      );
    const bus = result === FAULT.BUS;
    const signal = bus ? SIGBUS : SIGSEGV;
    const code = bus ? BUS_ADRERR : result === FAULT.ACCERR ? SEGV_ACCERR : SEGV_MAPERR;
    this.force(signal, makeInfo(signal, code, { address: va }), 14, errorCode | 4, address);
  }

  /**
   * KVM could not reach host memory behind a page. The one lawful cause is a file in the arena that has become shorter: pages past its end are taken out of the
   * guest's tables, so that the access faults there and becomes SIGBUS. Nothing taken out, twice in a row at the same place: nobody understands it.
   */
  private hostFault(): void {
    const { kernel } = this;
    kernel.state.u32[kernel.counters + C.exits + EXIT.MEMORY_FAULT]!++;
    const changed = truncatedPages(kernel.space);
    this.efaults = changed ? 0 : this.efaults + 1;
    if (this.efaults > 3) this.failStop("KVM cannot reach the host memory behind a page of the guest");
    this.user.captureStop();
  }

  /** Stops the virtual node and tells everything known about this vCPU. */
  private failStop(what: string): never {
    const report = `margay: E_GUEST_STATE: ${what} (thread ${this.kernel.tid}, ${this.flavour}): this is a mistake in margay or a guest that broke its own kernel pages; please report it with the lines below\n${vcpuReport(this.kernel)}`;
    this.end(125, report);
  }
}
