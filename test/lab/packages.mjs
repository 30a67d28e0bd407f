// The Debian packages that the lab machine is made of and that this machine does not have to install: fetched and unpacked into the cache.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

/** Runs a command for its output. Throws with its last words when it fails. */
function output(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", ...options });
  if (error) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${stderr.trim().split("\n").pop()}`);
  return stdout;
}

/** The package that really holds the kernel: the meta package depends on it alone. */
function kernelPackage() {
  const depends = output("apt-cache", ["depends", "linux-image-cloud-amd64"]);
  const name = /Depends: (linux-image-\S+-cloud-amd64)/.exec(depends)?.[1];
  if (name === undefined) throw new Error("apt knows no linux-image-cloud-amd64: `apt-get update` on a Debian system gives it");
  return name;
}

/**
 * Directory with the unpacked package. What the cache holds is taken as it is, so that the lab works without a network.
 * @param {string} cache
 * @param {string} label name of the directory in the cache
 * @param {() => string} resolve gives the package's name, asked only when it must be fetched
 */
function unpacked(cache, label, resolve) {
  const home = join(cache, "packages", label);
  if (existsSync(home)) return home;
  mkdirSync(dirname(home), { recursive: true });
  const name = resolve();
  process.stderr.write(`lab: fetching ${name}\n`);
  const work = mkdtempSync(`${home}.`);
  try {
    // Root would otherwise fetch as user _apt, who may not write here; the option does nothing for other users.
    output("apt-get", ["download", "-qq", "-o", "APT::Sandbox::User=root", name], { cwd: work });
    const deb = readdirSync(work).find((file) => file.endsWith(".deb"));
    output("dpkg-deb", ["-x", join(work, deb), join(work, "root")]);
    try {
      renameSync(join(work, "root"), home);
    } catch (error) {
      if (!existsSync(home)) throw error; // another run was faster
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return home;
}

/**
 * Debian's kernel for virtual machines.
 * @returns {{version: string, image: string, module: (name: string) => string}} release, path of the bootable image, path of a module
 */
export function kernel(cache) {
  const root = unpacked(cache, "linux", kernelPackage);
  const version = readdirSync(join(root, "lib/modules"))[0];
  const modules = join(root, "lib/modules", version, "kernel");
  const all = readdirSync(modules, { recursive: true });
  return {
    version,
    image: join(root, "boot", `vmlinuz-${version}`),
    module(name) {
      const path = all.find((file) => file.endsWith(`/${name}.ko`));
      if (path === undefined) throw new Error(`linux ${version} has no module ${name}`);
      return join(modules, path);
    },
  };
}

/** Path of a statically linked busybox. */
export function busybox(cache) {
  return join(
    unpacked(cache, "busybox", () => "busybox-static"),
    "bin/busybox",
  );
}
