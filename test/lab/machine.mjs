// The lab machine itself: QEMU without KVM (TCG), two NUMA nodes with two CPUs each, a CPU with SVM. What runs in it finds a textbook /dev/kvm.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const QEMU = "qemu-system-x86_64";
const NODE_MEMORY = 1536; // MiB

/** The command line. `console` and `results` are QEMU character devices for the first and the second serial port. */
function commandLine({ kernel, initrd, quiet, job, console, results }) {
  return [
    QEMU,
    ...["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", String(2 * NODE_MEMORY), "-smp", "4,sockets=2,cores=2"],
    ...["-object", `memory-backend-ram,id=m0,size=${NODE_MEMORY}M`, "-object", `memory-backend-ram,id=m1,size=${NODE_MEMORY}M`],
    ...["-numa", "node,nodeid=0,cpus=0-1,memdev=m0", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1"],
    ...["-numa", "dist,src=0,dst=1,val=20"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...[
      "-chardev",
      `${console},id=console`,
      "-serial",
      "chardev:console",
      "-chardev",
      `${results},id=results`,
      "-serial",
      "chardev:results",
    ],
    ...["-kernel", kernel, "-initrd", initrd],
    // The machine is for correctness alone, so mitigations of its emulated CPU would only cost time. A panic ends the run (-no-reboot).
    ...["-append", `console=ttyS0 ${quiet ? "quiet" : ""} panic=-1 mitigations=off tsc=reliable numa_balancing=disable`],
    ...job,
  ];
}

/** QEMU dies with this process, even if that is killed: setpriv (util-linux) asks the kernel for it. */
const tied = (argv) => (existsSync("/usr/bin/setpriv") ? ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", ...argv] : argv);

function start(argv, stdio) {
  const [program, ...rest] = tied(argv);
  return spawn(program, rest, { stdio });
}

/**
 * Boots the machine, does `job` in it, and calls `onMessage` for every message of the agent (guest/agent.mjs lists them).
 * @param {{kernel: string, initrd: string}} image
 * @param {object} job
 * @param {{directory: string, deadline: number, onMessage: (message: object) => void}} options a directory for temporary files; seconds
 * @returns {Promise<{code: number | null, reason: string | null}>} the exit code of the job, null with the reason where the machine gave none
 */
export function runJob(image, job, { directory, deadline, onMessage }) {
  const jobFile = join(directory, "job.json");
  writeFileSync(jobFile, JSON.stringify(job));
  const qemu = start(
    commandLine({
      ...image,
      quiet: true,
      job: ["-fw_cfg", `name=opt/margay/job,file=${jobFile}`],
      console: `file,path=${join(directory, "console.log")}`,
      results: "stdio,signal=off",
    }),
    ["ignore", "pipe", "pipe"],
  );
  return new Promise((resolve) => {
    let code = null;
    let reason = null;
    let complaint = "";
    const timer = setTimeout(() => {
      reason = `no end within ${deadline} s`;
      qemu.kill("SIGKILL");
    }, deadline * 1000);
    const stop = () => qemu.kill("SIGKILL");
    process.on("exit", stop);
    qemu.stderr.on("data", (bytes) => {
      complaint += bytes;
    });
    qemu.on("error", (error) => {
      clearTimeout(timer);
      resolve({
        code: null,
        reason: error.code === "ENOENT" ? `no ${QEMU} here: \`apt-get install qemu-system-x86\` brings it` : error.message,
      });
    });
    createInterface({ input: qemu.stdout }).on("line", (line) => {
      let message;
      try {
        message = JSON.parse(line);
      } catch {
        message = { say: `lab: broken line from the machine: ${line.slice(0, 200)}` };
      }
      if ("end" in message) code = message.end;
      else onMessage(message);
    });
    qemu.on("close", (status, signal) => {
      clearTimeout(timer);
      process.off("exit", stop);
      if (code === null)
        reason ??= `the machine stopped without a result (QEMU: ${signal ?? status}${complaint ? `, ${complaint.trim()}` : ""})`;
      resolve({ code, reason });
    });
  });
}

/** Boots the machine with a shell on this terminal. Resolves when it is switched off. */
export function runShell(image) {
  const qemu = start(
    commandLine({
      ...image,
      quiet: true,
      job: ["-fw_cfg", "name=opt/margay/shell,string=yes"],
      console: "stdio,mux=on,signal=off",
      results: "null",
    }),
    "inherit",
  );
  return new Promise((resolve, reject) => {
    qemu.on("error", reject);
    qemu.on("close", (status) => resolve(status ?? 128));
  });
}

/** The last lines that the machine's kernel and init printed. */
export function consoleTail(directory, lines = 15) {
  const file = join(directory, "console.log");
  return existsSync(file) ? readFileSync(file, "latin1").trimEnd().split(/\r?\n/).slice(-lines).join("\n") : "";
}
