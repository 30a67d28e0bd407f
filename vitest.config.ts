import { defineConfig } from "vitest/config";

// Unit tests beside the code. What opens /dev/kvm or starts margay is in test/ and runs under node:test.
export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/lab/**/*.test.mjs", "bench/**/*.test.ts", "scripts/**/*.test.mjs"],
    pool: "threads",
    testTimeout: 20_000,
    silent: "passed-only",
  },
});
