/**
 * ELF64 as published: System V gABI 4.1 chapters 4 and 5 (sco.com/developers/gabi), x86-64 psABI, Linux include/uapi/linux/elf.h.
 * `*_OFF` constants are byte offsets inside the structure that the prefix names.
 */

/** e_ident: the four magic bytes and the fields behind them (gABI "ELF Identification"). */
export const ELF_MAGIC: readonly number[] = [0x7f, 0x45, 0x4c, 0x46];
export const EI_CLASS = 4;
export const EI_DATA = 5;
export const EI_VERSION = 6;
export const ELFCLASS32 = 1;
export const ELFCLASS64 = 2;
export const ELFDATA2LSB = 1;
export const ELFDATA2MSB = 2;
export const EV_CURRENT = 1;

/** Elf64_Ehdr. */
export const EHDR_SIZE = 64;
export const EHDR_TYPE_OFF = 16;
export const EHDR_MACHINE_OFF = 18;
export const EHDR_VERSION_OFF = 20;
export const EHDR_ENTRY_OFF = 24;
export const EHDR_PHOFF_OFF = 32;
export const EHDR_SHOFF_OFF = 40;
export const EHDR_EHSIZE_OFF = 52;
export const EHDR_PHENTSIZE_OFF = 54;
export const EHDR_PHNUM_OFF = 56;
export const EHDR_SHENTSIZE_OFF = 58;
export const EHDR_SHNUM_OFF = 60;

/** e_type. */
export const ET_REL = 1;
export const ET_EXEC = 2;
export const ET_DYN = 3;
export const ET_CORE = 4;

/** e_machine; include/uapi/linux/elf-em.h. */
export const EM_X86_64 = 62;
export const MACHINE_NAMES: Readonly<Record<number, string>> = {
  2: "SPARC",
  3: "i386",
  8: "MIPS",
  15: "PA-RISC",
  20: "PowerPC",
  21: "PowerPC 64",
  22: "S/390",
  40: "ARM",
  43: "SPARC V9",
  50: "Itanium",
  62: "x86-64",
  183: "AArch64",
  190: "CUDA",
  224: "AMD GPU",
  243: "RISC-V",
  247: "BPF",
  251: "NEC Vector Engine",
  258: "LoongArch",
};

/** e_phnum of a file with 65,535 or more program headers; the count is then in sh_info of section 0 (gABI). */
export const PN_XNUM = 0xffff;
/** Linux refuses a program header table of more than 64 KiB (fs/binfmt_elf.c, load_elf_phdrs). */
export const PHDR_TABLE_MAX = 65536;

/** Elf64_Phdr. */
export const PHDR_SIZE = 56;
export const PHDR_TYPE_OFF = 0;
export const PHDR_FLAGS_OFF = 4;
export const PHDR_OFFSET_OFF = 8;
export const PHDR_VADDR_OFF = 16;
export const PHDR_FILESZ_OFF = 32;
export const PHDR_MEMSZ_OFF = 40;
export const PHDR_ALIGN_OFF = 48;

/** p_type. */
export const PT_LOAD = 1;
export const PT_DYNAMIC = 2;
export const PT_INTERP = 3;
export const PT_PHDR = 6;
export const PT_TLS = 7;
export const PT_GNU_STACK = 0x6474e551;

/** p_flags. */
export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;

/** Elf64_Shdr. */
export const SHDR_SIZE = 64;
export const SHDR_TYPE_OFF = 4;
export const SHDR_ADDR_OFF = 16;
export const SHDR_OFFSET_OFF = 24;
export const SHDR_SIZE_OFF = 32;
export const SHDR_LINK_OFF = 40;
export const SHDR_ENTSIZE_OFF = 56;

/** sh_type. */
export const SHT_SYMTAB = 2;
export const SHT_STRTAB = 3;
export const SHT_DYNSYM = 11;

/** Elf64_Sym. */
export const SYM_SIZE = 24;
export const SYM_NAME_OFF = 0;
export const SYM_INFO_OFF = 4;
export const SYM_SHNDX_OFF = 6;
export const SYM_VALUE_OFF = 8;
export const SYM_SIZE_OFF = 16;
export const SHN_UNDEF = 0;
/** First of the reserved section numbers (absolute, common, extended). */
export const SHN_LORESERVE = 0xff00;

/** Low four bits of st_info: kind. */
export const STT_NOTYPE = 0;
export const STT_OBJECT = 1;
export const STT_FUNC = 2;
export const STT_GNU_IFUNC = 10;
/** High four bits of st_info: binding. */
export const STB_LOCAL = 0;
export const STB_GLOBAL = 1;
export const STB_WEAK = 2;

/** Bytes of a file that Linux looks at to choose a format; a #! line is cut there (include/uapi/linux/binfmts.h). */
export const BINPRM_BUF_SIZE = 256;
/** Longest argument or environment string, with its NUL (include/uapi/linux/binfmts.h, 32 pages). */
export const MAX_ARG_STRLEN = 131072;
/** Longest path, with its NUL (include/uapi/linux/limits.h). */
export const PATH_MAX = 4096;
