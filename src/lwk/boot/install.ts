/** Puts the boot pages into slot 0 and maps them at lwkBase: the shared ones once, thread page and ring-0 stack for each vCPU. */
import { ENOMEM } from "../../abi/errno.ts";
import type { GuestMemory } from "../../vmm/guest-memory.ts";
import { PTE_ACCESSED, PTE_DIRTY, PTE_NX_HIGH, PTE_PRESENT, PTE_USER, PTE_WRITE } from "../../vmm/page-table.ts";
import { GuestError } from "../guest-error.ts";
import { H, type State, T } from "../state.ts";
import { gdt, idt, trapStubs, tss } from "./descriptors.ts";
import { BOOT_RANGES, type Flavour, GDT_PAGE, IDT_PAGE, STUB_PAGE, TRAP_STUB_PAGE, TSS_PAGE, VDSO_PAGE, WAITERS_PAGE } from "./layout.ts";
import { stubPage } from "./stub.ts";
import { vdsoImage } from "./vdso.ts";

const PAGE = 4096;
const LINK = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED;

/** Takes consecutive table pages of slot 0, zero as the host gave them. Throws ENOMEM when slot 0 is full. */
export function takeTablePages(state: State, pages: number): number {
  const first = Atomics.add(state.i32, H.nextTablePage, pages);
  if (first + pages > state.i32[H.tablePages]!) throw new GuestError(ENOMEM);
  return first;
}

/** Writes the pages that all vCPUs share. Once per virtual node. `fast`: the stub answers the simplest calls itself. */
export function installSharedPages(state: State, memory: GuestMemory, flavour: Flavour, fast: boolean): void {
  const base = state.getU64(H.lwkBase);
  const contents: Record<number, Uint8Array> = {
    [STUB_PAGE]: stubPage({ flavour, fast }),
    [VDSO_PAGE]: vdsoImage(),
    [GDT_PAGE]: gdt(base),
    [IDT_PAGE]: idt(base),
    [TRAP_STUB_PAGE]: trapStubs(),
    [TSS_PAGE]: tss(base, flavour),
  };
  let total = 0;
  for (const range of BOOT_RANGES) if (!range.perThread) total += range.size / PAGE;
  let page = takeTablePages(state, total);
  state.i32[H.bootPages] = page;
  for (const range of BOOT_RANGES) {
    if (range.perThread) continue;
    const bytes = contents[range.offset];
    if (bytes) memory.tableBytes.set(bytes, page * PAGE);
    if (range.name === "vvar") state.setU64(H.vvarAddress, memory.layout.tableHost + page * PAGE);
    if (range.offset === WAITERS_PAGE) state.setU64(H.waiters, memory.layout.tableHost + page * PAGE);
    page += range.size / PAGE;
  }
}

/** Makes a root table for the vCPU of thread `slot`: the address space's top level, and the LWK's pages in the last entry. The memory lock is held. */
export function installVcpuPages(state: State, memory: GuestMemory, slot: number): void {
  const record = state.thread(slot);
  const words = memory.tables;
  const root = takeTablePages(state, 1);
  const master = state.i32[H.rootTable]! * 1024;
  words.copyWithin(root * 1024, master, master + 510);
  const base = state.getU64(H.lwkBase);
  let table = root;
  for (const shift of [2 ** 39, 2 ** 30, 2 ** 21]) {
    const next = takeTablePages(state, 1);
    words[table * 1024 + (Math.floor(base / shift) & 511) * 2] = ((next << 12) | LINK) >>> 0;
    table = next;
  }
  let shared = state.i32[H.bootPages]!;
  for (const range of BOOT_RANGES) {
    const pages = range.size / PAGE;
    const first = range.perThread ? takeTablePages(state, pages) : shared;
    if (!range.perThread) shared += pages;
    if (range.name === "thread page") state.i32[record + T.threadPage] = first;
    if (range.name === "ring-0 stack") state.i32[record + T.stackPage] = first;
    const low = PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | (range.user ? PTE_USER : 0) | (range.write ? PTE_WRITE : 0);
    for (let i = 0; i < pages; i++) {
      const word = table * 1024 + (range.offset / PAGE + i) * 2;
      words[word + 1] = range.execute ? 0 : PTE_NX_HIGH;
      words[word] = (((first + i) << 12) | low) >>> 0;
    }
  }
  state.i32[record + T.rootPage] = root;
}
