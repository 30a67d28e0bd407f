/** GDT, IDT, trap stubs and TSS, as bytes. */
import {
  DESC_ACCESSED,
  DESC_CODE,
  DESC_DB,
  DESC_DPL3,
  DESC_G,
  DESC_LONG,
  DESC_PRESENT,
  DESC_RW,
  DESC_S,
  EXCEPTION_VECTORS,
  hasErrorCode,
  IO_BITMAP_SIZE,
  TSS_IO_MAP_BASE,
  TSS_RSP0,
  TSS_SIZE,
  TYPE_INTERRUPT_GATE64,
  TYPE_TSS64_BUSY,
  VECTOR_BP,
  VECTOR_OF,
} from "../../abi/x86.ts";
import { Assembler, type Program } from "./assembler.ts";
import {
  type Flavour,
  KERNEL_CS,
  KERNEL_CS32,
  KERNEL_DS,
  STACK_TOP,
  SYSCALL_PORT,
  TRAP_STUB_PAGE,
  TSS_PAGE,
  TSS_SELECTOR,
  USER_CS,
  USER_CS32,
  USER_DS,
  VECTOR_PORT_BASE,
} from "./layout.ts";

/** Bytes of the GDT: ten slots, the TSS descriptor takes the last two. GDTR limit is this - 1. */
export const GDT_SIZE = 0x50;
/** 256 gates of 16 bytes. IDTR limit is this - 1. */
export const IDT_SIZE = 0x1000;
/** TSS, I/O bitmap and the byte of ones after it. TR limit is this - 1. */
export const TSS_BYTES = TSS_SIZE + IO_BITMAP_SIZE + 1;
/** Distance between two trap stubs. */
export const TRAP_STUB_SPACING = 16;

/** Code or data descriptor over the whole address space (base 0, limit 4 GiB - 1), already marked accessed so that nobody writes it. SDM figure 3-8. */
function flatDescriptor(access: number, flags: number): bigint {
  const byte5 = BigInt(DESC_PRESENT | DESC_S | DESC_ACCESSED | access);
  return 0xffffn | (byte5 << 40n) | (BigInt((flags << 4) | 0xf) << 48n);
}

/** The GDT. `lwkBase` places the TSS. The order is Linux's (arch/x86/include/asm/segment.h), so that the user selectors are Linux's. */
export function gdt(lwkBase: number): Uint8Array {
  const bytes = new Uint8Array(GDT_SIZE);
  const view = new DataView(bytes.buffer);
  const code = DESC_CODE | DESC_RW;
  const set = (selector: number, value: bigint): void => view.setBigUint64(selector & ~7, value, true);
  set(KERNEL_CS32, flatDescriptor(code, DESC_G | DESC_DB));
  set(KERNEL_CS, flatDescriptor(code, DESC_G | DESC_LONG));
  set(KERNEL_DS, flatDescriptor(DESC_RW, DESC_G | DESC_DB));
  set(USER_CS32, flatDescriptor(code | DESC_DPL3, DESC_G | DESC_DB));
  set(USER_DS, flatDescriptor(DESC_RW | DESC_DPL3, DESC_G | DESC_DB));
  set(USER_CS, flatDescriptor(code | DESC_DPL3, DESC_G | DESC_LONG));
  // 64-bit TSS descriptor, two slots: SDM 8.2.3, figure 8-4. Busy, because TR is loaded with it from the start.
  const base = BigInt(lwkBase + TSS_PAGE);
  const limit = BigInt(TSS_BYTES - 1);
  const low =
    (limit & 0xffffn) |
    ((base & 0xff_ffffn) << 16n) |
    (BigInt(DESC_PRESENT | TYPE_TSS64_BUSY) << 40n) |
    (((limit >> 16n) & 0xfn) << 48n) |
    (((base >> 24n) & 0xffn) << 56n);
  set(TSS_SELECTOR, low);
  set(TSS_SELECTOR + 8, base >> 32n);
  return bytes;
}

/**
 * The IDT: interrupt gates to the trap stubs for vectors 0..31, reachable by `int n` from ring 3 only for 3 (int3) and 4 (into).
 * Gates 32..255 are zero: `int n` there, 0x80 too, gives #GP with error code n*8+2.
 */
export function idt(lwkBase: number): Uint8Array {
  const bytes = new Uint8Array(IDT_SIZE);
  const view = new DataView(bytes.buffer);
  for (let vector = 0; vector < EXCEPTION_VECTORS; vector++) {
    const handler = BigInt(lwkBase + TRAP_STUB_PAGE + vector * TRAP_STUB_SPACING);
    const dpl = vector === VECTOR_BP || vector === VECTOR_OF ? DESC_DPL3 : 0;
    const gate = vector * 16;
    // SDM 6.14.1, figure 6-8; IST stays 0: the ring-0 stack is empty whenever ring 3 runs.
    view.setUint16(gate, Number(handler & 0xffffn), true);
    view.setUint16(gate + 2, KERNEL_CS, true);
    view.setUint8(gate + 5, DESC_PRESENT | dpl | TYPE_INTERRUPT_GATE64);
    view.setUint16(gate + 6, Number((handler >> 16n) & 0xffffn), true);
    view.setUint32(gate + 8, Number(handler >> 32n), true);
  }
  return bytes;
}

/** The trap stubs' bytes, one each 16 bytes from vector 0 to 31. */
export function trapStubs(): Uint8Array {
  return trapStubProgram().code;
}

/** The same with labels `vector.N` and listing. */
export function trapStubProgram(): Program {
  const a = new Assembler();
  for (let vector = 0; vector < EXCEPTION_VECTORS; vector++) {
    const port = VECTOR_PORT_BASE + vector;
    a.align(TRAP_STUB_SPACING);
    a.label(`vector.${vector}`);
    a.ins(`out %al,$0x${port.toString(16)}`, 0xe6, port);
    if (hasErrorCode(vector)) a.ins("add $0x8,%rsp", 0x48, 0x83, 0xc4, 8);
    a.ins("iretq", 0x48, 0xcf);
  }
  a.align(TRAP_STUB_SPACING);
  return a.finish();
}

/** TSS with I/O bitmap: ring 3 may use SYSCALL_PORT on PVM, where the stub runs in ring 3, and nothing on textbook. */
export function tss(lwkBase: number, flavour: Flavour): Uint8Array {
  const bytes = new Uint8Array(TSS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(TSS_RSP0, BigInt(lwkBase + STACK_TOP), true);
  view.setUint16(TSS_IO_MAP_BASE, TSS_SIZE, true);
  bytes.fill(0xff, TSS_SIZE);
  if (flavour === "pvm") bytes[TSS_SIZE + (SYSCALL_PORT >> 3)] &= ~(1 << (SYSCALL_PORT & 7));
  return bytes;
}
