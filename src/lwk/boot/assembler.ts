/**
 * A very small assembler. The caller writes each instruction twice: as text, for the reader and the tests (which compare it with
 * what objdump makes of the bytes), and as bytes. Only label arithmetic is automatic.
 */

/** A displacement to a label, counted from the end of the instruction that holds it. */
export interface Relative {
  label: string;
  size: 1 | 4;
}

export function rel8(label: string): Relative {
  return { label, size: 1 };
}

export function rel32(label: string): Relative {
  return { label, size: 4 };
}

export interface ListedInstruction {
  /** Address of the first byte, in the program's own numbering (origin 0). */
  address: number;
  size: number;
  /** AT&T syntax; `{label}` stands for the address of that label. */
  text: string;
}

export interface Program {
  code: Uint8Array;
  labels: ReadonlyMap<string, number>;
  /** In order of address; data emitted with `data` and alignment are not listed. */
  listing: readonly ListedInstruction[];
}

interface Patch {
  at: number;
  end: number;
  to: Relative;
}

export class Assembler {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #patches: Patch[] = [];
  readonly #listing: ListedInstruction[] = [];

  /** Address of the next byte. */
  get here(): number {
    return this.#bytes.length;
  }

  /** Give `name` to an address, by default the next byte's. Addresses outside the program (negative too) are allowed. */
  label(name: string, address: number = this.here): void {
    if (this.#labels.has(name)) throw new Error(`label ${name} is defined twice`);
    this.#labels.set(name, address);
  }

  /** One instruction: its text, then its bytes with displacements in place. */
  ins(text: string, ...parts: (number | Relative)[]): void {
    const address = this.here;
    const first = this.#patches.length;
    for (const part of parts) {
      if (typeof part === "number") {
        this.#bytes.push(part & 0xff);
      } else {
        this.#patches.push({ at: this.here, end: 0, to: part });
        for (let i = 0; i < part.size; i++) this.#bytes.push(0);
      }
    }
    for (const patch of this.#patches.slice(first)) patch.end = this.here;
    this.#listing.push({ address, size: this.here - address, text });
  }

  /** Bytes that are not instructions. */
  data(...bytes: number[]): void {
    for (const byte of bytes) this.#bytes.push(byte & 0xff);
  }

  /** Fill with int3, which traps when control falls into it, up to a multiple of `boundary`. */
  align(boundary: number): void {
    while (this.here % boundary !== 0) this.#bytes.push(0xcc);
  }

  /** Fill with int3 up to `address`; throws if the code is already past it. */
  org(address: number): void {
    if (this.here > address) throw new Error(`code has reached 0x${this.here.toString(16)}, past 0x${address.toString(16)}`);
    while (this.here < address) this.#bytes.push(0xcc);
  }

  /** Resolve labels. Throws on an unknown label or a displacement that does not fit. */
  finish(): Program {
    const code = Uint8Array.from(this.#bytes);
    const view = new DataView(code.buffer);
    for (const { at, end, to } of this.#patches) {
      const target = this.#labels.get(to.label);
      if (target === undefined) throw new Error(`label ${to.label} is not defined`);
      const distance = target - end;
      if (to.size === 4) {
        view.setInt32(at, distance, true);
      } else {
        if (distance < -128 || distance > 127) throw new Error(`label ${to.label} is ${distance} bytes away, too far for 8 bits`);
        view.setInt8(at, distance);
      }
    }
    return { code, labels: this.#labels, listing: this.#listing };
  }
}

/** The listing as text, one instruction a line: address, bytes, mnemonic with labels (docs/boot-pages.md shows it). */
export function listingText(program: Program, from = 0, to = program.code.length): string {
  const hex = (n: number, width: number): string => n.toString(16).padStart(width, "0");
  const names = new Map<number, string[]>();
  for (const [name, address] of program.labels) names.set(address, [...(names.get(address) ?? []), name]);
  return program.listing
    .filter(({ address }) => address >= from && address < to)
    .flatMap(({ address, size, text }) => {
      const bytes = [...program.code.subarray(address, address + size)].map((b) => hex(b, 2)).join(" ");
      const label = names.get(address)?.map((name) => `${name}:`) ?? [];
      return [...label, `  ${hex(address, 3)}  ${bytes.padEnd(21)}  ${text}`];
    })
    .join("\n");
}
