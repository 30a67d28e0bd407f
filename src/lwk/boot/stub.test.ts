import { describe, expect, test } from "vitest";
import type { Flavour } from "./layout.ts";
import { disassemble, expected } from "./objdump.testing.ts";
import { IRET_STUB, resolveStubRip, ripAfterStop, SIGRETURN_STUB, STUB_ENTRY, stubPage, stubProgram } from "./stub.ts";

const flavours: Flavour[] = ["pvm", "textbook"];

describe.each(flavours)("stub page, %s", (flavour) => {
  test.each([true, false])("should decode to what the listing says, fast %s", (fast) => {
    const program = stubProgram({ flavour, fast });
    const decoded = disassemble(program.code);
    for (const [address, text] of expected(program)) expect(`${address}: ${decoded.get(address)}`).toBe(`${address}: ${text}`);
  });

  test("should fill exactly one page and put every entry where it is published", () => {
    const { code, labels } = stubProgram({ flavour, fast: true });
    expect(code.length).toBe(4096);
    expect(labels.get("entry")).toBe(STUB_ENTRY);
    expect(labels.get("iret")).toBe(IRET_STUB);
    expect(labels.get("sigreturn")).toBe(SIGRETURN_STUB);
    expect([...code.subarray(SIGRETURN_STUB, SIGRETURN_STUB + 9)]).toEqual([0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05]);
  });

  test("should place labels alike with and without the fast path", () => {
    const fast = stubProgram({ flavour, fast: true });
    const slow = stubProgram({ flavour, fast: false });
    expect(Object.fromEntries(slow.labels)).toEqual(Object.fromEntries(fast.labels));
    expect(stubPage({ flavour, fast: false })[0]).toBe(0xeb);
  });

  test("should never write rcx, nor r11 on textbook, nor touch rax before a result", () => {
    const { listing } = stubProgram({ flavour, fast: true });
    for (const { address, text } of listing) {
      if (address >= IRET_STUB) continue;
      if (flavour === "pvm" && / .*,%r11$/.test(text)) continue;
      expect(text).toMatch(/^(cmpl? |test |j|out |mfence$|sysretq$|xor %eax,%eax$|mov \{thread\.\w+\}\(%rip\),%eax$)/);
    }
  });

  test("should resolve every instruction: result loaded means return, all before means restart", () => {
    const { listing } = stubProgram({ flavour, fast: true });
    const ret = flavour === "pvm" ? "jmp *%rcx" : "sysretq";
    for (const [i, { address, text }] of listing.entries()) {
      const progress = resolveStubRip(flavour, address);
      if (address >= IRET_STUB) expect(progress).toBeUndefined();
      else if (text.startsWith("out") || listing[i - 1]?.text.startsWith("out")) expect(progress).toBe("exit");
      else if (text === ret) {
        expect(listing[i - 1].text).toMatch(/,%eax$/);
        expect(progress).toBe("return");
      } else expect(progress).toBe("restart");
    }
  });

  test("should give every offset one meaning, also between instructions", () => {
    const { labels, listing } = stubProgram({ flavour, fast: true });
    const end = listing.findLast(({ address }) => address < IRET_STUB) ?? { address: 0, size: 0 };
    const returns = [...labels].filter(([name]) => name.endsWith(".done")).map(([, address]) => address);
    expect(returns.length).toBe(flavour === "pvm" ? 9 : 8);
    const wrong: number[] = [];
    for (let offset = 0; offset < 0x1000; offset++) {
      let meaning: string | undefined = returns.includes(offset) ? "return" : "restart";
      if (offset >= end.address + end.size) meaning = undefined;
      else if (offset === labels.get("exit") || offset === labels.get("exited")) meaning = "exit";
      if (resolveStubRip(flavour, offset) !== meaning) wrong.push(offset);
    }
    expect(wrong).toEqual([]);
  });

  test("should give the program's rip for a stop without exit", () => {
    const { labels } = stubProgram({ flavour, fast: true });
    const at = (name: string): number => labels.get(name) ?? Number.NaN;
    const rcx = 0x7f00_1234_5678;
    expect(ripAfterStop(flavour, 0, rcx)).toBe(rcx - 2);
    expect(ripAfterStop(flavour, at("exit"), rcx)).toBe(rcx - 2);
    expect(ripAfterStop(flavour, at("exited"), rcx)).toBe(rcx);
    expect(ripAfterStop(flavour, at("getpid"), rcx)).toBe(rcx - 2);
    expect(ripAfterStop(flavour, at("getpid.done"), rcx)).toBe(rcx);
    expect(ripAfterStop(flavour, IRET_STUB, rcx)).toBeUndefined();
    expect(ripAfterStop(flavour, -1, rcx)).toBeUndefined();
  });
});
