import { defineConfig } from "vitest/config";

// Unit tests beside the code. What opens /dev/kvm or starts margay is in test/ and runs under node:test.
export default defineConfig({
  test: {
    include: ["src/**/*.test.ts"],
    pool: "threads",
    testTimeout: 20_000,
    // node:sqlite and friends print notes on stderr; a failing test shows its own output anyway.
    silent: "passed-only",
  },
});
