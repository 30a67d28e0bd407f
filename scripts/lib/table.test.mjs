import { expect, it } from "vitest";
import { digits, median, table } from "./table.mjs";

it("should take the middle, or the mean of the two in the middle, without sorting the caller's array", () => {
  const values = [9, 1, 5];
  expect(median(values)).toBe(5);
  expect(values).toEqual([9, 1, 5]);
  expect(median([4, 1, 2, 10])).toBe(3);
});

it("should keep three significant digits of small figures and no fraction of large ones", () => {
  expect([0.8321, 23.42, 152.4, 1520.4, 0.01234].map(digits)).toEqual(["0.832", "23.4", "152", "1520", "0.0123"]);
  expect(digits(Number.NaN)).toBe("-");
});

it("should align columns by their widest cell", () => {
  const head = ["name", "n"];
  expect(table([head, ["a", "10"], ["long name", "9"]], [1])).toBe("name        n\n---------  --\na          10\nlong name   9");
});
