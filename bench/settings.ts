/** The command line of `npm run bench`. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseCpuList } from "../src/host/cpulist.ts";
import type { Context } from "./context.ts";

export const USAGE = `usage: npm run bench -- [OPTIONS]
  --only NAME     one experiment; again for more. --list names them
  --pairs N       rounds per experiment (default: 11, start 21)
  --pages H/G     page policy of both sides (default 2M/2M)
  --cpus LIST     CPUs to use, e.g. 0,1 (default: all that this process may use)
  --json FILE     where the results go (default: bench/results/TIME.json)
  --calm CPUS     repeat a round in which others used more than so many CPUs (default 0.3)
  --patience N    run at most N times the rounds in search of calm ones (default 3; 1 keeps every round)
  --seed N        order of the runs and resampling (default: from the clock)
  --margay FILE   the margay to measure (default: bin/margay.js)`;

/** What the command line says. */
export interface Settings extends Context {
  readonly only: readonly string[];
  readonly list: boolean;
  readonly pairs: number | undefined;
  readonly calm: number;
  readonly patience: number;
  readonly seed: number;
  readonly json: string | undefined;
}

function number(text: string | undefined, name: string, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === "" || !(value >= least)) throw new Error(`--${name} must be a number of at least ${least}, not "${text}"`);
  return value;
}

function whole(text: string | undefined, name: string, least: number): number | undefined {
  const value = number(text, name, least);
  if (value !== undefined && !Number.isInteger(value)) throw new Error(`--${name} must be a whole number, not "${text}"`);
  return value;
}

/** The CPUs this process may run on, from /proc/self/status. */
function allowedCpus(): number[] {
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return parseCpuList(list ?? "0");
}

/**
 * Reads the command line of margay's tree at `root`. Returns "help" when that is asked for; throws an Error that names the option when something is wrong.
 */
export function parseSettings(argv: readonly string[], root: string): Settings | "help" {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: "string", multiple: true },
      list: { type: "boolean" },
      help: { type: "boolean", short: "h" },
      pairs: { type: "string" },
      pages: { type: "string" },
      cpus: { type: "string" },
      json: { type: "string" },
      calm: { type: "string" },
      patience: { type: "string" },
      seed: { type: "string" },
      margay: { type: "string" },
    },
  });
  if (values.help) return "help";
  const pages = values.pages ?? "2M/2M";
  if (!/^(2M|4K)\/(2M|4K)$/.test(pages)) throw new Error(`--pages must be HOST/GUEST of 2M and 4K, not "${pages}"`);
  return {
    only: values.only ?? [],
    list: values.list ?? false,
    pairs: whole(values.pairs, "pairs", 1),
    calm: number(values.calm, "calm", 0) ?? 0.3,
    patience: whole(values.patience, "patience", 1) ?? 3,
    seed: whole(values.seed, "seed", 0) ?? Date.now() % 2 ** 32,
    json: values.json,
    programs: `${root}bench/.build/`,
    margay: values.margay ?? `${root}bin/margay.js`,
    cpus: values.cpus === undefined ? allowedCpus() : parseCpuList(values.cpus),
    pages,
  };
}
