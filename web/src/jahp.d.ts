// SPDX-License-Identifier: Apache-2.0

/** A .jahp file. */
export type File = Uint8Array | ArrayBuffer | Blob;

/** RGBA, rows from top to bottom: an ImageData, say. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray | Uint8Array;
}

/** Blocks that lie in a file as they are: an ICC profile, Exif from its TIFF header on, an XMP packet, code points of colours. */
export interface Metadata {
  icc?: Uint8Array;
  exif?: Uint8Array;
  xmp?: Uint8Array;
  /** Four code points of H.273, as cICP of PNG has them. */
  cicp?: Uint8Array;
}

/** What a file says of itself. */
export interface Info {
  width: number;
  height: number;
  /** That the file has: 1 grey, 3 RGB, 4 RGBA. What is decoded here is always RGBA. */
  channels: 1 | 3 | 4;
  grey: boolean;
  alpha: boolean;
  /** No sample differs by more, 0: lossless; null: no such promise. */
  maxError: number | null;
  quality: number;
  /** Under a layer, that of the coarse picture; else 0. */
  baseQuality: number;
  payloadSize: number;
  /** Bits of a sample that the file was made of, 8 to 16; what is decoded has 8. */
  depth: number;
  /** Id of the model in hexadecimal; null: none is needed. */
  model: string | null;
  metadata: Metadata;
}

/** Milliseconds by stage; a stage that was not needed is missing. */
export interface Times {
  /** Until the codec was there. */
  load?: number;
  /** Until the model was there. */
  model?: number;
  decode?: number;
  encode?: number;
  png?: number;
}

export interface Options {
  /** Ends the work at once. The promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** Larger pictures are refused before anything is allocated for them; 2^25 unless the codec says otherwise. */
  maxPixels?: number;
  onTimes?(times: Times): void;
}

/** What of a picture is wanted: both together give all pixels of the small picture that the region touches. */
export interface View {
  /** 1, 2, 4, 8 or 16: its sides are divided by it, rounded up. Pixels are means, or with 4, 8 and 16 near them, in much less time. */
  scale?: 1 | 2 | 4 | 8 | 16;
  /** In pixels of the whole, to be inside of it; its pixels are those of the whole. */
  region?: {left: number; top: number; width: number; height: number};
}

export interface EncodeOptions extends Options {
  /** 1 to 12, in steps of 0.05; 4. */
  quality?: number;
  /** The file is never larger, and its quality searched for. */
  maxBytes?: number;
  /** 0 to 31: no sample differs by more; 0 is lossless. */
  maxError?: number;
  /** Name of a model, as "mbt2018-ms-ssim"; without it, the first of models/index.json. */
  model?: string;
  metadata?: Metadata;
}

/** Names are those of the Python package's errors: FormatError, ModelError, UnknownModel, UnsupportedImage, UsageError, JahpError; or
 * OutOfMemory. Texts are the same too. */
export class JahpError extends Error {
  readonly name: string;
}

export const MAX_PIXELS: number;

/** A worker and what it has loaded. Jobs are done one after the other. */
export class Codec {
  /** base: the folder of jahp.wasm and models/, ending in a slash; the package's own. threads: 1 to 64 where the page is
   * `crossOriginIsolated`, else one; as many as there are cores, 4 at most. */
  constructor(options?: {base?: string | URL; maxPixels?: number; threads?: number});
  info(file: File, options?: Options): Promise<Info>;
  decode(file: File, options?: Options & View): Promise<ImageData>;
  /** As a PNG file, with the colour profile and Exif that an ImageData has no place for. */
  png(file: File, options?: Options & View): Promise<Blob>;
  encode(image: Pixels, options?: EncodeOptions): Promise<Uint8Array>;
  /** Ends the worker and frees its memory. */
  close(): void;
}

/** The same of a codec that is made when one is first called. */
export function info(file: File, options?: Options): Promise<Info>;
export function decode(file: File, options?: Options & View): Promise<ImageData>;
export function png(file: File, options?: Options & View): Promise<Blob>;
export function encode(image: Pixels, options?: EncodeOptions): Promise<Uint8Array>;
