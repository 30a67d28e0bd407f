import { errnoName } from "../abi/errno.ts";

/** A system call ends with this error number in the guest. Thrown by the guest-memory window and by handlers; never a failure of margay. */
export class GuestError extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(errnoName(errno));
    this.errno = errno;
  }
}
