/** Programs that run in the guest as they do natively: the same binary, once by `margay run --native`, once by `margay run`. */
import { type Context, margayRun } from "./context.ts";
import { type Contestant, lockstep } from "./lockstep.ts";
import type { Experiment, Figure, Source, Target } from "./types.ts";

interface Workload {
  readonly program: string;
  readonly threads: number;
  readonly about: string;
  /** Readings to compare: more is better, or less is. The ratio is always written so that 1 means native speed and less means slower. */
  readonly figures: readonly {
    readonly key: string;
    readonly label: string;
    readonly unit: string;
    readonly better: "more" | "less";
    /** For the ratio. */
    readonly target?: Target;
    /** For the guest's own figure, which then gets a line of its own. */
    readonly guestTarget?: Target;
  }[];
}

const threadsText = (n: number): string => `${n} thread${n === 1 ? "" : "s"}`;

function dgemm(threads: number): Workload {
  return {
    program: "dgemm",
    threads,
    about: "OpenBLAS, 1536 x 1536, 15 products after the first; checked with a random vector",
    figures: [{ key: "gflops", label: `dgemm, ${threadsText(threads)}`, unit: "GFLOP/s", better: "more", target: { atLeast: 0.99 } }],
  };
}

function stream(threads: number): Workload {
  const kernel = (key: string): Workload["figures"][number] => ({
    key,
    label: `stream ${key}, ${threadsText(threads)}`,
    unit: "GB/s",
    better: "more",
    ...(key === "triad" && { target: { atLeast: 0.99 } }),
  });
  return {
    program: "stream",
    threads,
    about: "three static arrays of 128 MiB, 20 repetitions, every element checked",
    figures: ["triad", "copy", "scale", "add"].map(kernel),
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
    about: "HPC Challenge's update sequence on a 1 GiB static table, 12 passes of 4 Mi updates, undone and checked by a second run",
    figures: [{ key: "gups", label: "randomaccess, 1 GiB", unit: "GUP/s", better: "more", target: { atLeast: 0.975 } }],
  },
  "omp-barrier": {
    program: "omp-barrier",
    threads: 2,
    about: "libgomp, 2 threads, 20 turns of 21 batches of 200 barriers",
    figures: [{ key: "barrier_ns", label: "omp barrier, 2 threads", unit: "ns", better: "less", target: { atLeast: 0.95 } }],
  },
  calls: {
    program: "calls",
    threads: 1,
    about: "calls that need no exit: clock_gettime through the vDSO; getpid, gettid, sched_yield by the syscall instruction",
    figures: [
      { key: "monotonic_ns", label: "clock_gettime MONOTONIC", unit: "ns", better: "less" },
      { key: "realtime_ns", label: "clock_gettime REALTIME", unit: "ns", better: "less" },
      { key: "real_clock_ns", label: "clock_gettime as a real system call", unit: "ns", better: "less" },
      { key: "getpid_ns", label: "getpid", unit: "ns", better: "less", guestTarget: { atMost: 2500 } },
      { key: "gettid_ns", label: "gettid", unit: "ns", better: "less", guestTarget: { atMost: 2500 } },
      { key: "sched_yield_ns", label: "sched_yield", unit: "ns", better: "less" },
    ],
  },
};

function contestant(context: Context, arm: "native" | "guest", load: Workload): Contestant {
  const n = String(load.threads);
  return {
    arm,
    command: {
      argv: margayRun(context, arm, load.threads, [context.programs + load.program]),
      env: { BENCH_PAGES: hostPages(context), OMP_NUM_THREADS: n, OPENBLAS_NUM_THREADS: n, OMP_PROC_BIND: "true" },
      cpus: new Set(context.cpus),
      timeout: 120,
      report: true,
    },
  };
}

/** Pause before a turn in ms: OpenBLAS's idle threads spin for 2^26 cycles before they sleep, libgomp's for about a millisecond. */
const settleFor = (threads: number): number => (threads > 1 ? 40 : 5);

/** Equal page size: natively the pages are what the host part of HOST/GUEST says. */
function hostPages(context: Context): string {
  return context.pages.split("/")[0] as string;
}

function figures(of: Workload["figures"][number]): Figure[] {
  const native: Source = { arm: "native", key: of.key };
  const guest: Source = { arm: "guest", key: of.key };
  const sides = of.better === "more" ? { above: guest, below: native } : { above: native, below: guest };
  const ratio: Figure = { label: of.label, unit: of.unit, ...sides, ...(of.target && { target: of.target }) };
  if (!of.guestTarget) return [ratio];
  return [ratio, { label: `${of.label} in the guest`, unit: of.unit, above: guest, target: of.guestTarget }];
}

/** Native and guest in lockstep, one experiment per workload. */
export function computeExperiments(context: Context): Experiment[] {
  return Object.entries(WORKLOADS).map(([name, load]) => ({
    name,
    about: load.about,
    round: (random) =>
      lockstep(
        `${context.programs}wall`,
        [contestant(context, "native", load), contestant(context, "guest", load)],
        settleFor(load.threads),
        random,
      ),
    figures: load.figures.flatMap(figures),
    rounds: 11,
  }));
}
