// SPDX-License-Identifier: Apache-2.0
// <jahp-img src="photo.jahp" alt="A parrot" scale="4">: a picture, at 1/4 of its sides, and the polyfill of <img src="photo.jahp">.
import {png} from "./jahp.js";

/** Shows a .jahp file in an <img>; resolves when it is there. The address of the pixels lives as long as the document. */
async function show(image, address, {signal, scale}) {
  const response = await fetch(address, {signal});
  if (!response.ok) throw new Error(`cannot load ${address}: the server answers ${response.status}`);
  const file = await png(await response.blob(), {signal, scale});
  const old = image.src, shown = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = () => reject(new Error(`this browser cannot show ${address}`));
    image.src = shown;
  }).finally(() => {
    image.onload = image.onerror = null;
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  });
}

const STYLE = ":host { display: inline-block; } img { display: block; width: 100%; height: auto; } [role=alert] { margin: 0; }";

export class JahpImage extends HTMLElement {
  static observedAttributes = ["src", "alt", "scale"];
  #image = new Image();
  #note = document.createElement("p");
  #running;

  constructor() {
    super();
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.#note.setAttribute("role", "alert");
    this.attachShadow({mode: "open"}).append(style, this.#image);
  }

  get src() { return this.getAttribute("src") ?? ""; }
  set src(address) { this.setAttribute("src", address); }
  get alt() { return this.getAttribute("alt") ?? ""; }
  set alt(text) { this.setAttribute("alt", text); }
  get scale() { return Number(this.getAttribute("scale") ?? 1); }
  set scale(value) { this.setAttribute("scale", value); }
  get naturalWidth() { return this.#image.naturalWidth; }
  get naturalHeight() { return this.#image.naturalHeight; }

  attributeChangedCallback(name) {
    if (name === "alt") this.#image.alt = this.alt;
    else if (this.hasAttribute("src")) this.#load();
  }

  disconnectedCallback() { this.#running?.abort(); }

  /** Ends with a `load` event or, with the alternative text shown, an `error` event that has the error. */
  async #load() {
    this.#running?.abort();
    const {signal} = this.#running = new AbortController(), address = new URL(this.src, document.baseURI).href;
    this.#note.remove();
    try {
      await null; // of several attributes that are set at once the last one loads
      await show(this.#image, address, {signal, scale: this.scale});
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (signal.aborted) return;
      this.#image.removeAttribute("src");
      this.#note.textContent = this.alt || error.message;
      this.shadowRoot.append(this.#note);
      this.dispatchEvent(Object.assign(new ErrorEvent("error", {error, message: error.message})));
    }
  }
}

customElements.define("jahp-img", JahpImage);

/** Shows every <img> whose address ends in .jahp, now and whenever one comes. Returns what ends that. */
export function polyfill(root = document) {
  const take = node => {
    for (const image of node.matches?.("img") ? [node] : node.querySelectorAll?.("img") ?? []) {
      const address = image.getAttribute("src") ?? "";
      if (!/\.jahp(?=$|[?#])/i.test(address)) continue;
      const whole = new URL(address, document.baseURI).href;
      image.removeAttribute("src");
      image.dataset.jahp = address;
      show(image, whole, {}).catch(error => image.dispatchEvent(new ErrorEvent("error", {error, message: error.message})));
    }
  };
  take(root);
  const observer = new MutationObserver(changes => {
    for (const {target, addedNodes, type} of changes) (type === "attributes" ? [target] : addedNodes).forEach(take);
  });
  observer.observe(root, {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]});
  return () => observer.disconnect();
}
