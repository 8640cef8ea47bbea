// SPDX-License-Identifier: Apache-2.0
// PNG files (W3C, Portable Network Graphics, third edition), with the colour profile and the Exif block that a canvas would lose.

const TABLE = Uint32Array.from({length: 256}, (_, byte) => {
  let c = byte;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(parts) {
  let c = 0xFFFFFFFF;
  for (const part of parts) for (const byte of part) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

function number(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function chunk(type, ...parts) {
  const name = new TextEncoder().encode(type), size = parts.reduce((sum, part) => sum + part.length, 0);
  return [number(size), name, ...parts, number(crc32([name, ...parts]))];
}

async function deflated(blob) {
  return new Uint8Array(await new Response(blob.stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer());
}

/** Rows as differences to the byte of the pixel before (filter 1), which is fast and good enough. */
function filtered({width, height, data}) {
  const stride = 4 * width, out = new Uint8Array((stride + 1) * height);
  for (let row = 0, from = 0, to = 0; row < height; row++) {
    out[to++] = 1;
    for (let i = 0; i < stride; i++, from++) out[to++] = data[from] - (i < 4 ? 0 : data[from - 4]);
  }
  return out;
}

/** A Blob. image: {width, height, data: RGBA}; metadata: {icc, exif, xmp, cicp}, each may be missing. */
export async function png(image, {icc, exif, xmp, cicp} = {}) {
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10)];
  parts.push(...chunk("IHDR", number(image.width), number(image.height), Uint8Array.of(8, 6, 0, 0, 0)));
  if (cicp) parts.push(...chunk("cICP", cicp));
  if (icc) parts.push(...chunk("iCCP", new TextEncoder().encode("ICC\0\0"), await deflated(new Blob([icc]))));
  if (exif) parts.push(...chunk("eXIf", exif));
  if (xmp) parts.push(...chunk("iTXt", new TextEncoder().encode("XML:com.adobe.xmp\0\0\0\0\0"), xmp));
  parts.push(...chunk("IDAT", await deflated(new Blob([filtered(image)]))), ...chunk("IEND"));
  return new Blob(parts, {type: "image/png"});
}
