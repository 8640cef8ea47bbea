// SPDX-License-Identifier: Apache-2.0
// What page.js encodes and decodes with: this browser.
import {Codec, MAX_PIXELS} from "../src/jahp.js";

const codec = new Codec();

// Pixels as the browser decodes them, in sRGB and turned upright.
async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error("this browser cannot read the picture: choose a PNG, JPEG or WebP");
  });
  const {width, height} = bitmap;
  try {
    if (width * height > MAX_PIXELS) return {width, height, data: new Uint8Array(0)};  // the codec says what is wrong
    const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
    if (!context) throw new Error(`there is no memory for a picture of ${width}x${height}`);
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  } finally {
    bitmap.close();
  }
}

// work(onTimes) with the times that it told.
async function timed(work) {
  const times = {};
  return [await work(more => Object.assign(times, more)), times];
}

export const coder = {
  lead: "Choose or drop a picture or a .jahp file. This browser encodes and decodes it; nothing leaves your device.",
  sample: "photo.png",
  sizes: true,
  stops: true,
  highest: 12,
  async encode(blob, options, signal) {
    const image = await pixelsOf(blob);
    signal.throwIfAborted();
    const [bytes, times] = await timed(onTimes => codec.encode(image, {...options, signal, onTimes}));
    return {file: new Blob([bytes], {type: "image/jahp"}), times};
  },
  async decode(file, signal) {
    const [decoded, times] = await timed(onTimes => codec.png(file, {signal, onTimes}));
    return {decoded, times};
  },
};

// What has been loaded once works without a network.
navigator.serviceWorker?.register("../sw.js").catch(() => {});
