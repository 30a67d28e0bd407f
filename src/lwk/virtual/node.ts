/** What a synthetic file is: to those who open it (VirtualNode) and to those who describe one (Place). */
import { ENOENT } from "../../abi/errno.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";

export type NodeKind = "file" | "directory" | "link";

export interface NamedKind {
  readonly name: string;
  readonly kind: NodeKind;
}

/** A synthetic file as the system calls see it. Contents are made when asked for; texts are latin1. */
export interface VirtualNode {
  readonly kind: NodeKind;
  /** Permission bits. */
  readonly mode: number;
  /** Names the node for as long as the program runs; `virtualById` finds it again. */
  readonly id: number;
  contents?(): Uint8Array;
  target?(): string;
  entries?(): readonly NamedKind[];
}

/** A step of a path: a synthetic place, or a path where the host goes on; `magic` when it must not be taken apart any more (`fd/3`, `cwd`). */
export type Step = { readonly place: Place; readonly param: number } | { readonly host: string; readonly magic: boolean };

/**
 * A kind of synthetic file; `param` (below 65536) says which one of its kind: a thread, a descriptor, a CPU, a node.
 * A directory with `onHost` is the host's own; only some names in it are ours.
 */
export interface Place {
  readonly kind: NodeKind;
  readonly mode: number;
  readonly onHost?: true;
  path(k: Kernel, param: number): string;
  contents?(k: Kernel, param: number): string | Uint8Array;
  target?(k: Kernel, param: number): string;
  entries?(k: Kernel, param: number): NamedKind[];
  /** What `name` is in this directory. Throws ENOENT. */
  child?(k: Kernel, param: number, name: string): Step;
}

/** Every place in the order made, which is the same in all threads: a node's number is its place's position here and its `param`. */
const places: Place[] = [];
const positions = new Map<Place, number>();
const PARAMS = 65536;

/** Makes a place known by number. */
export function register(place: Place): Place {
  positions.set(place, places.length);
  places.push(place);
  return place;
}

export function numberOf(place: Place, param: number): number {
  return positions.get(place)! * PARAMS + param;
}

/** The place and `param` with this number, or null. */
export function placeOf(id: number): { place: Place; param: number } | null {
  const place = places[Math.floor(id / PARAMS)];
  return place ? { place, param: id % PARAMS } : null;
}

/** Path of the node with this number. */
export function pathOf(k: Kernel, id: number): string {
  const found = placeOf(id);
  return found ? found.place.path(k, found.param) : "/";
}

export function missing(): never {
  throw new GuestError(ENOENT);
}

export function file(path: Place["path"], contents: NonNullable<Place["contents"]>, mode = 0o444): Place {
  return register({ kind: "file", mode, path, contents });
}

export function link(path: Place["path"], target: NonNullable<Place["target"]>): Place {
  return register({ kind: "link", mode: 0o777, path, target });
}

/** A directory of fixed names, all with the directory's own `param`. */
export function directory(path: Place["path"], children: Readonly<Record<string, Place>>): Place {
  return register({
    kind: "directory",
    mode: 0o555,
    path,
    entries: () => Object.entries(children).map(([name, place]) => ({ name, kind: place.kind })),
    child: (_k, param, name) => (Object.hasOwn(children, name) ? { place: children[name]!, param } : missing()),
  });
}

/** A decimal number as /proc and /sys write it in names: no sign, no leading zero; -1 for anything else. */
export function decimal(name: string): number {
  return /^(0|[1-9]\d{0,8})$/.test(name) ? Number(name) : -1;
}

/** A directory of numbered links, such as /sys/bus/cpu/devices: `prefix`N leads to `target`N for every N that `members` lists. */
export function numberedLinks(path: string, prefix: string, target: string, members: (k: Kernel) => readonly number[]): Place {
  const one = link(
    (_k, number) => `${path}/${prefix}${number}`,
    (_k, number) => `${target}/${prefix}${number}`,
  );
  return register({
    kind: "directory",
    mode: 0o755,
    path: () => path,
    entries: (k) => members(k).map((number) => ({ name: `${prefix}${number}`, kind: "link" as const })),
    child: (k, _param, name) => {
      const number = name.startsWith(prefix) ? decimal(name.slice(prefix.length)) : -1;
      return members(k).includes(number) ? { place: one, param: number } : missing();
    },
  });
}
