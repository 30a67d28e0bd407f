// Runs inside the lab machine: reads the job, does it, reports over the second serial port. One JSON object a line, so that a line is either
// whole or visibly broken:
//   {"say": text}                                        a line for the user
//   {"result": name, "outcome": "ok"|"failed"|"skipped", "seconds": n, "detail": text}
//   {"fd": 1|2, "data": base64}                          output of a command
//   {"end": code}                                        the last line: the exit code of the whole run
import { spawn } from "node:child_process";
import { openSync, readFileSync, writeSync } from "node:fs";

const JOB = "/sys/firmware/qemu_fw_cfg/by_name/opt/margay/job/raw";
const port = openSync("/dev/ttyS1", "w");

function report(message) {
  const line = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < line.length; ) at += writeSync(port, line, at);
}

/** Runs one command with its output passed on as it comes. */
function command(argv) {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", (bytes) => report({ fd: 1, data: bytes.toString("base64") }));
    child.stderr.on("data", (bytes) => report({ fd: 2, data: bytes.toString("base64") }));
    child.on("error", (error) => {
      report({ fd: 2, data: Buffer.from(`lab: ${error.message}\n`).toString("base64") });
      resolve(127);
    });
    child.on("close", (code) => resolve(code ?? 128));
  });
}

let code = 125;
try {
  const job = JSON.parse(readFileSync(JOB, "utf8"));
  if (job.mode === "command") code = await command(job.argv);
  else if (job.mode === "demo") code = await (await import("./demo.mjs")).demo(report);
  else code = await (await import("./suite.mjs")).suite(report, job);
} catch (error) {
  report({ say: `lab: ${error.stack}` });
}
report({ end: code });
