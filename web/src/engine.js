// SPDX-License-Identifier: Apache-2.0
// The C interface (csrc/include/jahp.h) as an object, without workers, files and addresses: for worker.js, and for Node.js. All calls
// block. Whatever a call allocates is freed when it ends, well or not.
import {JahpError, outOfMemory} from "./errors.js";
import {instantiate} from "./module.js";
import {checkedThreads, isThreaded, start, stop} from "./threads.js";

const OPTION = {threads: 1, maxPixels: 2, channels: 3, maxBytes: 4, maxError: 5};
const INFO = ["width", "height", "channels", "grey", "alpha", "maxError", "quality", "baseQuality", "payloadSize", "depth"];
const REGION = ["left", "top", "width", "height"];
const CHUNKS = {icc: "iccp", exif: "exif", xmp: "xmp_", cicp: "cicp"};
/** Bytes of the strips in which rows are handed over. */
const STRIP = 1 << 22;
const NO_MEMORY = 6;

/** Pixels of a picture are at most so many, unless asked otherwise: 2^25. */
export const MAX_PIXELS = 1 << 25;

const text = new TextDecoder();

export class Engine {
  #exports;
  #models = new Map();

  #shared;

  /** module: a WebAssembly.Module of jahp.wasm. shared: of threads.js, for one of jahp-threads.wasm. */
  constructor(module, shared) {
    this.#shared = shared;
    this.#exports = instantiate(module, shared);
    this.#exports[shared ? "__wasm_call_ctors" : "_initialize"]();
  }

  /** bytes: of jahp.wasm or jahp-threads.wasm, or a promise of a response that has them. threads: of the second. */
  static async load(bytes, {threads = 1} = {}) {
    try {
      const module = bytes instanceof Uint8Array || bytes instanceof ArrayBuffer
        ? await WebAssembly.compile(bytes)
        : await WebAssembly.compileStreaming(bytes);
      if (checkedThreads(threads) && isThreaded(module)) return new Engine(module, await start(module, threads));
      if (threads > 1) throw new JahpError("UsageError", "jahp.wasm has one thread: more are in jahp-threads.wasm");
      return new Engine(module);
    } catch (error) {
      if (!(error instanceof WebAssembly.CompileError)) throw error;
      throw new JahpError("JahpError", `this browser cannot run the codec, which needs WebAssembly with SIMD and exceptions: ${error.message}`);
    }
  }

