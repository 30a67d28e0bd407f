// The oracle of all program tests: a command runs natively and in a virtual node, in the same empty directory with the same input and
// environment; standard output, standard error, exit code (a signal counts as 128+N) and the files left must be the same.
// By hand: node test/programs/compare.mjs [--pages HOST/GUEST] -- PROGRAM [ARGS...]
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Argument vector that starts margay. MARGAY names another build (its bin/margay.js). */
export const margay = [process.execPath, process.env.MARGAY ?? fileURLToPath(new URL("../../bin/margay.js", import.meta.url))];

/** What programs under test find in their environment. Nothing of the caller's: a run can be repeated. */
export const environment = { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: "/tmp", LANG: "C.UTF-8", MARGAY_TEST: "a b=c" };

/** The page policies of `--pages`. */
export const pagings = ["2M/2M", "4K/4K", "2M/4K", "4K/2M"];

/** Directories and process groups of this test process that still exist: they go with it, also when a deadline ends it by SIGTERM. */
const live = { directories: new Set(), groups: new Set() };
process.on("exit", () => {
  for (const group of live.groups) killGroup(group);
  for (const dir of live.directories) rmSync(dir, { recursive: true, force: true });
});
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.once(signal, () => process.exit(128 + constants.signals[signal]));

function killGroup(group) {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // It ended at this moment.
  }
}

/** A fresh directory under /tmp that is gone when this process ends. */
export function freshDirectory() {
  const dir = mkdtempSync(join(tmpdir(), "margay-test-"));
  live.directories.add(dir);
  return dir;
}
const remove = (dir) => {
  rmSync(dir, { recursive: true, force: true });
  live.directories.delete(dir);
};

/** A fresh directory under /tmp that is gone when `use` has ended, however it ended. */
export async function inFreshDirectory(use) {
  const dir = freshDirectory();
  try {
    return await use(dir);
  } finally {
    remove(dir);
  }
}

/**
 * Starts a process and collects all it says.
 * @param {string[]} command argument vector
 * @param {{cwd?: string, env?: object, input?: string | Buffer | "closed", timeout?: number, started?: (child) => void,
 *   keep?: "hash"}} [options] `input` is written to standard input and it is closed ("closed": there is none), `timeout` in seconds,
 *   after which the whole process group is killed; `started` gets the child; "hash" keeps a digest of stdout only
 * @returns {Promise<{code: number, stdout: Buffer, stderr: Buffer, timedOut: boolean, seconds: number}>} `code` is 128+N after signal N
 */
export function run(command, { cwd, env = environment, input = "", timeout = 60, started, keep } = {}) {
  return new Promise((resolve, reject) => {
    const since = performance.now();
    const stdin = input === "closed" ? "ignore" : "pipe";
    const child = spawn(command[0], command.slice(1), { cwd, env, stdio: [stdin, "pipe", "pipe"], detached: true });
    const out = [];
    const err = [];
    const hash = createHash("sha256");
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, timeout * 1000);
    child.stdout.on("data", (data) => (keep === "hash" ? hash.update(data) : out.push(data)));
    child.stderr.on("data", (data) => err.push(data));
    child.stdin?.on("error", () => {}); // a program need not read its input
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      live.groups.delete(child.pid);
      resolve({
        code: code ?? 128 + constants.signals[signal],
        stdout: keep === "hash" ? Buffer.from(hash.digest("hex")) : Buffer.concat(out),
        stderr: Buffer.concat(err),
        timedOut,
        seconds: (performance.now() - since) / 1000,
      });
    });
    if (child.pid) live.groups.add(child.pid);
    child.stdin?.end(input);
    started?.(child);
  });
}

const digest = async (path) => {
  const hash = createHash("sha256");
  for await (const data of createReadStream(path)) hash.update(data);
  return hash.digest("hex");
};

/** What lies in a directory: sorted lines of relative path, kind and contents (digest or link target). */
export async function contents(dir) {
  const lines = [];
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const what = entry.isFile()
      ? await digest(path)
      : entry.isSymbolicLink()
        ? `-> ${readlinkSync(path)}`
        : entry.isDirectory()
          ? "directory"
          : "special";
    lines.push(`${path.slice(dir.length + 1)} ${what}`);
  }
  return lines.sort();
}

