/**
 * Two programs that take turns: each waits before every timed repetition (take_turn in src/bench.h) until it may go on. So a repetition and its partner
 * lie a tenth of a second apart instead of seconds, and what other tenants of the machine do to memory and clock rates hits both.
 */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { disturbance, readCpuTime } from "./load.ts";
import { type Command, evaluate, type Started, start, toSample } from "./process.ts";
import { type Random, shuffled } from "./random.ts";
import type { Sample } from "./types.ts";

export interface Contestant {
  readonly arm: string;
  readonly command: Command;
}

interface Player extends Contestant {
  readonly started: Started;
  /** The next line that asks for a turn: "turn" or "last"; "end" when the program ended instead. */
  asks(): Promise<string>;
  /** Lets it go on. */
  go(): void;
}

function enter(wall: string, contestant: Contestant): Player {
  const { command } = contestant;
  const started = start(wall, { ...command, env: { ...command.env, BENCH_TURNS: "1" } });
  const lines = createInterface({ input: started.stdout })[Symbol.asyncIterator]();
  return {
    ...contestant,
    started,
    async asks() {
      for (;;) {
        const { value, done } = await lines.next();
        if (done) return "end";
        if (value === "turn" || value === "last") return value;
      }
    },
    go: () => started.stdin.write("\n"),
  };
}

/** Throws what went wrong with a program that ended before its last turn. */
async function explain(player: Player): Promise<never> {
  evaluate(player.command, await player.started.ended);
  throw new Error(`${player.command.argv.join(" ")}: ended before its last turn`);
}

async function next(player: Player): Promise<"turn" | "last"> {
  const word = await player.asks();
  return word === "turn" || word === "last" ? word : explain(player);
}

async function play(players: readonly Player[], settle: number, random: Random): Promise<void> {
  let words = await Promise.all(players.map(next));
  while (words.every((word) => word === "turn")) {
    const after = new Map<Player, "turn" | "last">();
    for (const player of shuffled(players, random)) {
      await sleep(settle); // threads of the other one may spin for a while before they sleep
      player.go();
      after.set(player, await next(player));
    }
    words = players.map((player) => after.get(player) as "turn" | "last");
  }
  if (words.some((word) => word === "turn")) throw new Error("the programs do not make the same number of turns");
  for (const player of players) {
    player.go();
    await player.started.ended;
  }
}

/**
 * Runs the contestants together, one turn each in random order until both have made all of theirs. `settle` is the pause before each turn
 * in milliseconds. Value i of each series belongs to turn i. Rejects as soon as one fails; the others are ended too.
 */
export async function lockstep(wall: string, contestants: readonly Contestant[], settle: number, random: Random): Promise<Sample[]> {
  const cpus = new Set(contestants.flatMap(({ command }) => [...command.cpus]));
  const before = readCpuTime(cpus);
  const from = performance.now();
  const players = shuffled(contestants, random).map((contestant) => enter(wall, contestant));
  try {
    await play(players, settle, random);
  } finally {
    for (const player of players) player.started.stdin.end(); // who still waits for a turn ends now
    await Promise.allSettled(players.map((player) => player.started.ended));
  }
  const seconds = (performance.now() - from) / 1000;
  const after = readCpuTime(cpus);
  const ended = await Promise.all(
    players.map(async ({ arm, command, started }) => ({ arm, measured: evaluate(command, await started.ended) })),
  );
  const own = ended.reduce((sum, { measured }) => sum + measured.cpu, 0);
  const disturbed = disturbance(before, after, seconds, own);
  return ended.map(({ arm, measured }) => toSample(arm, measured, disturbed));
}
