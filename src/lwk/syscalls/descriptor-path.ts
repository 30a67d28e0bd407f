/** Paths of host descriptors. */
import { readlinkSync } from "node:fs";

/** What /proc/self/fd says of a host descriptor (latin1), "" when it says nothing. */
export function descriptorPath(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }).toString("latin1");
  } catch {
    return "";
  }
}
