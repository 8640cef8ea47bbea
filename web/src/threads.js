// SPDX-License-Identifier: Apache-2.0
// Threads of jahp-threads.wasm, as its libc wants them of JavaScript. Helpers are workers (thread.js), each asleep at a slot of shared
// numbers until a thread is put there: so any thread starts another at once, however busy the one is that made the workers.
import {JahpError, NoThreads} from "./errors.js";

/** Pages of 64 KiB, as cmake/web.cmake has them. */
const MEMORY = {initial: 256, maximum: 32768, shared: true};
const STACK = 1 << 20;
const AGAIN = 6; // EAGAIN: no more threads

/** Shared numbers: whether a thread has failed, and the slots: state, thread, routine, its argument, end of the stack. */
const FAILED = 0, FIRST = 1, SLOT = 5;
const FREE = 0, TAKEN = 1, GIVEN = 2;

const MAX_THREADS = 64;

export function checkedThreads(threads) {
  if (Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS) return threads;
  throw new JahpError("UsageError", `threads must be 1 to ${MAX_THREADS}, not ${threads}`);
}

/** Whether the module is jahp-threads.wasm. */
export const isThreaded = module => WebAssembly.Module.imports(module).some(({kind}) => kind === "memory");

/** A memory and as many helpers as decoding on so many threads takes: latents and pixels are decoded side by side. */
export async function start(module, threads) {
  const node = globalThis.process?.getBuiltinModule?.("node:worker_threads");
  if (!globalThis.SharedArrayBuffer || !(node ?? globalThis).Worker)
    throw new NoThreads("they need workers, and a page that is isolated from other origins");
  const helpers = 2 * threads - 1, shared = {threads, workers: []};
  try {
    shared.memory = new WebAssembly.Memory(MEMORY);
    shared.slots = new Int32Array(new SharedArrayBuffer(4 * (FIRST + helpers * SLOT)));
    await Promise.all(Array.from({length: helpers}, (_, i) => new Promise((ready, failed) => {
      const worker = node ? inNode(node.Worker) : new Worker(new URL("./thread.js", import.meta.url), {type: "module"});
      shared.workers.push(worker);
      worker.onerror = ({message}) => failed(new Error(message));
      worker.onmessage = () => ready();
      worker.on?.("error", failed).on("message", ready);
      worker.postMessage({module, memory: shared.memory, slots: shared.slots, at: FIRST + i * SLOT});
    })));
    for (const worker of shared.workers) worker.unref?.();
  } catch (error) {
    stop(shared);
    throw new NoThreads(error.message);
  }
  return shared;
}

/** As this process was started, but for what is said of a program that is no file. */
const inNode = Worker => new Worker(new URL("./thread.js", import.meta.url),
  {execArgv: process.execArgv.filter(option => !option.startsWith("--input-type"))});

export const stop = ({workers}) => workers.forEach(worker => worker.terminate());

/** What thread.js does: runs what comes to its slot, for ever. */
export function serve({slots, at}, exports) {
  for (;;) {
    for (let state; (state = Atomics.load(slots, at)) !== GIVEN;) Atomics.wait(slots, at, state);
    const [thread, routine, argument, low] = slots.subarray(at + 1, at + SLOT);
    try {
      exports._emscripten_thread_init(thread, 0, 0, 1, 0);
      exports.emscripten_stack_set_limits(low + STACK, low);
      exports.stackRestore(low + STACK);
      exports.emscripten_tls_init();
      exports._emscripten_thread_exit(exports.__indirect_function_table.get(routine)(argument));
    } catch (error) {
      Atomics.store(slots, FAILED, 1);
      throw error;
    }
    Atomics.store(slots, at, FREE);
    Atomics.notify(slots, at);
  }
}

/** exportsOf: of the module, once it is there. */
export function threadImports({memory, slots}, exportsOf) {
  const end = () => exportsOf().jahp_web_trap();
  // Whoever waits looks at the clock now and then: a thread that has failed wakes nobody.
  const now = () => {
    if (Atomics.load(slots, FAILED) !== 0) end();
    return performance.now();
  };
  const bufferUpTo = end => {
    if (end > memory.buffer.byteLength) memory.grow(0); // another thread has let it grow, which this one learns so
    return memory.buffer;
  };
  const clock_gettime = (_clock, at) => {
    const time = now();
    new Int32Array(bufferUpTo(at + 8), at, 2).set([time / 1000, time % 1000 * 1e6]);
    return 0;
  };
  return {
    memory, exit: end, emscripten_unwind_to_js_event_loop: end,
    clock_gettime, __clock_gettime: clock_gettime, emscripten_get_now: now,
    emscripten_memcpy_big: (to, from, size) => { new Uint8Array(bufferUpTo(Math.max(to, from) + size)).copyWithin(to, from, from + size); },
    emscripten_resize_heap(size) {
      try {
        memory.grow(Math.max(0, Math.ceil((size - memory.buffer.byteLength) / 65536)));
        return 1;
      } catch {
        return 0;
      }
    },
    __emscripten_init_main_thread_js(thread) {
      exportsOf()._emscripten_thread_init(thread, 0, 1, 1, 0);
      exportsOf().emscripten_tls_init();
    },
    _emscripten_default_pthread_stack_size: () => STACK,
    __pthread_create_js(thread, _attributes, routine, argument) {
      for (let at = FIRST; at < slots.length; at += SLOT) {
        if (Atomics.compareExchange(slots, at, FREE, TAKEN) !== FREE) continue;
        slots.set([thread, routine, argument, exportsOf().jahp_web_stack(thread)], at + 1);
        Atomics.store(slots, at, GIVEN);
        Atomics.notify(slots, at);
        return 0;
      }
      return AGAIN;
    },
    // Called by who has joined it. Its last steps are on the stack that is freed here.
    __emscripten_thread_cleanup(thread) {
      for (let at = FIRST; at < slots.length; at += SLOT)
        while (slots[at + 1] === thread && Atomics.load(slots, at) === GIVEN) Atomics.wait(slots, at, GIVEN);
      exportsOf()._emscripten_thread_free_data(thread);
    },
  };
}
