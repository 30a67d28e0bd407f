/** What the model of the memory calls knows about mremap's sources. */

/**
 * "error": the range has a hole or different rights, so it is not one mapping. "ok": it is one. "either": parts of one reservation that became
 * accessible piece by piece may be several mappings here where Linux has one.
 */
export function remapErrors(source: readonly ({ prot: number; reserved: boolean } | undefined)[]): "ok" | "error" | "either" {
  const first = source[0];
  if (!first || source.some((p) => !p || p.prot !== first.prot || p.reserved !== first.reserved)) return "error";
  return first.reserved ? "ok" : "either";
}
