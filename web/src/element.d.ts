// SPDX-License-Identifier: Apache-2.0

/** <jahp-img src="photo.jahp" alt="A parrot" scale="4">, with a `load` or an `error` event. */
export class JahpImage extends HTMLElement {
  src: string;
  alt: string;
  /** 1, 2, 4, 8 or 16: the picture is made with its sides divided by it, as small pages of large photos want it. */
  scale: number;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
}

/** Shows every <img> below `root` whose address ends in .jahp, now and whenever one comes. Returns what ends that. */
export function polyfill(root?: Document | Element): () => void;

declare global {
  interface HTMLElementTagNameMap {
    "jahp-img": JahpImage;
  }
}
