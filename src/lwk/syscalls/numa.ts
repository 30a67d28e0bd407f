/**
 * System calls on NUMA memory policies, for the virtual node's own NUMA nodes. New memory of a thread comes from the node that its policy names first;
 * pages do not move once they are there. With one NUMA node every policy comes to the same and all of this is exact.
 */
import { EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOSYS, ESRCH } from "../../abi/errno.ts";
import {
  MPOL_BIND,
  MPOL_DEFAULT,
  MPOL_F_ADDR,
  MPOL_F_MEMS_ALLOWED,
  MPOL_F_NODE,
  MPOL_INTERLEAVE,
  MPOL_LOCAL,
  MPOL_MF_MOVE,
  MPOL_MF_MOVE_ALL,
  MPOL_MF_STRICT,
  MPOL_MODE_FLAGS,
  MPOL_PREFERRED,
  MPOL_PREFERRED_MANY,
  MPOL_WEIGHTED_INTERLEAVE,
} from "../../abi/sched.ts";
import type { Call, Family } from "../call.ts";
import type { Kernel } from "../kernel.ts";
import { USER_END } from "../mm/address-space.ts";
import { H, OFFSET, S, SLOT, T } from "../state.ts";
import { GuestError } from "../guest-error.ts";

/** Nodes that H.memoryPolicy has room for beside the mode: bits 0-7 mode, 8-31 nodes. */
const POLICY_NODES = 24;
const NODE_BITS_MAX = 32768;

function nodeCount(k: Kernel): number {
  return k.state.i32[H.nodeCount]!;
}

/** Virtual NUMA node of guest-physical memory; 0 for files' pages, which the host places. */
export function nodeOfMemory(k: Kernel, gpa: number): number {
  const { state } = k;
  for (let i = 0; i < state.i32[H.slotCount]!; i++) {
    const slot = (OFFSET.slots >> 2) + i * S.size;
    const start = state.getU64(slot + S.gpa);
    if (gpa >= start && gpa < start + state.getU64(slot + S.bytes)) return state.i32[slot + S.kind] === SLOT.ARENA ? 0 : Math.max(0, state.i32[slot + S.node]!);
  }
  return 0;
}

/** Nodes of a mask in guest memory (`maxnode` as the calls have it: one more than bits). Throws EINVAL for nodes that are not there, EFAULT. */
function readNodes(k: Kernel, va: number, maxnode: number): number[] {
  const bits = maxnode - 1;
  if (!va || bits <= 0) return [];
  if (bits > NODE_BITS_MAX) throw new GuestError(EINVAL);
  const bytes = k.mem.bytes(va, Math.ceil(bits / 64) * 8);
  const nodes: number[] = [];
  for (let node = 0; node < bits; node++) {
    if (!(bytes[node >> 3]! & (1 << (node & 7)))) continue;
    if (node >= nodeCount(k)) throw new GuestError(EINVAL);
    nodes.push(node);
  }
  return nodes;
}

function writeNodes(k: Kernel, va: number, maxnode: number, nodes: readonly number[]): void {
  if (maxnode - 1 < nodeCount(k)) throw new GuestError(EINVAL);
  const mask = new Uint8Array(Math.min(Math.ceil((maxnode - 1) / 64), NODE_BITS_MAX / 64) * 8);
  for (const node of nodes) mask[node >> 3]! |= 1 << (node & 7);
  k.mem.write(va, mask);
}

/** Checks mode against nodes as Linux does. Returns false when they do not fit. */
function fits(mode: number, nodes: readonly number[]): boolean {
  switch (mode) {
    case MPOL_DEFAULT:
    case MPOL_LOCAL:
      return nodes.length === 0;
    case MPOL_PREFERRED:
      return true;
    case MPOL_BIND:
    case MPOL_INTERLEAVE:
    case MPOL_PREFERRED_MANY:
    case MPOL_WEIGHTED_INTERLEAVE:
      return nodes.length > 0;
    default:
      return false;
  }
}

function homeNode(k: Kernel): number {
  return k.state.i32[(OFFSET.cpuNodes >> 2) + k.state.i32[k.record + T.cpu]!]!;
}

function setMempolicy(c: Call): number {
  const { kernel: k } = c;
  const mode = c.int(0) & ~MPOL_MODE_FLAGS;
  const nodes = readNodes(k, c.num(1), c.num(2));
  if (!fits(mode, nodes) || nodes.some((node) => node >= POLICY_NODES)) return -EINVAL;
  k.state.u32[H.memoryPolicy] = (mode | (nodes.reduce((mask, node) => mask | (1 << node), 0) << 8)) >>> 0;
  k.space.node = nodes[0] ?? homeNode(k);
  return 0;
}

