// SPDX-License-Identifier: Apache-2.0
// node encode.mjs jahp.wasm MODEL [THREADS]: lines of JSON, {pixels: a file of RGBA, width, height, to, options}; a file each, or what is said.
import {readFileSync, writeFileSync} from "node:fs";
import {createInterface} from "node:readline";
import {Engine} from "../../web/src/engine.js";
import {JahpError} from "../../web/src/errors.js";

const engine = await Engine.load(readFileSync(process.argv[2]), {threads: Number(process.argv[4] ?? 1)});
const model = engine.addModel(readFileSync(process.argv[3]), "mbt2018");
for await (const line of createInterface({input: process.stdin})) {
  const {pixels, width, height, to, options} = JSON.parse(line);
  try {
    writeFileSync(to, engine.encode({width, height, data: readFileSync(pixels)}, {model, ...options}));
    console.log("ok");
  } catch (error) {
    if (!(error instanceof JahpError)) throw error;
    console.log(`${error.name} ${error.message}`);
  }
}
