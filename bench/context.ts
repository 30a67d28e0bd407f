/** How this run of the benchmarks starts things. */
export interface Context {
  /** Directory with the compiled programs (bench/.build). */
  readonly programs: string;
  /** The margay to measure (bin/margay.js). */
  readonly margay: string;
  /** CPUs to use, in order: one thread takes the first, two take two. */
  readonly cpus: readonly number[];
  /** `--pages` of both sides, as HOST/GUEST. */
  readonly pages: string;
}

/** A thread count and the CPUs for it; throws when there are too few. */
export function firstCpus(context: Context, threads: number): number[] {
  if (context.cpus.length < threads) throw new Error(`${threads} threads need ${threads} CPUs, --cpus gives ${context.cpus.length}`);
  return context.cpus.slice(0, threads);
}

/** `margay run` with this run's page policy and the first CPUs; `--native` for the baseline. */
export function margayRun(context: Context, side: "native" | "guest", threads: number, program: readonly string[]): string[] {
  const native = side === "native" ? ["--native"] : [];
  return [context.margay, "run", ...native, "--cpus", firstCpus(context, threads).join(","), "--pages", context.pages, "--", ...program];
}
