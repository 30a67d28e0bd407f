/** Small arithmetic of the loader: pages, 64-bit fields of files, hexadecimal for messages. */
import { PAGE_SIZE } from "../../abi/mman.ts";

/** Largest multiple of `unit` not above `n`. Exact for |n| < 2^53; bit operators would cut at 32 bits. */
export function alignDown(n: number, unit: number): number {
  return Math.floor(n / unit) * unit;
}

/** Smallest multiple of `unit` not below `n`. */
export function alignUp(n: number, unit: number): number {
  return Math.ceil(n / unit) * unit;
}

export function pageDown(n: number): number {
  return alignDown(n, PAGE_SIZE);
}

export function pageUp(n: number): number {
  return alignUp(n, PAGE_SIZE);
}

/** Distance of `n` from the start of its page. */
export function pageOffset(n: number): number {
  return n - pageDown(n);
}

/**
 * A little-endian u64 of a file. Above 2^53 - 1 a number would not be exact: such a value becomes Infinity, which fails
 * every upper bound it is compared with, so a check never passes on a rounded value.
 */
export function readU64(view: DataView, offset: number): number {
  const n = view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
  return Number.isSafeInteger(n) ? n : Number.POSITIVE_INFINITY;
}

/** Writes `value` as a little-endian u64; a negative one (a load bias may be) as its two's complement. */
export function writeU64(view: DataView, offset: number, value: number): void {
  view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
}

export function hex(n: number): string {
  return Number.isFinite(n) ? (n < 0 ? `-0x${(-n).toString(16)}` : `0x${n.toString(16)}`) : "more than 2^53";
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A byte string (latin1, one character per byte: paths and arguments) as people read it: UTF-8. */
export function shown(byteString: string): string {
  return Buffer.from(byteString, "latin1").toString("utf8");
}
