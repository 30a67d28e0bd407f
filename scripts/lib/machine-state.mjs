// What no test may change about the machine, however hostile the guests it runs.
import { readFileSync, statSync } from "node:fs";

const read = (path) => {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "none";
  }
};

/** Name -> value as text. Guests get /dev/null as a descriptor, and a test run by root could change its mode or owner. */
export function machineState() {
  const device = statSync("/dev/null");
  return {
    "mode and owner of /dev/null": `${(device.mode & 0o7777).toString(8)} ${device.uid}:${device.gid}`,
    "reserved huge pages": read("/proc/sys/vm/nr_hugepages"),
    "transparent huge pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
    "host name": read("/proc/sys/kernel/hostname"),
    "core pattern": read("/proc/sys/kernel/core_pattern"),
  };
}

/** One line for each difference between two states. */
export function changes(before, after) {
  return Object.keys(before)
    .filter((name) => before[name] !== after[name])
    .map((name) => `${name}: was ${before[name]}, is ${after[name]}`);
}
