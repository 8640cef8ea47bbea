// SPDX-License-Identifier: Apache-2.0
// node web_speed.mjs jahp.wasm MODEL THREADS: for web_speed.py. Lines {encode: a file of RGBA, width, height, to} or {decode: file, to};
// milliseconds of the CPU, and by the clock.
import {readFileSync, writeFileSync} from "node:fs";
import {createInterface} from "node:readline";
import {Engine} from "../web/src/engine.js";

const [, , wasm, weights, threads] = process.argv, started = performance.now();
const engine = await Engine.load(readFileSync(wasm), {threads: Number(threads)}), loaded = performance.now();
const model = engine.addModel(readFileSync(weights), "mbt2018");
console.log(JSON.stringify({load: loaded - started, model: performance.now() - loaded}));
for await (const line of createInterface({input: process.stdin})) {
  const {encode, decode, width, height, to} = JSON.parse(line), data = readFileSync(encode ?? decode), began = performance.now(), before = process.cpuUsage();
  const result = encode ? engine.encode({width, height, data}, {model}) : engine.decode(data).data, {user, system} = process.cpuUsage(before);
  const clock = performance.now() - began;
  if (to) writeFileSync(to, result);
  console.log(JSON.stringify({cpu: (user + system) / 1000, clock}));
}
