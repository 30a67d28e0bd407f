import { describe, expect, test } from "vitest";
import { Assembler, rel8, rel32 } from "./assembler.ts";

describe("assembler", () => {
  test("should count a displacement from the end of its instruction, forwards and backwards", () => {
    const a = new Assembler();
    a.label("before", -0x10);
    a.ins("cmpl $0x0,{before}(%rip)", 0x83, 0x3d, rel32("before"), 0);
    a.ins("jmp {end}", 0xeb, rel8("end"));
    a.ins("nop", 0x90);
    a.label("end");
    const { code, labels } = a.finish();
    expect([...code]).toEqual([0x83, 0x3d, 0xe9, 0xff, 0xff, 0xff, 0, 0xeb, 1, 0x90]);
    expect(labels.get("end")).toBe(10);
  });
  test("should refuse a label that is unknown, defined twice or too far", () => {
    const unknown = new Assembler();
    unknown.ins("jmp {x}", 0xeb, rel8("x"));
    expect(() => unknown.finish()).toThrow("label x is not defined");
    const twice = new Assembler();
    twice.label("x");
    expect(() => twice.label("x")).toThrow("label x is defined twice");
    const far = new Assembler();
    far.ins("jmp {x}", 0xeb, rel8("x"));
    far.label("x", 130);
    expect(() => far.finish()).toThrow("too far for 8 bits");
  });
  test("should refuse to go back with org and pad with int3", () => {
    const a = new Assembler();
    a.ins("nop", 0x90);
    expect(() => a.org(0)).toThrow("past 0x0");
    a.align(4);
    a.org(6);
    expect([...a.finish().code]).toEqual([0x90, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc]);
  });
});
