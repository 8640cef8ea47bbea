// SPDX-License-Identifier: Apache-2.0
// csrc/tests/jahp_outcomes.c in JavaScript, for Node.js and browsers: the same lines, the same answers. M and N are one here, where there
// are no files.
const STATUS = {FormatError: "JAHP_FORMAT_ERROR", ModelError: "JAHP_MODEL_ERROR", UnknownModel: "JAHP_UNKNOWN_MODEL",
  UsageError: "JAHP_USAGE_ERROR", OutOfMemory: "JAHP_NO_MEMORY"};

/** All bytes times their places, modulo 2^64, of the channels that the file has. */
function sumOf({width, height, data}, channels) {
  let sum = 0n, place = 0, part = 0;
  for (let pixel = 0; pixel < width * height; pixel++)
    for (let c = 0; c < channels; c++) {
      part += ++place * data[4 * pixel + c];
      if (part > 2 ** 51) [sum, part] = [sum + BigInt(part), 0];
    }
  return BigInt.asUintN(64, sum + BigInt(part));
}

/** The answer to a line, or null where there is none. read: gives or promises the bytes of a file. */
export async function answer(engine, line, read) {
  if (line === "X") {
    for (const id of engine.models) engine.removeModel(id);
    return null;
  }
  const [, view, path] = line.match(/^. (-?\d+ -?\d+ -?\d+ -?\d+ -?\d+ )?(.*)$/), data = await read(path);
  const options = {maxPixels: 2 ** 28};
  if (line[0] === "V") {
    const [scale, left, top, width, height] = view.split(" ").map(Number);
    Object.assign(options, {scale}, width && {region: {left, top, width, height}});
  }
  try {
    if (line[0] !== "D" && line[0] !== "V") {
      engine.addModel(data, path);
      return "ok";
    }
    const image = engine.decode(data, options), {channels} = engine.info(data, options);
    return `ok ${image.width} ${image.height} ${channels} ${sumOf(image, channels)}`;
  } catch (error) {
    if (!(error.name in STATUS)) throw error;
    return `${STATUS[error.name]} ${error.message}`;
  }
}
