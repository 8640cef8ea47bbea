// SPDX-License-Identifier: Apache-2.0
// node parts.mjs OUT MODEL.safetensors...: model files in the parts that src/models.js joins, and their list. The first is the default.
//
// What only encoders read is zeros in the first part; the second is those bytes alone, in the order of the file. Tensors that no reader of
// these parts asks for (training, searches) are zeros in both.
import {createHash} from "node:crypto";
import {mkdirSync, readFileSync, writeFileSync} from "node:fs";
import {basename, join} from "node:path";
import {gzipSync} from "node:zlib";

const ENCODING = ["transform.g_a.", "transform.h_a."], NEITHER = ["train.", "search."];
const sha256 = data => createHash("sha256").update(data).digest("hex").slice(0, 16);
const startsWithOne = (name, prefixes) => prefixes.some(prefix => name.startsWith(prefix));

/** Header of a safetensors file (docs/reference/format.md, "Model file"), and where its tensors begin. */
function headerOf(file) {
  const length = Number(file.readBigUInt64LE(0));
  return {header: JSON.parse(file.toString("utf8", 8, 8 + length)), begin: 8 + length};
}

function partsOf(file) {
  const {header, begin} = headerOf(file), {__metadata__: {manifest}, ...tensors} = header;
  const decode = Buffer.from(file), ranges = [];
  for (const [name, {data_offsets: [from, to]}] of Object.entries(tensors)) {
    if (!startsWithOne(name, [...ENCODING, ...NEITHER])) continue;
    decode.fill(0, begin + from, begin + to);
    if (startsWithOne(name, ENCODING) && to > from) ranges.push([begin + from, begin + to]);
  }
  ranges.sort((a, b) => a[0] - b[0]);
  for (let i = ranges.length - 1; i > 0; i--)
    if (ranges[i - 1][1] === ranges[i][0]) ranges[i - 1][1] = ranges.splice(i, 1)[0][1];
  return {id: sha256(manifest), decode, encode: Buffer.concat(ranges.map(([from, to]) => file.subarray(from, to))), ranges};
}

const [out, ...paths] = process.argv.slice(2);
if (!paths.length) throw new Error("usage: node parts.mjs OUT MODEL.safetensors...");
mkdirSync(out, {recursive: true});
const models = paths.map(path => {
  const file = readFileSync(path), name = basename(path, ".safetensors"), parts = partsOf(file);
  const written = (kind, data) => {
    // Browsers keep a part by its name: heads of small pictures may change, and the id stays.
    const packed = gzipSync(data, {level: 9}), named = `${name}-${sha256(data)}.${kind}.bin`;
    writeFileSync(join(out, named), packed);
    return {file: named, bytes: packed.length};
  };
  return {id: parts.id, name, size: file.length, decode: written("decode", parts.decode),
    encode: {...written("encode", parts.encode), ranges: parts.ranges}};
});
writeFileSync(join(out, "index.json"), JSON.stringify({models}, null, 1));
