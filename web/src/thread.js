// SPDX-License-Identifier: Apache-2.0
// A helper of threads.js, in a browser or in Node.js: one message comes, and one goes.
import {instantiate} from "./module.js";
import {serve} from "./threads.js";

const port = globalThis.process?.getBuiltinModule?.("node:worker_threads").parentPort ?? globalThis;

port.addEventListener("message", ({data: {module, memory, slots, at}}) => {
  const exports = instantiate(module, {memory, slots});
  port.postMessage("ready");
  serve({slots, at}, exports);
}, {once: true});
port.start?.();
