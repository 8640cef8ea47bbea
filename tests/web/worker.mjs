// SPDX-License-Identifier: Apache-2.0
// lines.mjs in a worker of a page: {wasm, threads, lines, places} comes, the answers go. places: [folder, address] of where files are.
import {Engine} from "/src/engine.js";
import {answer} from "./lines.mjs";

onmessage = async ({data: {wasm, threads, lines, places}}) => {
  const engine = await Engine.load(fetch(wasm), {threads}), told = [];
  const at = path => places.reduce((found, [folder, address]) => found.replace(folder, address), path);
  const read = path => fetch(at(path)).then(r => r.arrayBuffer()).then(b => new Uint8Array(b));
  for (const line of lines) told.push(await answer(engine, line, read));
  postMessage(told);
};
