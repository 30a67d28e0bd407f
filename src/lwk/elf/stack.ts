/**
 * The first stack of a program: strings, random bytes, auxiliary vector, envp, argv, argc.
 * Order and alignment are Linux's (fs/exec.c, fs/binfmt_elf.c create_elf_tables; System V x86-64 psABI, "Process Initialization").
 */
import {
  AT_BASE,
  AT_CLKTCK,
  AT_EGID,
  AT_ENTRY,
  AT_EUID,
  AT_EXECFN,
  AT_FLAGS,
  AT_GID,
  AT_HWCAP,
  AT_HWCAP2,
  AT_MINSIGSTKSZ,
  AT_NULL,
  AT_PAGESZ,
  AT_PHDR,
  AT_PHENT,
  AT_PHNUM,
  AT_PLATFORM,
  AT_RANDOM,
  AT_SECURE,
  AT_SYSINFO_EHDR,
  AT_UID,
  CLOCKS_PER_SEC,
  ELF_PLATFORM,
} from "../../abi/auxv.ts";
import { MAX_ARG_STRLEN, PHDR_SIZE } from "../../abi/elf.ts";
import { PAGE_SIZE } from "../../abi/mman.ts";
import { MargayError } from "../../host/error.ts";
import { alignDown, shown, viewOf, writeU64 } from "./numbers.ts";

/** The values of the auxiliary vector that the loader cannot know. */
export interface AuxInput {
  /** CPUID.1:EDX as the program will see it. */
  readonly hwcap: number;
  /** HWCAP2_* bits: 2 = FSGSBASE instructions are enabled. */
  readonly hwcap2: number;
  /** Bytes of the largest signal frame: what CPUID leaf 0xd asks for the extended state, plus the frame. */
  readonly minSigStackSize: number;
  readonly uid: number;
  readonly euid: number;
  readonly gid: number;
  readonly egid: number;
  /** 16 bytes from a real random source; programs make stack canaries and pointer guards of them. */
  readonly random: Uint8Array;
  /** Address of the vDSO's ELF header, or null to leave AT_SYSINFO_EHDR out. */
  readonly vdso: number | null;
}

/** What the loaded images add. Addresses with bias. */
export interface AuxImage {
  readonly phdr: number;
  readonly phnum: number;
  readonly entry: number;
  /** Load bias of the interpreter, 0 without one. */
  readonly interpreterBase: number;
}

export interface StackInput {
  /** Byte strings: latin1, one character per byte, no NUL. */
  readonly argv: readonly string[];
  readonly envp: readonly string[];
  /** The path that was asked for, before any `#!`. */
  readonly execfn: string;
  readonly stackTop: number;
  readonly stackLimit: number;
  /** See Layout.stackPointerOffset. */
  readonly stackPointerOffset: number;
  readonly aux: AuxInput;
  readonly image: AuxImage;
}

/** `bytes` belong at `stackPointer` and reach to the end of the stack. */
export interface InitialStack {
  readonly stackPointer: number;
  readonly bytes: Uint8Array;
  /** The argument strings, NULs included: [argStart, argEnd) is /proc/self/cmdline. */
  readonly argStart: number;
  readonly argEnd: number;
  /** The environment strings: [envStart, envEnd) is /proc/self/environ. */
  readonly envStart: number;
  readonly envEnd: number;
  /** The vector with its AT_NULL pair, as /proc/self/auxv shows it. */
  readonly auxvBytes: Uint8Array;
}

/** Linux's least and greatest room for strings, whatever the stack's size (fs/exec.c, bprm_stack_limits). */
const STRINGS_MIN = 128 * 1024;
const STRINGS_MAX = 6 * 1024 * 1024;

/**
 * Builds the first stack. Throws MargayError E_ARGS_TOO_LONG where Linux answers E2BIG: one string above 128 KiB, or strings and
 * pointers together above a quarter of the stack (at least 128 KiB, at most 6 MiB); also when a tiny stack cannot hold it all.
 */
