/**
 * What the loader needs from the rest of the LWK: an address space to fill and a way to open host files.
 * The address space implements `LoadTarget`; tests implement it with a memory model.
 */

/** The address space a program is loaded into. Results are as of the Linux calls of the same names. */
export interface LoadTarget {
  /**
   * Linux mmap semantics: returns the address or -errno. `flags` are MAP_* bits (MAP_PRIVATE 2, MAP_FIXED 0x10,
   * MAP_ANONYMOUS 0x20, MAP_FIXED_NOREPLACE 0x100000). `fd` is a host descriptor, -1 for anonymous memory;
   * `path` is what /proc/self/maps shows.
   */
  mmap(addr: number, length: number, prot: number, flags: number, fd: number, offset: number, path: string | null): number;
  /** Returns 0 or -errno. */
  munmap(addr: number, length: number): number;
  /** Returns 0 or -errno. */
  mprotect(addr: number, length: number, prot: number): number;
  /** Writes into mapped guest memory whatever its protection; throws if any of it is unmapped. */
  poke(addr: number, bytes: Uint8Array): void;
}

/** A host file opened for loading. Whoever opened it closes it. */
export interface LoadFile {
  /** Absolute, without symbolic links, as /proc/PID/maps shows it. A byte string (latin1), like all paths here. */
  readonly path: string;
  /** Host descriptor, closed by `close`: a LoadTarget that needs the file longer duplicates it. */
  readonly fd: number;
  /** Bytes at the time of opening. */
  readonly size: number;
  /** Returns fewer bytes than asked for only at end of file; throws MargayError on I/O errors. */
  read(offset: number, length: number): Uint8Array;
  close(): void;
}

/** The file system programs are loaded from. */
export interface LoadHost {
  /**
   * Opens a regular file that this user may execute. Throws MargayError: E_NOT_FOUND (exit code 127),
   * E_NOT_EXECUTABLE (126), E_IS_DIRECTORY (126).
   */
  open(path: string): LoadFile;
}
