/** margay's own failures as data: code, what, where, hint. Formatting is separate; the codes are in error-codes.ts. */
import { EACCES, EAGAIN, EBUSY, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ENXIO, EPERM } from "../abi/errno.ts";
import { ERROR_CODES, type ErrorCode, type ExitCode } from "./error-codes.ts";
import { HostError } from "./host-error.ts";

export type { ErrorCode, ExitCode };

export interface ErrorDetails {
  /** The place: a file, an option, a CPU, a call. Left out of the line when absent. */
  readonly where?: string | undefined;
  /** Better advice than the code's own. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** A failure that the user is told about in one line. Throw it; src/cli prints it and takes its exit code. */
export class MargayError extends Error {
  readonly code: ErrorCode;
  readonly exitCode: ExitCode;
  /** What is wrong, in plain words, without the code and the place. */
  readonly what: string;
  readonly where: string | undefined;
  readonly hint: string;

  constructor(code: ErrorCode, what: string, details: ErrorDetails = {}) {
    super(
      details.where === undefined ? what : `${what} (${details.where})`,
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    const entry = ERROR_CODES[code];
    this.name = "MargayError";
    this.code = code;
    this.exitCode = entry.exitCode;
    this.what = what;
    this.where = details.where;
    this.hint = details.hint ?? entry.hint;
  }
}

/**
 * The one line for any thrown value: `margay: CODE: what is wrong (where): what to do`, without a newline at its end.
 * Whatever is not a MargayError is a mistake in margay and becomes E_INTERNAL, with the first frame of its stack as the place.
 * Control characters (a hostile file name may hold them) are escaped, so the line stays one line and the terminal safe.
 */
export function formatError(error: unknown): string {
  const e = asMargayError(error);
  const where = e.where === undefined ? "" : ` (${e.where})`;
  return escapeControls(`margay: ${e.code}: ${e.what}${where}: ${e.hint}`);
}

/** The exit code for any thrown value. */
export function exitCodeOf(error: unknown): ExitCode {
  return asMargayError(error).exitCode;
}

/** Any thrown value as a MargayError: itself, a failed host call by its error number, or an E_INTERNAL around it. */
export function asMargayError(error: unknown): MargayError {
  if (error instanceof MargayError) return error;
  if (error instanceof HostError) return new MargayError(codeOfHostError(error), error.message, { cause: error });
  if (!(error instanceof Error)) return new MargayError("E_INTERNAL", String(error));
  const frame = error.stack?.split("\n").find((line) => line.startsWith("    at "));
  return new MargayError("E_INTERNAL", `${error.name}: ${error.message}`, { where: frame?.trim(), cause: error });
}

/** What a failed host call means to the user, by the call's name (as kvm.ts and memory.ts give it) and its error number. */
export function codeOfHostError({ call, errno }: HostError): ErrorCode {
  if (call === "open /dev/kvm") {
    if (errno === EACCES || errno === EPERM) return "E_KVM_DENIED";
    if (errno === ENOENT || errno === ENXIO || errno === ENODEV) return "E_NO_KVM";
  }
  if (errno === EMFILE || errno === ENFILE || errno === EAGAIN) return "E_LIMIT";
  if (call === "open /dev/kvm" || call.startsWith("KVM_")) {
    // EBUSY: another hypervisor holds the processor. ENOMEM while a machine is made: KVM itself is full.
    if (errno === EBUSY || (errno === ENOMEM && call.startsWith("KVM_CREATE_"))) return "E_KVM_BUSY";
    return errno === ENOMEM ? "E_NO_MEMORY" : "E_KVM_FAILED";
  }
  return errno === ENOMEM ? "E_NO_MEMORY" : "E_SYSCALL";
}

/** Control characters as `\xNN`, tabs and newlines as `\t` and `\n`; everything else unchanged. */
function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, (c) => {
    if (c === "\n") return "\\n";
    if (c === "\t") return "\\t";
    const n = c.charCodeAt(0);
    return n > 0xff ? `\\u${n.toString(16)}` : `\\x${n.toString(16).padStart(2, "0")}`;
  });
}
