/** Programs from the host's file system, with the checks of execve(2). */
import { accessSync, closeSync, constants, fstatSync, openSync, readlinkSync, readSync, type Stats, statSync } from "node:fs";
import { type ErrorCode, MargayError } from "../../host/error.ts";
import { shown } from "./numbers.ts";
import type { LoadFile, LoadHost } from "./target.ts";

/** The host's file system, relative paths taken from the process's working directory. Paths are byte strings (latin1). */
export const hostFiles: LoadHost = { open: openHostFile };

/**
 * Opens a program file. Throws MargayError: E_NOT_FOUND; E_IS_DIRECTORY; E_NOT_FILE for devices, pipes and sockets (looked at before
 * they are opened, so that no device notices); E_NOT_EXECUTABLE for a file or a folder on the way that this user may not
 * execute or search; E_NOT_READABLE, because margay reads what Linux only maps.
 */
function openHostFile(path: string): LoadFile {
  const name = Buffer.from(path, "latin1");
  const where = shown(path);
  if (path === "" || name.includes(0)) throw new MargayError("E_NOT_FOUND", "no such program", { where });
  const found = attempt(where, () => statSync(name));
  checkKind(found, where);
  attempt(where, () => accessSync(name, constants.X_OK));
  const fd = attempt(where, () => openSync(name, constants.O_RDONLY | constants.O_NONBLOCK), "E_NOT_READABLE");
  try {
    // The name may mean another file by now; from here on only the descriptor counts.
    const stats = fstatSync(fd);
    checkKind(stats, where);
    return {
      path: resolvedPath(fd) ?? path,
      fd,
      size: stats.size,
      read: (offset, length) => readFully(fd, offset, Math.max(0, Math.min(length, stats.size - offset)), where),
      close: () => closeSync(fd),
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The file's absolute path without symbolic links, as Linux shows it in /proc/PID/exe and maps; null without /proc. */
function resolvedPath(fd: number): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }).toString("latin1");
  } catch (error) {
    if (systemErrorCode(error) === null) throw error;
    return null;
  }
}

function checkKind(stats: Stats, where: string): void {
  if (stats.isDirectory()) throw new MargayError("E_IS_DIRECTORY", "a directory, not a program", { where });
  if (!stats.isFile()) throw new MargayError("E_NOT_FILE", "not a regular file", { where });
}

/** `length` bytes at `offset`, fewer only at end of file. */
function readFully(fd: number, offset: number, length: number, where: string): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const got = attempt(where, () => readSync(fd, bytes, done, length - done, offset + done), "E_NOT_READABLE");
    if (got === 0) return bytes.subarray(0, done);
    done += got;
  }
  return bytes;
}

/** Runs a file-system call and turns its error into ours. `denied` is the code for EACCES. */
function attempt<T>(where: string, call: () => T, denied: ErrorCode = "E_NOT_EXECUTABLE"): T {
  try {
    return call();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === null) throw error;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG")
      throw new MargayError("E_NOT_FOUND", "no such program", { where, cause: error });
    if (code === "ELOOP") throw new MargayError("E_NOT_FOUND", "its symbolic links lead in a circle", { where, cause: error });
    if (code === "EACCES" || code === "EPERM") {
      throw new MargayError(denied, denied === "E_NOT_READABLE" ? "no permission to read it" : "no permission to execute it", {
        where,
        cause: error,
      });
    }
    throw new MargayError("E_NOT_READABLE", `cannot be read: ${code}`, { where, cause: error });
  }
}

/** The errno name of a Node system error, null for any other value. */
function systemErrorCode(error: unknown): string | null {
  return error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string" ? error.code : null;
}