  /** Ends the threads. No call may follow. */
  close() { if (this.#shared) stop(this.#shared); }

  /** Bytes that WebAssembly holds; they are given back with the engine only. */
  get memory() { return this.#exports.memory.buffer.byteLength; }

  /** Ids of the models that it has. */
  get models() { return [...this.#models.keys()]; }

  /** Takes a model file and returns its id; in place of one with the same id. */
  addModel(bytes, name) {
    const {jahp_model_new, jahp_model_free, jahp_model_open_memory, jahp_web_model_id, jahp_model_message} = this.#exports;
    return this.#scratch(hold => {
      const model = hold.object(jahp_model_new(), () => {}, "a model");
      try {
        const status = jahp_model_open_memory(model, hold.bytes(bytes, "the model"), bytes.length, hold.string(name));
        this.#check(status, jahp_model_message, model);
        const id = hold.bytes(new Uint8Array(17), "an id");
        this.#check(jahp_web_model_id(model, id), jahp_model_message, model);
        const named = this.#string(id);
        this.removeModel(named);
        this.#models.set(named, model);
        return named;
      } catch (error) {
        jahp_model_free(model);
        throw error;
      }
    });
  }

  removeModel(id) {
    this.#exports.jahp_model_free(this.#models.get(id) ?? 0);
    this.#models.delete(id);
  }

  /** What a file says of itself, and its metadata. */
  info(data, {maxPixels = MAX_PIXELS} = {}) {
    return this.#scratch(hold => this.#info(hold, this.#open(hold, data, maxPixels)));
  }

  /** {width, height, data: RGBA}, of a region, {left, top, width, height}, and at a scale, 1 to 16. */
  decode(data, {maxPixels = MAX_PIXELS, scale = 1, region} = {}) {
    return this.#scratch(hold => {
      const decoder = this.#open(hold, data, maxPixels, 4), {width, height} = this.#view(hold, decoder, scale, region);
      const stride = 4 * width, rows = Math.min(height, Math.max(1, Math.floor(STRIP / stride)));
      const strip = hold.room(rows * stride, `${rows} rows of pixels`), count = hold.room(4, "a number");
      let pixels;
      try {
        pixels = new Uint8ClampedArray(height * stride);
      } catch {
        throw outOfMemory(`a picture of ${width}x${height}`);
      }
      for (let row = 0, got = 1; got !== 0; row += got) {
        const status = this.#exports.jahp_decoder_rows(decoder, strip, rows * stride, stride, count);
        this.#check(status, this.#exports.jahp_decoder_message, decoder);
        got = new DataView(this.#exports.memory.buffer).getUint32(count, true);
        pixels.set(new Uint8Array(this.#exports.memory.buffer, strip, got * stride), row * stride);
      }
      return {width, height, data: pixels};
    });
  }

  /** image: {width, height, data: RGBA}, such as an ImageData. A file of a model, whose id is asked for unless the file is to be exact. */
  encode(image, {quality = 4, maxBytes = 0, maxError, metadata = {}, model, maxPixels = MAX_PIXELS} = {}) {
    const {jahp_encoder_new, jahp_encoder_free, jahp_encoder_set, jahp_encoder_set_quality, jahp_encoder_set_model,
      jahp_encoder_set_chunk, jahp_encoder_encode, jahp_encoder_message, memory} = this.#exports;
    const {width, height, data} = image;
    return this.#scratch(hold => {
      const encoder = hold.object(jahp_encoder_new(), jahp_encoder_free, "an encoder");
      const done = status => this.#check(status, jahp_encoder_message, encoder);
      const number = (option, value, what) => {
        if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) throw new JahpError("UsageError", `${what} is ${value}, no whole number from 0 on`);
        done(jahp_encoder_set(encoder, OPTION[option], value));
      };
      number("threads", this.#shared?.threads ?? 1, "threads");
      number("maxPixels", maxPixels, "maxPixels");
      if (maxBytes !== 0) number("maxBytes", maxBytes, "maxBytes");
      if (maxError !== undefined) number("maxError", maxError, "maxError");
      done(jahp_encoder_set_quality(encoder, quality));
      if (this.#models.has(model)) done(jahp_encoder_set_model(encoder, this.#models.get(model)));
      for (const [name, type] of Object.entries(CHUNKS))
        if (metadata[name]?.length) done(jahp_encoder_set_chunk(encoder, hold.string(type), hold.bytes(metadata[name], name), metadata[name].length));
      const out = hold.room(8, "two numbers");
      // Refused before there is memory for it, and before a pixel is read.
      if (width * height > maxPixels) done(jahp_encoder_encode(encoder, out, 3 * width * height, 3 * width, width, height, 3, out, out + 4));
      if (width * height * 4 !== data.length)
        throw new JahpError("UsageError", `a picture of ${width}x${height} has ${4 * width * height} bytes of RGBA, not ${data.length}`);
      const channels = isOpaque(data) ? 3 : 4, size = data.length / 4 * channels;
      const pixels = hold.room(size, `a picture of ${width}x${height}`);
      pack(data, new Uint8Array(memory.buffer, pixels, size));
      done(jahp_encoder_encode(encoder, pixels, size, channels * width, width, height, channels, out, out + 4));
      const view = new DataView(memory.buffer);
      return new Uint8Array(memory.buffer, view.getUint32(out, true), view.getUint32(out + 4, true)).slice();
    });
  }

  /** channels: 4, RGBA always; 0: what the file has. */
  #open(hold, data, maxPixels, channels = 0) {
    const {jahp_decoder_new, jahp_decoder_free, jahp_decoder_set, jahp_decoder_add_model, jahp_decoder_open, jahp_decoder_message} = this.#exports;
    const decoder = hold.object(jahp_decoder_new(), jahp_decoder_free, "a decoder");
    const done = status => this.#check(status, jahp_decoder_message, decoder);
    done(jahp_decoder_set(decoder, OPTION.threads, this.#shared?.threads ?? 1));
    done(jahp_decoder_set(decoder, OPTION.maxPixels, maxPixels));
    done(jahp_decoder_set(decoder, OPTION.channels, channels));
    for (const model of this.#models.values()) done(jahp_decoder_add_model(decoder, model));
    done(jahp_decoder_open(decoder, hold.bytes(data, "the file"), data.length));
    return decoder;
  }

  /** Width and height of what is decoded. */
  #view(hold, decoder, scale, region) {
    const {jahp_web_view, jahp_decoder_message, memory} = this.#exports;
    const numbers = [whole("scale", scale, 31), ...REGION.map(side => region ? whole(`region's ${side}`, region[side], 52) : 0)];
    const size = hold.room(16, "two numbers"), [by, ...sides] = numbers;
    this.#check(jahp_web_view(decoder, by, region ? 0 : 1, ...sides, size), jahp_decoder_message, decoder);
    const [width, height] = new Float64Array(memory.buffer, size, 2);
    return {width, height};
  }

  #info(hold, decoder) {
    const {jahp_web_info, jahp_decoder_message, jahp_decoder_get_chunk, memory} = this.#exports;
    const numbers = hold.room(8 * INFO.length, "numbers"), id = hold.room(17, "an id"), out = hold.room(8, "two numbers");
    this.#check(jahp_web_info(decoder, numbers, id), jahp_decoder_message, decoder);
    const values = new Float64Array(memory.buffer, numbers, INFO.length);
    const info = Object.fromEntries(INFO.map((name, i) => [name, values[i]]));
    const model = this.#string(id), metadata = {};
    for (const [name, type] of Object.entries(CHUNKS)) {
      this.#check(jahp_decoder_get_chunk(decoder, hold.string(type), out, out + 4), jahp_decoder_message, decoder);
      const view = new DataView(memory.buffer), size = view.getUint32(out + 4, true);
      if (size) metadata[name] = new Uint8Array(memory.buffer, view.getUint32(out, true), size).slice();
    }
    return {...info, grey: info.grey === 1, alpha: info.alpha === 1, maxError: info.maxError < 0 ? null : info.maxError,
      model: /[^0]/.test(model) ? model : null, metadata};
  }

  #check(status, message, object) {
    if (status === NO_MEMORY) throw outOfMemory("this picture");
    if (status !== 0) throw JahpError.ofStatus(status, this.#string(message(object)));
  }

  #string(at) {
    const bytes = new Uint8Array(this.#exports.memory.buffer, at);
    return text.decode(bytes.slice(0, bytes.indexOf(0)));
  }

  /** work(hold) with memory and objects that end with it. */
  #scratch(work) {
    const exports = this.#exports, ends = [];
    const room = (size, what) => {
      const at = exports.jahp_web_allocate(size);
      if (at === 0) throw outOfMemory(what);
      ends.push(() => exports.jahp_web_release(at));
      return at;
    };
    const bytes = (source, what) => {
      const at = room(source.length, what);
      new Uint8Array(exports.memory.buffer, at, source.length).set(source);
      return at;
    };
    const string = value => bytes(new TextEncoder().encode(`${value}\0`), "a name");
    const object = (at, free, what) => {
      if (at === 0) throw outOfMemory(what);
      ends.push(() => free(at));
      return at;
    };
    try {
      return work({room, bytes, string, object});
    } finally {
      while (ends.length) ends.pop()();
    }
  }
}

/** A whole number of so many bits. */
function whole(name, value, bits) {
  if (Number.isInteger(value) && Math.abs(value) < 2 ** bits) return value;
  throw new JahpError("UsageError", `${name} must be a whole number, not ${value}`);
}

function isOpaque(data) {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return false;
  return true;
}

/** RGBA to RGB where `pixels` has room for no more. */
function pack(data, pixels) {
  if (pixels.length === data.length) return pixels.set(data);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
}
