/**
 * Files that the LWK shows instead of the host's: /proc of the program itself, and of /proc and /sys what describes the machine. Everything is made at
 * the moment it is opened. A path is walked name by name from the root: through synthetic directories by their own tables, through the
 * host's lexically. Limit: a symbolic link of the host that leads into /proc or /sys is the host's business and shows the host's files.
 */
import { ELOOP, ENOTDIR } from "../../abi/errno.ts";
import { AT_FDCWD } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { putString } from "../../host/memory.ts";
import { FILE_KIND } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import type { Kernel } from "../kernel.ts";
import { ROOM } from "../syscalls/marshal.ts";
import { cpuDirectory, cpuPlaces } from "./cpus.ts";
import { link, type Place, type Step, type VirtualNode } from "./node.ts";
import { numaDirectory, numaPlaces } from "./numa.ts";
import { procDirectory, procPlaces, usePathOfId } from "./proc.ts";

export type { VirtualNode } from "./node.ts";

/** Links that one path may go through. */
const MAX_LINKS = 40;

/** A directory of the host with some names of ours in it. */
function mixed(path: string, ours: Readonly<Record<string, Place>>): Place {
  return {
    kind: "directory",
    mode: 0o755,
    onHost: true,
    path: () => path || "/",
    child: (_k, _param, name) => (Object.hasOwn(ours, name) ? { place: ours[name]!, param: 0 } : { host: `${path}/${name}`, magic: false }),
  };
}

const deviceLinks = {
  fd: link(() => "/dev/fd", () => "/proc/self/fd"),
  stdin: link(() => "/dev/stdin", () => "/proc/self/fd/0"),
  stdout: link(() => "/dev/stdout", () => "/proc/self/fd/1"),
  stderr: link(() => "/dev/stderr", () => "/proc/self/fd/2"),
};
const system = mixed("/sys/devices/system", { cpu: cpuDirectory, node: numaDirectory });
const devices = mixed("/sys/devices", { system });
const sys = mixed("/sys", { devices });
const dev = mixed("/dev", deviceLinks);
const top = mixed("", { proc: procDirectory, sys, dev });

/** All places; a node's number is its place's position here and its `param`. Only ever lengthened while programs run. */
const PLACES: readonly Place[] = [top, dev, sys, devices, system, ...Object.values(deviceLinks), ...procPlaces, ...cpuPlaces, ...numaPlaces];
const numbers = new Map<Place, number>(PLACES.map((place, i) => [place, i]));
const PARAMS = 65536;

/** The node as its users see it: bound to the kernel that asks. */
function nodeAt(k: Kernel, place: Place, param: number): VirtualNode {
  const { contents, target, entries } = place;
  return {
    kind: place.kind,
    mode: place.mode,
    id: numbers.get(place)! * PARAMS + param,
    ...(contents && {
      contents: () => {
        const made = contents(k, param);
        return typeof made === "string" ? Buffer.from(made, "latin1") : made;
      },
    }),
    ...(target && { target: () => target(k, param) }),
    ...(entries && { entries: () => entries(k, param) }),
  };
}

/** The node with this number; null when there is none. */
export function virtualById(k: Kernel, id: number): VirtualNode | null {
  const place = PLACES[Math.floor(id / PARAMS)];
  return place ? nodeAt(k, place, id % PARAMS) : null;
}

/** Path of the node with this number. */
function pathOfId(k: Kernel, id: number): string {
  return PLACES[Math.floor(id / PARAMS)]?.path(k, id % PARAMS) ?? "/";
}
usePathOfId(pathOfId);

