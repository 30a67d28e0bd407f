import { errnoName, errnoText } from "../abi/errno.ts";

/** A host system call failed where margay needs it: the call, its error number, what it was for. */
export class HostError extends Error {
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number, detail = "") {
    super(`${call}${detail ? ` (${detail})` : ""}: ${errnoName(errno)}, ${errnoText(errno)}`);
    this.call = call;
    this.errno = errno;
  }
}
