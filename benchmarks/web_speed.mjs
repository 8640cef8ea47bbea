// SPDX-License-Identifier: Apache-2.0
// node web_speed.mjs jahp.wasm MODEL: for web_speed.py. Lines {encode: a file of RGBA, width, height, to} or {decode: file, to}; milliseconds of the CPU.
import {readFileSync, writeFileSync} from "node:fs";
import {createInterface} from "node:readline";
import {Engine} from "../web/src/engine.js";

const started = performance.now(), engine = await Engine.load(readFileSync(process.argv[2])), loaded = performance.now();
const model = engine.addModel(readFileSync(process.argv[3]), "mbt2018");
console.log(JSON.stringify({load: loaded - started, model: performance.now() - loaded}));
for await (const line of createInterface({input: process.stdin})) {
  const {encode, decode, width, height, to} = JSON.parse(line), data = readFileSync(encode ?? decode), before = process.cpuUsage();
  const result = encode ? engine.encode({width, height, data}, {model}) : engine.decode(data).data, {user, system} = process.cpuUsage(before);
  if (to) writeFileSync(to, result);
  console.log(JSON.stringify({ms: (user + system) / 1000}));
}
