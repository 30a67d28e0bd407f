/** Results that are errors, as strace shows them. */
import { getSystemErrorMap } from "node:util";
import { ERESTARTNOHAND, ERESTARTSYS, errnoName, errnoText } from "../../abi/errno.ts";

/** Name and words of an error number; the ABI's own table first, then the one that Node has. */
function errorWords(errno: number): [name: string, text: string] {
  const name = errnoName(errno);
  if (!name.includes(" ")) return [name, errnoText(errno)];
  return getSystemErrorMap().get(-errno) ?? [`E${errno}`, `error ${errno}`];
}

/** `-1 ENOENT (No such file or directory)`; calls that will be made again after a signal show Linux's internal names. */
export function errorResult(errno: number): string {
  if (errno === ERESTARTSYS) return "? ERESTARTSYS (To be restarted if SA_RESTART is set)";
  if (errno === ERESTARTNOHAND) return "? ERESTARTNOHAND (To be restarted if no handler)";
  const [name, text] = errorWords(errno);
  return `-1 ${name} (${text.charAt(0).toUpperCase()}${text.slice(1)})`;
}
