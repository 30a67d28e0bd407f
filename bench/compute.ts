/** Programs that run in the guest as they do natively: the same binary, once by `margay run --native`, once by `margay run`. */
import { type Context, margayRun } from "./context.ts";
import { measure } from "./process.ts";
import type { Arm, Experiment, Figure, Source, Target } from "./types.ts";

interface Workload {
  readonly program: string;
  readonly args?: readonly string[];
  readonly threads: number;
  readonly about: string;
  /** Readings to compare: more is better, or less is. The ratio is always written so that 1 means native speed and less means slower. */
  readonly figures: readonly {
    readonly key: string;
    readonly label: string;
    readonly unit: string;
    readonly better: "more" | "less";
    readonly target?: Target;
  }[];
}

const threadsText = (n: number): string => `${n} thread${n === 1 ? "" : "s"}`;

function dgemm(threads: number): Workload {
  return {
    program: "dgemm",
    threads,
    about: "OpenBLAS, 1536 x 1536, seven products after the first; checked with a random vector",
    figures: [
      {
        key: "gflops",
        label: `dgemm, ${threadsText(threads)}, median product`,
        unit: "GFLOP/s",
        better: "more",
        target: { atLeast: 0.99 },
      },
      { key: "gflops_best", label: `dgemm, ${threadsText(threads)}, best product`, unit: "GFLOP/s", better: "more" },
    ],
  };
}

function stream(threads: number): Workload {
  return {
    program: "stream",
    threads,
    about: "three static arrays of 128 MiB, 20 repetitions, every element checked",
    figures: [
      { key: "triad", label: `stream triad, ${threadsText(threads)}, best`, unit: "GB/s", better: "more", target: { atLeast: 0.99 } },
      { key: "triad_median", label: `stream triad, ${threadsText(threads)}, median`, unit: "GB/s", better: "more" },
      { key: "copy", label: `stream copy, ${threadsText(threads)}, best`, unit: "GB/s", better: "more" },
      { key: "scale", label: `stream scale, ${threadsText(threads)}, best`, unit: "GB/s", better: "more" },
      { key: "add", label: `stream add, ${threadsText(threads)}, best`, unit: "GB/s", better: "more" },
    ],
  };
}

const WORKLOADS: Readonly<Record<string, Workload>> = {
  "dgemm-1": dgemm(1),
  "dgemm-2": dgemm(2),
  "stream-1": stream(1),
  "stream-2": stream(2),
  randomaccess: {
    program: "randomaccess",
    threads: 1,
    about: "HPC Challenge's update sequence on a 1 GiB static table, 32 Mi updates, undone and checked by a second pass",
    figures: [{ key: "gups", label: "randomaccess, 1 GiB", unit: "GUP/s", better: "more", target: { atLeast: 0.975 } }],
  },
  "omp-barrier": {
    program: "omp-barrier",
    threads: 2,
    about: "libgomp, 2 threads, 400 batches of 2,000 barriers",
    figures: [{ key: "barrier_ns", label: "omp barrier, 2 threads", unit: "ns", better: "less", target: { atLeast: 0.95 } }],
  },
  clock: {
    program: "calls",
    threads: 1,
    about: "clock_gettime through the vDSO",
    figures: [
      { key: "monotonic_ns", label: "clock_gettime MONOTONIC", unit: "ns", better: "less" },
      { key: "realtime_ns", label: "clock_gettime REALTIME", unit: "ns", better: "less" },
    ],
  },
};

function arm(context: Context, side: "native" | "guest", load: Workload): Arm {
  const program = [context.programs + load.program, ...(load.args ?? [])];
  const n = String(load.threads);
  return {
    name: side,
    run: () =>
      measure(`${context.programs}wall`, side, {
        argv: margayRun(context, side, load.threads, program),
        env: { BENCH_PAGES: hostPages(context), OMP_NUM_THREADS: n, OPENBLAS_NUM_THREADS: n, OMP_PROC_BIND: "true" },
        cpus: new Set(context.cpus),
        timeout: 120,
        report: true,
      }),
  };
}

/** Equal page size: natively the pages are what the host part of HOST/GUEST says. */
function hostPages(context: Context): string {
  return context.pages.split("/")[0] as string;
}

function ratio(of: Workload["figures"][number]): Figure {
  const native: Source = { arm: "native", key: of.key };
  const guest: Source = { arm: "guest", key: of.key };
  const sides = of.better === "more" ? { above: guest, below: native } : { above: native, below: guest };
  return { label: of.label, unit: of.unit, ...sides, ...(of.target && { target: of.target }) };
}

/** Native and guest side by side, one experiment per workload. */
export function computeExperiments(context: Context): Experiment[] {
  return Object.entries(WORKLOADS).map(([name, load]) => ({
    name,
    about: load.about,
    arms: [arm(context, "native", load), arm(context, "guest", load)],
    figures: load.figures.map(ratio),
    rounds: 11,
  }));
}
