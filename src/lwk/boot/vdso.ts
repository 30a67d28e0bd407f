/** The vDSO image: the ELF file that AT_SYSINFO_EHDR points to. */
import { RODATA_OFFSET, sharedObject } from "./elf-image.ts";
import { VDSO_MAX_SIZE } from "./layout.ts";
import { clockTable, VDSO_FUNCTIONS, vdsoProgram } from "./vdso-code.ts";

/** Offset of the code in the image. */
export const VDSO_TEXT_OFFSET = 0x600;

/**
 * The image, to be placed at lwkBase + VDSO_PAGE with the thread page and the vvar page before it. At most VDSO_MAX_SIZE bytes.
 * Names and version are those of Linux (arch/x86/entry/vdso/vdso.lds.S), which glibc, musl and Go look for.
 */
export function vdsoImage(): Uint8Array {
  const program = vdsoProgram(VDSO_TEXT_OFFSET, RODATA_OFFSET);
  const at = (label: string): number => {
    const address = program.labels.get(label);
    if (address === undefined) throw new Error(`the vDSO has no label ${label}`);
    return address;
  };
  const functions = VDSO_FUNCTIONS.flatMap((name) => {
    const start = at(name);
    const size = at(`${name}.end`) - start;
    return [
      { name: `__vdso_${name}`, start, size, weak: false },
      { name, start, size, weak: true },
    ];
  });
  const image = sharedObject({
    soname: "linux-vdso.so.1",
    version: "LINUX_2.6",
    rodata: clockTable(),
    text: program.code,
    textOffset: VDSO_TEXT_OFFSET,
    functions,
  });
  if (image.length > VDSO_MAX_SIZE) throw new Error(`the vDSO takes ${image.length} bytes, more than ${VDSO_MAX_SIZE}`);
  return image;
}
