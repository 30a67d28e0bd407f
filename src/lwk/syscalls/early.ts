import { SREGS } from "../../abi/kvm.ts";
import type { Family } from "../call.ts";
export const earlyCalls: Family = {
  arch_prctl: ["lwk", "", (c) => { if (c.int(0) === 0x1002) { c.vcpu.setSegmentBase(SREGS.fs, c.big(1)); return 0; } return -22; }],
};
