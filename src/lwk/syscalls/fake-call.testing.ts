/**
 * A kernel for unit tests of handlers: real gate, state, descriptors, signals and guest-memory window; a vCPU that is an array of registers; and
 * an address space of a few pages that a test can scatter, protect or take away.
 */
import { NR } from "../../abi/nr.ts";
import { createGateArea, type Gate, openGate, viewMemory, wakeIndex } from "../../host/gate.ts";
import { createScratch, mapAnonymous, RESERVE } from "../../host/memory.ts";
import { PTE_PRESENT, PTE_USER, PTE_WRITE } from "../../vmm/page-table.ts";
import { R, type Vcpu } from "../../vmm/vcpu.ts";
import { Call, type Handler } from "../call.ts";
import { GuestError } from "../guest-error.ts";
import { Kernel } from "../kernel.ts";
import type { AddressSpace } from "../mm/address-space.ts";
import { H, OFFSET, State, THREAD, T } from "../state.ts";
import type { Threads } from "../threads.ts";

const PAGE = 4096;
/** Guest address of the first page. */
export const BASE = 0x1000_0000;
const ARGUMENTS = [R.rdi, R.rsi, R.rdx, R.r10, R.r8, R.r9] as const;
const RLIMIT_NOFILE = 7;

let gate: Gate | undefined;

export class FakeMachine {
  readonly kernel: Kernel;
  readonly call: Call;
  readonly pages: number;
  /** The pages' bytes in host order. */
  readonly memory: Uint8Array;
  private readonly registers = new BigUint64Array(18);
  /** Host page behind each guest page; -1: not mapped. */
  private readonly frames: number[] = [];
  private readonly readOnly = new Set<number>();

  constructor(pages = 64) {
    this.pages = pages;
    gate ??= openGate(createGateArea(), 0);
    const host = mapAnonymous(gate.sys, pages * PAGE, 3, RESERVE);
    this.memory = new Uint8Array(viewMemory(host, pages * PAGE));
    for (let i = 0; i < pages; i++) this.frames.push(i);
    const state = State.create(gate.sys);
    state.i32[H.pid] = gate.sys(NR.getpid);
    state.i32[H.slotsInUse] = 1;
    state.i32[state.thread(0) + T.state] = THREAD.KERNEL;
    this.limit(state, 256);

    const tables = {
      gpa: 0,
      flags: 0,
      // No large pages here: every look-up is for one page.
      leaf: () => -1,
      translate: (va: number): boolean => {
        const page = Math.floor((va - BASE) / PAGE);
        const frame = this.frames[page] ?? -1;
        if (va < BASE || frame < 0) return false;
        tables.gpa = frame * PAGE + (va % PAGE);
        tables.flags = PTE_PRESENT | PTE_USER | (this.readOnly.has(page) ? 0 : PTE_WRITE);
        return true;
      },
    };
    const space = {
      state,
      tables,
      fault: () => 1,
      memory: { inArena: () => false, chunk: () => this.memory, chunkOffset: (gpa: number) => gpa, hostAddress: (gpa: number) => host + gpa },
    };
    const vcpu = {
      get: (r: number) => Number(this.registers[r]!),
      big: (r: number) => this.registers[r]!,
      low: (r: number) => Number(this.registers[r]! & 0xffffffffn),
      high: (r: number) => Number(this.registers[r]! >> 32n),
    };
    this.kernel = new Kernel({
      gate,
      scratch: createScratch(gate),
      state,
      space: space as unknown as AddressSpace,
      vcpu: vcpu as unknown as Vcpu,
      threads: {} as Threads,
    });
    this.call = new Call(this.kernel);
  }

  /** Soft RLIMIT_NOFILE. */
  limit(state: State, count: number): void {
    state.setU64((OFFSET.limits >> 2) + RLIMIT_NOFILE * 4, count);
  }

  /** Lays guest pages on host pages in reverse order, so that no two neighbours touch. */
  scatter(): void {
    for (let i = 0; i < this.pages; i++) this.frames[i] = this.pages - 1 - i;
    this.changed();
  }

  unmap(page: number): void {
    this.frames[page] = -1;
    this.changed();
  }

  protect(page: number): void {
    this.readOnly.add(page);
    this.changed();
  }

  private changed(): void {
    this.kernel.state.i32[H.mappingGeneration]!++;
  }

  /** Makes a call: the handler's result, or -errno when it threw GuestError. Anything else it throws passes through. */
  run(handler: Handler | null | undefined, ...args: (number | bigint)[]): number {
    for (const [i, register] of ARGUMENTS.entries()) this.registers[register] = BigInt.asUintN(64, BigInt(args[i] ?? 0));
    try {
      return handler!(this.call);
    } catch (error) {
      if (error instanceof GuestError) return -error.errno;
      throw error;
    }
  }

  /** Writes bytes (a string as latin1 with its NUL) at guest offset `at`. Returns the guest address. */
  put(at: number, data: Uint8Array | string): number {
    const bytes = typeof data === "string" ? Buffer.from(data + "\0", "latin1") : data;
    this.kernel.mem.write(BASE + at, bytes);
    return BASE + at;
  }

  /** Writes little-endian 64-bit words. */
  words(at: number, ...values: (number | bigint)[]): number {
    const bytes = new BigUint64Array(values.map((v) => BigInt.asUintN(64, BigInt(v))));
    return this.put(at, new Uint8Array(bytes.buffer));
  }

  ints(at: number, ...values: number[]): number {
    return this.put(at, new Uint8Array(new Int32Array(values).buffer));
  }

  bytes(at: number, length: number): Buffer {
    return Buffer.from(this.kernel.mem.bytes(BASE + at, length));
  }

  i32(at: number): number {
    return this.kernel.mem.i32(BASE + at);
  }

  /** Sets this thread's wake word, as a kick does. */
  wake(): void {
    Atomics.store(this.kernel.gate.wakeWords, wakeIndex(this.kernel.slot), 1);
  }

  /** Host descriptors of this process that are open now. */
  close(): void {
    for (const fd of this.kernel.fds.open()) this.kernel.fds.close(fd);
  }
}
