// SPDX-License-Identifier: Apache-2.0
// node outcomes.mjs jahp.wasm [THREADS]: lines of the standard input to those of lines.mjs.
import {readFileSync} from "node:fs";
import {createInterface} from "node:readline";
import {Engine} from "../../web/src/engine.js";
import {answer} from "./lines.mjs";

const engine = await Engine.load(readFileSync(process.argv[2]), {threads: Number(process.argv[3] ?? 1)});
for await (const line of createInterface({input: process.stdin})) {
  const told = await answer(engine, line, readFileSync);
  if (told !== null) console.log(told);
}
