/** Resident memory of a process by mapping, from /proc/PID/smaps (proc_pid_smaps(5)). */

export interface Mapping {
  readonly start: number;
  readonly end: number;
  /** What the last column says: a path, [heap], or nothing. */
  readonly name: string;
  readonly rssKib: number;
  /** Rss with shared pages divided by the number of their users. */
  readonly pssKib: number;
}

/** Parses the text of smaps. Addresses are exact: user space ends at 2^47. */
export function parseSmaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  let current: { start: number; end: number; name: string; rssKib: number; pssKib: number } | undefined;
  for (const line of text.split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (head) {
      current = {
        start: Number.parseInt(head[1] as string, 16),
        end: Number.parseInt(head[2] as string, 16),
        name: head[3] as string,
        rssKib: 0,
        pssKib: 0,
      };
      mappings.push(current);
      continue;
    }
    const field = /^(Rss|Pss|Private_Hugetlb|Shared_Hugetlb):\s+(\d+) kB$/.exec(line);
    if (!field || !current) continue;
    const kib = Number(field[2]);
    // hugetlb pages are not part of Rss and Pss.
    if (field[1] !== "Pss") current.rssKib += kib;
    if (field[1] !== "Rss") current.pssKib += kib;
  }
  return mappings;
}

/** A range of addresses: `start` and `length` in bytes. */
export interface Range {
  readonly start: number;
  readonly length: number;
}

/** Resident KiB outside and inside the ranges. A mapping that overlaps a range counts as inside: neighbours of one kind are one line in smaps. */
export function sumSmaps(mappings: readonly Mapping[], ranges: readonly Range[]): { rssKib: number; pssKib: number; insideKib: number } {
  const sums = { rssKib: 0, pssKib: 0, insideKib: 0 };
  for (const { start, end, rssKib, pssKib } of mappings) {
    if (ranges.some((range) => start < range.start + range.length && end > range.start)) {
      sums.insideKib += rssKib;
    } else {
      sums.rssKib += rssKib;
      sums.pssKib += pssKib;
    }
  }
  return sums;
}