function getMempolicy(c: Call): number {
  const { kernel: k } = c;
  const [mode, mask, maxnode, address, flags] = [c.num(0), c.num(1), c.num(2), c.num(3), c.u32(4)];
  if (flags & ~(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED)) return -EINVAL;
  const all = Array.from({ length: nodeCount(k) }, (_, node) => node);
  if (flags & MPOL_F_MEMS_ALLOWED) {
    if (flags & (MPOL_F_NODE | MPOL_F_ADDR)) return -EINVAL;
    if (mode) k.mem.setU32(mode, 0);
    if (mask) writeNodes(k, mask, maxnode, all);
    return 0;
  }
  const policy = k.state.u32[H.memoryPolicy]!;
  let answer = policy & 0xff;
  let nodes = all.filter((node) => node < POLICY_NODES && (policy >>> (8 + node)) & 1);
  if (flags & MPOL_F_ADDR) {
    const gpa = address < USER_END ? k.mem.locate(address, false) : -1;
    if (gpa < 0) return -EFAULT;
    if (flags & MPOL_F_NODE) answer = nodeOfMemory(k, gpa);
    else [answer, nodes] = [MPOL_DEFAULT, []];
  } else if (flags & MPOL_F_NODE) {
    if (answer !== MPOL_INTERLEAVE) return -EINVAL;
    answer = nodes[0] ?? 0;
  } else if (address) return -EINVAL;
  if (mode) k.mem.setU32(mode, answer);
  if (mask) writeNodes(k, mask, maxnode, nodes);
  return 0;
}

/** mbind(2): granted when it asks for nothing that is not so: one NUMA node, the default, or all nodes. */
function mbind(c: Call): number {
  const { kernel: k } = c;
  const [start, length, mode, flags] = [c.num(0), c.num(1), c.int(2) & ~MPOL_MODE_FLAGS, c.u32(5)];
  if (start % 4096 !== 0 || flags & ~(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL)) return -EINVAL;
  const nodes = readNodes(k, c.num(3), c.num(4));
  if (!fits(mode, nodes)) return -EINVAL;
  const end = start + Math.ceil(length / 4096) * 4096;
  if (!(end <= USER_END)) return -EINVAL;
  if (end > start && !k.space.locked(() => k.space.covered(start, end))) return -EFAULT;
  return nodes.length === 0 || nodes.length === nodeCount(k) ? 0 : -ENOSYS;
}

/** Virtual NUMA node of the page at `va`; -ENOENT when nothing is there yet. */
function nodeOfPage(k: Kernel, va: number): number {
  const { space } = k;
  if (va >= USER_END) return -ENOENT;
  return space.locked(() => (space.tables.translate(va) ? nodeOfMemory(k, space.tables.gpa) : -ENOENT));
}

/** move_pages(2): tells where pages are; a page that should go elsewhere stays and says so (EBUSY in its status). */
function movePages(c: Call): number {
  const { kernel: k } = c;
  const [pid, count, pages, nodes, status] = [c.int(0), c.num(1), c.num(2), c.num(3), c.num(4)];
  if (pid !== 0 && pid !== k.pid && !k.threads.alive(pid)) return -ESRCH;
  if (c.u32(5) & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL)) return -EINVAL;
  if (count > 2 ** 24) return -EINVAL;
  let left = 0;
  for (let i = 0; i < count; i++) {
    const va = k.mem.u64(pages + i * 8);
    const wanted = nodes ? k.mem.i32(nodes + i * 4) : -1;
    if (nodes && (wanted < 0 || wanted >= nodeCount(k))) return -ENODEV;
    const node = nodeOfPage(k, va);
    const answer = node >= 0 && nodes && node !== wanted ? -EBUSY : node;
    if (answer === -EBUSY) left++;
    if (status) k.mem.setU32(status + i * 4, answer >>> 0);
  }
  return left;
}

/** migrate_pages(2): pages that could not be moved; with one NUMA node there are none. */
function migratePages(c: Call): number {
  const { kernel: k } = c;
  const pid = c.int(0);
  if (pid !== 0 && pid !== k.pid && !k.threads.alive(pid)) return -ESRCH;
  readNodes(k, c.num(2), c.num(1));
  readNodes(k, c.num(3), c.num(1));
  return nodeCount(k) === 1 ? 0 : -ENOSYS;
}

export const numaCalls: Family = {
  get_mempolicy: ["partial", "one policy for the whole program; no policies of mappings", getMempolicy],
  set_mempolicy: ["partial", "the first node named serves this thread's new memory; nothing interleaves", setMempolicy],
  mbind: ["partial", "with several NUMA nodes only the default or all of them; ENOSYS else", mbind],
  move_pages: ["partial", "tells where pages are; pages stay", movePages],
  migrate_pages: ["partial", "with one NUMA node there is nothing to move; ENOSYS else", migratePages],
  set_mempolicy_home_node: ["none", "", () => -ENOSYS],
};
