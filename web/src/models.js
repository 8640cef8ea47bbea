// SPDX-License-Identifier: Apache-2.0
// Model files out of their parts (web/tools/parts.mjs): fetched once, and kept by the browser where it has a Cache API.
//
// The first part is the file with zeros for what only encoding needs, so that it packs to less; the second has those bytes. Every tensor
// that is read is compared with its hash by the library.
import {JahpError} from "./errors.js";

const KEPT = "jahp-models";

/** base: address of the folder of index.json, ending in a slash. */
export class Models {
  #base;
  #index;

  constructor(base) { this.#base = base; }

  /** Those that there are: {id, name, size, decode: {file, bytes}, encode: {file, bytes, ranges}}, the default model first. */
  async list() {
    this.#index ??= fetchOnce(this.#base + "index.json", "the list of models").then(response => response.json());
    try {
      return (await this.#index).models;
    } catch (error) {
      this.#index = undefined;
      throw error;
    }
  }

  /** A model file, with all that encoding needs or with zeros there. */
  async bytes(entry, encoding) {
    const file = await unpacked(await this.#part(entry.decode, entry.name));
    if (file.length !== entry.size) throw await this.#broken(entry.decode, entry.name);
    if (!encoding) return file;
    const rest = await unpacked(await this.#part(entry.encode, entry.name));
    let at = 0;
    for (const [begin, end] of entry.encode.ranges) file.set(rest.subarray(at, at += end - begin), begin);
    if (at !== rest.length) throw await this.#broken(entry.encode, entry.name);
    return file;
  }

  /** Forgets what the browser keeps of a model. */
  async forget(entry) {
    const cache = await kept();
    for (const {file} of [entry.decode, entry.encode]) await cache?.delete(this.#base + file);
  }

  async #part({file}, name) {
    const cache = await kept(), address = this.#base + file;
    const known = await cache?.match(address);
    if (known) return known;
    const response = await fetchOnce(address, `the model ${name}`);
    // A browser that keeps nothing, for lack of room, decodes all the same.
    await cache?.put(address, response.clone()).catch(() => {});
    return response;
  }

  async #broken({file}, name) {
    await (await kept())?.delete(this.#base + file);
    return new JahpError("ModelError", `the model ${name} came incomplete: load it again`);
  }
}

const kept = async () => globalThis.caches?.open(KEPT).catch(() => undefined);

async function fetchOnce(address, what) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok)
    throw new JahpError("ModelError", `cannot load ${what} from ${address}${response ? `: the server answers ${response.status}` : ""}`);
  return response;
}

async function unpacked(response) {
  const stream = response.body.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
