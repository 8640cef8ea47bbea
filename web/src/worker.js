// SPDX-License-Identifier: Apache-2.0
// One job at a time: {kind, base, threads, data or image, options} comes, {result, times, heavy} or {error} goes. jahp.js sends the next
// job when this one has been answered.
import {Engine} from "./engine.js";
import {JahpError, NoThreads} from "./errors.js";
import {Models} from "./models.js";
import {png} from "./png.js";

/** Bytes of WebAssembly's memory from which on it is given back, which only the end of the worker does. */
const HEAVY = 1 << 28;

let engine, models;
/** Whether each model that the engine has can encode, by id. */
const whole = new Map();

/** With threads where the page may have them, and the browser gives them. */
async function load(base, threads) {
  if (threads > 1 && globalThis.crossOriginIsolated) {
    try {
      return await Engine.load(fetch(new URL("jahp-threads.wasm", base)), {threads});
    } catch (error) {
      if (!(error instanceof NoThreads)) throw error;
      console.warn(`jahp goes on with one thread: ${error.message}`);
    }
  }
  return Engine.load(fetch(new URL("jahp.wasm", base)));
}

async function ready({base, threads}, times) {
  const started = performance.now();
  models ??= new Models(new URL("models/", base).href);
  try {
    engine ??= await load(base, threads);
  } catch (error) {
    if (error instanceof JahpError) throw error;
    throw new JahpError("JahpError", `cannot load the codec from ${base}: ${error.message}`);
  }
  times.load = performance.now() - started;
}

/** The engine has the model, if there is one of that id: what is missing then says the library. */
async function need(id, encoding, times) {
  if (id === null || (whole.has(id) && (whole.get(id) || !encoding))) return;
  const started = performance.now(), entry = (await models.list()).find(each => each.id === id);
  if (!entry) return;
  try {
    engine.addModel(await models.bytes(entry, encoding), entry.name);
  } catch (error) {
    await models.forget(entry);
    throw error;
  }
  whole.set(id, encoding);
  times.model = performance.now() - started;
}

const JOBS = {
  info: ({data, options}) => engine.info(data, options),

  async decode({data, options}, times) {
    await need(engine.info(data, options).model, false, times);
    return timed(times, "decode", () => engine.decode(data, options));
  },

  async png({data, options}, times) {
    const {metadata} = engine.info(data, options), image = await JOBS.decode({data, options}, times);
    return timed(times, "png", () => png(image, metadata));
  },

  async encode({image, options}, times) {
    let model;
    if (options.maxError === undefined) {
      const list = await models.list(), entry = options.model === undefined ? list[0] : list.find(({name}) => name === options.model);
      if (!entry) throw new JahpError("UsageError", `there is no model ${options.model}, only ${list.map(({name}) => name).join(", ")}`);
      model = entry.id;
      await need(model, true, times);
    }
    return timed(times, "encode", () => engine.encode(image, {...options, model}));
  },
};

async function timed(times, name, work) {
  const started = performance.now(), result = await work();
  times[name] = performance.now() - started;
  return result;
}

onmessage = async ({data: job}) => {
  const times = {};
  try {
    await ready(job, times);
    const result = await JOBS[job.kind](job, times), buffer = (result.data ?? result).buffer;
    postMessage({result, times, heavy: engine.memory > HEAVY}, buffer ? [buffer] : []);
  } catch (error) {
    // A trap leaves the library's memory as nobody knows: the worker ends with it.
    const known = error instanceof JahpError;
    postMessage({error: {name: known ? error.name : "JahpError", message: known ? error.message : `the codec failed: ${error.message}`},
      heavy: !known || (engine?.memory ?? 0) > HEAVY});
  }
};
