// SPDX-License-Identifier: Apache-2.0
// The page: a picture beside its .jahp file. Who encodes and decodes is coder.js beside it: this browser here, a server for
// examples/serve.py, which brings one of its own.
import {coder} from "./coder.js";

const byId = id => document.getElementById(id);
const viewer = byId("viewer"), handle = byId("handle"), quality = byId("quality"), kilobytes = byId("kilobytes");
const PSNR_PIXELS = 2 ** 24;  // canvases of more would take too much memory
const HINT = byId("status").textContent;
let picture = null, running = null, at = 50;

const size = bytes => bytes < 1e6 ? (bytes / 1000).toFixed(1) + " kB" : (bytes / 1e6).toFixed(2) + " MB";

function split(percent) {
  at = Math.min(100, Math.max(0, percent));
  viewer.style.setProperty("--split", at + "%");
  handle.setAttribute("aria-valuenow", Math.round(at));
  handle.setAttribute("aria-valuetext", `${Math.round(at)} % original, ${100 - Math.round(at)} % decoded`);
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

// Resolves to whether the browser can show it; the address before it is given back.
function load(image, blob) {
  const old = image.src;
  return new Promise(resolve => {
    image.onload = () => resolve(true);
    image.onerror = () => { image.removeAttribute("src"); resolve(false); };
    image.src = URL.createObjectURL(blob);
  }).finally(() => { if (old.startsWith("blob:")) URL.revokeObjectURL(old); });
}

function pixels(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

// In dB over R, G and B of what the browser shows, infinite where they are the same; null where it cannot tell.
function psnr(a, b) {
  if (!a.naturalWidth || a.naturalWidth !== b.naturalWidth || a.naturalHeight !== b.naturalHeight) return null;
  if (a.naturalWidth * a.naturalHeight > PSNR_PIXELS) return null;
  const p = pixels(a), q = pixels(b);
  let sum = 0;
  for (let i = 0; i < p.length; i += 4)
    for (let k = i; k < i + 3; k++) sum += (p[k] - q[k]) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / (p.length / 4 * 3)));
}

function figure(id, value, unit = "") {
  const small = document.createElement("small");
  small.textContent = unit && " " + unit;
  byId(id).replaceChildren(value, small);
}

function link(id, blob, name) {
  const old = byId(id).href;
  if (old) URL.revokeObjectURL(old);
  if (!blob) return byId(id).removeAttribute("href");
  byId(id).href = URL.createObjectURL(blob);
  byId(id).download = name;
}

const seconds = (times, names) => names.filter(name => name in times).map(name => (times[name] / 1000).toFixed(2)).join(", ");

async function isCoded(blob) {
  return new TextDecoder("latin1").decode(await blob.slice(0, 4).arrayBuffer()) === "JAHP";
}

// The chosen file as it is shown: {file: the .jahp, decoded: what the browser can show, times}.
async function made(chosen, signal) {
  if (await isCoded(chosen)) return {file: chosen, ...await coder.decode(chosen, signal)};
  const most = coder.sizes && kilobytes.value !== "" ? {maxBytes: Math.round(1000 * Number(kilobytes.value))} : {};
  const {file, times} = await coder.encode(chosen, {quality: Number(quality.value), ...most}, signal);
  const back = await coder.decode(file, signal);
  return {file, decoded: back.decoded, times: {...back.times, ...times}};
}

