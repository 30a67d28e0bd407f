/** Sets of CPUs as the kernel's files write them. */

/** A mask of `count` bits as /proc and /sys print it: groups of 32 bits in hexadecimal, highest first, joined by commas; the first as wide as it must be. */
export function cpuMask(members: Iterable<number>, count: number): string {
  const groups = new Uint32Array(Math.max(1, Math.ceil(count / 32)));
  for (const member of members) if (member < count) groups[member >> 5]! |= 1 << (member & 31);
  const parts: string[] = [];
  for (let i = groups.length - 1; i >= 0; i--) {
    const width = i === groups.length - 1 && count % 32 ? Math.ceil((count % 32) / 4) : 8;
    parts.push(groups[i]!.toString(16).padStart(width, "0"));
  }
  return parts.join(",");
}

/** Members of such a mask. */
export function parseMask(text: string): number[] {
  const members: number[] = [];
  for (const [i, part] of text.trim().split(",").reverse().entries()) {
    const bits = Number.parseInt(part, 16);
    for (let bit = 0; bit < 32; bit++) if ((bits >>> bit) & 1) members.push(i * 32 + bit);
  }
  return members;
}
