// docs/syscalls.md from the LWK's table of system calls.

const levels = {
  guest: "answered inside the guest, no exit",
  lwk: "answered by the LWK",
  forwarded: "made on the host, every pointer translated and checked",
  partial: "works within what the note says",
  none: "ENOSYS",
};

/** `rows`: { nr, name, level, note } by number, all calls of Linux. Returns Markdown. */
export function syscallsPage(rows) {
  for (const { name, level } of rows) if (!(level in levels)) throw new Error(`system call ${name}: no level is called ${level}`);
  const count = (level) => rows.filter((row) => row.level === level).length;
  const served = rows.length - count("none");
  const notes = (note) => note.replaceAll("|", "\\|");
  return [
    "# System calls",
    "",
    "Made from `src/lwk/syscalls/table.ts` by `npm run docs`; do not edit.",
    "",
    `Of ${rows.length} calls, ${served} are served. A call that is not served returns ENOSYS and is counted by \`margay run --stats\`.`,
    "",
    "| level | means | calls |",
    "|---|---|---|",
    ...Object.entries(levels).map(([level, meaning]) => `| ${level} | ${meaning} | ${count(level)} |`),
    "",
    "| number | call | level | note |",
    "|---|---|---|---|",
    ...rows.map(({ nr, name, level, note }) => `| ${nr} | \`${name}\` | ${level} | ${notes(note)} |`.replace(/ {2}\|$/, " |")),
    "",
  ].join("\n");
}
