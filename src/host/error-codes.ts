/**
 * The one table of margay's own failures. docs/errors.md shows it (a test compares them), formatError prints from it.
 *
 * Exit codes follow env(1), timeout(1) and the shells: 124 = the time ran out, 125 = margay itself failed and the program
 * never ran or could not go on, 126 = the program is there but cannot be run, 127 = the program is not there. A program that
 * ran gives its own exit code, or 128+N after signal N.
 */
export type ExitCode = 124 | 125 | 126 | 127;

export interface ErrorEntry {
  readonly exitCode: ExitCode;
  /** What it means, for the documentation: one sentence. */
  readonly meaning: string;
  /** What the user can do, used where the thrower knows nothing better. No full stop: it ends the line. */
  readonly hint: string;
}

const table = {
  // The machine and its KVM.
  E_NO_KVM: {
    exitCode: 125,
    meaning: "/dev/kvm does not exist or no KVM answers there.",
    hint: "load a KVM module (modprobe kvm_amd, kvm_intel or kvm_pvm), or run on a machine that has one; --native runs without KVM",
  },
  E_KVM_DENIED: {
    exitCode: 125,
    meaning: "/dev/kvm exists, but this user may not open it for reading and writing.",
    hint: "join the device's group (usermod -aG kvm USER, then log in again)",
  },
  E_KVM_BUSY: {
    exitCode: 125,
    meaning: "KVM refused another virtual machine: another hypervisor holds the processor, or KVM has no room left.",
    hint: "stop the other hypervisor or some virtual machines and try again",
  },
  E_KVM_CAP: {
    exitCode: 125,
    meaning: "This KVM lacks a capability that margay cannot work without.",
    hint: "use a newer Linux kernel; margay doctor lists what is missing",
  },
  E_KVM_FAILED: {
    exitCode: 125,
    meaning: "A KVM call failed that should not.",
    hint: "run margay doctor; if it finds nothing, report this line",
  },
  E_HOST_UNSUPPORTED: {
    exitCode: 125,
    meaning: "margay does not work on this kind of machine, kernel or Node version.",
    hint: "use Linux on x86-64 and Node 20.19 or newer",
  },
  E_LIMIT: {
    exitCode: 125,
    meaning: "A limit of this user or control group (processes, files, locked memory, mappings) is too low.",
    hint: "raise the limit (ulimit, the cgroup, /proc/sys/vm/max_map_count); margay doctor shows them",
  },

  // What the user asked of the machine.
  E_CPU_SYNTAX: { exitCode: 125, meaning: "A CPU list cannot be read.", hint: "write CPUs like 0-3,8,10-12:2" },
  E_CPU_UNKNOWN: {
    exitCode: 125,
    meaning: "A CPU asked for does not exist on this machine, is offline, or is not allowed to this process.",
    hint: "margay doctor lists the usable CPUs",
  },
  E_CPU_TOO_MANY: {
    exitCode: 125,
    meaning: "More CPUs were asked for than one virtual machine may have.",
    hint: "ask for fewer CPUs; margay doctor shows the limit",
  },
  E_NUMA_UNKNOWN: {
    exitCode: 125,
    meaning: "A NUMA node asked for does not exist, or has no usable CPU or no memory.",
    hint: "margay doctor lists the NUMA nodes",
  },
  E_MEM_SYNTAX: { exitCode: 125, meaning: "A memory size cannot be read.", hint: "write a size like 512M, 4G, 1.5G or 50%" },
  E_MEM_TOO_MUCH: {
    exitCode: 125,
    meaning: "More memory was asked for than the host, the NUMA nodes or the control group can give.",
    hint: "ask for less with --mem",
  },
  E_MEM_TOO_LITTLE: {
    exitCode: 125,
    meaning: "The memory asked for, or left on the host, is too little for any virtual node.",
    hint: "ask for more with --mem, or free memory on the host",
  },
  E_NO_MEMORY: {
    exitCode: 125,
    meaning: "The host refused memory while the virtual node was being made or was running.",
    hint: "free memory on the host or ask for less with --mem",
  },
  E_HUGE_MISSING: {
    exitCode: 125,
    meaning: "Huge pages were demanded strictly and the host does not have enough of them.",
    hint: "reserve them (echo N > /proc/sys/vm/nr_hugepages, as root) or use --pages 4K/4K",
  },
  E_BAD_OPTION: {
    exitCode: 125,
    meaning: "An option or its value is unknown or contradicts another.",
    hint: "margay --help lists the options",
  },
  E_BAD_WORKDIR: {
    exitCode: 125,
    meaning: "The working directory asked for cannot be entered.",
    hint: "give an existing directory to --workdir",
  },
  E_BAD_OUTPUT: {
    exitCode: 125,
    meaning: "A file that margay was to write (statistics, trace, report) cannot be written.",
    hint: "give a path in a writable directory with room",
  },

  // The program.
  E_NOT_FOUND: { exitCode: 127, meaning: "There is no such program.", hint: "check the name, and PATH for a name without a slash" },
  E_NO_INTERPRETER: {
    exitCode: 127,
    meaning: "The program's interpreter (the #! line's, or the dynamic loader) does not exist.",
    hint: "install the interpreter, or link the program statically",
  },
  E_NOT_EXECUTABLE: {
    exitCode: 126,
    meaning: "The program has no execute permission for this user, or its file system is mounted noexec.",
    hint: "chmod +x the program",
  },
  E_IS_DIRECTORY: { exitCode: 126, meaning: "The program's name is a directory.", hint: "name the program file inside it" },
  E_NOT_FILE: { exitCode: 126, meaning: "The program's name is neither a regular file nor a link to one.", hint: "name a program file" },
  E_NOT_READABLE: {
    exitCode: 126,
    meaning: "The program's file cannot be read: margay loads it itself, so it needs read permission.",
    hint: "chmod +r the program, or check the disk",
  },
  E_NOT_ELF: {
    exitCode: 126,
    meaning: "The file is neither an ELF program nor a script with a #! line.",
    hint: "give a Linux x86-64 program; for a shell script without #! run: margay run sh SCRIPT",
  },
  E_WRONG_ARCH: {
    exitCode: 126,
    meaning: "The program is ELF, but for another processor, word size or operating system.",
    hint: "build it for x86-64 Linux",
  },
  E_BAD_ELF: {
    exitCode: 126,
    meaning: "The ELF file is truncated, contradicts itself, or asks for the impossible.",
    hint: "rebuild or copy the program again; readelf -lW shows its segments",
  },
  E_INTERPRETER_LOOP: {
    exitCode: 126,
    meaning: "Interpreters lead to interpreters too deeply, or in a circle.",
    hint: "let the #! line name a program that is not itself a script",
  },
  E_ARGS_TOO_LONG: {
    exitCode: 126,
    meaning: "Arguments and environment do not fit on the program's first stack.",
    hint: "pass fewer or shorter arguments, or clear the environment",
  },

  // The run.
  E_TIMEOUT: { exitCode: 124, meaning: "The time given with --timeout ran out; the program was stopped.", hint: "give more time, or none" },
  E_GUEST_STATE: {
    exitCode: 125,
    meaning: "The virtual machine stopped in a way that margay does not understand; nothing is guessed, the virtual node ends.",
    hint: "report it with the state printed above",
  },
  E_SYSCALL: {
    exitCode: 125,
    meaning: "A host system call that margay needs for itself failed.",
    hint: "run margay doctor; if it finds nothing, report this line",
  },
  E_INTERNAL: { exitCode: 125, meaning: "A mistake in margay.", hint: "report this line and the command that led to it" },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof table;

/** Every code with its exit code, meaning and default hint. */
export const ERROR_CODES: Readonly<Record<ErrorCode, ErrorEntry>> = table;

/** docs/errors.md, as text; the test compares the file with it. */
export function errorsPage(): string {
  const rows = Object.entries(ERROR_CODES).map(([code, e]) => `| \`${code}\` | ${e.exitCode} | ${e.meaning} | ${e.hint} |`);
  return [
    "# Errors",
    "",
    "When margay itself fails it writes one line to stderr and ends with the exit code below:",
    "",
    "    margay: CODE: what is wrong (where): what to do",
    "",
    "A program that ran gives its own exit code, or 128+N when signal N ended it. 124 to 127 mean what they mean to `timeout`, `env` and the shells.",
    "",
    "This page is generated from `src/host/error-codes.ts`; a test compares them (`UPDATE_DOCS=1 npx vitest run src/host/error.test.ts` writes it again).",
    "",
    "| code | exit code | meaning | what to do, where nothing better is known |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}
