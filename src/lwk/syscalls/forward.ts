/**
 * Handlers made from a description: what each argument is says how it travels to the host. A line of a table such as
 * `forward(NR.linkat, [DIRFD, PATH, DIRFD, PATH, INT])` is the whole handler.
 */
import { EPERM, ERESTARTSYS } from "../../abi/errno.ts";
import { AT_FDCWD, O_CLOEXEC } from "../../abi/fcntl.ts";
import { putString } from "../../host/memory.ts";
import type { Call, Handler } from "../call.ts";
import { FD_CLOEXEC } from "../descriptors.ts";
import { BAD_ADDRESS, hostWait, Passage, ROOM, word } from "./marshal.ts";
import { hostDirectory, hostPath } from "./paths.ts";
import { withWriteSignal } from "./write-signals.ts";

/** How one argument travels. Pointers may be NULL: the host then gets NULL and decides. */
export type Argument =
  | { readonly kind: "int" | "uint" | "word" | "length" | "fd" | "dirfd" | "path" | "pathOrNull" | "text" }
  | { readonly kind: "in" | "out" | "inout"; readonly size: number }
  /** A buffer whose length is argument `length`, an int or (`wide`) a size_t. A longer one than `max` is refused by the host, unread. */
  | { readonly kind: "buffer"; readonly length: number; readonly max: number; readonly wide: boolean }
  /** A buffer of which the host fills `result` bytes, never more than `max`, whatever argument `length` allows. */
  | { readonly kind: "filled"; readonly length: number; readonly max: number; readonly wide: boolean };

export const INT: Argument = { kind: "int" };
export const UINT: Argument = { kind: "uint" };
/** A 64-bit integer. */
export const WORD: Argument = { kind: "word" };
/** The length that a buffer speaks of. */
export const LENGTH: Argument = { kind: "length" };
/** A descriptor that must be open. */
export const FD: Argument = { kind: "fd" };
/** A directory for the PATH that follows; AT_FDCWD passes. */
export const DIRFD: Argument = { kind: "dirfd" };
export const PATH: Argument = { kind: "path" };
export const PATH_OR_NULL: Argument = { kind: "pathOrNull" };
/** A string that is no path. */
export const TEXT: Argument = { kind: "text" };
export const input = (size: number): Argument => ({ kind: "in", size });
export const output = (size: number): Argument => ({ kind: "out", size });
export const inout = (size: number): Argument => ({ kind: "inout", size });
export const buffer = (length: number, max: number, wide = false): Argument => ({ kind: "buffer", length, max, wide });
export const filled = (length: number, max: number, wide = false): Argument => ({ kind: "filled", length, max, wide });

export interface Manner {
  /** The call may block: a signal ends it, with this result (-ERESTARTSYS when true). */
  readonly blocks?: boolean | number;
  /** The call opens a descriptor: argument `flags` holds its close-on-exec flag in bit `bit` (O_CLOEXEC unless said otherwise). */
  readonly opens?: { readonly flags: number; readonly bit?: number };
  /** What a synthetic file answers (EPERM unless said otherwise); null: the host's own file of that name is meant. */
  readonly virtual?: number | null;
  /** EPIPE brings SIGPIPE. */
  readonly writes?: boolean;
}

const PATHS = [ROOM.path, ROOM.secondPath] as const;

/** Makes the handler of host call `nr` from its arguments. */
export function forward(nr: number, args: readonly Argument[], manner: Manner = {}): Handler {
  const { blocks, opens, virtual, writes } = manner;
  const interrupted = typeof blocks === "number" ? blocks : -ERESTARTSYS;
  const bit = opens?.bit ?? O_CLOEXEC;
  const texts = args.filter((a) => a.kind === "path" || a.kind === "pathOrNull" || a.kind === "text").length;
  const pointers = args.some((a) => "size" in a || "max" in a);
  if (texts > PATHS.length) throw new RangeError(`call ${nr}: ${texts} strings`);

  return (c: Call): number => {
    const k = c.kernel;
    const values: (number | bigint)[] = [0, 0, 0, 0, 0, 0];
    const passage = pointers ? new Passage(k) : null;
    const strings: { index: number; text: string }[] = [];
    let dirfd = AT_FDCWD;
    for (let i = 0; i < args.length; i++) {
      const a = args[i]!;
      switch (a.kind) {
        case "int":
          values[i] = c.int(i);
          break;
        case "uint":
          values[i] = c.u32(i);
          break;
        case "word":
          values[i] = word(c, i);
          break;
        case "fd":
          values[i] = k.fds.host(c.int(i));
          break;
        case "dirfd":
          dirfd = c.int(i);
          values[i] = hostDirectory(k, dirfd);
          break;
        case "pathOrNull":
        case "path": {
          const va = c.num(i);
          if (va === 0 && a.kind === "pathOrNull") break;
          const path = k.mem.string(va);
          strings.push({ index: i, text: virtual === null ? path : hostPath(k, dirfd, path, virtual ?? EPERM) });
          dirfd = AT_FDCWD;
          break;
        }
        case "text":
          strings.push({ index: i, text: k.mem.string(c.num(i)) });
          break;
        case "in":
          if (c.num(i)) values[i] = passage!.input(c.num(i), a.size);
          break;
        case "out":
        case "inout":
          if (c.num(i)) values[i] = passage!.output(c.num(i), a.size, a.kind === "inout");
          break;
        case "buffer": {
          const length = a.wide ? c.num(a.length) : c.int(a.length);
          values[a.length] = a.wide ? word(c, a.length) : length;
          if (c.num(i)) values[i] = length >= 0 && length <= a.max ? passage!.input(c.num(i), length) : BAD_ADDRESS;
          break;
        }
        case "filled": {
          const length = Math.min(a.wide ? c.num(a.length) : c.int(a.length), a.max);
          values[a.length] = length;
          if (c.num(i)) values[i] = length > 0 ? passage!.filled(c.num(i), length) : BAD_ADDRESS;
          break;
        }
        case "length":
          break;
      }
    }
    if (opens) values[opens.flags] = c.int(opens.flags) | bit;
    // Every look at guest memory and every synthetic file lies behind us: now the strings may go into the scratch buffer.
    for (let s = 0; s < strings.length; s++) values[strings[s]!.index] = putString(k.scratch, strings[s]!.text, PATHS[s]!);

    const [v0, v1, v2, v3, v4, v5] = values as [number, number, number, number, number, number];
    let result = blocks ? hostWait(k, nr, v0, v1, v2, v3, v4, v5, interrupted) : k.sys(nr, v0, v1, v2, v3, v4, v5);
    passage?.finish(result);
    if (opens && result >= 0) result = k.fds.add(result, c.int(opens.flags) & bit ? FD_CLOEXEC : 0);
    return writes ? withWriteSignal(k, result) : result;
  };
}

/** A handler that only answers. */
export function answer(result: number): Handler {
  return () => result;
}
