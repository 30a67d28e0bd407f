"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const vm = require("node:vm");

const folder = join(__dirname, "..", "dist");
const filename = join(folder, "margay.cjs");

/**
 * koffi's native module, without koffi's own search for it (10 ms: it reads node's ELF header to learn the libc). Where it does not lie or fit (musl),
 * koffi finds it.
 */
function loadKoffi() {
  for (const up of ["../node_modules", "../.."]) {
    const file = join(__dirname, up, "@koromix/koffi-linux-x64/linux_x64/koffi.node");
    try {
      const native = { exports: {} };
      process.dlopen(native, file);
      return native.exports;
    } catch {
      // the next place
    }
  }
  return require("koffi");
}

/** Loads dist/margay.cjs and starts it as the command line ("main") or as a Worker ("worker"). */
exports.load = (role) => {
  const source = readFileSync(filename, "latin1"); // esbuild writes ASCII
  let cachedData;
  try {
    cachedData = readFileSync(join(folder, "margay.cache"));
  } catch {
    // built where no virtual node could run: compile as usual
  }
  const script = new vm.Script(source, { filename, cachedData });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, (id) => (id === "koffi" ? loadKoffi() : require(id)), module, filename, folder);
  // The build asks for a cache at the end of a run, when the functions that a run needs have been compiled.
  if (process.env.MARGAY_MAKE_CACHE) module.exports.atEnd(() => require("node:fs").writeFileSync(process.env.MARGAY_MAKE_CACHE, script.createCachedData()));
  module.exports[role]();
};
