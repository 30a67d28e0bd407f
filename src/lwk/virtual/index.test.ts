import { afterAll, describe, expect, it } from "vitest";
import { ENOENT, ENOTDIR } from "../../abi/errno.ts";
import { AT_FDCWD } from "../../abi/fcntl.ts";
import { NR } from "../../abi/nr.ts";
import { putString } from "../../host/memory.ts";
import { FILE_KIND } from "../descriptors.ts";
import { GuestError } from "../guest-error.ts";
import { fakeNode } from "./fake-node.testing.ts";
import { type VirtualNode, virtualById, virtualPath } from "./index.ts";

const machine = fakeNode({ cpus: [0, 0, 0], nodes: [0, 0, 1], tids: [900001] });
const { kernel } = machine;
const { pid } = kernel;
afterAll(() => machine.close());

const at = (path: string, dirfd = AT_FDCWD): VirtualNode | string | null => virtualPath(kernel, dirfd, path);
const node = (path: string, dirfd = AT_FDCWD): VirtualNode => {
  const found = at(path, dirfd);
  if (found === null || typeof found === "string") throw new Error(`${path} is ${found ?? "the host's"}`);
  return found;
};
const text = (path: string): string => Buffer.from(node(path).contents!()).toString("latin1");
const names = (path: string): string[] => node(path).entries!().map(({ name }) => name);
const failure = (path: string, dirfd = AT_FDCWD): number => {
  try {
    at(path, dirfd);
  } catch (error) {
    if (error instanceof GuestError) return error.errno;
    throw error;
  }
  return 0;
};
/** Opens a host directory or file as the guest's next descriptor. */
function open(path: string): number {
  return kernel.fds.add(kernel.sys(NR.openat, AT_FDCWD, putString(kernel.scratch, path), 0, 0), 0);
}

describe("paths", () => {
  it("should leave everything outside /proc, /sys and /dev to the host", () => {
    for (const path of ["/", "/etc/passwd", "/usr/bin/../lib", "/procession", "/system", "/devil/x", "relative", "./x", "../x", ""]) expect(at(path)).toBeNull();
  });

  it("should leave the rest of /proc, /sys and /dev to the host", () => {
    for (const path of ["/proc", "/proc/", "/proc/sys/kernel/osrelease", "/proc/1/maps", "/proc/version", "/sys", "/sys/devices/system", "/sys/devices/system/memory", "/dev/null", "/dev"]) expect(at(path)).toBeNull();
  });

  it("should find a file however the path is written", () => {
    const { id } = node("/proc/cpuinfo");
    for (const path of ["//proc//cpuinfo", "/proc/./cpuinfo", "/proc/self/../cpuinfo", "/usr/../proc/cpuinfo", "/./proc/cpuinfo", "/../proc/cpuinfo", "/proc/sys/../cpuinfo"]) expect(node(path).id).toBe(id);
  });

  it("should go through a directory descriptor of the host", () => {
    const fd = open("/proc");
    expect(node("cpuinfo", fd).id).toBe(node("/proc/cpuinfo").id);
    expect(node(`${pid}/maps`, fd).id).toBe(node("/proc/self/maps").id);
    expect(at("version", fd)).toBeNull();
    const etc = open("/etc");
    expect(at("passwd", etc)).toBeNull();
    expect(node("../proc/cpuinfo", etc).id).toBe(node("/proc/cpuinfo").id);
  });

  it("should go through a synthetic directory descriptor, and out of it by the host's absolute path", () => {
    const memory = kernel.sys(NR.memfd_create, putString(kernel.scratch, "x"), 0);
    const fd = kernel.fds.add(memory, 0, FILE_KIND.VIRTUAL_DIRECTORY, node("/proc/self/task").id);
    expect(node("900001/stat", fd).id).toBe(node("/proc/self/task/900001/stat").id);
    expect(node("../maps", fd).id).toBe(node("/proc/self/maps").id);
    expect(at("../../version", fd)).toBe("/proc/version");
    expect(failure("900002", fd)).toBe(ENOENT);
  });

  it("should answer null for a descriptor that is not open", () => {
    expect(at("maps", 250)).toBeNull();
    expect(at("maps", -1)).toBeNull();
  });

  it("should say ENOENT for names of its own directories that are not there, and never show the host's", () => {
    for (const name of ["mem", "pagemap", "numa_maps", "clear_refs", "map_files", "nonsense", "wchan", "stack"]) expect(failure(`/proc/self/${name}`)).toBe(ENOENT);
    for (const path of ["/sys/devices/system/cpu/cpu3", "/sys/devices/system/cpu/cpu01", "/sys/devices/system/node/node2", "/proc/self/task/1", "/proc/self/fd/77"]) expect(failure(path)).toBe(ENOENT);
  });

  it("should say ENOTDIR for a file used as a directory", () => {
    for (const path of ["/proc/cpuinfo/x", "/proc/cpuinfo/", "/proc/self/maps/../status"]) expect(failure(path)).toBe(ENOTDIR);
  });

  it("should not show margay's other threads under /proc", () => {
    // A host thread of this process that is no guest thread: vitest's pool gives us several.
    const others = kernelThreads().filter((tid) => tid !== pid);
    expect(others.length).toBeGreaterThan(0);
    for (const tid of others) expect(failure(`/proc/${tid}/maps`)).toBe(ENOENT);
  });

  it("should not be led astray by property names", () => {
    for (const path of ["/proc/self/constructor", "/proc/self/__proto__", "/proc/self/task/toString", "/sys/devices/system/cpu/constructor"]) expect(failure(path)).toBe(ENOENT);
    expect(at("/proc/constructor")).toBeNull();
    expect(at("/sys/__proto__")).toBeNull();
  });
});

