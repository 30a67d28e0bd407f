/**
 * The program's registers while the LWK works for it. After a system call the vCPU stands in the stub, after an exception in a trap stub with the
 * program's RIP, RSP and flags in the frame on the ring-0 stack, after a kick anywhere. `capture*` make the vCPU's register
 * file hold the program's own state; `resume` puts the vCPU back on a path that leads there.
 */
import type { GuestMemory } from "../vmm/guest-memory.ts";
import { R, type Vcpu } from "../vmm/vcpu.ts";
import {
  type Flavour,
  FRAME_CS,
  FRAME_RFLAGS,
  FRAME_RIP,
  FRAME_RSP,
  FRAME_SIZE,
  FRAME_SS,
  STACK_TOP,
  TRAP_STUB_PAGE,
  TSS_PAGE,
  USER_CS,
  USER_DS,
} from "./boot/layout.ts";
import { IRET_STUB, ripAfterStop } from "./boot/stub.ts";
import { H, type State, T } from "./state.ts";

/** DIRECT: the registers are the program's and ring 3 is on. STUB: in the system-call stub, untouched. LEAVING: ring 0, must return by a frame. TRAP: in a trap stub. AGAIN: enter without looking. */
const MODE = { DIRECT: 0, STUB: 1, LEAVING: 2, TRAP: 3, AGAIN: 4 } as const;

/** Only the bit that is always 1: no interrupts, no traps. */
const RING0_FLAGS = 2;

export class UserState {
  private readonly vcpu: Vcpu;
  private readonly flavour: Flavour;
  private readonly base: number;
  /** The frame at the top of the ring-0 stack. */
  private readonly frame: DataView;
  private mode: number = MODE.DIRECT;
  private stubRip = 0;
  private stubRsp = 0;

  constructor(state: State, memory: GuestMemory, vcpu: Vcpu, flavour: Flavour, record: number) {
    this.vcpu = vcpu;
    this.flavour = flavour;
    this.base = state.getU64(H.lwkBase);
    const top = (state.i32[record + T.stackPage]! + 2) * 4096;
    this.frame = new DataView(memory.tableBytes.buffer, memory.tableBytes.byteOffset + top - FRAME_SIZE - 8, FRAME_SIZE + 8);
  }

  /** A new thread: registers are set, ring 3. */
  fresh(): void {
    this.mode = MODE.DIRECT;
  }

  /** After an exit on the system-call port. */
  captureCall(): void {
    this.mode = MODE.STUB;
  }

  /** Error code that the exception pushed. */
  get errorCode(): number {
    return this.frame.getUint32(0, true);
  }

  /** True when the exception came from ring 0: the LWK's own pages are broken. */
  get fromRing0(): boolean {
    return (this.frame.getUint16(8 + FRAME_CS, true) & 3) === 0;
  }

  /** After an exit on an exception's port, or a stop behind it: the program's state is in the frame. */
  captureTrap(): void {
    const { vcpu, frame } = this;
    this.mode = MODE.TRAP;
    this.stubRip = vcpu.get(R.rip);
    this.stubRsp = vcpu.get(R.rsp);
    vcpu.setBig(R.rip, frame.getBigUint64(8 + FRAME_RIP, true));
    vcpu.setBig(R.rflags, frame.getBigUint64(8 + FRAME_RFLAGS, true));
    vcpu.setBig(R.rsp, frame.getBigUint64(8 + FRAME_RSP, true));
  }

  /** After KVM_RUN came back with EINTR from a vCPU that ran. */
  captureStop(): void {
    const { vcpu } = this;
    const offset = vcpu.get(R.rip) - this.base;
    if (offset < 0 || offset >= STACK_TOP) {
      this.mode = MODE.DIRECT;
      return;
    }
    if (offset >= TRAP_STUB_PAGE && offset < TSS_PAGE) {
      // Before the `out` of a trap stub nothing is known yet: let it report. Behind it the frame is what counts.
      if (offset % 16 === 0) this.mode = MODE.AGAIN;
      else this.captureTrap();
      return;
    }
    if (offset === IRET_STUB) {
      this.captureTrap();
      return;
    }
    const rip = ripAfterStop(this.flavour, offset, vcpu.get(R.rcx));
    this.mode = MODE.DIRECT;
    if (rip === undefined) return;
    vcpu.set(R.rip, rip);
    if (this.flavour === "textbook") {
      vcpu.setBig(R.rflags, vcpu.big(R.r11));
      this.mode = MODE.LEAVING;
    }
  }

  /** After `resume` when KVM_RUN was not entered: the registers hold the way back; take the program's state up again. */
  recapture(): void {
    if (this.mode === MODE.TRAP) this.captureTrap();
  }

  /** False while the vCPU must first be let run on: signals wait. */
  get known(): boolean {
    return this.mode !== MODE.AGAIN;
  }

  /** Makes all registers in the vCPU's file the program's: needed before anything but the call's result is changed. */
  own(): void {
    if (this.mode !== MODE.STUB) return;
    const { vcpu } = this;
    vcpu.setBig(R.rip, vcpu.big(R.rcx));
    if (this.flavour === "textbook") {
      vcpu.setBig(R.rflags, vcpu.big(R.r11));
      this.mode = MODE.LEAVING;
    } else this.mode = MODE.DIRECT;
  }

  /** The address that the program's next instruction has, whatever the mode. */
  get rip(): number {
    return this.vcpu.get(this.mode === MODE.STUB ? R.rcx : R.rip);
  }

  /** Prepares the vCPU for KVM_RUN. */
  resume(): void {
    const { vcpu } = this;
    switch (this.mode) {
      case MODE.LEAVING:
        this.stubRip = this.base + IRET_STUB;
        this.stubRsp = this.base + STACK_TOP - FRAME_SIZE;
        this.mode = MODE.TRAP;
        this.writeFrame();
        break;
      case MODE.TRAP:
        this.writeFrame();
        break;
      default:
        return;
    }
    vcpu.set(R.rip, this.stubRip);
    vcpu.set(R.rsp, this.stubRsp);
    // The program's flags come back with the frame. Left in force on the way there, its NT would make `iretq` a #GP, its TF and AC trap in ring 0.
    vcpu.set(R.rflags, RING0_FLAGS);
  }

  private writeFrame(): void {
    const { vcpu, frame } = this;
    frame.setBigUint64(8 + FRAME_RIP, vcpu.big(R.rip), true);
    frame.setBigUint64(8 + FRAME_CS, BigInt(USER_CS), true);
    frame.setBigUint64(8 + FRAME_RFLAGS, vcpu.big(R.rflags) | 0x202n, true);
    frame.setBigUint64(8 + FRAME_RSP, vcpu.big(R.rsp), true);
    frame.setBigUint64(8 + FRAME_SS, BigInt(USER_DS), true);
  }
}
