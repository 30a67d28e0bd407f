import { callName } from "../../abi/nr.ts";
import type { Call } from "../call.ts";

/** The call with its arguments, as known before it is made. */
export function formatEntry(c: Call): string {
  return `${callName(c.nr)}(${[0, 1, 2, 3, 4, 5].map((i) => `0x${c.big(i).toString(16)}`).join(", ")})`;
}

/** The whole line: what `formatEntry` gave, completed with what the call brought back. */
export function formatResult(_c: Call, entry: string, result: number): string {
  return `${entry} = ${result}`;
}
