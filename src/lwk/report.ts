/** What is said when a program dies of a fault, or when the virtual node stops because nobody understands its state. */
import { fstatSync, readSync } from "node:fs";
import { signalName } from "../abi/signal.ts";
import { R } from "../vmm/vcpu.ts";
import type { Kernel } from "./kernel.ts";
import { nearestSymbol } from "./elf/symbols.ts";
import { NAME } from "./mm/mappings.ts";
import type { TrapDetails } from "./signal-frame.ts";

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const LABELS = ["", "[heap]", "[stack]", "[vdso]", "[vvar]"];

/** Rights, name and range of mapping `index`. */
function mappingLine(k: Kernel, index: number): string {
  const m = k.space.mappings.get(index);
  const rights = `${m.prot & 1 ? "r" : "-"}${m.prot & 2 ? "w" : "-"}${m.prot & 4 ? "x" : "-"}`;
  const name = m.file ? k.space.files.describe(m.file - 1).path : LABELS[m.name === NAME.NONE ? 0 : m.name]!;
  return `${hex(m.start)}-${hex(m.end)} ${rights}${name ? ` ${name}` : ""}`;
}

/** `main+0x12 in /path/prog`, or the bare address. */
export function describeCode(k: Kernel, rip: number): string {
  try {
    const m = k.space.mappings.at(rip);
    if (!m?.file) return hex(rip);
    const { path } = k.space.files.describe(m.file - 1);
    const fd = k.space.files.hostDescriptor(m.file - 1);
    const fileOffset = m.offset + (rip - m.start);
    const reader = {
      size: fstatSync(fd).size,
      read: (offset: number, length: number) => {
        const bytes = new Uint8Array(Math.max(0, Math.min(length, fstatSync(fd).size - offset)));
        return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, offset));
      },
    };
    const symbol = nearestSymbol(reader, { fileOffset });
    return `${hex(rip)} (${symbol ? `${symbol.name}+${hex(symbol.offset)} in ` : ""}${path} offset ${hex(fileOffset)})`;
  } catch {
    return hex(rip);
  }
}

/** Lines about a fatal fault: signal, access, code, nearest mappings. */
export function faultReport(k: Kernel, signal: number, trap: TrapDetails): string {
  const rip = k.vcpu.get(R.rip);
  const lines: string[] = [];
  const thread = `thread ${k.tid}`;
  if (trap.vector === 14) {
    const access = trap.errorCode & 16 ? "execution" : trap.errorCode & 2 ? "write" : "read";
    const address = Number(trap.address);
    lines.push(`margay: ${signalName(signal)} in ${thread}: ${access} of ${hex(trap.address)} at ${describeCode(k, rip)}`);
    const { mappings } = k.space;
    const index = mappings.find(address);
    const inside = index < mappings.count && mappings.start(index) <= address;
    if (inside) lines.push(`margay:   inside ${mappingLine(k, index)}`);
    else {
      if (index > 0) lines.push(`margay:   below: ${mappingLine(k, index - 1)} ends ${hex(address - mappings.end(index - 1))} before it`);
      if (index < mappings.count)
        lines.push(`margay:   above: ${mappingLine(k, index)} starts ${hex(mappings.start(index) - address)} after it`);
    }
  } else lines.push(`margay: ${signalName(signal)} in ${thread}: exception ${trap.vector} at ${describeCode(k, rip)}`);
  return `${lines.join("\n")}\n`;
}

/** All registers and segment state of the vCPU, for a state that nobody understands. */
export function vcpuReport(k: Kernel): string {
  const lines: string[] = [];
  const names = Object.entries(R);
  for (let i = 0; i < names.length; i += 6)
    lines.push(
      names
        .slice(i, i + 6)
        .map(([name, r]) => `${name}=${hex(k.vcpu.big(r))}`)
        .join(" "),
    );
  try {
    const s = k.vcpu.sregs();
    lines.push(
      `cs=${hex(s.getUint16(12, true))} ss=${hex(s.getUint16(132, true))} cr0=${hex(s.getBigUint64(224, true))} cr2=${hex(s.getBigUint64(232, true))} cr3=${hex(s.getBigUint64(240, true))} cr4=${hex(s.getBigUint64(248, true))} efer=${hex(s.getBigUint64(264, true))} fs=${hex(s.getBigUint64(72, true))}`,
    );
  } catch (error) {
    lines.push(`segment state not readable: ${String(error)}`);
  }
  return lines.map((line) => `margay:   ${line}\n`).join("");
}
