// Input for the demo's sort and xz: lines of made-up words, the same bytes in every run.
import { closeSync, openSync, statSync, writeSync } from "node:fs";

const syllables = ["ka", "ri", "to", "men", "sol", "va", "du", "ne", "pi", "lor", "sta", "eu", "go", "ham", "bel", "cy"];

/** Writes `count` lines of three to six words to `file`; returns { file, megabytes } (1 MB = 1e6 bytes). */
export function writeLines(file, count) {
  let state = 0x2545f491;
  const next = () => {
    // xorshift32, Marsaglia 2003.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const fd = openSync(file, "w");
  let chunk = "";
  for (let line = 0; line < count; line++) {
    let bits = next();
    const words = 3 + (bits & 3);
    for (let word = 0; word < words; word++) {
      bits = next();
      chunk += `${syllables[bits & 15]}${syllables[(bits >>> 4) & 15]}${bits & 256 ? syllables[(bits >>> 9) & 15] : ""} `;
    }
    chunk += `${next() % 1000}\n`;
    if (chunk.length > 1 << 20) {
      writeSync(fd, chunk);
      chunk = "";
    }
  }
  writeSync(fd, chunk);
  closeSync(fd);
  return { file, megabytes: Math.round(statSync(file).size / 1e6) };
}
