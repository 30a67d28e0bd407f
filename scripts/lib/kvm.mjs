// Can this machine run virtual nodes at all? Asked twice: before anything is installed, so that the first line can say where things
// will run, and by `margay doctor` once margay is built.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";

/** KVM_GET_API_VERSION must be 12 and KVM_CREATE_VM must work (linux/kvm.h). Perl, because every Debian has it. */
const probe = `
  open(my $kvm, "+<", "/dev/kvm") or do { print "cannot be opened: $!"; exit };
  my $version = ioctl($kvm, 0xAE00, 0);
  $version == 12 or do { print "answers no KVM call: $!"; exit };
  ioctl($kvm, 0xAE01, 0) or print "makes no virtual machine: $!";
`;

/** What is wrong with /dev/kvm in a few words, or null when a virtual machine can be made. MARGAY_NO_KVM=1 pretends there is none. */
export function kvmProblem() {
  if (process.env.MARGAY_NO_KVM === "1") return "is left alone as MARGAY_NO_KVM=1 asks";
  if (!existsSync("/dev/kvm")) return "is missing";
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "may not be opened by this user (on Debian: group kvm)";
  }
  const perl = spawnSync("perl", ["-e", probe], { encoding: "utf8", timeout: 10_000 });
  return perl.status === 0 && perl.stdout !== "" ? perl.stdout.trim() : null;
}

/**
 * What `margay doctor --json` of the built margay says: { ok: `run` will work, kind: of KVM, text: the verdict }. Where it gives no
 * answer, the verdict is its last line on stderr.
 */
export function askDoctor() {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bin/margay.js", "doctor", "--json"], {
    encoding: "utf8",
    timeout: 60_000,
  });
  let answer = {};
  try {
    answer = JSON.parse(stdout);
  } catch {
    // An answer that is no JSON counts as none; the exit code tells the rest.
  }
  const text = answer.verdict?.text ?? `${stderr ?? ""}`.trim().split("\n").at(-1);
  return { ok: status === 0, kind: answer.kvm?.kind ?? "kind unknown", text };
}