/** Text of a run as the comparison sees it. Bytes that are no UTF-8 stay distinguishable. */
const text = (buffer, normalise) => normalise(buffer.toString(buffer.equals(Buffer.from(buffer.toString("utf8"))) ? "utf8" : "latin1"));

/** Runs the command in `dir`, which is emptied first. */
async function runIn(dir, command, options) {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  await options.prepare?.(dir);
  const result = await run(command, { ...options, cwd: dir });
  const normalise = options.normalise ?? ((t) => t);
  const killed = result.timedOut ? ` (killed after ${options.timeout ?? 60} s)` : "";
  return {
    code: `${result.code}${killed}`,
    stdout: text(result.stdout, normalise),
    stderr: text(result.stderr, normalise),
    files: await contents(dir),
    seconds: result.seconds,
  };
}

/** The native result of each command, so that every page policy is compared with one native run. */
const natives = new Map();

/**
 * Runs a command natively (once per process) and in a virtual node, and asserts that nothing differs.
 * @param {string[]} command argument vector; the program by absolute path
 * @param {{pages?: string, options?: string[], input?: string | Buffer | "closed", env?: object, timeout?: number, keep?: "hash",
 *   code?: number, prepare?: (dir: string) => void, normalise?: (text: string) => string}} [options] `options` are further ones of
 *   `margay run`, `code` is the exit code that the native run must have (any other is a mistake of the test), `prepare` fills the
 *   directory before each run, `normalise` is applied to both outputs
 * @returns {Promise<{native: object, guest: object}>} both results
 */
export async function compare(command, options = {}) {
  return inFreshDirectory(async (base) => {
    // One name for both runs: programs print their working directory.
    const dir = join(base, "w");
    const key = JSON.stringify([command, options.input?.toString(), options.env]);
    let native = natives.get(key)?.result;
    if (!native || native.stdout.includes(natives.get(key).dir)) {
      native = await runIn(dir, command, options);
      natives.set(key, { dir, result: native });
    }
    assert.equal(native.code, `${options.code ?? 0}`, `natively:\n${native.stdout.slice(-2000)}${native.stderr.slice(-2000)}`);
    const guest = await runIn(
      dir,
      [...margay, "run", ...(options.pages ? ["--pages", options.pages] : []), ...(options.options ?? []), "--", ...command],
      options,
    );
    const both = (part) => ({ code: part.code, stderr: part.stderr, stdout: part.stdout, files: part.files });
    assert.deepEqual(both(guest), both(native), difference(native, guest));
    return { native, guest };
  });
}

/** The first lines that differ, for people. */
function difference(native, guest) {
  const parts = [];
  if (native.code !== guest.code) parts.push(`exit code: natively ${native.code}, in the virtual node ${guest.code}`);
  for (const part of ["stderr", "stdout", "files"]) {
    const a = part === "files" ? native.files : native[part].split("\n");
    const b = part === "files" ? guest.files : guest[part].split("\n");
    const at = a.findIndex((line, i) => line !== b[i]);
    const first = at >= 0 ? at : a.length < b.length ? a.length : -1;
    if (first >= 0)
      parts.push(
        `${part} line ${first + 1}: natively <${a[first] ?? "no such line"}>, in the virtual node <${(b.slice(first, first + 6).join("\n") || "no such line").slice(0, 2000)}>`,
      );
  }
  return parts.join("\n") || "no difference";
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const at = process.argv.indexOf("--");
  const command = process.argv.slice(at + 1).map((word, i) => (i === 0 && word.includes("/") ? resolve(word) : word));
  if (at < 0 || command.length === 0) {
    console.error("compare: usage: node test/programs/compare.mjs [options of margay run] -- PROGRAM [ARGS...]");
    process.exit(2);
  }
  const code = (await inFreshDirectory((dir) => run(command, { cwd: dir }))).code;
  try {
    const { native, guest } = await compare(command, {
      options: process.argv.slice(2, at),
      code,
      input: process.stdin.isTTY ? "" : readFileSync(0),
    });
    console.log(
      `the same: exit code ${native.code}, ${native.stdout.length} characters of output, ${native.seconds.toFixed(2)} s natively, ${guest.seconds.toFixed(2)} s in the virtual node`,
    );
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
