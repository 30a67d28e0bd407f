/**
 * A call as one readable line, in strace's manner. What the program hands over is read before the call, what the call leaves behind after it, so a line
 * is made in two parts. Nothing here throws: what cannot be read is printed as the pointer it is.
 */
import { callName } from "../../abi/nr.ts";
import type { Call } from "../call.ts";
import { GuestError } from "../guest-error.ts";
import { type Argument, HEX, pointer } from "./arguments.ts";
import { ADDRESS_RESULTS, CALLS } from "./calls.ts";
import { errorResult } from "./errors.ts";
import { pollResultText } from "./text.ts";

const UNKNOWN: readonly Argument[] = [HEX, HEX, HEX, HEX, HEX, HEX];
/** Largest error number that a result can be (MAX_ERRNO). */
const ERRNO_MAX = 4095;

function argumentsOf(name: string): readonly Argument[] {
  return Object.hasOwn(CALLS, name) ? CALLS[name]! : UNKNOWN;
}

function print(c: Call, argument: Argument, i: number, result: number): string {
  try {
    return argument.print(c, i, result);
  } catch (error) {
    if (error instanceof GuestError || error instanceof RangeError) return pointer(c, i);
    throw error;
  }
}

/** Arguments [from, to) joined; those that this call does not have are left out. */
function join(c: Call, list: readonly Argument[], from: number, to: number, result: number): string {
  const parts: string[] = [];
  for (let i = from; i < to; i++) {
    const part = print(c, list[i]!, i, result);
    if (part !== "") parts.push(part);
  }
  return parts.join(", ");
}

/** How many arguments can be printed before the call is made. */
function known(list: readonly Argument[]): number {
  const first = list.findIndex((argument) => argument.after);
  return first < 0 ? list.length : first;
}

/** The call as far as it is known before it is made: whole with its parenthesis when nothing comes after. */
export function formatEntry(c: Call): string {
  const name = callName(c.nr);
  const list = argumentsOf(name);
  const count = known(list);
  return `${name}(${join(c, list, 0, count, 0)}${count === list.length ? ")" : ""}`;
}

/** The whole line: what `formatEntry` gave, completed with what the call brought back. */
export function formatResult(c: Call, entry: string, result: number): string {
  const name = callName(c.nr);
  const list = argumentsOf(name);
  const count = known(list);
  let line = entry;
  if (count < list.length) line += `${count > 0 ? ", " : ""}${join(c, list, count, list.length, result)})`;
  return `${line} = ${resultText(c, name, result)}`;
}

function resultText(c: Call, name: string, result: number): string {
  if (result < 0 && result >= -ERRNO_MAX) return errorResult(-result);
  if (ADDRESS_RESULTS.has(name)) return `0x${result.toString(16)}`;
  if ((name === "poll" || name === "ppoll") && result > 0) {
    try {
      return `${result}${pollResultText(c.kernel.mem, c.num(0), c.num(1))}`;
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
    }
  }
  return result === 0 && (name === "poll" || name === "ppoll" || name === "select" || name === "pselect6") ? "0 (Timeout)" : `${result}`;
}