async function code() {
  if (!picture) return;
  running?.abort();
  const mine = running = new AbortController(), chosen = picture, alone = viewer.classList.contains("alone");
  viewer.classList.add("busy");
  byId("stop").hidden = !coder.stops;
  say(alone ? "Decoding …" : "Encoding and decoding …");
  try {
    const {file, decoded, times} = await made(chosen, mine.signal), image = byId("decoded");
    if (running !== mine) return;
    if (!await load(image, decoded)) throw new Error("this browser cannot show it");
    if (running !== mine) return;
    const {naturalWidth: width, naturalHeight: height} = image, ratio = psnr(byId("original"), image);
    viewer.style.setProperty("--ratio", width / height);
    const told = ratio === null ? "" : ratio === Infinity ? " · exact" : ` · ${ratio.toFixed(2)} dB`;
    image.alt = alone ? `Decoded picture, ${chosen.name ?? "without a name"}`
      : `Decoded picture, ${kilobytes.value && coder.sizes ? `at most ${kilobytes.value} kB` : `quality ${quality.value}`}${told}`;
    byId("decoded-size").textContent = size(file.size) + told;
    figure("shape", `${width} × ${height}`);
    figure("bytes-before", alone ? "–" : size(chosen.size));
    figure("bytes-after", size(file.size), alone ? "" : `${(100 * file.size / chosen.size).toFixed(1)} %`);
    figure("bpp", (8 * file.size / (width * height)).toFixed(3));
    figure("psnr", ratio === null ? "–" : ratio === Infinity ? "exact" : ratio.toFixed(2), Number.isFinite(ratio) ? "dB" : "");
    figure("seconds", seconds(times, ["encode", "decode"]), "s");
    if (times.load > 1 || times.model > 1) figure("loaded", seconds(times, ["load", "model"]), "s");
    byId("loaded-figure").hidden = byId("loaded").textContent === "–";
    const stem = (chosen.name || "picture").replace(/\.[^.]*$/, "");
    link("save-jahp", alone ? null : file, stem + ".jahp");
    link("save-png", decoded, stem + ".decoded.png");
    say(alone ? `${chosen.name ?? "The file"} is decoded.` : HINT);
  } catch (error) {
    if (running !== mine) return;
    clear();
    say(mine.signal.aborted ? "Stopped." : `${alone ? "Not decoded" : "Not coded"}: ${error.message}`, !mine.signal.aborted);
  } finally {
    if (running === mine) {
      viewer.classList.remove("busy");
      byId("stop").hidden = true;
    }
  }
}

function clear() {
  byId("decoded").removeAttribute("src");
  byId("decoded-size").textContent = "";
  for (const id of ["shape", "bytes-after", "bpp", "psnr", "seconds"]) figure(id, "–");
  for (const id of ["save-jahp", "save-png"]) link(id, null);
}

async function show(blob) {
  picture = blob;
  const image = byId("original"), alone = await isCoded(blob);
  byId("decoded").removeAttribute("src");
  const seen = !alone && await load(image, blob);
  if (picture !== blob) return;
  viewer.classList.toggle("alone", alone);
  if (alone) image.removeAttribute("src");
  if (seen) viewer.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
  image.alt = alone ? "" : `Original picture${blob.name ? ", " + blob.name : ""}`;
  byId("original-size").textContent = size(blob.size) + (seen ? "" : " · this browser cannot show it");
  figure("bytes-before", alone ? "–" : size(blob.size));
  await code();
}

async function sample() {
  const answer = await fetch(coder.sample).catch(error => ({ok: false, status: error.message}));
  if (answer.ok) await show(new File([await answer.blob()], "photo.png", {type: "image/png"}));
  else say(`The sample photo is not there: ${answer.status}`, true);
}

byId("file").addEventListener("change", event => {
  const [file] = event.target.files;
  event.target.value = "";  // the same one can be chosen again
  if (file) show(file);
});
byId("sample").addEventListener("click", sample);
byId("stop").addEventListener("click", () => running?.abort());
quality.addEventListener("input", () => { byId("quality-value").textContent = Number(quality.value).toFixed(2); });
quality.addEventListener("change", code);
kilobytes.addEventListener("change", code);
addEventListener("dragover", event => { event.preventDefault(); viewer.classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, () => viewer.classList.remove("over"));
addEventListener("drop", event => {
  event.preventDefault();
  if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
});

const fraction = event => {
  const box = viewer.getBoundingClientRect();
  return 100 * (event.clientX - box.left) / box.width;
};
let dragging = false;
viewer.addEventListener("pointerdown", event => {
  if (event.button !== 0) return;
  dragging = true;
  viewer.setPointerCapture(event.pointerId);
  split(fraction(event));
});
viewer.addEventListener("pointermove", event => { if (dragging) split(fraction(event)); });
for (const name of ["pointerup", "pointercancel"]) viewer.addEventListener(name, () => { dragging = false; });
handle.addEventListener("keydown", event => {
  const step = {ArrowLeft: -2, ArrowRight: 2, ArrowDown: -2, ArrowUp: 2, PageDown: -10, PageUp: 10}[event.key];
  if (step) split(at + step);
  else if (event.key === "Home") split(0);
  else if (event.key === "End") split(100);
  else return;
  event.preventDefault();
});
byId("lead").textContent = coder.lead;
byId("size-control").hidden = !coder.sizes;
quality.max = coder.highest;
split(50);
sample();
