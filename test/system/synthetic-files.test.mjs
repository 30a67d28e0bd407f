// What a program sees of the machine and of itself: the virtual node, not the host; its own process, not margay's.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { margayRun } from "./tools.mjs";

/** stdout lines of a command in a virtual node; it must succeed and say nothing on stderr. */
async function guest(command, options = []) {
  const result = await margayRun([...options, "--", ...command]);
  assert.equal(result.stderr.toString(), "");
  assert.equal(result.code, 0);
  return result.stdout.toString();
}

const onlineCpus = readdirSync("/sys/devices/system/cpu").filter((name) => /^cpu\d+$/.test(name)).length;

test("should show the CPUs that the virtual node has, under numbers of its own", async () => {
  const host = onlineCpus - 1;
  const text = await guest(["/bin/cat", "/proc/cpuinfo", "/sys/devices/system/cpu/online", "/sys/devices/system/node/node0/cpulist"], ["--cpus", `${host}`]);
  assert.deepEqual(text.match(/^processor\t: \d+$/gm), ["processor\t: 0"]);
  assert.ok(text.endsWith("\n0\n0\n"), text.slice(-20));
  assert.equal(await guest(["/usr/bin/nproc"], ["--cpus", `${host}`]), "1\n");
  assert.match(await guest(["/bin/ls", "/sys/devices/system/cpu"], ["--cpus", `${host}`]), /^cpu0\n(?!cpu1)/);
});

test("should show the memory that the virtual node has", async () => {
  const text = await guest(["/bin/cat", "/proc/meminfo", "/sys/devices/system/node/node0/meminfo"], ["--mem", "256M"]);
  assert.match(text, /^MemTotal: +262144 kB$/m);
  assert.match(text, /^Node 0 MemTotal: +262144 kB$/m);
  const free = Number(/^MemFree: +(\d+) kB$/m.exec(text)[1]);
  assert.ok(free > 128 * 1024 && free < 262144, `${free} kB free`);
});

test("should show the program's mappings and nothing of margay's", async () => {
  const maps = await guest(["/bin/cat", "/proc/self/maps"]);
  for (const name of ["/cat", "libc.so.6", "[heap]", "[stack]", "[vdso]", "[vvar]"]) assert.ok(maps.includes(name), `${name} in ${maps}`);
  assert.doesNotMatch(maps, /node|koffi|margay/);
  for (const line of maps.split("\n").slice(0, -1)) assert.match(line, /^[0-9a-f]{8,}-[0-9a-f]{8,} [r-][w-][x-][ps] [0-9a-f]{8} [0-9a-f]{2,}:[0-9a-f]{2,} \d+( +\S.*)?$/);
  const smaps = await guest(["/bin/cat", "/proc/self/smaps"]);
  assert.equal(smaps.match(/^Size: /gm).length, smaps.match(/^VmFlags: /gm).length);
});

test("should count resident memory as it is, on pages of either size", async () => {
  const smaps = (pages) => guest(["/bin/cat", "/proc/self/smaps"], ["--pages", pages]);
  const stackOf = (text) => /\[stack\]\n(?:.*\n)*?VmFlags/.exec(text)[0];
  const kilobytes = (text, name) => Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text)[1]);
  const large = stackOf(await smaps("2M/2M"));
  const small = stackOf(await smaps("2M/4K"));
  assert.equal(kilobytes(large, "MMUPageSize"), 2048);
  assert.equal(kilobytes(large, "AnonHugePages"), kilobytes(large, "Rss"));
  assert.equal(kilobytes(small, "MMUPageSize"), 4);
  assert.equal(kilobytes(small, "AnonHugePages"), 0);
  assert.ok(kilobytes(small, "Rss") > 0);
});

test("should show the program's names, arguments, environment and descriptors", async () => {
  assert.equal(await guest(["/bin/cat", "/proc/self/cmdline"]), "/bin/cat\0/proc/self/cmdline\0");
  assert.equal(await guest(["/bin/cat", "/proc/self/comm"]), "cat\n");
  assert.match(await guest(["/bin/cat", "/proc/self/environ"]), /(^|\0)MARGAY_TEST=a b=c\0/);
  assert.match(await guest(["/bin/readlink", "/proc/self/exe"]), /readlink\n$/);
  const listed = await guest(["/bin/ls", "/proc/self/fd"]);
  for (const fd of ["0", "1", "2", "3"]) assert.ok(listed.split("\n").includes(fd), `${fd} in ${listed}`);
  // Of descriptors that only margay has, such as /dev/kvm, none shows; what the caller left open does, as natively.
  assert.doesNotMatch(await guest(["/bin/ls", "-l", "/proc/self/fd"]), /kvm/);
});

test("should say the same of the process in stat, statm and status", async () => {
  const text = await guest(["/bin/cat", "/proc/self/stat", "/proc/self/statm", "/proc/self/status"]);
  const [stat, statm, ...status] = text.split("\n");
  const field = (name) => new RegExp(`^${name}:\t(.*)$`, "m").exec(status.join("\n"))[1].trim();
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  assert.equal(fields.length, 50);
  assert.equal(stat.split(" ")[0], field("Pid"));
  assert.equal(field("Threads"), "1");
  assert.equal(Number(fields[20]) / 1024, Number.parseInt(field("VmSize"), 10));
  assert.equal(statm.split(" ").length, 7);
  const pagesApart = Math.abs(Number(statm.split(" ")[1]) * 4 - Number.parseInt(field("VmRSS"), 10));
  assert.ok(pagesApart <= 64, `resident sizes differ by ${pagesApart} kB`);
  // Margay's own process is three orders of magnitude larger.
  assert.ok(Number.parseInt(field("VmSize"), 10) < 1_000_000, field("VmSize"));
});

test("should not show margay's memory under any name", async () => {
  for (const name of ["mem", "pagemap", "numa_maps", "map_files"]) {
    const result = await margayRun(["--", "/bin/ls", `/proc/self/${name}`]);
    assert.equal(result.code, 2, name);
    assert.match(result.stderr.toString(), /No such file/);
  }
});

test("should leave the kernel's own settings to the host", async () => {
  for (const path of ["/proc/version", "/proc/sys/kernel/osrelease", "/proc/sys/vm/overcommit_memory"]) assert.equal(await guest(["/bin/cat", path]), readFileSync(path, "latin1"));
});

test("should print calls as strace does", async () => {
  const result = await margayRun(["--strace", "--", "/bin/cat", "/proc/self/comm", "/no/such file"]);
  const lines = result.stderr.toString().split("\n");
  const some = (pattern) => assert.ok(lines.some((line) => pattern.test(line)), `${pattern} in ${lines.slice(-40).join("\n")}`);
  some(/^openat\(AT_FDCWD, "\/proc\/self\/comm", O_RDONLY\) = 3$/);
  some(/^read\(3, "cat\\n", \d+\) = 4$/);
  some(/^write\(1, "cat\\n", 4\) = 4$/);
  some(/^openat\(AT_FDCWD, "\/no\/such file", O_RDONLY\) = -1 ENOENT \(No such file or directory\)$/);
  some(/^mmap\(NULL, \d+, PROT_READ\|PROT_WRITE, MAP_PRIVATE\|MAP_ANONYMOUS, -1, 0x0\) = 0x[0-9a-f]+$/);
  some(/^exit_group\(1\) = \?$/);
});
