// SPDX-License-Identifier: Apache-2.0
// .jahp files in a browser: jahp.d.ts says what there is. All work is done by a worker of its own.
import {MAX_PIXELS} from "./engine.js";
import {JahpError} from "./errors.js";
import {checkedThreads} from "./threads.js";

export {JahpError, MAX_PIXELS};

const BASE = new URL("../dist/", import.meta.url).href;
/** What a page may have whose server isolates it from other origins; elsewhere there are no threads. */
const THREADS = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 4) : 1;

export class Codec {
  #base;
  #maxPixels;
  #threads;
  #worker;
  #queue = [];
  #closed = false;

  constructor({base = BASE, maxPixels = MAX_PIXELS, threads = THREADS} = {}) {
    this.#base = new URL(base, globalThis.location?.href).href;
    this.#maxPixels = maxPixels;
    this.#threads = checkedThreads(threads);
  }

  async info(data, options = {}) { return this.#ask({kind: "info", data: await bytesOf(data)}, options); }

  async decode(data, options = {}) {
    const {data: pixels, width, height} = await this.#ask({kind: "decode", data: await bytesOf(data)}, options);
    return new ImageData(pixels, width, height);
  }

  async png(data, options = {}) { return this.#ask({kind: "png", data: await bytesOf(data)}, options); }

  async encode({width, height, data}, options = {}) { return this.#ask({kind: "encode", image: {width, height, data}}, options); }

  /** Ends the worker, with all its memory. What has not been answered is refused. */
  close() {
    this.#closed = true;
    for (const job of this.#queue.splice(0)) job.refuse(new JahpError("UsageError", "the codec is closed"));
    this.#end();
  }

  #ask(job, {signal, onTimes, ...options}) {
    if (this.#closed) return Promise.reject(new JahpError("UsageError", "the codec is closed"));
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const stopped = () => {
        if (this.#queue[0] === entry) this.#end(); // the one way to stop what is running
        this.#queue = this.#queue.filter(each => each !== entry);
        entry.refuse(signal.reason);
        this.#next();
      };
      const entry = {
        message: {...job, base: this.#base, threads: this.#threads, options: {maxPixels: this.#maxPixels, ...options}},
        sent: false,
        done: (result, times) => { signal?.removeEventListener("abort", stopped); onTimes?.(times); resolve(result); },
        refuse: error => { signal?.removeEventListener("abort", stopped); reject(error); },
      };
      signal?.addEventListener("abort", stopped);
      this.#queue.push(entry);
      this.#next();
    });
  }

  /** Sends the first job of the queue if it has not been. */
  #next() {
    const [job] = this.#queue;
    if (!job || job.sent) return;
    this.#worker ??= this.#begin();
    job.sent = true;
    try {
      this.#worker.postMessage(job.message);
    } catch (error) {
      this.#answered({error: {name: "JahpError", message: `there is no memory to hand the picture over: ${error.message}`}});
    }
  }

  #begin() {
    const worker = new Worker(new URL("./worker.js", import.meta.url), {type: "module"});
    worker.onmessage = ({data}) => this.#answered(data);
    worker.onerror = event => {
      event.preventDefault();
      this.#answered({error: {name: "JahpError", message: `the codec's worker failed: ${event.message || "its script cannot be loaded"}`}, heavy: true});
    };
    return worker;
  }

  #answered({result, error, times, heavy}) {
    const job = this.#queue.shift();
    if (heavy) this.#end();
    if (error) job.refuse(new JahpError(error.name, error.message));
    else job.done(result, times);
    this.#next();
  }

  #end() {
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}

async function bytesOf(data) {
  if (data instanceof Blob) return new Uint8Array(await data.arrayBuffer());
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new JahpError("UsageError", "a file is a Uint8Array, an ArrayBuffer or a Blob");
}

let shared;
const codec = () => shared ??= new Codec();

export const info = (data, options) => codec().info(data, options);
export const decode = (data, options) => codec().decode(data, options);
export const png = (data, options) => codec().png(data, options);
export const encode = (image, options) => codec().encode(image, options);
