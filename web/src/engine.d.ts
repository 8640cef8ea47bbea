// SPDX-License-Identifier: Apache-2.0
import type {EncodeOptions, Info, Pixels, View} from "./jahp.js";

export const MAX_PIXELS: number;

/** The codec without a worker of its own, as in Node.js: calls block, and nothing is fetched. Errors are JahpErrors. With threads it wants
 * a worker to run in, or Node.js from 20.16 on: a page itself may not wait for threads. */
export class Engine {
  constructor(module: WebAssembly.Module);
  /** Of the bytes of jahp.wasm, or of a response that has them; with threads, 1 to 64, of jahp-threads.wasm. */
  static load(source: Uint8Array | ArrayBuffer | Response | Promise<Response>, options?: {threads?: number}): Promise<Engine>;
  /** Ends the threads; no call may follow. */
  close(): void;
  /** Bytes that WebAssembly holds; they are given back with the engine only. */
  readonly memory: number;
  /** Ids of its models. */
  readonly models: string[];
  /** Takes the bytes of a model file, which messages call `name`, and returns its id. */
  addModel(bytes: Uint8Array, name: string): string;
  removeModel(id: string): void;
  info(data: Uint8Array, options?: {maxPixels?: number}): Info;
  decode(data: Uint8Array, options?: View & {maxPixels?: number}): {width: number; height: number; data: Uint8ClampedArray};
  /** model: its id. */
  encode(image: Pixels, options?: Omit<EncodeOptions, "signal" | "onTimes">): Uint8Array;
}
