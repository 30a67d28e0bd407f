/** The device bus: guest-physical ranges without memory whose accesses are answered by a device model. */
import { RUN } from "../abi/kvm.ts";

/** A device on the bus. Offsets are from the range's start; sizes 1, 2, 4 or 8 bytes. */
export interface MmioDevice {
  read(offset: number, size: number): bigint;
  write(offset: number, size: number, value: bigint): void;
}

interface Range {
  start: number;
  end: number;
  device: MmioDevice;
}

/** struct kvm_run.mmio: phys_addr u64, data u8[8], len u32, is_write u8, from the exit union's start. */
const ADDRESS = RUN.exit;
const DATA = RUN.exit + 8;
const LENGTH = RUN.exit + 16;
const IS_WRITE = RUN.exit + 20;

export class DeviceBus {
  private readonly ranges: Range[] = [];

  /** Puts a device at [start, start + size). Throws RangeError when the range is taken. Returns what takes it off again. */
  attach(start: number, size: number, device: MmioDevice): { close(): void } {
    const range: Range = { start, end: start + size, device };
    if (!(size > 0) || this.ranges.some((r) => start < r.end && r.start < range.end))
      throw new RangeError(`bus range 0x${start.toString(16)} of ${size} bytes is empty or taken`);
    this.ranges.push(range);
    return {
      close: () => {
        const index = this.ranges.indexOf(range);
        if (index >= 0) this.ranges.splice(index, 1);
      },
    };
  }

  /** Answers a KVM_EXIT_MMIO in place. False when no device is there, or the access crosses a device's end. */
  access(run: DataView): boolean {
    const address = run.getUint32(ADDRESS, true) + run.getUint32(ADDRESS + 4, true) * 0x1_0000_0000;
    const size = run.getUint32(LENGTH, true);
    const range = this.ranges.find((r) => address >= r.start && address < r.end);
    if (!range || size > 8 || address + size > range.end) return false;
    if (run.getUint8(IS_WRITE)) range.device.write(address - range.start, size, BigInt.asUintN(size * 8, run.getBigUint64(DATA, true)));
    else run.setBigUint64(DATA, BigInt.asUintN(64, range.device.read(address - range.start, size)), true);
    return true;
  }
}
