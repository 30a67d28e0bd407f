/** System calls on memory. */
import { EINVAL, ENOMEM, ENOSYS } from "../../abi/errno.ts";
import * as M from "../../abi/mman.ts";
import type { Call, Family } from "../call.ts";
import { FILE_KIND } from "../descriptors.ts";
import { madvise, mincore, msync } from "../mm/advise.ts";
import { mremap } from "../mm/remap.ts";
import { descriptorPath } from "./descriptor-path.ts";

function mmap(c: Call): number {
  const { kernel } = c;
  const flags = c.u32(3);
  const fd = flags & M.MAP_ANONYMOUS ? -1 : kernel.fds.host(c.int(4));
  let path: string | null = null;
  if (fd >= 0) {
    if (kernel.fds.kind(c.int(4)) === FILE_KIND.VIRTUAL_DIRECTORY) return -EINVAL;
    path = descriptorPath(fd);
  }
  return kernel.space.mmap(c.num(0), c.num(1), c.int(2), flags, fd, flags & M.MAP_ANONYMOUS ? 0 : c.num(5), path);
}

export const memoryCalls: Family = {
  mmap: ["lwk", "MAP_GROWSDOWN mappings do not grow; MAP_HUGETLB is not needed and taken as a wish", mmap],
  munmap: ["lwk", "", (c) => c.kernel.space.munmap(c.num(0), c.num(1))],
  mprotect: ["lwk", "", (c) => c.kernel.space.mprotect(c.num(0), c.num(1), c.int(2))],
  pkey_mprotect: ["partial", "only key -1", (c) => (c.int(3) === -1 ? c.kernel.space.mprotect(c.num(0), c.num(1), c.int(2)) : -EINVAL)],
  pkey_alloc: ["none", "no protection keys", () => -ENOSYS],
  pkey_free: ["none", "no protection keys", () => -ENOSYS],
  mremap: ["lwk", "", (c) => mremap(c.kernel.space, c.num(0), c.num(1), c.num(2), c.int(3), c.num(4))],
  brk: ["lwk", "", (c) => c.kernel.space.brk(c.num(0))],
  madvise: [
    "lwk",
    "advice about swapping and merging is accepted and means nothing here",
    (c) => madvise(c.kernel.space, c.num(0), c.num(1), c.int(2)),
  ],
  msync: ["lwk", "", (c) => msync(c.kernel.space, c.num(0), c.num(1), c.int(2))],
  mincore: [
    "lwk",
    "",
    (c) => {
      const address = c.num(0);
      const length = c.num(1);
      if (address % M.PAGE_SIZE !== 0) return -EINVAL;
      if (length > 2 ** 47) return -ENOMEM;
      const pages = Math.ceil(length / M.PAGE_SIZE);
      for (let done = 0; done < pages; done += 65536) {
        const part = mincore(c.kernel.space, address + done * M.PAGE_SIZE, Math.min(65536, pages - done));
        if (!part) return -ENOMEM;
        c.kernel.mem.write(c.num(2) + done, part);
      }
      return 0;
    },
  ],
  mlock: [
    "lwk",
    "memory is never swapped by the LWK; nothing to do",
    (c) => (c.kernel.space.covered(Math.floor(c.num(0) / 4096) * 4096, c.num(0) + c.num(1)) ? 0 : -ENOMEM),
  ],
  mlock2: ["lwk", "as mlock", (c) => (c.kernel.space.covered(Math.floor(c.num(0) / 4096) * 4096, c.num(0) + c.num(1)) ? 0 : -ENOMEM)],
  munlock: ["lwk", "as mlock", () => 0],
  mlockall: ["lwk", "as mlock", (c) => (c.int(0) & ~7 || c.int(0) === 0 ? -EINVAL : 0)],
  munlockall: ["lwk", "as mlock", () => 0],
  remap_file_pages: ["none", "obsolete", () => -ENOSYS],
  mseal: ["none", "", () => -ENOSYS],
  map_shadow_stack: ["none", "", () => -ENOSYS],
  cachestat: ["none", "", () => -ENOSYS],
  process_madvise: ["none", "", () => -ENOSYS],
  memfd_secret: ["none", "", () => -ENOSYS],
};
