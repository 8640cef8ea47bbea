# SPDX-License-Identifier: Apache-2.0
"""`jahp demo`: one photo at three qualities, JPEG and WebP at the same size beside it, as a table and as a page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import JahpError
from jahp_fast.evaluate.codecs import PillowCodec, pillow_codec
from jahp_fast.evaluate.files import load_rgb, make_folder
from jahp_fast.evaluate.metrics import ms_ssim, psnr
from jahp_fast.evaluate.page import MODEL, RUNS, Level, Variant, render
from jahp_fast.system.atomic import write_atomically
from jahp_fast.system.console import ProgressLine

if TYPE_CHECKING:
    from jahp_fast import Codec

QUALITIES = (2.0, 4.5, 7.0)
OTHERS = {"jpeg": "jpeg420", "webp": "webp"}
HIGHEST = {"jpeg": 95, "webp": 100}
# Of encode_timed and decode_timed, with what the tables call them.
ENCODE_STAGES = {"g_a": "g_a", "h_a": "h_a", "entropy": "entropy"}
DECODE_STAGES = {"latents": "h_s + context + range decode", "g_s": "g_s"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `jahp demo`."""
    parser.description = (
        "Encode the photo that comes with the package at three qualities, decode it in native code, print sizes, distortions and "
        "times beside JPEG and WebP of the same size, and write a page to compare them on. Needs no network."
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder for page and files (default demo)")
    parser.add_argument("--threads", type=int, default=None, help="threads of the entropy path (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Make the demo, print the tables and the page's path. Raises JahpError where a folder or file cannot be written."""
    make_folder(args.out)
    with resources.as_file(resources.files("jahp_fast.evaluate") / "demo_photo.png") as path:
        image, original = load_rgb(path), path.read_bytes()
    levels = make_levels(image, QUALITIES, args.threads)
    for level in levels:
        for name, variant in level.variants.items():
            suffix = {"ours": "jahp", "jpeg": "jpg"}.get(name, name)
            write_atomically(args.out / f"photo-q{level.quality:g}.{suffix}", variant.data)
    page = args.out / "index.html"
    write_atomically(page, render(image, original, levels).encode())
    print(figures_table(levels))
    print()
    print(stages_table(levels))
    print()
    print(f"latents of all {len(levels)} files: the native decoder's equal the encoder's")
    print(f"page: {page}")
    return 0


def make_levels(image: NDArray[np.uint8], qualities: Sequence[float], threads: int | None = None) -> list[Level]:
    """Encode, decode, check and compare (H, W, 3) `image` at each quality, with a line of progress on standard error."""
    import jahp_fast

    levels, line = [], ProgressLine()
    for i, quality in enumerate(qualities, 1):
        prefix = f"quality {quality:g} ({i} of {len(qualities)}): "
        line.show(f"{prefix}ours")
        codec = jahp_fast.Codec(MODEL, quality=quality, backend="native", threads=threads)
        # The first run of a transform also plans and allocates.
        codec.decode(codec.encode(image[:64, :64]))
        data, pixels, stages = timed_round_trip(codec, image)
        check_latents(codec, image, data)
        variants = {"ours": variant_of(image, f"q={quality:g}", data, pixels)}
        for name, coder_name in OTHERS.items():
            line.show(f"{prefix}{name} of the same size")
            coder = pillow_codec(coder_name)
            setting, other = nearest_not_above(coder, image, len(data), HIGHEST[name])
            variants[name] = variant_of(image, coder.label(setting), other, coder.decode(other))
        levels.append(Level(quality, variants, stages))
    line.clear()
    return levels


def check_latents(codec: Codec, image: NDArray[np.uint8], data: bytes) -> None:
    """Raise JahpError unless the latents decoded from `data` are those that the encoder makes of `image`.

    The encoder's are had from the transforms anew. Those that a file leaves out are what its coder says.
    """
    from jahp_fast import library
    from jahp_fast.files import container
    from jahp_fast.files.image import Rows
    from jahp_fast.pipelines.cpu import CpuPipeline
    from jahp_fast.system.devices import Clock

    pipeline = CpuPipeline(library.by_name(MODEL), "native")
    z, y = pipeline.open(Rows(image)).analyse(codec.quality, codec.threads, Clock("cpu")).round_latents()
    layout = pipeline.layout(container.unpack(data))
    kept = pipeline.backend.encode(z, y, layout, codec.threads)[1]
    decoded = codec.decode_latents(data)
    if decoded.z is None or not np.array_equal(decoded.z, z.transpose(2, 0, 1)):
        raise JahpError("the decoded hyper-latents differ from the encoder's")
    if not np.array_equal(decoded.y, kept.transpose(2, 0, 1)):
        raise JahpError("the decoded latents differ from the encoder's")


def variant_of(image: NDArray[np.uint8], detail: str, data: bytes, pixels: NDArray[np.uint8]) -> Variant:
    """The file with its figures against the original."""
    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    return Variant(detail, data, pixels, bpp, psnr(image, pixels), ms_ssim(image, pixels))


def timed_round_trip(codec: Codec, image: NDArray[np.uint8]) -> tuple[bytes, NDArray[np.uint8], dict[str, float]]:
    """File, decoded pixels and seconds a stage, of the fastest of RUNS runs each way."""
    encoded = min((codec.encode_timed(image) for _ in range(RUNS)), key=lambda result: sum(result[1].values()))
    decoded = min((codec.decode_timed(encoded[0]) for _ in range(RUNS)), key=lambda result: sum(result[1].values()))
    stages = {label: encoded[1][name] for name, label in ENCODE_STAGES.items()}
    stages |= {label: decoded[1][name] for name, label in DECODE_STAGES.items()}
    return encoded[0], decoded[0], stages


def nearest_not_above(coder: PillowCodec, image: NDArray[np.uint8], limit: int, highest: int) -> tuple[int, bytes]:
    """The highest quality from 1 to `highest` whose file is at most `limit` bytes, and the file; quality 1 if none is.

    Size grows with quality but for small dips, so the few qualities above the bisection's answer are tried as well.
    """
    low, high = 1, highest + 1
    while high - low > 1:
        middle = (low + high) // 2
        if len(coder.encode(image, middle)) <= limit:
            low = middle
        else:
            high = middle
    for quality in range(min(low + 3, highest), low, -1):
        data = coder.encode(image, quality)
        if len(data) <= limit:
            return quality, data
    return low, coder.encode(image, low)


def figures_table(levels: Sequence[Level]) -> str:
    """The variants as aligned text, a line each."""
    rows = [("codec", "setting", "bytes", "bpp", "PSNR dB", "MS-SSIM")]
    for level in levels:
        for name, v in level.variants.items():
            title = MODEL if name == "ours" else OTHERS[name]
            rows.append((title, v.detail, str(len(v.data)), f"{v.bpp:.3f}", f"{v.psnr:.2f}", f"{v.ms_ssim:.4f}"))
    return _align(rows)


def stages_table(levels: Sequence[Level]) -> str:
    """Milliseconds a stage as aligned text, a line a quality."""
    names = list(levels[0].stages)
    rows = [("ms", *names)]
    rows += [(f"q={level.quality:g}", *(f"{1000 * level.stages[name]:.1f}" for name in names)) for level in levels]
    return _align(rows)


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
                     for row in rows)  # fmt: skip
