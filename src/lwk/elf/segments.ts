/** Carries out an `ElfImage`: maps its segments into an address space and zeroes its bss. */
import { EEXIST, ENOMEM, errnoName } from "../../abi/errno.ts";
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PAGE_SIZE,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "../../abi/mman.ts";
import { MargayError } from "../../host/error.ts";
import type { ElfImage, Segment } from "./image.ts";
import { MMAP_MIN_ADDR, USER_END } from "./layout.ts";
import { alignDown, alignUp, hex, pageDown, pageUp, shown } from "./numbers.ts";
import type { LoadFile, LoadTarget } from "./target.ts";

/** Half-open range of addresses, without bias. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Maps `image`, whose bytes are in `file`, and returns the load bias: what to add to an address of the file.
 * A relocatable image goes near `base`, or, if that is null, wherever the address space puts a mapping without an address (as
 * Linux places interpreters); other images go where they say. It lands on free space or not at all.
 * Throws MargayError E_BAD_ELF when the image does not fit beside what is mapped already, E_NO_MEMORY when memory runs out.
 */
export function mapImage(target: LoadTarget, file: LoadFile, image: ElfImage, base: number | null): number {
  const anywhere = image.relocatable && base === null;
  const bias = anywhere ? claimAnywhere(target, file, image) : image.relocatable ? biasNear(file, image, base ?? 0) : 0;
  // Segments that share a page must replace each other there, so for them the place is claimed as a whole beforehand.
  const shared = image.segments.some((s, i) => i > 0 && pageDown(s.vaddr) < pageEnd(image.segments[i - 1]!));
  if (shared && !anywhere) for (const run of pageRuns(image)) claim(target, file, run, bias);
  const placement = anywhere || shared ? MAP_FIXED : MAP_FIXED_NOREPLACE;

  let mappedEnd = 0;
  for (const segment of image.segments) {
    mapSegment(target, file, segment, bias, placement, mappedEnd);
    mappedEnd = bias + pageEnd(segment);
  }
  image.segments.forEach((segment, i) => zeroTail(target, segment, image.segments[i + 1], bias));
  return bias;
}

/** Where a relocatable image goes when the caller chose its place: its lowest page at `base`, or below by less than its alignment. */
function biasNear(file: LoadFile, image: ElfImage, base: number): number {
  const bias = alignDown(base - image.low, image.alignment);
  if (bias + image.low < MMAP_MIN_ADDR || bias + image.high > USER_END) {
    throw failed(file, `${hex(image.high - image.low)} bytes aligned to ${hex(image.alignment)} do not fit into the address space`);
  }
  return bias;
}

/**
 * Claims room for a whole image without rights, wherever the address space has it, so that the segments keep their distances when
 * they are mapped over the claim. Where the image wants more than page alignment it claims more and gives back both
 * ends; the holes between the segments go back too, as they do on Linux. Returns the bias.
 */
function claimAnywhere(target: LoadTarget, file: LoadFile, image: ElfImage): number {
  const span = image.high - image.low;
  const slack = image.alignment - PAGE_SIZE;
  if (span + slack > USER_END) {
    throw failed(file, `${hex(span)} bytes aligned to ${hex(image.alignment)} do not fit into the address space`);
  }
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const start = check(file, 0, span + slack, target.mmap(0, span + slack, PROT_NONE, flags, -1, 0, null));
  const bias = alignUp(start - image.low, image.alignment);
  const first = bias + image.low;
  if (first > start) target.munmap(start, first - start);
  if (start + slack > first) target.munmap(first + span, start + slack - first);
  const runs = pageRuns(image);
  runs.forEach((run, i) => {
    const next = runs[i + 1];
    if (next !== undefined) target.munmap(bias + run.end, next.start - run.end);
  });
  return bias;
}

function claim(target: LoadTarget, file: LoadFile, range: Range, bias: number): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  const size = range.end - range.start;
  check(file, bias + range.start, size, target.mmap(bias + range.start, size, PROT_NONE, flags, -1, 0, null));
}

/**
 * Maps the part of a segment that has file bytes, then anonymous memory for the whole pages behind it. `mappedEnd` is the end of the
 * segments below.
 */
function mapSegment(target: LoadTarget, file: LoadFile, segment: Segment, bias: number, placement: number, mappedEnd: number): void {
  const start = bias + pageDown(segment.vaddr);
  const end = bias + pageEnd(segment);
  const fileEnd = segment.filesz === 0 ? start : bias + pageUp(segment.vaddr + segment.filesz);
  if (fileEnd > start) {
    const size = fileEnd - start;
    check(file, start, size, target.mmap(start, size, segment.prot, MAP_PRIVATE | placement, file.fd, pageDown(segment.offset), file.path));
  }
  // A page shared with the segment below stays: it holds that segment's last bytes.
  const zeroStart = segment.filesz === 0 ? Math.max(start, mappedEnd) : fileEnd;
  if (end > zeroStart) {
    // Linux maps bss by brk: readable and writable whatever the segment says, executable if it says so.
    const prot = PROT_READ | PROT_WRITE | (segment.prot & PROT_EXEC);
    const size = end - zeroStart;
    check(file, zeroStart, size, target.mmap(zeroStart, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | placement, -1, 0, null));
  }
}

/**
 * Zeroes the bss bytes that lie in pages filled from the file: behind the segment's own file bytes, and where the
 * segment above starts in the middle of this one's last page.
 */
function zeroTail(target: LoadTarget, segment: Segment, above: Segment | undefined, bias: number): void {
  const start = bias + segment.vaddr + segment.filesz;
  const end = bias + segment.vaddr + segment.memsz;
  if (end === start) return;
  const limit = above === undefined ? Number.POSITIVE_INFINITY : bias + above.vaddr;
  const ownEnd = Math.min(pageUp(start), limit);
  if (ownEnd > start) target.poke(start, new Uint8Array(ownEnd - start));
  const shared = Math.max(pageDown(limit), ownEnd);
  if (end > shared) target.poke(shared, new Uint8Array(end - shared));
}

/** The image's pages as maximal runs, ascending, without bias. */
function pageRuns(image: ElfImage): readonly Range[] {
  const runs: Range[] = [];
  for (const segment of image.segments) {
    const range = { start: pageDown(segment.vaddr), end: pageEnd(segment) };
    const last = runs[runs.length - 1];
    if (last !== undefined && range.start <= last.end) runs[runs.length - 1] = { start: last.start, end: range.end };
    else runs.push(range);
  }
  return runs;
}

/** End of the last page that a segment touches, without bias. */
function pageEnd(segment: Segment): number {
  return pageUp(segment.vaddr + segment.memsz);
}

/** The result of an mmap of `size` bytes at `start`, if it is an address. */
function check(file: LoadFile, start: number, size: number, result: number): number {
  if (result >= 0) return result;
  if (result === -ENOMEM)
    throw new MargayError("E_NO_MEMORY", `no room for ${hex(size)} bytes of the program`, { where: shown(file.path) });
  if (result === -EEXIST) throw failed(file, `its place ${hex(start)}-${hex(start + size)} is taken`);
  throw failed(file, `${hex(size)} bytes cannot be mapped at ${hex(start)}: ${errnoName(-result)}`);
}

function failed(file: LoadFile, what: string): MargayError {
  return new MargayError("E_BAD_ELF", what, { where: shown(file.path) });
}
