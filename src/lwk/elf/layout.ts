/**
 * Where a program's pieces go: the choice of addresses, and the only place of the loader where chance comes in.
 *
 * The shape is Linux's (arch/x86/mm/mmap.c, arch/x86/include/asm/elf.h): programs near 2/3 of the address space, the stack at
 * the top, mappings growing down below it. Every base is a multiple of 2 MiB, so that anything large enough
 * can be one 2M page; that costs nine bits of randomness against Linux, for each of them.
 */
import { BLOCK_SIZE, PAGE_SIZE } from "../../abi/mman.ts";
import { alignDown, alignUp } from "./numbers.ts";

/** End of what a program may map. The rest of the lower half (PML4 entry 255) is the LWK's. */
export const USER_END = 0x7f80_0000_0000;
/** Below this nothing may be mapped at a fixed address: Linux's default vm.mmap_min_addr. */
export const MMAP_MIN_ADDR = 0x1_0000;
/** End of the lower canonical half, where the LWK's own region ends. */
const LOWER_HALF_END = 0x8000_0000_0000;
/** Linux's ELF_ET_DYN_BASE, two thirds of the address space, rounded to a block. */
const PIE_BASE = alignDown((LOWER_HALF_END / 3) * 2, BLOCK_SIZE);
/** Linux's default RLIMIT_STACK. */
export const DEFAULT_STACK_SIZE = 8 * 1024 * 1024;
/** Least distance between the lowest stack byte and the mappings: Linux's stack_guard_gap is 1 MiB. */
const STACK_GAP = BLOCK_SIZE;
/** Offset of the vDSO image in the LWK's region (docs/design.md, boot pages). */
const VDSO_OFFSET = 0x3000;

/**
 * Bits of chance for each base, in units of 2 MiB. PIE: Linux's 1 TiB range, and no more, because ThreadSanitizer
 * expects programs in 0x5500_0000_0000-0x5680_0000_0000. Mappings: 512 GiB, so that they stay above its 0x7e80_0000_0000.
 * Stack: 16 GiB and heap: 1 GiB, as Linux. The LWK's region: all of its PML4 entry.
 */
const PIE_BITS = 19;
const MMAP_BITS = 18;
const STACK_BITS = 13;
const BRK_BITS = 9;
const LWK_BITS = 18;
/** The first stack pointer moves by up to 8 KiB in steps of 16 (arch_align_stack). */
const STACK_POINTER_BITS = 9;

/** All addresses are bytes; everything called a base is a multiple of 2 MiB. */
export interface Layout {
  /** Where the lowest page of a position-independent program goes. */
  readonly pieBase: number;
  /** End of the stack (exclusive). */
  readonly stackTop: number;
  /** Lowest byte of the stack; the page below it is a guard. */
  readonly stackLimit: number;
  /** How far below its usual place the first stack pointer starts. */
  readonly stackPointerOffset: number;
  /** Mappings without an address are placed downwards from here. */
  readonly mmapBase: number;
  /** Distance of the heap from the end of bss; when it is not 0 the heap starts at the next 2 MiB boundary. */
  readonly brkRandomOffset: number;
  /** Start of the LWK's boot pages. */
  readonly lwkBase: number;
  /** Where the vDSO image stands inside them (AT_SYSINFO_EHDR). */
  readonly vdso: number;
}

/**
 * Chooses a layout. `random(bits)` returns an integer in [0, 2^bits) from a source the program cannot guess; null switches
 * randomness off (`--no-aslr`) and gives the same layout every time. `stackSize` is in bytes and is rounded up to pages;
 * stacks of more than 1/6 of the address space are cut to that, as Linux caps the gap it keeps for an unlimited stack.
 */
export function chooseLayout(random: ((bits: number) => number) | null, stackSize: number = DEFAULT_STACK_SIZE): Layout {
  const blocks = (bits: number): number => (random === null ? 0 : random(bits) * BLOCK_SIZE);
  const size = Math.min(Math.max(alignUp(stackSize, PAGE_SIZE), PAGE_SIZE), alignDown(USER_END / 6, BLOCK_SIZE));
  // One block stays free above the stack: running over its end faults instead of meeting the LWK's region.
  const stackTop = USER_END - BLOCK_SIZE - blocks(STACK_BITS);
  const stackLimit = stackTop - size;
  const lwkBase = USER_END + blocks(LWK_BITS);
  return {
    pieBase: PIE_BASE + blocks(PIE_BITS),
    stackTop,
    stackLimit,
    stackPointerOffset: random === null ? 0 : random(STACK_POINTER_BITS) * 16,
    mmapBase: alignDown(stackLimit - STACK_GAP, BLOCK_SIZE) - blocks(MMAP_BITS),
    brkRandomOffset: blocks(BRK_BITS),
    lwkBase,
    vdso: lwkBase + VDSO_OFFSET,
  };
}

/** Where the heap starts, given the end of the program's highest segment. Page-aligned; Linux: mm->start_brk. */
export function chooseProgramBreak(bssEnd: number, layout: Layout): number {
  const end = alignUp(bssEnd, PAGE_SIZE);
  return layout.brkRandomOffset === 0 ? end : alignUp(end + layout.brkRandomOffset, BLOCK_SIZE);
}
