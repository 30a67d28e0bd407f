/** Results as plain text. */
import type { Outcome } from "./figures.ts";
import type { Target } from "./types.ts";

/** Four significant digits, without an exponent for the sizes that occur here. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const digits = Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toFixed(digits);
}

export function targetText(target: Target): string {
  return "atLeast" in target ? `>= ${target.atLeast}` : `<= ${target.atMost}`;
}

const HEAD = ["figure", "above", "below", "median", "95 % CI", "min", "q1", "q3", "max", "n", "target", ""];

function cells(outcome: Outcome): string[] {
  const { value, interval, parts } = outcome;
  const part = (i: number): string => (parts[i] ? `${parts[i].arm} ${short(parts[i].value.median)} ${outcome.unit}` : "");
  const unit = parts.length === 0 ? ` ${outcome.unit}` : "";
  return [
    outcome.label,
    part(0),
    part(1),
    short(value.median) + unit,
    `${short(interval[0])} .. ${short(interval[1])}`,
    short(value.min),
    short(value.q1),
    short(value.q3),
    short(value.max),
    String(outcome.rounds),
    outcome.target ? targetText(outcome.target) : "",
    outcome.verdict ?? "",
  ];
}

/** A table with one line per outcome; columns are as wide as their widest cell. A ratio is above / below, computed within each round. */
export function table(outcomes: readonly Outcome[]): string {
  const rows = [HEAD, ...outcomes.map(cells)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