function kernelThreads(): number[] {
  const found: number[] = [];
  for (let tid = pid; tid < pid + 64; tid++) if (kernel.sys(NR.access, putString(kernel.scratch, `/proc/self/task/${tid}`), 0) === 0) found.push(tid);
  return found;
}

describe("links", () => {
  it("should lead from self and thread-self to the process and its thread", () => {
    expect(node("/proc/self").target!()).toBe(`/proc/${pid}`);
    expect(node("/proc/thread-self").target!()).toBe(`/proc/${pid}/task/${pid}`);
    expect(node("/proc/self/").kind).toBe("directory");
  });

  it("should take descriptors to the host's, by the host's number", () => {
    const fd = open("/etc/passwd");
    const host = `/proc/self/fd/${kernel.fds.peek(fd)}`;
    expect(at(`/proc/self/fd/${fd}`)).toBe(host);
    expect(at(`/dev/fd/${fd}`)).toBe(host);
    expect(at(`/proc/${pid}/task/${pid}/fd/${fd}`)).toBe(host);
    expect(at(`/proc/self/fdinfo/${fd}`)).toBe(`/proc/self/fdinfo/${kernel.fds.peek(fd)}`);
    expect(names("/proc/self/fd")).toContain(`${fd}`);
    expect(node("/dev/stdin").target!()).toBe("/proc/self/fd/0");
  });

  it("should leave what follows a link out of our directories untouched", () => {
    const fd = open("/usr");
    expect(at(`/dev/fd/${fd}/../etc/passwd`)).toBe(`/proc/self/fd/${kernel.fds.peek(fd)}/../etc/passwd`);
    expect(at("/proc/self/cwd/../x")).toBe("/proc/self/cwd/../x");
    expect(at("/proc/self/root/proc/cpuinfo")).toBe("/proc/self/root/proc/cpuinfo");
  });

  it("should lead from a descriptor of a synthetic file back to the file", () => {
    const memory = kernel.sys(NR.memfd_create, putString(kernel.scratch, "x"), 0);
    const fd = kernel.fds.add(memory, 0, FILE_KIND.VIRTUAL_FILE, node("/proc/self/status").id);
    expect(node(`/proc/self/fd/${fd}`).target!()).toBe(`/proc/${pid}/status`);
  });

  it("should join CPUs and NUMA nodes both ways", () => {
    expect(node("/sys/devices/system/cpu/cpu2/node1").target!()).toBe("/sys/devices/system/node/node1");
    expect(node("/sys/devices/system/node/node1/cpu2").target!()).toBe("/sys/devices/system/cpu/cpu2");
    expect(node("/sys/devices/system/cpu/cpu2/node1/cpulist").kind).toBe("file");
    expect(failure("/sys/devices/system/cpu/cpu2/node0")).toBe(ENOENT);
    expect(names("/sys/bus/cpu/devices")).toEqual(["cpu0", "cpu1", "cpu2"]);
    expect(node("/sys/bus/cpu/devices/cpu1").target!()).toBe("/sys/devices/system/cpu/cpu1");
    expect(node("/sys/bus/node/devices/node1/distance").id).toBe(node("/sys/devices/system/node/node1/distance").id);
    expect(failure("/sys/bus/cpu/devices/cpu3")).toBe(ENOENT);
  });
});

describe("numbers", () => {
  it("should find every file of every directory again", () => {
    const seen = new Set<number>();
    const visit = (path: string): void => {
      for (const { name, kind } of node(path).entries!()) {
        const found = at(`${path}/${name}`);
        if (found === null || typeof found === "string") continue;
        expect(found.kind, `${path}/${name}`).toBe(kind);
        const again = virtualById(kernel, found.id);
        expect(again?.id).toBe(found.id);
        expect(seen.has(found.id) && found.kind === "file" && !path.includes("fd"), `${path}/${name} shares its number`).toBe(false);
        seen.add(found.id);
        if (kind === "directory") visit(`${path}/${name}`);
      }
    };
    for (const path of ["/proc/self/", "/sys/devices/system/cpu", "/sys/devices/system/node"]) visit(path.replace(/\/$/, path.startsWith("/proc") ? `/../${pid}` : ""));
    expect(seen.size).toBeGreaterThan(60);
    expect(virtualById(kernel, 60000 * 65536)).toBeNull();
  });
});

describe("the virtual node's CPUs", () => {
  it("should list its own, not the host's", () => {
    expect(text("/sys/devices/system/cpu/online")).toBe("0-2\n");
    expect(text("/sys/devices/system/cpu/possible")).toBe("0-2\n");
    expect(text("/sys/devices/system/cpu/offline")).toBe("\n");
    expect(names("/sys/devices/system/cpu")).toEqual(expect.arrayContaining(["cpu0", "cpu1", "cpu2", "online"]));
    expect(text("/proc/cpuinfo").match(/^processor\t: \d$/gm)).toEqual(["processor\t: 0", "processor\t: 1", "processor\t: 2"]);
    expect(text("/proc/stat").match(/^cpu\d* /gm)).toEqual(["cpu ", "cpu0 ", "cpu1 ", "cpu2 "]);
  });

  it("should give its NUMA nodes their CPUs and distances", () => {
    expect(text("/sys/devices/system/node/online")).toBe("0-1\n");
    expect(text("/sys/devices/system/node/node0/cpulist")).toBe("0-1\n");
    expect(text("/sys/devices/system/node/node1/cpumap")).toBe("4\n");
    expect(text("/sys/devices/system/node/node1/distance")).toBe("20 10\n");
  });
});
