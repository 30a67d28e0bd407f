import { describe, expect, it } from "vitest";
import { MargayError } from "./error.ts";
import { formatBytes, parseSize } from "./size.ts";

describe("parseSize", () => {
  it.each([
    ["512M", 512 * 2 ** 20],
    ["4G", 4 * 2 ** 30],
    ["1.5G", 1.5 * 2 ** 30],
    ["2GiB", 2 * 2 ** 30],
    ["64k", 65536],
    [" 1 t ", 2 ** 40],
    ["0.3K", 307],
  ])("should read %j", (text, bytes) => {
    expect(parseSize(text)).toEqual({ bytes });
  });

  it("should read a share", () => {
    expect(parseSize("50%")).toEqual({ share: 0.5 });
    expect(parseSize("100 %")).toEqual({ share: 1 });
    expect(parseSize("0.5%")).toEqual({ share: 0.005 });
  });

  it.each([
    "",
    "4",
    "G",
    "-4G",
    "4GB",
    "4 GG",
    "1e3M",
    "0x4G",
    ".5G",
    "5.G",
    "1,5G",
    "0M",
    "0%",
    "101%",
    "-1%",
    "9999999T",
    "4G%",
    "NaN",
    "Infinity",
  ])("should refuse %j", (text) => {
    expect(() => parseSize(text)).toThrow(MargayError);
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: "E_MEM_SYNTAX" }));
  });
});

describe("formatBytes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [2 ** 20, "1 MiB"],
    [2 ** 20 - 1, "1 MiB"],
    [1.25 * 2 ** 30, "1.3 GiB"],
    [512 * 2 ** 20, "512 MiB"],
    [5000 * 2 ** 40, "5000 TiB"],
    [Number.POSITIVE_INFINITY, "unlimited"],
  ])("should write %d as %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
