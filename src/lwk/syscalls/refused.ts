/** Calls about files that a program in a virtual node does not get, and why. */
import { EOPNOTSUPP, EPERM } from "../../abi/errno.ts";
import type { Family } from "../call.ts";
import { answer } from "./forward.ts";

const administrator = ["none", "EPERM: the host's file systems stay as they are", answer(-EPERM)] as const;
const rings = ["none", "ENOSYS: would share memory with the host kernel; programs use read and write instead", null] as const;
const native = ["none", "ENOSYS", null] as const;

export const refusedCalls: Family = {
  chroot: administrator,
  mount: administrator,
  umount2: administrator,
  pivot_root: administrator,
  swapon: administrator,
  swapoff: administrator,
  open_tree: administrator,
  move_mount: administrator,
  fsopen: administrator,
  fsconfig: administrator,
  fsmount: administrator,
  fspick: administrator,
  mount_setattr: administrator,
  quotactl: administrator,
  quotactl_fd: administrator,
  name_to_handle_at: ["none", "EOPNOTSUPP, as on file systems without handles", answer(-EOPNOTSUPP)],
  open_by_handle_at: ["none", "EPERM", answer(-EPERM)],
  io_uring_setup: rings,
  io_uring_enter: rings,
  io_uring_register: rings,
  io_setup: native,
  io_destroy: native,
  io_submit: native,
  io_cancel: native,
  io_getevents: native,
  io_pgetevents: native,
  landlock_create_ruleset: native,
  landlock_add_rule: native,
  landlock_restrict_self: native,
  fanotify_init: native,
  fanotify_mark: native,
  userfaultfd: native,
  ustat: native,
  sysfs: native,
  lookup_dcookie: native,
};
