/** Loads a program as execve(2) does: finds the ELF file, maps it and its interpreter, makes the first stack. */
import {
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_STACK,
  PAGE_SIZE,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "../../abi/mman.ts";
import { MargayError } from "../../host/error.ts";
import { type ElfImage, readImage } from "./image.ts";
import { chooseProgramBreak, type Layout, USER_END } from "./layout.ts";
import { hex, shown } from "./numbers.ts";
import { openInterpreter, openProgram } from "./program.ts";
import { mapImage } from "./segments.ts";
import { type AuxInput, buildStack } from "./stack.ts";
import type { LoadFile, LoadHost, LoadTarget } from "./target.ts";

/** What to load. Paths, arguments and environment are byte strings: latin1, one character per byte. */
export interface LoadRequest {
  readonly path: string;
  readonly argv: readonly string[];
  readonly envp: readonly string[];
  readonly layout: Layout;
  readonly auxv: AuxInput;
}

/** A program ready to start: all addresses are guest addresses, in bytes. */
export interface LoadedProgram {
  /** First instruction: the interpreter's entry point, or the program's. */
  readonly entry: number;
  /** First stack pointer, 16-byte aligned: argc is there. */
  readonly stackPointer: number;
  /** Start of the heap, page-aligned. */
  readonly programBreak: number;
  /** As /proc/self/stat shows them (Linux mm->start_code and so on), end exclusive; of the program, not the interpreter. */
  readonly codeStart: number;
  readonly codeEnd: number;
  readonly dataStart: number;
  readonly dataEnd: number;
  /** The first stack pointer again, as /proc/self/stat's startstack. */
  readonly stackStart: number;
  readonly argStart: number;
  readonly argEnd: number;
  readonly envStart: number;
  readonly envEnd: number;
  /** The auxiliary vector with its AT_NULL pair. */
  readonly auxvBytes: Uint8Array;
  /** The ELF file that runs; for a script its interpreter. /proc/self/exe. */
  readonly exePath: string;
  /** The dynamic loader, null for a static program. */
  readonly interpreterPath: string | null;
  /** The stack is executable because the program's PT_GNU_STACK asks for it. */
  readonly execStack: boolean;
}

/**
 * Loads `request.path` into `target`, which should be empty but for the LWK's own pages. Maps the stack, with a guard page below,
 * the program, its interpreter if it has one, and nothing else; the heap is for the caller. Files are closed again in all
 * cases. Throws MargayError when the program cannot be loaded; `target` is then half filled and should be thrown away.
 */
export function loadProgram(target: LoadTarget, host: LoadHost, request: LoadRequest): LoadedProgram {
  const program = openProgram(host, request.path, request.argv);
  try {
    if (program.image.interpreter === null) return start(target, request, program, null);
    const file = openInterpreter(host, program.image.interpreter, program.file.path);
    try {
      const image = readImage(file, file.read(0, PAGE_SIZE));
      if (image.interpreter !== null) {
        throw new MargayError("E_INTERPRETER_LOOP", "an interpreter that asks for an interpreter itself", {
          where: `${shown(file.path)}, interpreter of ${shown(program.file.path)}`,
          hint: "link the program again with the right dynamic loader (patchelf --set-interpreter)",
        });
      }
      return start(target, request, program, { file, image });
    } finally {
      file.close();
    }
  } finally {
    program.file.close();
  }
}

/** Everything that touches the address space, once all headers are known to be good. */
function start(
  target: LoadTarget,
  request: LoadRequest,
  program: { file: LoadFile; image: ElfImage; argv: readonly string[] },
  interpreter: { file: LoadFile; image: ElfImage } | null,
): LoadedProgram {
  const { layout } = request;
  const { image } = program;
  mapStack(target, layout, image.execStack);
  const bias = mapImage(target, program.file, image, layout.pieBase);
  const interpreterBias = interpreter === null ? 0 : mapImage(target, interpreter.file, interpreter.image, null);
  const programEntry = checkedEntry(program.file, bias + image.entry);
  const entry = interpreter === null ? programEntry : checkedEntry(interpreter.file, interpreterBias + interpreter.image.entry);

  const stack = buildStack({
    argv: program.argv,
    envp: request.envp,
    execfn: request.path,
    stackTop: layout.stackTop,
    stackLimit: layout.stackLimit,
    stackPointerOffset: layout.stackPointerOffset,
    aux: request.auxv,
    image: {
      phdr: image.phdrVaddr === null ? 0 : bias + image.phdrVaddr,
      phnum: image.phnum,
      entry: programEntry,
      interpreterBase: interpreterBias,
    },
  });
  target.poke(stack.stackPointer, stack.bytes);

  const last = image.segments[image.segments.length - 1]!;
  return {
    entry,
    stackPointer: stack.stackPointer,
    programBreak: chooseProgramBreak(bias + last.vaddr + last.memsz, layout),
    ...codeAndData(image, bias),
    stackStart: stack.stackPointer,
    argStart: stack.argStart,
    argEnd: stack.argEnd,
    envStart: stack.envStart,
    envEnd: stack.envEnd,
    auxvBytes: stack.auxvBytes,
    exePath: program.file.path,
    interpreterPath: interpreter === null ? null : interpreter.file.path,
    execStack: image.execStack,
  };
}

/** The whole stack at once: it does not grow by faults. The guard page below it stays without rights for ever. */
function mapStack(target: LoadTarget, layout: Layout, executable: boolean): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  const size = layout.stackTop - layout.stackLimit;
  const prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
  const stack = target.mmap(layout.stackLimit, size, prot, flags | MAP_STACK, -1, 0, "[stack]");
  const guard = target.mmap(layout.stackLimit - PAGE_SIZE, PAGE_SIZE, PROT_NONE, flags | MAP_NORESERVE, -1, 0, null);
  if (stack < 0 || guard < 0) throw new MargayError("E_NO_MEMORY", `no room for a stack of ${hex(size)} bytes`);
}

/** An entry point outside every segment is the program's own fault and ends in SIGSEGV, as on Linux; outside the address space it is a bad file. */
function checkedEntry(file: LoadFile, entry: number): number {
  if (entry < 0 || entry >= USER_END)
    throw new MargayError("E_BAD_ELF", `entry point ${hex(entry)} is outside the address space`, { where: shown(file.path) });
  return entry;
}

/**
 * The bounds as load_elf_binary computes them: code from the executable segments (lowest start, highest end of file bytes);
 * data starts at the highest segment start and ends at the highest end of file bytes.
 */
function codeAndData(image: ElfImage, bias: number): Pick<LoadedProgram, "codeStart" | "codeEnd" | "dataStart" | "dataEnd"> {
  const code = image.segments.filter((s) => (s.prot & PROT_EXEC) !== 0);
  const least = (values: readonly number[]): number => (values.length === 0 ? 0 : Math.min(...values) + bias);
  const greatest = (values: readonly number[]): number => (values.length === 0 ? 0 : Math.max(...values) + bias);
  return {
    codeStart: least(code.map((s) => s.vaddr)),
    codeEnd: greatest(code.map((s) => s.vaddr + s.filesz)),
    dataStart: greatest(image.segments.map((s) => s.vaddr)),
    dataEnd: greatest(image.segments.map((s) => s.vaddr + s.filesz)),
  };
}
