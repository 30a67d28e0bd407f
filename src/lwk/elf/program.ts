/** From the path that the user gave to the ELF file that will run: follows `#!` lines as execve(2) does. */
import { BINPRM_BUF_SIZE } from "../../abi/elf.ts";
import { PAGE_SIZE } from "../../abi/mman.ts";
import { MargayError } from "../../host/error.ts";
import { type ElfImage, isElf, readImage } from "./image.ts";
import { shown } from "./numbers.ts";
import { isScript, parseScriptLine } from "./script.ts";
import type { LoadFile, LoadHost } from "./target.ts";

/** An opened, checked ELF file and the arguments it gets. The caller closes `file`. */
export interface Program {
  readonly file: LoadFile;
  readonly image: ElfImage;
  /** For a script: interpreter, its argument if any, the script's path, and the caller's arguments without the first. */
  readonly argv: readonly string[];
}

/** Scripts that may lead to one another before the ELF file must come (fs/exec.c, exec_binprm: then ELOOP). */
const SCRIPT_LEVELS = 5;

/**
 * Opens `path` and, as long as it is a script, its interpreter. An empty `argv` becomes one empty string, as Linux does since 5.18.
 * Throws MargayError: what `LoadHost.open` throws, E_NO_INTERPRETER, E_INTERPRETER_LOOP, and what `readImage` throws.
 */
export function openProgram(host: LoadHost, path: string, argv: readonly string[]): Program {
  let args: readonly string[] = argv.length === 0 ? [""] : argv;
  let current = path;
  let script: string | null = null;
  for (let level = 0; level <= SCRIPT_LEVELS; level++) {
    const file = script === null ? host.open(current) : openInterpreter(host, current, script);
    let keep = false;
    try {
      const head = file.read(0, PAGE_SIZE);
      if (!isScript(head)) {
        if (!isElf(head)) throw new MargayError("E_NOT_ELF", notElf(head), { where: shown(current) });
        const image = readImage(file, head);
        keep = true;
        return { file, image, argv: args };
      }
      const line = parseScriptLine(head);
      if (line === null)
        throw new MargayError("E_NOT_ELF", badLine(head), { where: shown(current), hint: "write the interpreter's path behind the #!" });
      args = [line.interpreter, ...(line.argument === null ? [] : [line.argument]), current, ...args.slice(1)];
      script = current;
      current = line.interpreter;
    } finally {
      if (!keep) file.close();
    }
  }
  throw new MargayError("E_INTERPRETER_LOOP", `more than ${SCRIPT_LEVELS} scripts interpret one another`, { where: shown(path) });
}

/**
 * Opens the interpreter of `of` (a script or a dynamically linked program). A missing one is E_NO_INTERPRETER: the file that
 * the user named is there, so "not found" alone would mislead.
 */
export function openInterpreter(host: LoadHost, path: string, of: string): LoadFile {
  try {
    return host.open(path);
  } catch (error) {
    if (!(error instanceof MargayError)) throw error;
    const where = `${shown(path)}, interpreter of ${shown(of)}`;
    if (error.code !== "E_NOT_FOUND") throw new MargayError(error.code, error.what, { where, hint: error.hint, cause: error });
    const hint = path.endsWith("\r") ? "its #! line ends with a carriage return: give the script Unix line ends" : undefined;
    throw new MargayError("E_NO_INTERPRETER", "no such interpreter", { where, hint, cause: error });
  }
}

function notElf(head: Uint8Array): string {
  return head.length === 0 ? "an empty file" : "neither an ELF program nor a script with a #! line";
}

function badLine(head: Uint8Array): string {
  const cut = head.length >= BINPRM_BUF_SIZE && !head.subarray(0, BINPRM_BUF_SIZE).includes(10);
  return cut ? `the #! line names no interpreter in its first ${BINPRM_BUF_SIZE} bytes` : "the #! line names no interpreter";
}
