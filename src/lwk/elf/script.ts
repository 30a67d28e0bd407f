/**
 * The `#!` line, read as Linux reads it since 5.1 (fs/binfmt_script.c): only the first 256 bytes of the file count, the
 * interpreter's name ends at a blank, everything behind it is one argument.
 */
import { BINPRM_BUF_SIZE } from "../../abi/elf.ts";

/** What a `#!` line says. `argument` is null when there is none; Linux knows an empty one (`#!/bin/sh ` without a newline). */
export interface ScriptLine {
  readonly interpreter: string;
  readonly argument: string | null;
}

const NUL = 0;
const TAB = 9;
const NEWLINE = 10;
const SPACE = 32;

/** Whether the file starts like a script. */
export function isScript(head: Uint8Array): boolean {
  return head[0] === 0x23 && head[1] === 0x21;
}

/**
 * Reads the `#!` line from the first bytes of a file (more than 256 are ignored). Returns null where Linux answers ENOEXEC:
 * no `#!`, no name, or a name that the 256 bytes may have cut.
 */
export function parseScriptLine(head: Uint8Array): ScriptLine | null {
  if (!isScript(head)) return null;
  // The kernel's buffer: zero-filled behind a shorter file, its last byte never part of the line.
  const buffer = new Uint8Array(BINPRM_BUF_SIZE);
  buffer.set(head.subarray(0, BINPRM_BUF_SIZE));
  const last = BINPRM_BUF_SIZE - 1;

  let end = buffer.indexOf(NEWLINE);
  if (end < 0) {
    const first = skip(buffer, 2, last, isBlank);
    if (first > last) return null;
    // Nothing ends the name inside the buffer: it may go on behind it, and half a name must not be run.
    if (skip(buffer, first, last, (byte) => !isBlank(byte) && byte !== NUL) > last) return null;
    end = last;
  }
  while (isBlank(buffer[end - 1] as number)) end--;

  const nameStart = skip(buffer, 2, end, isBlank);
  if (nameStart >= end) return null;
  const nameEnd = skip(buffer, nameStart, end - 1, (byte) => !isBlank(byte) && byte !== NUL);
  const interpreter = text(buffer, nameStart, nameEnd);
  if (interpreter === "") return null;
  if (nameEnd === end || buffer[nameEnd] === NUL) return { interpreter, argument: null };
  const argumentStart = skip(buffer, nameEnd, end - 1, isBlank);
  return { interpreter, argument: text(buffer, argumentStart, end) };
}

/** First index in [from, last] whose byte does not match, last + 1 when all do. */
function skip(buffer: Uint8Array, from: number, last: number, matches: (byte: number) => boolean): number {
  let i = from;
  while (i <= last && matches(buffer[i] as number)) i++;
  return i;
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

/** The bytes up to `end` or the first NUL, as a byte string. */
function text(buffer: Uint8Array, start: number, end: number): string {
  const bytes = buffer.subarray(start, end);
  const nul = bytes.indexOf(NUL);
  return Buffer.from(nul < 0 ? bytes : bytes.subarray(0, nul)).toString("latin1");
}
