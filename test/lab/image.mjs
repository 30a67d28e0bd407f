// The lab machine's file system: a small Debian with margay, its test programs and the modules of textbook KVM.
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeCpio } from "./cpio.mjs";
import { libraries } from "./libraries.mjs";
import { busybox, kernel } from "./packages.mjs";
import { Tree } from "./tree.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const project = join(here, "../..");

/** Where everything that can be made again lies. */
export const CACHE = join(here, ".cache");

const MODULES = ["irqbypass", "kvm", "kvm-amd", "qemu_fw_cfg"];

/** Real programs to run in virtual nodes. Those this machine does not have are left out, and so are the tests of them. */
const PROGRAMS = [
  ..."awk bash cat cp cut date dd dirname echo env expr false grep head id ln ls mkdir mktemp mv nproc od printf ps readlink rm sed seq setpriv".split(
    " ",
  ),
  ..."sha256sum sleep sort stat tail taskset tee test timeout touch tr true uname uniq wc xz gawk mawk bc perl sqlite3 openssl".split(" "),
  ..."numactl strace sh".split(" "),
];

const isElf = (path) => {
  const magic = Buffer.alloc(4);
  const file = openSync(path, "r");
  readSync(file, magic, 0, 4, 0);
  closeSync(file);
  return magic.readUInt32BE(0) === 0x7f454c46;
};

/** All regular files below a directory. */
function filesBelow(directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** The lab's own C programs, static so that they need nothing else, compiled where the source is newer. Gives name and path of each. */
export function probes() {
  const directory = join(CACHE, "probes");
  mkdirSync(directory, { recursive: true });
  return readdirSync(join(here, "probes")).map((file) => {
    const name = basename(file, ".c");
    const source = join(here, "probes", file);
    const program = join(directory, name);
    if (!existsSync(program) || statSync(program).mtimeMs < statSync(source).mtimeMs) {
      const work = `${program}.${process.pid}`;
      const { status, stderr, error } = spawnSync("gcc", ["-O2", "-Wall", "-static", "-pthread", "-o", work, source], { encoding: "utf8" });
      if (error || status !== 0) throw new Error(`gcc ${source}: ${error?.message ?? stderr}`);
      renameSync(work, program);
    }
    return { name, program };
  });
}

/** margay as npm would install it: what package.json names, and the packages it depends on, theirs too. */
function addMargay(tree, required) {
  const manifest = (directory) => JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  for (const name of ["bin", "dist"]) {
    if (!existsSync(join(project, name))) {
      if (required) throw new Error(`${name}/ is missing: \`npm run build\` makes it`);
      continue;
    }
    tree.copyTree(`/opt/margay/${name}`, join(project, name));
  }
  tree.copy("/opt/margay/package.json", join(project, "package.json"));
  const seen = new Set();
  const add = (name) => {
    const directory = join(project, "node_modules", name);
    if (seen.has(name) || !existsSync(directory)) return; // an optional one, for another kind of machine
    seen.add(name);
    tree.copyTree(`/opt/margay/node_modules/${name}`, directory);
    const { dependencies, optionalDependencies } = manifest(directory);
    for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) add(next);
  };
  for (const name of Object.keys(manifest(project).dependencies)) add(name);
}

/** Collects the whole tree. `extra` lists files as "HERE:THERE". */
function collect(linux, extra, margayRequired) {
  const tree = new Tree();
  for (const directory of ["/dev", "/proc", "/sys", "/run", "/root", "/bb", "/lab", "/var/lib"]) tree.directory(directory);
  tree.directory("/tmp", 0o1777);
  tree.character("/dev/console", 5, 1, 0o600); // the kernel opens it before devtmpfs is mounted
  tree.copy("/init", join(here, "guest/init"));
  tree.copy("/bb/busybox", busybox(CACHE));
  for (const module of MODULES) tree.copy(`/lab/modules/${module}.ko`, linux.module(module));
  tree.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
  tree.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
  tree.text("/etc/hosts", "127.0.0.1 localhost lab\n");
  tree.text("/etc/hostname", "lab\n");
  for (const path of ["/usr/lib/locale/C.utf8", "/etc/ssl/openssl.cnf"]) if (existsSync(path)) tree.sameAsHere(path);

  const elves = PROGRAMS.map((name) => `/usr/bin/${name}`).filter((path) => existsSync(path));
  elves.push("/bin/sh");
  const node = realpathSync(process.execPath);
  elves.push(node);
  if (node !== "/usr/bin/node") tree.symlink("/usr/bin/node", node);
  addMargay(tree, margayRequired);
  for (const name of readdirSync(join(here, "guest"))) tree.copy(`/lab/${name}`, join(here, "guest", name));
  for (const { name, program } of probes()) tree.copy(`/lab/probes/${name}`, program);
  const built = join(project, "test/programs/.build");
  for (const path of filesBelow(built).filter((path) => !path.endsWith(".part")))
    tree.copy(`/opt/programs${path.slice(built.length)}`, path);
  for (const pair of extra) {
    const [from, to = `/root/${basename(from)}`] = pair.split(":");
    if (statSync(from).isDirectory()) tree.copyTree(to, from);
    else tree.copy(to, from);
  }
  tree.withLibraries(elves);
  // The test programs and what the user added bring their libraries too. (koffi's need what Node's do.)
  const copied = [...tree.entries.values()].filter(
    (entry) => entry.kind === "copy" && /^\/(opt\/programs|root)\//.test(entry.path) && isElf(entry.source),
  );
  for (const library of libraries(copied.map((entry) => entry.source))) tree.sameAsHere(library);
  return tree;
}

/**
 * The kernel and the file system to boot, from the cache where nothing has changed.
 * @param {readonly string[]} extra more files or directories of this machine, "HERE:THERE", or "HERE" for /root/NAME
 * @param {boolean} margayRequired whether a margay that is not built is an error; a shell or a command of one's own may do without
 * @returns {{kernel: string, initrd: string, bytes: number, fresh: boolean, version: string}}
 */
export function buildImage(extra = [], margayRequired = true) {
  mkdirSync(CACHE, { recursive: true });
  const linux = kernel(CACHE);
  for (let attempt = 1; ; attempt++) {
    try {
      return { kernel: linux.image, version: linux.version, ...currentImage(linux, extra, margayRequired) };
    } catch (error) {
      // A build that runs at this moment replaces files between our look at the directory and at the file.
      if (error.code !== "ENOENT" || attempt === 3) throw error;
    }
  }
}

/** The archive of the tree as it is now, written unless the cache has it. */
function currentImage(linux, extra, margayRequired) {
  const tree = collect(linux, extra, margayRequired);
  const initrd = join(CACHE, `image-${tree.key()}.cpio`);
  const fresh = !existsSync(initrd);
  if (fresh) {
    const work = `${initrd}.${process.pid}`;
    try {
      writeCpio(work, tree.entries.values());
      renameSync(work, initrd);
    } finally {
      rmSync(work, { force: true });
    }
    forgetOldImages(initrd);
  }
  return { initrd, bytes: statSync(initrd).size, fresh };
}

/** Keeps this image and the one before it: another run may be about to start with that. */
function forgetOldImages(current) {
  const images = readdirSync(CACHE)
    .filter((name) => /^image-\w+\.cpio/.test(name))
    .map((name) => ({ path: join(CACHE, name), age: statSync(join(CACHE, name)).mtimeMs }))
    .filter(({ path }) => path !== current)
    .sort((a, b) => b.age - a.age);
  for (const { path } of images.slice(1)) rmSync(path, { force: true });
}
