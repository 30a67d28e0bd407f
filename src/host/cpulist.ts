/** CPU lists as taskset(1) writes them: `0-3,8,10-12:2` is 0 1 2 3 8 10 12. The kernel's own lists are the same without the stride. */
import { MargayError } from "./error.ts";

/** Far above Linux's largest NR_CPUS (8192), and low enough that a typing error cannot fill the memory. */
const MAX_CPU = 65535;

/**
 * The CPUs of a list, in the order written, each once.
 * Throws E_CPU_SYNTAX naming the part and its place (characters counted from 1); whether the CPUs exist is not asked here.
 */
export function parseCpuList(text: string): number[] {
  if (text.trim() === "") throw new MargayError("E_CPU_SYNTAX", "the CPU list is empty");
  const seen = new Set<number>();
  let at = 0;
  for (const part of text.split(",")) {
    for (const cpu of parsePart(part, text, at)) seen.add(cpu);
    at += part.length + 1;
  }
  return [...seen];
}

function parsePart(part: string, text: string, at: number): number[] {
  const fail = (why: string): never => {
    throw new MargayError("E_CPU_SYNTAX", why, { where: `'${text}' at character ${at + 1}` });
  };
  const m = /^\s*(\d+)(?:-(\d+)(?::(\d+))?)?\s*$/.exec(part);
  if (m === null)
    return fail(
      part.trim() === "" ? "a CPU is missing between two commas or at an end" : `'${part.trim()}' is neither a CPU number nor a range`,
    );
  const first = Number(m[1]);
  const last = m[2] === undefined ? first : Number(m[2]);
  const step = m[3] === undefined ? 1 : Number(m[3]);
  if (Math.max(first, last) > MAX_CPU) return fail(`'${part.trim()}' goes beyond CPU ${MAX_CPU}, the highest there can be`);
  if (last < first) return fail(`the range '${part.trim()}' runs backwards`);
  if (step === 0) return fail(`the range '${part.trim()}' has a stride of 0`);
  const cpus: number[] = [];
  for (let cpu = first; cpu <= last; cpu += step) cpus.push(cpu);
  return cpus;
}

/** CPUs as the kernel writes them: ascending, each once, neighbours joined: [8, 0, 1, 2] is `0-2,8`, none is the empty string. */
export function formatCpuList(cpus: Iterable<number>): string {
  const sorted = [...new Set(cpus)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let j = i;
    while (sorted[j + 1] === (sorted[j] as number) + 1) j++;
    parts.push(i === j ? `${sorted[i]}` : `${sorted[i]}-${sorted[j]}`);
    i = j + 1;
  }
  return parts.join(",");
}
