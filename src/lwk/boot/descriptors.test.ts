import { describe, expect, test } from "vitest";
import { gdt, idt, trapStubProgram, trapStubs, tss } from "./descriptors.ts";
import { STAR, SYSCALL_PORT, USER_CS, USER_DS } from "./layout.ts";
import { disassemble, expected } from "./objdump.testing.ts";

const base = 0x7fbe_dca0_0000;
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

describe("GDT", () => {
  const table = view(gdt(base));
  test("should hold the descriptors that Linux has, accessed bits set", () => {
    const slot = (selector: number): string => table.getBigUint64(selector & ~7, true).toString(16).padStart(16, "0");
    expect(slot(0)).toBe("0000000000000000");
    expect(slot(0x08)).toBe("00cf9b000000ffff");
    expect(slot(0x10)).toBe("00af9b000000ffff");
    expect(slot(0x18)).toBe("00cf93000000ffff");
    expect(slot(0x23)).toBe("00cffb000000ffff");
    expect(slot(0x2b)).toBe("00cff3000000ffff");
    expect(slot(0x33)).toBe("00affb000000ffff");
    expect(slot(0x38)).toBe("0000000000000000");
  });
  test("should describe the TSS at its 64-bit base with a limit that covers the bitmap", () => {
    const low = table.getBigUint64(0x40, true);
    const high = table.getBigUint64(0x48, true);
    const at = ((low >> 16n) & 0xff_ffffn) | ((low >> 56n) << 24n) | (high << 32n);
    expect(at).toBe(BigInt(base + 0xb000));
    expect(low & 0xffffn).toBe(BigInt(104 + 8192));
    expect((low >> 40n) & 0xffn).toBe(0x8bn);
  });
  test("should agree with STAR", () => {
    const sysret = Number(STAR >> 48n);
    expect((sysret + 16) | 3).toBe(USER_CS);
    expect((sysret + 8) | 3).toBe(USER_DS);
    expect(Number((STAR >> 32n) & 0xffffn)).toBe(0x10);
  });
});

describe("IDT and trap stubs", () => {
  test("should send each exception to its own stub", () => {
    const table = view(idt(base));
    expect(table.byteLength).toBe(4096);
    for (let v = 0; v < 32; v++) {
      const o = v * 16;
      const handler = table.getUint16(o, true) + table.getUint16(o + 6, true) * 0x1_0000 + table.getUint32(o + 8, true) * 0x1_0000_0000;
      expect(handler).toBe(base + 0xa000 + v * 16);
      expect(table.getUint16(o + 2, true)).toBe(0x10);
      expect(table.getUint8(o + 4)).toBe(0);
      expect(table.getUint8(o + 5)).toBe(v === 3 || v === 4 ? 0xee : 0x8e);
      expect(table.getUint32(o + 12, true)).toBe(0);
    }
  });
  test("should have no gate from 32 on", () => {
    expect(idt(base).subarray(32 * 16).every((b) => b === 0)).toBe(true);
  });
  test("should decode to what the listing says, an error code dropped where there is one", () => {
    const program = trapStubProgram();
    const decoded = disassemble(program.code);
    for (const [address, text] of expected(program)) expect(`${address}: ${decoded.get(address)}`).toBe(`${address}: ${text}`);
    const withCode = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];
    for (let v = 0; v < 32; v++) {
      expect(decoded.get(v * 16)).toBe(`out %al,$0x${(0x50 + v).toString(16)}`);
      expect(decoded.get(v * 16 + 2)).toBe(withCode.includes(v) ? "add $0x8,%rsp" : "iretq");
    }
    expect(trapStubs().length).toBe(512);
  });
});

describe("TSS", () => {
  test("should point RSP0 at the stack's top and deny every port but the system-call port on PVM", () => {
    for (const flavour of ["pvm", "textbook"] as const) {
      const bytes = tss(base, flavour);
      expect(bytes.length).toBe(104 + 8192 + 1);
      expect(view(bytes).getBigUint64(4, true)).toBe(BigInt(base + 0x10000));
      expect(view(bytes).getUint16(102, true)).toBe(104);
      const open: number[] = [];
      for (let port = 0; port < 65536; port++) if ((bytes[104 + (port >> 3)] & (1 << (port & 7))) === 0) open.push(port);
      expect(open).toEqual(flavour === "pvm" ? [SYSCALL_PORT] : []);
      expect(bytes.at(-1)).toBe(0xff);
    }
  });
});
