/** Amounts of memory as people write and read them. Units are powers of 1024. */
import { MargayError } from "./error.ts";

const UNITS: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes, or a share of what there is (0 < share <= 1). */
export type Size = { readonly bytes: number } | { readonly share: number };

/**
 * Reads `512M`, `4G`, `1.5G`, `2GiB` or `50%`. A number without a unit is refused: nobody means 4 bytes by `--mem 4`.
 * Throws E_MEM_SYNTAX; a size of zero, above 2^53 bytes or above 100 % is one too.
 */
export function parseSize(text: string): Size {
  const fail = (why: string): never => {
    throw new MargayError("E_MEM_SYNTAX", why);
  };
  const m = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:ib)?|(%))?\s*$/i.exec(text);
  if (m === null) return fail(`'${text}' is not a size`);
  const number = Number(m[1]);
  if (m[3] !== undefined) {
    if (number <= 0 || number > 100) return fail(`'${text}' is not between 0 and 100 %`);
    return { share: number / 100 };
  }
  const unit = m[2] === undefined ? undefined : UNITS[m[2].toLowerCase()];
  if (unit === undefined) return fail(`'${text}' has no unit`);
  const bytes = Math.floor(number * unit);
  if (bytes <= 0) return fail(`'${text}' is no memory at all`);
  if (bytes > Number.MAX_SAFE_INTEGER) return fail(`'${text}' is more than any computer has`);
  return { bytes };
}

/** `5.1 GiB`, `512 MiB`, `0 B`: three digits, at most one decimal; `unlimited` for Infinity. */
export function formatBytes(bytes: number): string {
  if (bytes === Number.POSITIVE_INFINITY) return "unlimited";
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    // 1023.95 and more would be shown as 1024.0.
    if (value < 1023.95) return `${rounded(value)} ${unit}`;
    value /= 1024;
  }
  return `${rounded(value)} TiB`;
}

function rounded(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toFixed(1)));
}