export function buildStack(input: StackInput): InitialStack {
  checkLimits(input);
  const { argv, envp, execfn, aux } = input;

  // Strings, from the top: 8 zero bytes, execfn, environment, arguments; arguments lowest.
  const execfnAt = input.stackTop - 8 - (execfn.length + 1);
  const envStart = execfnAt - totalLength(envp);
  const argStart = envStart - totalLength(argv);

  const platformAt = alignDown(argStart - input.stackPointerOffset, 16) - (ELF_PLATFORM.length + 1);
  const randomAt = platformAt - aux.random.length;

  const auxvBytes = encodeAuxv(auxv(input, { execfnAt, platformAt, randomAt }));
  const pointers = 1 + (argv.length + 1) + (envp.length + 1);
  const stackPointer = alignDown(alignDown(randomAt, 16) - auxvBytes.length - pointers * 8, 16);
  if (stackPointer < input.stackLimit + PAGE_SIZE)
    throw tooLong(`arguments and environment do not fit on a stack of ${input.stackTop - input.stackLimit} bytes`);

  const bytes = new Uint8Array(input.stackTop - stackPointer);
  const view = viewOf(bytes);
  let at = 0;
  const word = (value: number): void => {
    writeU64(view, at, value);
    at += 8;
  };
  const strings = (list: readonly string[], start: number): void => {
    let address = start;
    for (const s of list) {
      putString(bytes, address - stackPointer, s);
      word(address);
      address += s.length + 1;
    }
    word(0);
  };
  word(argv.length);
  strings(argv, argStart);
  strings(envp, envStart);
  bytes.set(auxvBytes, at);
  bytes.set(aux.random, randomAt - stackPointer);
  putString(bytes, platformAt - stackPointer, ELF_PLATFORM);
  putString(bytes, execfnAt - stackPointer, execfn);
  return { stackPointer, bytes, argStart, argEnd: envStart, envStart, envEnd: execfnAt, auxvBytes };
}

/** The pairs in Linux's order; rseq is not offered, so its two types are not there. */
function auxv(input: StackInput, at: { execfnAt: number; platformAt: number; randomAt: number }): readonly (readonly [number, number])[] {
  const { aux, image } = input;
  const pairs: (readonly [number, number])[] = aux.vdso === null ? [] : [[AT_SYSINFO_EHDR, aux.vdso]];
  pairs.push(
    [AT_MINSIGSTKSZ, aux.minSigStackSize],
    [AT_HWCAP, aux.hwcap >>> 0],
    [AT_PAGESZ, PAGE_SIZE],
    [AT_CLKTCK, CLOCKS_PER_SEC],
    [AT_PHDR, image.phdr],
    [AT_PHENT, PHDR_SIZE],
    [AT_PHNUM, image.phnum],
    [AT_BASE, image.interpreterBase],
    [AT_FLAGS, 0],
    [AT_ENTRY, image.entry],
    [AT_UID, aux.uid],
    [AT_EUID, aux.euid],
    [AT_GID, aux.gid],
    [AT_EGID, aux.egid],
    // margay never gives a program rights that its caller lacks: set-user-id bits are not honoured.
    [AT_SECURE, 0],
    [AT_RANDOM, at.randomAt],
    [AT_HWCAP2, aux.hwcap2 >>> 0],
    [AT_EXECFN, at.execfnAt],
    [AT_PLATFORM, at.platformAt],
    [AT_NULL, 0],
  );
  return pairs;
}

function encodeAuxv(pairs: readonly (readonly [number, number])[]): Uint8Array {
  const bytes = new Uint8Array(pairs.length * 16);
  const view = viewOf(bytes);
  pairs.forEach(([type, value], i) => {
    writeU64(view, i * 16, type);
    writeU64(view, i * 16 + 8, value);
  });
  return bytes;
}

function checkLimits(input: StackInput): void {
  if (input.aux.random.length !== 16) throw new RangeError(`AT_RANDOM needs 16 bytes, not ${input.aux.random.length}`);
  const all = [...input.argv, ...input.envp, input.execfn];
  for (const s of all) {
    if (s.length + 1 > MAX_ARG_STRLEN)
      throw tooLong(`one argument or environment string has ${s.length} bytes; ${MAX_ARG_STRLEN - 1} are possible`, shown(s.slice(0, 40)));
  }
  const quarter = Math.floor((input.stackTop - input.stackLimit) / 4);
  const limit = Math.max(Math.min(quarter, STRINGS_MAX), STRINGS_MIN);
  const needed = totalLength(all) + (input.argv.length + input.envp.length) * 8;
  if (needed > limit) throw tooLong(`arguments and environment need ${needed} bytes; this stack allows ${limit}`);
}

function totalLength(strings: readonly string[]): number {
  let sum = 0;
  for (const s of strings) sum += s.length + 1;
  return sum;
}

/** The NUL behind the string is there already: the array starts zeroed. */
function putString(bytes: Uint8Array, at: number, s: string): void {
  for (let i = 0; i < s.length; i++) {
    const byte = s.charCodeAt(i);
    if (byte === 0 || byte > 0xff) throw new RangeError(`not a byte string: character ${byte} in ${JSON.stringify(s.slice(0, 40))}`);
    bytes[at + i] = byte;
  }
}

function tooLong(what: string, where?: string): MargayError {
  return new MargayError("E_ARGS_TOO_LONG", what, { where });
}
