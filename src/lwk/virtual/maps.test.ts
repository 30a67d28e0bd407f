import { describe, expect, it } from "vitest";
import { KIND, type Mapping, NAME, VF } from "../mm/mappings.ts";
import { deviceNumbers, mapsLine } from "./maps.ts";

const mapping: Mapping = { start: 0x5615f9ae4000, end: 0x5615f9ae6000, prot: 5, flags: 0, kind: KIND.COPY, file: 1, offset: 0x2000, gpa: 0, validEnd: 0, name: NAME.NONE };

describe("maps", () => {
  it("should be written as Linux writes it, byte for byte", () => {
    const file = { path: "/usr/bin/head", device: 0xfe00n, inode: 260386n };
    expect(mapsLine(mapping, file)).toBe("5615f9ae4000-5615f9ae6000 r-xp 00002000 fe:00 260386                     /usr/bin/head");
  });

  it("should show shared mappings, small addresses, names and no file", () => {
    expect(mapsLine({ ...mapping, start: 0x10000, end: 0x11000, prot: 0, flags: VF.SHARED, file: 0 }, null)).toBe("00010000-00011000 ---s 00000000 00:00 0");
    expect(mapsLine({ ...mapping, prot: 3, file: 0, name: NAME.STACK }, null)).toMatch(/ rw-p 00000000 00:00 0 {26}\[stack\]$/);
  });

  it("should keep a line on one line whatever the file is called", () => {
    expect(mapsLine(mapping, { path: "/tmp/a\nb", device: 0n, inode: 1n })).toMatch(/ \/tmp\/a\\012b$/);
  });

  it("should split device numbers as glibc does", () => {
    expect(deviceNumbers(0xfe00n)).toEqual({ major: 0xfe, minor: 0 });
    // gnu_dev_makedev of glibc, bits/sysmacros.h
    const makedev = (major: bigint, minor: bigint): bigint => ((major & 0xfffn) << 8n) | ((major & 0xfffff000n) << 32n) | (minor & 0xffn) | ((minor & 0xffffff00n) << 12n);
    expect(deviceNumbers(makedev(0x12345n, 0x6789an))).toEqual({ major: 0x12345, minor: 0x6789a });
  });
});
