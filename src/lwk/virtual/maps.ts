/** /proc/PID/maps, smaps and smaps_rollup: the table of mappings as Linux writes it (proc_pid_maps(5), proc_pid_smaps(5)). */
import { PROT_EXEC, PROT_READ, PROT_WRITE } from "../../abi/mman.ts";
import type { Kernel } from "../kernel.ts";
import { type Mapping, NAME, VF } from "../mm/mappings.ts";
import { eachMapping, isAnonymous, type Resident } from "./memory-use.ts";

const LABELS: Readonly<Record<number, string>> = { [NAME.HEAP]: "[heap]", [NAME.STACK]: "[stack]", [NAME.VDSO]: "[vdso]", [NAME.VVAR]: "[vvar]" };

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");

/** Major and minor number of a dev_t (gnu_dev_major, gnu_dev_minor). */
export function deviceNumbers(device: bigint): { major: number; minor: number } {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  };
}

/** One line of maps without its line end. The name starts in column 73, as in Linux. */
export function mapsLine(m: Mapping, file: { path: string; device: bigint; inode: bigint } | null): string {
  const rights = `${m.prot & PROT_READ ? "r" : "-"}${m.prot & PROT_WRITE ? "w" : "-"}${m.prot & PROT_EXEC ? "x" : "-"}${m.flags & VF.SHARED ? "s" : "p"}`;
  const { major, minor } = deviceNumbers(file?.device ?? 0n);
  const line = `${hex(m.start, 8)}-${hex(m.end, 8)} ${rights} ${hex(file ? m.offset : 0, 8)} ${hex(major, 2)}:${hex(minor, 2)} ${file?.inode ?? 0} `;
  const name = file ? file.path.replaceAll("\n", "\\012") : (LABELS[m.name] ?? "");
  return name ? line.padEnd(73) + name : line.trimEnd();
}

function lineOf(k: Kernel, m: Mapping): string {
  // Linux ends a nameless line with a blank; nobody may rely on it, and programs split at white space.
  return mapsLine(m, m.file ? k.space.files.describe(m.file - 1) : null);
}

export function maps(k: Kernel): string {
  return eachMapping(k, false)
    .map(({ mapping }) => `${lineOf(k, mapping)}\n`)
    .join("");
}

const kilobytes = (label: string, bytes: number): string => `${`${label}:`.padEnd(15)} ${String(bytes / 1024).padStart(8)} kB\n`;

/** What smaps says of a mapping's memory. One program shares with nobody: proportional is resident. */
function amounts(bytes: number, dirty: number, anonymous: number, large: number, rollup: boolean, shared: number): string {
  return [
    kilobytes("Rss", bytes),
    kilobytes("Pss", bytes),
    kilobytes("Pss_Dirty", dirty),
    ...(rollup ? [kilobytes("Pss_Anon", anonymous), kilobytes("Pss_File", bytes - anonymous - shared), kilobytes("Pss_Shmem", shared)] : []),
    kilobytes("Shared_Clean", 0),
    kilobytes("Shared_Dirty", 0),
    kilobytes("Private_Clean", bytes - dirty),
    kilobytes("Private_Dirty", dirty),
    kilobytes("Referenced", bytes),
    kilobytes("Anonymous", anonymous),
    kilobytes("LazyFree", 0),
    kilobytes("AnonHugePages", large),
    kilobytes("ShmemPmdMapped", 0),
    kilobytes("FilePmdMapped", 0),
    kilobytes("Shared_Hugetlb", 0),
    kilobytes("Private_Hugetlb", 0),
    kilobytes("Swap", 0),
    kilobytes("SwapPss", 0),
    kilobytes("Locked", 0),
  ].join("");
}

function vmFlags(m: Mapping): string {
  const flags = [];
  if (m.prot & PROT_READ) flags.push("rd");
  if (m.prot & PROT_WRITE) flags.push("wr");
  if (m.prot & PROT_EXEC) flags.push("ex");
  if (m.flags & VF.SHARED) flags.push("sh");
  flags.push("mr");
  if (m.flags & VF.MAYWRITE) flags.push("mw");
  flags.push("me");
  if (m.flags & VF.NORESERVE) flags.push("nr");
  return `VmFlags: ${flags.join(" ")} \n`;
}

/** Page size that smaps tells: 2 MiB when all that is resident stands in 2 MiB entries of the guest's page tables. */
function pageSize(r: Resident): number {
  return r.large > 0 && r.small === 0 ? 2 ** 21 : 4096;
}

function anonymousPart(m: Mapping, r: Resident): number {
  return isAnonymous(m) ? r.small + r.large : 0;
}

export function smaps(k: Kernel): string {
  return eachMapping(k, true)
    .map(({ mapping: m, resident: r }) => {
      const bytes = r.small + r.large;
      const dirty = anonymousPart(m, r);
      const page = pageSize(r);
      return [
        `${lineOf(k, m)}\n`,
        kilobytes("Size", m.end - m.start),
        kilobytes("KernelPageSize", page),
        kilobytes("MMUPageSize", page),
        amounts(bytes, dirty, m.flags & VF.SHARED ? 0 : dirty, m.flags & VF.SHARED ? 0 : r.large, false, 0),
        `THPeligible:    ${m.file ? 0 : 1}\n`,
        vmFlags(m),
      ].join("");
    })
    .join("");
}

export function smapsRollup(k: Kernel): string {
  const rows = eachMapping(k, true);
  if (rows.length === 0) return "";
  let [bytes, dirty, anonymous, large, shared] = [0, 0, 0, 0, 0];
  for (const { mapping: m, resident: r } of rows) {
    bytes += r.small + r.large;
    const own = anonymousPart(m, r);
    dirty += own;
    if (m.flags & VF.SHARED) shared += own;
    else {
      anonymous += own;
      large += r.large;
    }
  }
  const range = `${hex(rows[0]!.mapping.start, 8)}-${hex(rows.at(-1)!.mapping.end, 8)}`;
  return `${`${range} ---p 00000000 00:00 0 `.padEnd(73)}[rollup]\n${amounts(bytes, dirty, anonymous, large, true, shared)}`;
}
