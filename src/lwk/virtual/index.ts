/** Synthetic files. Interface only until they are here: every path is the host's. */
import type { Kernel } from "../kernel.ts";

export interface VirtualNode {
  readonly kind: "file" | "directory" | "link";
  readonly mode: number;
  readonly id: number;
  contents?(): Uint8Array;
  target?(): string;
  entries?(): readonly { name: string; kind: "file" | "directory" | "link" }[];
}

export function virtualPath(_kernel: Kernel, _dirfd: number, _path: string): VirtualNode | string | null {
  return null;
}

export function virtualById(_kernel: Kernel, _id: number): VirtualNode | null {
  return null;
}
