/** Options of `margay run`. Parsed by hand: everything behind PROGRAM is the program's, byte for byte, and start-up counts. */
import { readFileSync } from "node:fs";
import { MargayError } from "../host/error.ts";
import type { PageSizes, RunOptions } from "../node/options.ts";

export const RUN_HELP = `
Usage: margay run [options] [--] PROGRAM [ARGS...]

Runs PROGRAM in a virtual node. Its input, output, exit code, signals and working directory are as if it had been started directly.

  --cpus LIST        host CPUs for the virtual node, e.g. 0-3,8 (default: all that this process may use); one guest thread each, then more float
  --numa N           CPUs and memory of host NUMA node N
  --mem SIZE         memory of the virtual node: 512M, 4G, 50% (default: 90 % of what the host can spare)
  --pages HOST/GUEST page sizes: 2M/2M (default), 2M/4K, 4K/2M, 4K/4K
  --hugetlb          host memory from hugetlb pools only: fail when they have no room
  --env K=V          set an environment variable; --env K takes it out (may be given several times)
  --workdir DIR      working directory
  --stats[=FILE]     statistics at the end: on stderr, or as JSON into FILE
  --strace[=FILE]    every system call, on stderr or into FILE
  --timeout T        end the program after T (10, 10s, 5m, 1h, 500ms) with exit code 124
  --no-aslr          the same addresses in every run
  --native           run PROGRAM on the host instead, on the same CPUs and with the same page policy: the baseline
  --help             this text

Exit code: the program's; 128+N when signal N ended it; 124 time-out; 125 margay itself failed; 126 PROGRAM cannot be executed; 127 not found.
Examples:
  margay run ./xhpl
  margay run --cpus 0-3 --stats -- ./stream
  margay run --pages 4K/4K --native -- ./stream
`;

export interface ParsedRun {
  readonly help: boolean;
  readonly native: boolean;
  readonly options: RunOptions;
}

const PAGES: Record<string, PageSizes> = {
  "2M/2M": { hostHuge: true, guestHuge: true },
  "2M/4K": { hostHuge: true, guestHuge: false },
  "4K/2M": { hostHuge: false, guestHuge: true },
  "4K/4K": { hostHuge: false, guestHuge: false },
};

const UNITS: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, "": 1 };

function bad(what: string, hint?: string): MargayError {
  return new MargayError("E_BAD_OPTION", what, hint === undefined ? {} : { hint });
}

/** Seconds of `10`, `1.5s`, `5m`, `500ms`. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|)$/.exec(text);
  const seconds = match ? Number(match[1]) * UNITS[match[2]!]! : Number.NaN;
  if (!(seconds > 0) || seconds > 1e9) throw bad(`--timeout ${text} is not a time`, "write it like 10, 10s, 5m, 1h or 500ms");
  return seconds;
}

/** The arguments of this process as bytes (latin1): process.argv has lost what is not UTF-8. */
function rawArguments(count: number, fallback: readonly string[]): string[] {
  try {
    const all = readFileSync("/proc/self/cmdline", "latin1").split("\0");
    all.pop();
    if (all.length >= count) return count === 0 ? [] : all.slice(-count);
  } catch {
    // without /proc the decoded arguments must do
  }
  return fallback.map((a) => Buffer.from(a).toString("latin1"));
}

function environment(): string[] {
  try {
    return readFileSync("/proc/self/environ", "latin1")
      .split("\0")
      .filter((entry) => entry !== "");
  } catch {
    return Object.entries(process.env).map(([k, v]) => Buffer.from(`${k}=${v}`).toString("latin1"));
  }
}

/** Parses what stands behind `margay run`. Throws MargayError E_BAD_OPTION. */
export function parseRun(args: readonly string[]): ParsedRun {
  const values: { cpus?: string; numa?: number; mem?: string; workdir?: string; timeoutSeconds?: number } = {};
  let pages = PAGES["2M/2M"]!;
  let hugetlb = false;
  let stats: boolean | string = false;
  let strace: boolean | string = false;
  let aslr = true;
  let native = false;
  let help = false;
  const sets: string[] = [];
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") {
      i++;
      break;
    }
    if (!arg.startsWith("-")) break;
    const equals = arg.indexOf("=");
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const inline = equals < 0 ? undefined : arg.slice(equals + 1);
    const value = (): string => {
      const text = inline ?? args[++i];
      if (text === undefined || text === "") throw bad(`${name} needs a value`, "margay run --help lists the options");
      return text;
    };
    switch (name) {
      case "--cpus":
        values.cpus = value();
        break;
      case "--numa": {
        const text = value();
        if (!/^\d{1,4}$/.test(text)) throw bad(`--numa ${text} is not a node number`);
        values.numa = Number(text);
        break;
      }
      case "--mem":
        values.mem = value();
        break;
      case "--pages": {
        const text = value();
        const found = PAGES[text.toUpperCase()];
        if (!found) throw bad(`--pages ${text}: there are no such pages`, "choose 2M/2M, 2M/4K, 4K/2M or 4K/4K (host/guest)");
        pages = found;
        break;
      }
      case "--env": {
        const text = value();
        if (text.startsWith("=")) throw bad(`--env ${text} has no name`);
        sets.push(Buffer.from(text).toString("latin1"));
        break;
      }
      case "--workdir":
        values.workdir = value();
        break;
      case "--timeout":
        values.timeoutSeconds = parseDuration(value());
        break;
      case "--stats":
        stats = inline === undefined ? true : Buffer.from(value()).toString("latin1");
        break;
      case "--strace":
        strace = inline === undefined ? true : Buffer.from(value()).toString("latin1");
        break;
      case "--hugetlb":
        hugetlb = true;
        break;
      case "--no-aslr":
        aslr = false;
        break;
      case "--native":
        native = true;
        break;
      case "--help":
      case "-h":
        help = true;
        break;
      default:
        throw bad(
          `${arg} is not an option of margay run`,
          "margay run --help lists them; put -- before a program whose name starts with -",
        );
    }
    if (inline !== undefined && ["--hugetlb", "--no-aslr", "--native", "--help"].includes(name)) throw bad(`${name} takes no value`);
  }
  const rest = args.slice(i);
  if (!help && rest.length === 0) throw bad("there is no program to run", "margay run [options] [--] PROGRAM [ARGS...]");
  if (hugetlb && !pages.hostHuge) throw bad("--hugetlb needs 2M host pages", "use --pages 2M/2M or 2M/4K");
  const argv = rawArguments(rest.length, rest);
  const env = environment();
  for (const entry of sets) {
    const name = entry.split("=")[0]!;
    for (let at = env.length - 1; at >= 0; at--) if (env[at]!.startsWith(`${name}=`)) env.splice(at, 1);
    if (entry.includes("=")) env.push(entry);
  }
  return { help, native, options: { program: argv[0] ?? "", argv, pages, hugetlb, env, stats, strace, aslr, ...values } };
}