/** Where an absolute path leads: a synthetic node, or a path of the host. Throws ENOENT, ENOTDIR, ELOOP. */
export function walk(k: Kernel, absolute: string): VirtualNode | string {
  let path = absolute;
  for (let links = 0; links < MAX_LINKS; links++) {
    const names = path.split("/").filter((name) => name !== "" && name !== ".");
    const mustBeDirectory = /\/\.?$/.test(path);
    const trail: Step[] = [{ place: top, param: 0 }];
    let next: string | null = null;
    for (const [i, name] of names.entries()) {
      const at = trail.at(-1)!;
      const rest = names.slice(i + 1).join("/");
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      if ("host" in at) {
        trail.push({ host: `${at.host}/${name}`, magic: false });
        continue;
      }
      if (!at.place.child) throw new GuestError(ENOTDIR);
      const step = at.place.child(k, at.param, name);
      if ("host" in step && step.magic) return rest || mustBeDirectory ? `${step.host}/${rest}` : step.host;
      if ("place" in step && step.place.target && (rest || mustBeDirectory)) {
        next = `${step.place.target(k, step.param)}/${rest}${mustBeDirectory ? "/" : ""}`;
        break;
      }
      trail.push(step);
    }
    if (next !== null) {
      path = next;
      continue;
    }
    const end = trail.at(-1)!;
    if ("host" in end) return end.host;
    if (end.place.onHost) return end.place.path(k, end.param);
    if (mustBeDirectory && end.place.kind !== "directory") throw new GuestError(ENOTDIR);
    return nodeAt(k, end.place, end.param);
  }
  throw new GuestError(ELOOP);
}

/** False when the host alone knows the path: it lies outside /proc, /sys and /dev and nothing in it leads back. */
function mayBeOurs(path: string): boolean {
  const second = path.charCodeAt(1);
  if (second === 112 || second === 115 || second === 100) return /^\/(proc|sys|dev)(\/|$)/.test(path) || path.includes("/..");
  return second === 47 || second === 46 || path.includes("/..");
}

/** The host's name of a directory: of the working directory, or behind a host descriptor. "" when there is none. */
function hostDirectoryPath(k: Kernel, dirfd: number): string {
  const { scratch } = k;
  const at = ROOM.secondPath;
  let length: number;
  if (dirfd === AT_FDCWD) length = k.sys(NR.getcwd, scratch.address + at, 4096) - 1;
  else length = k.sys(NR.readlink, putString(scratch, `/proc/self/fd/${k.fds.peek(dirfd)}`, ROOM.path), scratch.address + at, 4096);
  return length > 0 && scratch.u8[at] === 47 ? scratch.buffer.toString("latin1", at, at + length) : "";
}

/**
 * The node shown at this path instead of the host's; null: the host's file system answers; a string: the host answers under this other path.
 * dirfd -100 = AT_FDCWD, else a guest descriptor; the host process's working directory is the guest's. Throws ENOENT for a name that a synthetic
 * directory does not have, ENOTDIR, ELOOP. May overwrite the scratch buffer's paths.
 */
export function virtualPath(k: Kernel, dirfd: number, path: string): VirtualNode | string | null {
  if (path.charCodeAt(0) === 47) {
    if (!mayBeOurs(path)) return null;
    return hostMeans(walk(k, path), path);
  }
  if (dirfd !== AT_FDCWD && k.fds.peek(dirfd) < 0) return null;
  if (dirfd !== AT_FDCWD && k.fds.kind(dirfd) === FILE_KIND.VIRTUAL_DIRECTORY) return walk(k, `${pathOfId(k, k.fds.aux(dirfd))}/${path}`);
  const base = hostDirectoryPath(k, dirfd);
  if (base === "") return null;
  const absolute = `${base === "/" ? "" : base}/${path}`;
  if (!mayBeOurs(absolute)) return null;
  return hostMeans(walk(k, absolute), absolute);
}

/** Null where the walk only confirms that the host has the path as it was given: the host then follows its own links. */
function hostMeans(found: VirtualNode | string, asked: string): VirtualNode | string | null {
  if (typeof found !== "string" || found !== plain(asked)) return typeof found === "string" && isHostWalk(found, asked) ? null : found;
  return null;
}

const plain = (path: string): string => `/${path.split("/").filter((name) => name !== "" && name !== ".").join("/")}`;

/** True when the result is what lexical walking through host directories gives. */
function isHostWalk(found: string, asked: string): boolean {
  const trail: string[] = [];
  for (const name of asked.split("/")) {
    if (name === "..") trail.pop();
    else if (name !== "" && name !== ".") trail.push(name);
  }
  return found === `/${trail.join("/")}`;
}
