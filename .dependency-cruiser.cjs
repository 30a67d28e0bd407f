// Import boundaries: a room imports only from rooms below it. The order is the design; see docs/design.md.
const rooms = ["cli", "console", "cluster", "bench", "node", "os", "lwk", "device", "vmm", "host", "abi"];

/** One rule per room: nothing in it may reach a room above it. */
const onlyDown = rooms.slice(1).map((room, index) => ({
  name: `${room}-imports-only-below`,
  comment: `src/${room} may import only from itself and: ${rooms.slice(index + 2).join(", ") || "nothing"}`,
  severity: "error",
  from: { path: `^src/${room}/` },
  to: { path: `^src/(${rooms.slice(0, index + 1).join("|")})/` },
}));

/** Unit tests and the tools they use stand outside the rooms' rules about packages. */
const testFile = "[.]test(ing)?[.]ts$";

module.exports = {
  forbidden: [
    ...onlyDown,
    {
      name: "rooms-have-names",
      comment: "Every file of src/ stands in one of the rooms.",
      severity: "error",
      from: {},
      to: { path: "^src/", pathNot: `^src/(${rooms.join("|")})/` },
    },
    {
      name: "only-host-touches-ffi",
      comment: "koffi turns numbers into pointers: only src/host may hold it.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/host/" },
      to: { path: "node_modules/(koffi|@koromix)/" },
    },
    {
      name: "abi-is-pure-data",
      comment: "src/abi imports nothing: no package, no Node module.",
      severity: "error",
      from: { path: "^src/abi/", pathNot: testFile },
      to: { pathNot: "^src/abi/" },
    },
    {
      name: "only-declared-packages",
      comment: "What src/ imports at run time stands under dependencies in package.json.",
      severity: "error",
      from: { path: "^src/", pathNot: testFile },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"] },
    },
    {
      name: "tests-are-not-imported",
      comment: "Code must not depend on a test file.",
      severity: "error",
      from: { pathNot: testFile },
      to: { path: testFile },
    },
    { name: "resolvable", comment: "An import that leads nowhere.", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    // TypeScript 7 has no API for tools yet, so swc reads the sources. It does not tell type-only imports apart: they keep to the
    // rooms like all others, and scripts/check-circles.mjs looks for circles, which types may close.
    parser: "swc",
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(dist|build)/" },
    enhancedResolveOptions: {
      extensions: [".ts", ".js", ".json"],
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default"],
    },
  },
};
