// The demo for computers without a usable /dev/kvm: real programs, natively and in a virtual node, both inside the emulated machine.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execute, MARGAY } from "./checks.mjs";

const numbers = Array.from({ length: 40_000 }, (_, i) => `${(i * 7919) % 104729}\n`).join("");

/** Programs that every Debian has. The first does nothing: what it takes in a virtual node is Node's start, which the others pay too. */
const PROGRAMS = [
  { name: "true", argv: ["/usr/bin/true"] },
  { name: "sha256sum, 16 MiB", argv: ["/usr/bin/sha256sum", "data"] },
  { name: "sort, 40,000 lines", argv: ["/usr/bin/sort", "-n", "--parallel=2", "numbers"] },
  { name: "awk, 40,000 lines", argv: ["/usr/bin/awk", "{ s += sqrt($1) * NR } END { print s }", "numbers"] },
  { name: "perl, nested loops", argv: ["/usr/bin/perl", "-e", 'for my $i (1..500) { $s += ($i * $_) % 7 for 1..500 } print "$s\\n"'] },
];

async function timed(argv, cwd) {
  const began = performance.now();
  const result = await execute(argv, { cwd });
  return { ...result, seconds: (performance.now() - began) / 1000 };
}

const equal = (a, b) => a.code === b.code && a.stdout.equals(b.stdout) && a.stderr.equals(b.stderr);
const row = (cells) =>
  cells
    .map((cell, i) => (i === 0 ? cell.padEnd(20) : cell.padStart(11)))
    .join(" ")
    .trimEnd();

/**
 * @param {(message: object) => void} report
 * @returns {Promise<number>} 0 where all programs gave the same output and exit code
 */
export async function demo(report) {
  const say = (text) => report({ say: text });
  const directory = mkdtempSync(join(tmpdir(), "demo-"));
  writeFileSync(join(directory, "data"), Buffer.alloc(16 << 20, "margay"));
  writeFileSync(join(directory, "numbers"), numbers);
  say("Every program once natively and once in a virtual node (textbook KVM, `margay run`), inside the emulated machine:");
  say("");
  say(row(["program", "native s", "guest s", "identical"]));
  let good = true;
  for (const { name, argv } of PROGRAMS) {
    const native = await timed(argv, directory);
    const guest = await timed([process.execPath, MARGAY, "run", "--", ...argv], directory);
    const identical = equal(native, guest);
    good &&= identical;
    say(row([name, native.seconds.toFixed(2), guest.seconds.toFixed(2), identical ? "yes" : "NO"]));
    if (!identical) say(`  native: code ${native.code}, ${native.stderr}\n  guest: code ${guest.code}, ${guest.stderr}`);
  }
  rmSync(directory, { recursive: true, force: true });
  say("");
  say("EMULATED: QEMU interprets every instruction of this machine, KVM's included. That the outputs are identical holds on any machine;");
  say("the times hold on none.");
  return good ? 0 : 1;
}
