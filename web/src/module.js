// SPDX-License-Identifier: Apache-2.0
// What jahp.wasm and jahp-threads.wasm take from JavaScript.
import {JahpError} from "./errors.js";
import {threadImports} from "./threads.js";

const NOTHING = 52; // ENOSYS: there are no files

/** The exports, and `memory`. shared: of threads.js, for jahp-threads.wasm. */
export function instantiate(module, shared) {
  const imports = {};
  let exports;
  for (const {module: room, name, kind} of WebAssembly.Module.imports(module)) {
    if (kind === "function") (imports[room] ??= {})[name] = () => NOTHING;
    else if (!shared || kind !== "memory") throw new JahpError("JahpError", `jahp.wasm wants ${room}.${name}, which is no function`);
  }
  const end = () => exports.jahp_web_trap();
  const clock_time_get = (_id, _precision, at) => {
    new DataView(exports.memory.buffer).setBigUint64(at, BigInt(Math.round(performance.now() * 1e6)), true);
    return 0;
  };
  Object.assign(imports.wasi_snapshot_preview1 ??= {}, {proc_exit: end, clock_time_get});
  Object.assign(imports.env ??= {}, {abort: end, emscripten_notify_memory_growth() {}}, shared && threadImports(shared, () => exports));
  ({exports} = new WebAssembly.Instance(module, imports));
  if (shared) exports = {...exports, memory: view(shared.memory)};
  return exports;
}

/** A shared memory, which other threads let grow: growing by nothing is how this one learns of it. */
const view = memory => ({
  get buffer() {
    memory.grow(0);
    return memory.buffer;
  },
});
