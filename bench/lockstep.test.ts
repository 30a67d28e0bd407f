import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Contestant, lockstep } from "./lockstep.ts";
import { seededRandom } from "./random.ts";

/** Stands in for src/wall.c: runs the program and claims that it took a second. */
const STOPWATCH = `#!/bin/sh
shift
"$@"
code=$?
echo "{\\"wall\\": 1, \\"user\\": 0, \\"system\\": 0, \\"preempted\\": 0, \\"maxRssKib\\": 0, \\"code\\": $code}" >&3
exit $code
`;

let directory = "";
let wall = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "margay-lockstep-"));
  wall = join(directory, "wall");
  writeFileSync(wall, STOPWATCH);
  chmodSync(wall, 0o755);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A shell program that takes `turns` turns, writes its name to the log in each, and reports. */
function player(arm: string, turns: number, end = `echo '{"series": {"x": [1]}, "verified": true}'`): Contestant {
  const script = `for i in $(seq ${turns}); do echo turn; read go || exit 3; echo begin ${arm} >> log; sleep 0.01; echo end ${arm} >> log; done; echo last; read go || exit 3; ${end}`;
  return { arm, command: { argv: ["sh", "-c", `cd ${directory} && ${script}`], cpus: new Set([0]), timeout: 10, report: true } };
}

const log = (): string[] => readFileSync(join(directory, "log"), "utf8").trim().split("\n");

describe("programs in lockstep", () => {
  it("should never run two turns at once, and pair them", async () => {
    writeFileSync(join(directory, "log"), "");
    const samples = await lockstep(wall, [player("a", 6), player("b", 6)], 0, seededRandom(3));
    expect(samples.map((one) => one.arm).sort()).toEqual(["a", "b"]);
    expect(samples[0]?.series).toEqual({ x: [1] });
    const lines = log();
    expect(lines).toHaveLength(24);
    const orders = new Set<string>();
    for (let turn = 0; turn < 24; turn += 4) {
      const [first, second] = [lines[turn], lines[turn + 2]].map((line) => line?.split(" ")[1]);
      expect(lines.slice(turn, turn + 4)).toEqual([`begin ${first}`, `end ${first}`, `begin ${second}`, `end ${second}`]);
      expect([first, second].sort()).toEqual(["a", "b"]);
      orders.add(`${first}${second}`);
    }
    expect(orders.size).toBe(2);
  });

  it("should say what a program that failed said, and leave nothing running", async () => {
    const broken = { ...player("b", 1), command: { ...player("b", 1).command, argv: ["sh", "-c", "echo no huge pages >&2; exit 7"] } };
    await expect(lockstep(wall, [player("a", 3), broken], 0, seededRandom(1))).rejects.toThrow("exit code 7: no huge pages");
  });

  it("should refuse a result that its program could not verify", async () => {
    const wrong = player("b", 1, `echo '{"series": {"x": [1]}, "verified": false}'`);
    await expect(lockstep(wall, [player("a", 1), wrong], 0, seededRandom(1))).rejects.toThrow("wrong result");
  });

  it("should not pair programs of unequal length", async () => {
    await expect(lockstep(wall, [player("a", 2), player("b", 3)], 0, seededRandom(1))).rejects.toThrow("same number of turns");
  });

  it("should end a program that does not come to its turn", async () => {
    const stuck = { ...player("b", 1), command: { ...player("b", 1).command, argv: ["sleep", "60"], timeout: 0.3 } };
    await expect(lockstep(wall, [player("a", 1), stuck], 0, seededRandom(1))).rejects.toThrow("not finished after 0.3 s");
  });
});
