/** placeholder */
import type { RunOptions } from "./options.ts";
export function runNative(_o: RunOptions): void {}
