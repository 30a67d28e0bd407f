"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const vm = require("node:vm");

const folder = join(__dirname, "..", "dist");
const filename = join(folder, "margay.cjs");

/** Loads dist/margay.cjs and starts it as the command line ("main") or as a Worker ("worker"). */
exports.load = (role) => {
  const source = readFileSync(filename, "latin1"); // esbuild writes ASCII
  let cachedData;
  try {
    cachedData = readFileSync(join(folder, "margay.cache"));
  } catch {
    // built where no virtual node could run: compile as usual
  }
  const script = new vm.Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, { filename, cachedData });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, filename, folder);
  // The build asks for a cache at the end of a run, when the functions that a run needs have been compiled.
  if (process.env.MARGAY_MAKE_CACHE) module.exports.atEnd(() => require("node:fs").writeFileSync(process.env.MARGAY_MAKE_CACHE, script.createCachedData()));
  module.exports[role]();
};
