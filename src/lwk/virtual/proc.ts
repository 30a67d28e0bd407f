/**
 * /proc as the program sees it: its own process from the LWK's tables, the machine from the virtual node's; other processes and kernel settings are the
 * host's own files. Of margay's process nothing shows but what is true of the program as well (its mounts, its control groups, ...).
 */
import { NR } from "../../abi/nr.ts";
import { putString } from "../../host/memory.ts";
import { FILE_KIND } from "../descriptors.ts";
import type { Kernel } from "../kernel.ts";
import { H } from "../state.ts";
import { ROOM } from "../syscalls/marshal.ts";
import { cpuinfo, cpuStat } from "./cpus.ts";
import { maps, smaps, smapsRollup } from "./maps.ts";
import { decimal, file, link, missing, type NamedKind, pathOf, type Place, register, type Step } from "./node.ts";
import { meminfo } from "./node-memory.ts";
import { auxv, cmdline, environ, exePath, limits, nameOf, slotOfParam, stat, statm, status, tidOf } from "./status.ts";

/** Where a process or (param > 0) a thread of it stands. */
function root(k: Kernel, param: number): string {
  return param === 0 ? `/proc/${k.pid}` : `/proc/${k.pid}/task/${tidOf(k, slotOfParam(param))}`;
}

const own = (name: string, contents: NonNullable<Place["contents"]>, mode = 0o444): Place => file((k, param) => `${root(k, param)}/${name}`, contents, mode);

const FILES: Readonly<Record<string, Place>> = {
  auxv: own("auxv", auxv, 0o400),
  cmdline: own("cmdline", cmdline),
  comm: own("comm", (k, param) => `${nameOf(k, slotOfParam(param))}\n`),
  environ: own("environ", environ, 0o400),
  exe: link((k, param) => `${root(k, param)}/exe`, exePath),
  limits: own("limits", limits),
  maps: own("maps", maps),
  personality: own("personality", (k) => `${k.state.u32[H.personality]!.toString(16).padStart(8, "0")}\n`),
  smaps: own("smaps", smaps),
  smaps_rollup: own("smaps_rollup", smapsRollup),
  stat: own("stat", stat),
  statm: own("statm", statm),
  status: own("status", status),
};

/** Names that say of the host process what is as true of the program. */
const ON_HOST: Readonly<Record<string, NamedKind["kind"]>> = {
  attr: "directory",
  autogroup: "file",
  cgroup: "file",
  coredump_filter: "file",
  cpuset: "file",
  cwd: "link",
  gid_map: "file",
  io: "file",
  loginuid: "file",
  mountinfo: "file",
  mounts: "file",
  mountstats: "file",
  net: "directory",
  ns: "directory",
  oom_adj: "file",
  oom_score: "file",
  oom_score_adj: "file",
  projid_map: "file",
  root: "link",
  schedstat: "file",
  sessionid: "file",
  setgroups: "file",
  timens_offsets: "file",
  uid_map: "file",
};

const numbers = (values: readonly number[], kind: NamedKind["kind"]): NamedKind[] => values.map((value) => ({ name: `${value}`, kind }));

function openDescriptor(k: Kernel, name: string): number {
  const fd = decimal(name);
  return fd >= 0 && k.fds.peek(fd) >= 0 ? fd : missing();
}

/** A descriptor of a synthetic file: the link leads back to the file. */
const virtualDescriptor = link(
  (k, fd) => `/proc/${k.pid}/fd/${fd}`,
  (k, fd) => pathOf(k, k.fds.aux(fd)),
);

/** Links of descriptors are the host's, by the host's number: opening one opens the same file, pipe or socket again. */
const descriptors: Place = register({
  kind: "directory",
  mode: 0o500,
  path: (k, param) => `${root(k, param)}/fd`,
  entries: (k) => numbers(k.fds.open(), "link"),
  child: (k, _param, name) => {
    const fd = openDescriptor(k, name);
    return k.fds.kind(fd) === FILE_KIND.HOST ? { host: `/proc/self/fd/${k.fds.peek(fd)}`, magic: true } : { place: virtualDescriptor, param: fd };
  },
});

const descriptorInfos: Place = register({
  kind: "directory",
  mode: 0o555,
  path: (k, param) => `${root(k, param)}/fdinfo`,
  entries: (k) => numbers(k.fds.open(), "file"),
  child: (k, _param, name) => ({ host: `/proc/self/fdinfo/${k.fds.peek(openDescriptor(k, name))}`, magic: true }),
});

const tasks: Place = register({
  kind: "directory",
  mode: 0o555,
  path: (k) => `/proc/${k.pid}/task`,
  entries: (k) =>
    numbers(
      k.threads.living().map((slot) => tidOf(k, slot)),
      "directory",
    ),
  child: (k, _param, name) => {
    const slot = k.threads.slotOf(decimal(name));
    return slot >= 0 ? { place: thread, param: slot + 1 } : missing();
  },
});

function processDirectory(folders: Readonly<Record<string, Place>>): Place {
  return register({
    kind: "directory",
    mode: 0o555,
    path: root,
    entries: () => [
      ...Object.entries({ ...FILES, ...folders }).map(([name, place]) => ({ name, kind: place.kind })),
      ...Object.entries(ON_HOST).map(([name, kind]) => ({ name, kind })),
    ],
    child: (_k, param, name): Step => {
      if (Object.hasOwn(FILES, name)) return { place: FILES[name]!, param };
      if (Object.hasOwn(folders, name)) return { place: folders[name]!, param };
      // The path has a name of its own for the host process: the program's /proc/self may be asked for by any of its threads.
      if (Object.hasOwn(ON_HOST, name)) return { host: `/proc/self/${name}`, magic: true };
      return missing();
    },
  });
}

const process = processDirectory({ fd: descriptors, fdinfo: descriptorInfos, task: tasks });
const thread = processDirectory({ fd: descriptors, fdinfo: descriptorInfos });

const self = link(() => "/proc/self", (k) => `/proc/${k.pid}`);
const threadSelf = link(() => "/proc/thread-self", (k) => `/proc/${k.pid}/task/${k.tid}`);

const MACHINE: Readonly<Record<string, Place>> = {
  cpuinfo: file(() => "/proc/cpuinfo", cpuinfo),
  meminfo: file(() => "/proc/meminfo", meminfo),
  stat: file(() => "/proc/stat", cpuStat),
  self,
  "thread-self": threadSelf,
};

/** True for a host thread of margay: its files under /proc must not show. */
function isOurThread(k: Kernel, tid: number): boolean {
  return k.sys(NR.access, putString(k.scratch, `/proc/self/task/${tid}`, ROOM.path), 0) === 0;
}

export const procDirectory: Place = register({
  kind: "directory",
  mode: 0o555,
  onHost: true,
  path: () => "/proc",
  child: (k, _param, name) => {
    if (Object.hasOwn(MACHINE, name)) return { place: MACHINE[name]!, param: 0 };
    const pid = decimal(name);
    if (pid > 0) {
      if (pid === k.pid) return { place: process, param: 0 };
      const slot = k.threads.slotOf(pid);
      if (slot >= 0) return { place: process, param: slot + 1 };
      if (isOurThread(k, pid)) return missing();
    }
    return { host: `/proc/${name}`, magic: false };
  },
});
