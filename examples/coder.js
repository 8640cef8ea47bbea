// SPDX-License-Identifier: Apache-2.0
// What the page (../web/demo/page.js) encodes and decodes with here: the server that it came from, serve.py.

// The body of the answer, and the milliseconds until it was there.
async function post(path, body, signal) {
  const started = performance.now();
  const answer = await fetch(path, {method: "POST", body, signal});
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Error(told ? told.message : `the server answers ${answer.status}`);
  }
  return [await answer.blob(), performance.now() - started];
}

export const coder = {
  lead: "Choose or drop a picture. This server encodes it and decodes the file; the picture is kept nowhere.",
  sample: "photo.png",
  sizes: false,
  stops: false,
  highest: 8,
  async encode(blob, {quality}, signal) {
    const [file, encode] = await post(`encode?quality=${quality}`, blob, signal);
    return {file, times: {encode}};
  },
  async decode(file, signal) {
    const [decoded, decode] = await post("decode", file, signal);
    return {decoded, times: {decode}};
  },
};
