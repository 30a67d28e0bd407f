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
import { allCpus, cpuDirectory } from "./cpus.ts";
import { link, numberedLinks, numberOf, pathOf, type Place, placeOf, register, type Step, type VirtualNode } from "./node.ts";
import { allNodes, numaDirectory } from "./numa.ts";
import { procDirectory } from "./proc.ts";

export type { VirtualNode } from "./node.ts";

/** Links that one path may go through. */
const MAX_LINKS = 40;

/** A directory of the host with some names of ours in it. */
function mixed(path: string, ours: Readonly<Record<string, Place>>): Place {
  return register({
    kind: "directory",
    mode: 0o755,
    onHost: true,
    path: () => path || "/",
    child: (_k, _param, name) => (Object.hasOwn(ours, name) ? { place: ours[name]!, param: 0 } : { host: `${path}/${name}`, magic: false }),
  });
}

const deviceLinks = {
  fd: link(() => "/dev/fd", () => "/proc/self/fd"),
  stdin: link(() => "/dev/stdin", () => "/proc/self/fd/0"),
  stdout: link(() => "/dev/stdout", () => "/proc/self/fd/1"),
  stderr: link(() => "/dev/stderr", () => "/proc/self/fd/2"),
};
const system = mixed("/sys/devices/system", { cpu: cpuDirectory, node: numaDirectory });
const devices = mixed("/sys/devices", { system });
// The same devices by their bus: where hwloc looks first.
const cpuBus = mixed("/sys/bus/cpu", { devices: numberedLinks("/sys/bus/cpu/devices", "cpu", "/sys/devices/system/cpu", allCpus) });
const nodeBus = mixed("/sys/bus/node", { devices: numberedLinks("/sys/bus/node/devices", "node", "/sys/devices/system/node", allNodes) });
const bus = mixed("/sys/bus", { cpu: cpuBus, node: nodeBus });
const sys = mixed("/sys", { devices, bus });
const dev = mixed("/dev", deviceLinks);
const top = mixed("", { proc: procDirectory, sys, dev });

/** The node as its users see it: bound to the kernel that asks. */
function nodeAt(k: Kernel, place: Place, param: number): VirtualNode {
  const { contents, target, entries } = place;
  return {
    kind: place.kind,
    mode: place.mode,
    id: numberOf(place, param),
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
  const found = placeOf(id);
  return found ? nodeAt(k, found.place, found.param) : null;
}

/** Where a path leads: a synthetic node, or a path of the host; `changed` when that is not simply the path that was asked for. */
type Destination = { readonly node: VirtualNode } | { readonly host: string; readonly changed: boolean };

/** Walks an absolute path. Throws ENOENT, ENOTDIR, ELOOP. */
function walk(k: Kernel, absolute: string): Destination {
  let path = absolute;
  for (let links = 0; links < MAX_LINKS; links++) {
    const names = path.split("/").filter((name) => name !== "" && name !== ".");
    const directory = /\/\.?$/.test(path);
    const trail: Step[] = [{ place: top, param: 0 }];
    let next: string | null = null;
    for (const [i, name] of names.entries()) {
      const at = trail.at(-1)!;
      const rest = names.slice(i + 1).join("/");
      if ("place" in at && !at.place.child) throw new GuestError(ENOTDIR);
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      if ("host" in at) {
        trail.push({ host: `${at.host}/${name}`, magic: false });
        continue;
      }
      const step = at.place.child!(k, at.param, name);
      if ("host" in step && step.magic) return { host: rest || directory ? `${step.host}/${rest}` : step.host, changed: true };
      if ("place" in step && step.place.target && (rest || directory)) {
        next = `${step.place.target(k, step.param)}/${rest}${directory ? "/" : ""}`;
        break;
      }
      trail.push(step);
    }
    if (next !== null) {
      path = next;
      continue;
    }
    const end = trail.at(-1)!;
    if ("host" in end) return { host: end.host, changed: links > 0 };
    if (end.place.onHost) return { host: end.place.path(k, end.param), changed: links > 0 };
    if (directory && end.place.kind !== "directory") throw new GuestError(ENOTDIR);
    return { node: nodeAt(k, end.place, end.param) };
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
  let absolute = path;
  let fromOurs = false;
  if (path.charCodeAt(0) !== 47) {
    if (dirfd !== AT_FDCWD && k.fds.peek(dirfd) < 0) return null;
    fromOurs = dirfd !== AT_FDCWD && k.fds.kind(dirfd) === FILE_KIND.VIRTUAL_DIRECTORY;
    const base = fromOurs ? pathOf(k, k.fds.aux(dirfd)) : hostDirectoryPath(k, dirfd);
    if (base === "") return null;
    absolute = `${base === "/" ? "" : base}/${path}`;
  }
  if (!fromOurs && !mayBeOurs(absolute)) return null;
  const found = walk(k, absolute);
  if ("node" in found) return found.node;
  return found.changed || fromOurs ? found.host : null;
}
