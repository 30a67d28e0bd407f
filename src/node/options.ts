/** What `margay run` is asked for, after parsing. */
export interface RunOptions {
  /** Program as the user named it, and its arguments (argv[0] first), byte strings as latin1. */
  readonly program: string;
  readonly argv: readonly string[];
  readonly cpus?: string | undefined;
  readonly numa?: number | undefined;
  readonly mem?: string | undefined;
  readonly pages: PageSizes;
  /** Host memory must come from hugetlb pools. */
  readonly hugetlb: boolean;
  /** `K=V` to set, `K` to take out; in this order over the environment. */
  readonly env: readonly string[];
  readonly workdir?: string | undefined;
  /** Statistics at the end: false, true (stderr), or a file for JSON. */
  readonly stats: boolean | string;
  /** Trace of system calls: false, true (stderr), or a file. */
  readonly strace: boolean | string;
  readonly timeoutSeconds?: number | undefined;
  readonly aslr: boolean;
}

/** Page sizes of host and guest, in the paper's order. */
export interface PageSizes {
  readonly hostHuge: boolean;
  readonly guestHuge: boolean;
}
