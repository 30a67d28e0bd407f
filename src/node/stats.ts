/** --stats: what the virtual node did, counted. */
import { readFileSync } from "node:fs";
import { callName, NR, NR_MAX } from "../abi/nr.ts";
import { exitName } from "../abi/kvm.ts";
import { type Gate, viewMemory } from "../host/gate.ts";
import { putString, type Scratch } from "../host/memory.ts";
import { C, H, OFFSET, S, SLOT, type State } from "../lwk/state.ts";

const BLOCK = 2 ** 21;

export interface Statistics {
  readonly version: 1;
  readonly exitCode: number;
  readonly wallSeconds: number;
  readonly kvm: "PVM" | "textbook";
  readonly paging: string;
  readonly cpus: readonly number[];
  readonly threads: { readonly peak: number; readonly made: number; readonly hostThreads: number };
  readonly memory: {
    readonly limitBytes: number;
    /** Blocks handed out, and memory slots. */
    readonly heldBytes: number;
    readonly slotBytes: number;
    /** What the host really backs: resident bytes of the block pool on 2M pages (THP, hugetlb) and on small ones. */
    readonly host: { readonly bytes2M: number; readonly bytes4K: number; readonly hugetlbBytes: number };
    /** What the guest's page tables map: bytes by size of the entry (private memory), and file-arena bytes (always 4K entries). */
    readonly guest: { readonly bytes2M: number; readonly bytes4K: number; readonly fileBytes: number };
    /** Bytes that are on 2M pages in host and guest both, and their share of all private bytes that the guest maps and the host backs. */
    readonly bytesOn2M: number;
    readonly shareOn2M: number;
    readonly tableBytes: number;
    /** Host address ranges of the guest's memory, for tools that look at /proc/PID/smaps. */
    readonly ranges: readonly { readonly start: string; readonly bytes: number; readonly kind: string; readonly node: number }[];
  };
  readonly exits: Record<string, number>;
  readonly faults: number;
  readonly kicks: number;
  readonly signals: number;
  readonly calls: Record<string, number>;
  readonly unknownCalls: number;
}

/** Counts everything. Takes milliseconds, for /proc/self/smaps. */
export function collectStatistics(state: State, gate: Gate, scratch: Scratch): Statistics {
  const calls: Record<string, number> = {};
  const exits: Record<string, number> = {};
  let faults = 0;
  let kicks = 0;
  let signals = 0;
  for (let slot = 0; slot < state.i32[H.slotsInUse]!; slot++) {
    const c = state.counters(slot);
    for (let nr = 0; nr <= NR_MAX; nr++) {
      const n = state.u32[c + C.calls + nr]!;
      if (n) calls[callName(nr)] = (calls[callName(nr)] ?? 0) + n;
    }
    for (let reason = 0; reason < 64; reason++) {
      const n = state.u32[c + C.exits + reason]!;
      if (n) exits[exitName(reason)] = (exits[exitName(reason)] ?? 0) + n;
    }
    faults += state.u32[c + C.faults]!;
    kicks += state.u32[c + C.kicks]!;
    signals += state.u32[c + C.signals]!;
  }
  gate.sys(NR.clock_gettime, 1, scratch.address);
  const now = Number(scratch.view.getBigInt64(0, true)) * 1e9 + Number(scratch.view.getBigInt64(8, true));
  const ranges = slotRanges(state);
  const host = hostPages(state);
  const guest = guestPages(state);
  const small = guest.bytes4K;
  const bytesOn2M = Math.min(guest.bytes2M, host.bytes2M);
  const all = bytesOn2M + small + Math.max(0, Math.min(guest.bytes2M, host.bytes2M + host.bytes4K) - bytesOn2M);
  return {
    version: 1,
    exitCode: state.i32[H.exitCode]!,
    wallSeconds: (now - state.getU64(H.startNs)) / 1e9,
    kvm: state.i32[H.kvmKind] === 0 ? "PVM" : "textbook",
    paging: `${state.i32[H.hostHuge] ? "2M" : "4K"}/${state.i32[H.guestHuge] ? "2M" : "4K"}`,
    cpus: Array.from({ length: state.i32[H.cpuCount]! }, (_, i) => state.i32[(OFFSET.cpus >> 2) + i]!),
    threads: { peak: state.i32[H.peakThreads]!, made: state.i32[H.nextTid]! - state.i32[H.pid]!, hostThreads: state.i32[H.slotsInUse]! },
    memory: {
      limitBytes: state.i32[H.blocksLimit]! * BLOCK,
      heldBytes: state.i32[H.blocksUsed]! * BLOCK,
      slotBytes: state.i32[H.blocksMapped]! * BLOCK,
      host,
      guest,
      bytesOn2M,
      shareOn2M: all > 0 ? bytesOn2M / all : 0,
      tableBytes: state.i32[H.nextTablePage]! * 4096,
      ranges,
    },
    exits,
    faults,
    kicks,
    signals,
    calls: Object.fromEntries(Object.entries(calls).sort((a, b) => b[1] - a[1])),
    unknownCalls: state.i32[H.unknownCalls]!,
  };
}

const KINDS = ["tables", "thp", "hugetlb", "small", "files"];

