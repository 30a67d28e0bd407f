/** What bin/load.js starts: the command line, or a Worker that carries guest threads. */
export { atEnd } from "../node/end.ts";
export { main } from "./main.ts";
export { worker } from "../node/worker.ts";
