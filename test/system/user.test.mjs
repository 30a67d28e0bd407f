// As an ordinary user: everything works with access to /dev/kvm, and without it one line says what is missing. The tests run as root in
// a mount namespace of their own, where /dev/kvm is a node with the mode in question; the machine's own stays as it is.
import assert from "node:assert/strict";
import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { binary, build } from "../programs/build.mjs";
import { inFreshDirectory, margay, run } from "../programs/compare.mjs";
import { assertRefused, leavingNothing } from "./tools.mjs";

before(async () => {
  await build(["crew", "tiny", "interrupt"]);
});

const skip = process.getuid() === 0 ? false : "only root can become somebody else";

/** Runs margay as nobody, /dev/kvm having this mode or ("absent") not being there. */
async function asNobody(access, args, { program } = {}) {
  return inFreshDirectory(async (dir) => {
    chmodSync(dir, 0o777);
    if (program) copyFileSync(program, join(dir, "program"));
    const node =
      access === "absent"
        ? "touch fake && mount --bind fake /dev/kvm && umount /dev/kvm; mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9"
        : `mount -t tmpfs tmpfs /mnt && mknod -m ${access} /mnt/kvm c 10 232 && chmod ${access} /mnt/kvm && mount --bind /mnt/kvm /dev/kvm`;
    const script = `${node} && exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@"`;
    return leavingNothing((env) =>
      run(["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", script, "sh", ...margay, "run", ...args], {
        cwd: dir,
        env: { ...env, PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
        timeout: 40,
      }),
    );
  });
}

for (const pages of ["2M/2M", "4K/4K"]) {
  test(`should run as an ordinary user with access to /dev/kvm (${pages})`, { skip }, async () => {
    const result = await asNobody("666", ["--pages", pages, "--", "./program", "6"], { program: binary("crew", "dynamic") });
    assert.equal(result.stderr.toString(), "");
    assert.equal(`${result.code} ${result.stdout}`, "0 sum 1468\n");
  });
}
test("should be that user inside", { skip }, async () => {
  const result = await asNobody("666", ["--", "/usr/bin/id"]);
  assert.equal(result.code, 0, result.stderr.toString());
  assert.match(result.stdout.toString(), /^uid=65534\(nobody\) gid=65534\(nogroup\)/);
});
test("should say what is missing without access to /dev/kvm", { skip }, async () => {
  assertRefused(await asNobody("600", ["--", "/bin/true"]), 125, /\/dev\/kvm.*(permission|access|group)/i);
});
test("should say what is missing without /dev/kvm", { skip }, async () => {
  assertRefused(await asNobody("absent", ["--", "/bin/true"]), 125, /\/dev\/kvm/);
});