function slotRanges(state: State): Statistics["memory"]["ranges"] {
  const ranges = [];
  for (let i = 0; i < state.i32[H.slotCount]!; i++) {
    const slot = (OFFSET.slots >> 2) + i * S.size;
    const kind = state.i32[slot + S.kind]!;
    const gpa = state.getU64(slot + S.gpa);
    const host =
      kind === SLOT.TABLES
        ? state.getU64(H.tableBase)
        : kind === SLOT.ARENA
          ? state.getU64(H.arenaBase) + gpa - state.getU64(H.arenaGpa)
          : state.getU64(H.blockBase) + state.i32[slot + S.firstBlock]! * BLOCK;
    ranges.push({
      start: `0x${host.toString(16)}`,
      bytes: state.getU64(slot + S.bytes),
      kind: KINDS[kind]!,
      node: state.i32[slot + S.node]!,
    });
  }
  return ranges;
}

/** Resident bytes of the block pool by host page size, from /proc/self/smaps. */
function hostPages(state: State): Statistics["memory"]["host"] {
  const start = state.getU64(H.blockBase);
  const end = start + state.i32[H.blocksMapped]! * BLOCK;
  let resident = 0;
  let huge = 0;
  let hugetlb = 0;
  let inside = false;
  let smaps = "";
  try {
    smaps = readFileSync("/proc/self/smaps", "latin1");
  } catch {
    return { bytes2M: 0, bytes4K: 0, hugetlbBytes: 0 };
  }
  for (const line of smaps.split("\n")) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range) {
      const at = Number.parseInt(range[1]!, 16);
      inside = at >= start && at < end;
      continue;
    }
    if (!inside) continue;
    const field = /^(Rss|AnonHugePages|Private_Hugetlb|Shared_Hugetlb):\s+(\d+) kB/.exec(line);
    if (!field) continue;
    const bytes = Number(field[2]) * 1024;
    if (field[1] === "Rss") resident += bytes;
    else if (field[1] === "AnonHugePages") huge += bytes;
    else hugetlb += bytes;
  }
  return { bytes2M: huge + hugetlb, bytes4K: Math.max(0, resident - huge), hugetlbBytes: hugetlb };
}

/** What the guest's page tables hold. */
function guestPages(state: State): Statistics["memory"]["guest"] {
  const words = new Uint32Array(viewOf(state));
  let bytes2M = 0;
  let bytes4K = 0;
  let fileBytes = 0;
  const table = (word: number): number => (words[word]! & 1 ? words[word]! >>> 12 : 0);
  const root = state.i32[H.rootTable]!;
  for (let a = 0; a < 255; a++) {
    const pdpt = table(root * 1024 + a * 2);
    if (!pdpt) continue;
    for (let b = 0; b < 512; b++) {
      const directory = table(pdpt * 1024 + b * 2);
      if (!directory) continue;
      for (let c = 0; c < 512; c++) {
        const low = words[directory * 1024 + c * 2]!;
        if (low & 0x80) bytes2M += low & 1 ? BLOCK : 0;
        else if (low & 1) {
          const page = (low >>> 12) * 1024;
          for (let d = 0; d < 512; d++) {
            const entry = words[page + d * 2]!;
            if (!(entry & 1)) continue;
            if (entry & 0x200) bytes4K += 4096;
            else fileBytes += 4096;
          }
        }
      }
    }
  }
  return { bytes2M, bytes4K, fileBytes };
}

function viewOf(state: State): ArrayBuffer {
  return viewMemory(state.getU64(H.tableBase), state.getU64(H.tableSize));
}

/** The numbers as people read them. */
export function formatStatistics(s: Statistics): string {
  const mb = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const calls = Object.entries(s.calls)
    .slice(0, 12)
    .map(([name, n]) => `${name} ${n}`)
    .join(", ");
  return [
    `margay: exit code ${s.exitCode} after ${s.wallSeconds.toFixed(3)} s, ${s.kvm} KVM, paging ${s.paging}, CPUs ${s.cpus.join(",")}`,
    `margay: memory: ${mb(s.memory.heldBytes)} held of ${mb(s.memory.limitBytes)}; host pages: ${mb(s.memory.host.bytes2M)} on 2M, ${mb(s.memory.host.bytes4K)} on 4K; guest entries: ${mb(s.memory.guest.bytes2M)} 2M, ${mb(s.memory.guest.bytes4K)} 4K; on 2M in both: ${(s.memory.shareOn2M * 100).toFixed(1)} %`,
    `margay: threads: ${s.threads.peak} at once, ${s.threads.made} made; exits: ${Object.entries(s.exits)
      .map(([name, n]) => `${name} ${n}`)
      .join(", ")}; faults ${s.faults}, signals ${s.signals}, kicks ${s.kicks}`,
    `margay: calls: ${calls || "none"}; unknown: ${s.unknownCalls}`,
    "",
  ].join("\n");
}

/** Writes the statistics where --stats said: as text by `say`, or as JSON into the file. */
export function writeStatistics(state: State, gate: Gate, scratch: Scratch, say: (text: string) => void): void {
  const statistics = collectStatistics(state, gate, scratch);
  const length = state.i32[H.statsPathLength]!;
  if (!length) {
    say(formatStatistics(statistics));
    return;
  }
  const at = OFFSET.texts + state.i32[H.statsPathOffset]!;
  const path = Buffer.from(state.u8.slice(at, at + length)).toString("latin1");
  const fd = gate.sys(NR.openat, -100, putString(scratch, path), 0o2001101, 0o666);
  if (fd < 0) {
    say(`margay: E_BAD_OUTPUT: the statistics cannot be written (${path}): check the folder and its permissions\n`);
    return;
  }
  const bytes = Buffer.from(`${JSON.stringify(statistics, null, 2)}\n`);
  for (let done = 0; done < bytes.length; ) {
    const part = bytes.subarray(done, done + 65536);
    scratch.u8.set(part);
    const written = gate.sys(NR.write, fd, scratch.address, part.length);
    if (written <= 0) break;
    done += written;
  }
}
