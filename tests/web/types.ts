// SPDX-License-Identifier: Apache-2.0
// What a program in TypeScript may write: `make web-check` checks the types of web/src against it.
import {Codec, JahpError, MAX_PIXELS, decode, encode, info, png, type Info, type Times} from "../../web/src/jahp.js";
import {Engine} from "../../web/src/engine.js";
import {polyfill, JahpImage} from "../../web/src/element.js";

async function use(file: Blob, signal: AbortSignal): Promise<number> {
  const image: ImageData = await decode(file, {signal, maxPixels: MAX_PIXELS, onTimes: (times: Times) => console.log(times.decode)});
  const small: ImageData = await decode(file, {scale: 8, region: {left: 1, top: 2, width: 3, height: 4}, signal});
  const data: Uint8Array = await encode(image, {quality: 4.05, maxBytes: 4000, maxError: 2, model: "mbt2018", metadata: {icc: new Uint8Array(3)}});
  const told: Info = await info(data);
  const shown: Blob = await png(data);
  const codec = new Codec({base: new URL("x/", location.href), maxPixels: 5, threads: 2});
  codec.close();
  try { await codec.decode(data); } catch (error) { if (error instanceof JahpError) console.log(error.name, error.message); }
  const engine = await Engine.load(fetch("jahp-threads.wasm"), {threads: 2});
  const id: string = engine.addModel(data, "m");
  const element: JahpImage = document.createElement("jahp-img");
  element.src = "a.jahp";
  element.scale = 4;
  element.onload = () => engine.close();
  polyfill()();
  return told.width + shown.size + small.width + engine.decode(data, {scale: 2}).data.length + engine.encode(image, {model: id}).length;
}
export {use};
