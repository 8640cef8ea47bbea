# SPDX-License-Identifier: Apache-2.0
"""`jahp eval`: rate and distortion of our files beside other codecs on a folder of images."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import JahpError, UsageError
from jahp_fast.evaluate.codecs import OUR_QUALITIES, Coder, JahpCodec, select_codecs
from jahp_fast.evaluate.files import find_images, load_rgb, make_folder
from jahp_fast.evaluate.gallery import gallery
from jahp_fast.evaluate.metrics import ms_ssim, psnr
from jahp_fast.evaluate.plugins import perceptual, perceptual_name
from jahp_fast.evaluate.report import Mean, Published, Row, describe_machine, markdown, means, plot, read_published, read_results, to_csv
from jahp_fast.files.outputs import apart
from jahp_fast.system.atomic import write_atomically

DEFAULT_MODELS = "mbt2018"
DEFAULT_CODECS = "jpeg,webp,jpeg2000,avif,heic,jxl"
WRITTEN = ("results.csv", "summary.csv", "report.md", "index.html", "plot.png")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `jahp eval`."""
    parser.description = (
        "Encode and decode every image of a folder with each codec at each setting; write results.csv, summary.csv, report.md, "
        "index.html and plot.png (with matplotlib). Started again with the same --out it keeps what is already measured and still holds."
    )
    parser.add_argument("images", type=Path, metavar="IMAGES_DIR", help="folder of opaque 8-bit images")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT_DIR", help="folder for the results; made if missing")
    parser.add_argument("--models", default=DEFAULT_MODELS, help=f"our models by comma, or 'none' (default {DEFAULT_MODELS})")
    parser.add_argument("--model", action="append", metavar="FILE", help="a model file to look in too; may be repeated")
    parser.add_argument("--codecs", default=DEFAULT_CODECS, help=f"other codecs by comma, or 'none' (default {DEFAULT_CODECS})")
    parser.add_argument("--qualities", default=",".join(f"{q:g}" for q in OUR_QUALITIES), help="ours, by comma (default 1 to 8)")
    parser.add_argument("--efforts", default="0", help="of our encoder, by comma (default 0)")
    parser.add_argument("--published", type=Path, metavar="CSV", help="published points: dotted lines in the plot, rows in the BD-rates")
    parser.add_argument("--dataset", metavar="NAME", help="whose published points (default: the name of the folder)")
    parser.add_argument("--sources", default="none", help="of the published points, by comma (default: all)")
    parser.add_argument("--device", default="cpu", help="for our transforms (default cpu)")
    parser.add_argument("--backend", default="auto", help="for our entropy path (default auto)")
    parser.add_argument("--threads", type=int, default=None, help="of our entropy path (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Measure, with progress on standard error; print the summary's place. Raises JahpError for bad input."""
    qualities = parse_qualities(args.qualities)
    ours = [
        JahpCodec(name, qualities, models=args.model, device=args.device, backend=args.backend, threads=args.threads, effort=effort)
        for name in _names(args.models)
        for effort in parse_efforts(args.efforts)
    ]
    require_distinct(ours)
    others, missing = select_codecs(_names(args.codecs))
    for name, reason in missing.items():
        print(f"{name} is not measured: {reason}", file=sys.stderr)
    published = []
    if args.published is not None:
        published = read_published(args.published, args.dataset or Path(args.images).resolve().name, _names(args.sources))
    coders: list[Coder] = [*ours, *others]
    if not coders:
        raise UsageError("nothing to measure: both --models and --codecs are empty")
    paths = find_images(args.images)
    make_folder(args.out)
    for name in WRITTEN:
        apart(args.out / name, [*paths, args.published, *(args.model or [])])
    rows = measure(paths, coders, args.out / "results.csv", Progress(len(paths)))
    table = means(rows)
    # Fonts have no glyph for bytes that are no UTF-8.
    folder = args.images.resolve().name.encode(errors="backslashreplace").decode()
    images = f"{len(paths)} images of `{folder}`."
    write_report(args.out, table, coders, [codec.name for codec in ours], images, missing, published, rows)
    if ours:
        page = gallery(paths, coders, [codec.name for codec in ours], args.out, rows)
        write_atomically(args.out / "index.html", page.encode(errors="backslashreplace"))
    print(f"{args.out / 'report.md'}")
    return 0


def require_distinct(ours: Sequence[JahpCodec]) -> None:
    """Raises UsageError where two names are one model: a file of --model answers to its architecture's name too."""
    names: dict[str, str] = {}
    for codec in ours:
        other = names.setdefault(codec.encoder(codec.settings[0]).model_id, codec.model)
        if other != codec.model:
            raise UsageError(f"--models: {other} and {codec.model} are one model: a file of --model answers to its architecture too")


def write_report(
    out: Path,
    table: Sequence[Mean],
    coders: Sequence[Coder],
    ours: Sequence[str],
    images: str,
    missing: Mapping[str, str],
    published: Sequence[Published],
    rows: Sequence[Row],
) -> None:
    """Write summary.csv, plot.png (or a line on standard error that it is left out) and report.md into `out`."""
    write_atomically(out / "summary.csv", to_csv(table, Mean).encode(errors="surrogateescape"))
    picture = plot(table, images.rstrip("."), published)
    if picture is None:
        print("plot.png is left out: matplotlib is not installed (pip install 'jahp_fast[bench]')", file=sys.stderr)
        (out / "plot.png").unlink(missing_ok=True)
    else:
        write_atomically(out / "plot.png", picture)
    descriptions = {coder.name: coder.description for coder in coders}
    text = markdown(
        table, images=images, descriptions=descriptions, ours=ours, machine=describe_machine(), plotted=picture is not None,
        missing=missing, published=published, rows=rows,
    )  # fmt: skip
    write_atomically(out / "report.md", text.encode(errors="backslashreplace"))


def measure(paths: Sequence[Path], coders: Sequence[Coder], results: Path, progress: Progress) -> list[Row]:
    """A Row for each image, codec and setting, in that order of nesting; `results` is rewritten after each image and codec.

    Rows of an earlier run whose key still holds are taken over. Nothing of the file is lost by an interruption: rows not yet
    reached stay in it. Raises UnsupportedImage naming a file that cannot be read, JahpError naming one that a codec refuses.
    """
    kept = read_results(results)
    descriptions = {coder.name: coder.description for coder in coders}
    plan = [
        (path, coder, [row_key(path.name, digest, coder.name, descriptions[coder.name], coder.label(s)) for s in coder.settings])
        for path, digest in ((path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
        for coder in coders
    ]
    wanted = [key for _, _, keys in plan for key in keys]
    rows = {key: kept[key] for key in wanted if key in kept}
    progress.start(len(wanted) - len(rows))
    image: NDArray[np.uint8] | None = None
    loaded: Path | None = None
    for path, coder, keys in plan:
        missing = [(s, key) for s, key in zip(coder.settings, keys, strict=True) if key not in rows]
        if not missing:
            continue
        if image is None or loaded != path:
            image, loaded = load_rgb(path), path
        for setting, key in missing:
            rows[key] = measure_one(path.name, image, coder, setting, key)
            progress.step(paths.index(path) + 1, f"{path.name} {coder.name} {coder.label(setting)}")
        write_atomically(results, to_csv([rows[k] for k in wanted if k in rows], Row).encode(errors="surrogateescape"))
    progress.end()
    write_atomically(results, to_csv([rows[key] for key in wanted], Row).encode(errors="surrogateescape"))
    # From the file, rounded as it is, so that a run in one go and a resumed one report the same figures.
    return list(read_results(results).values())


def measure_one(name: str, image: NDArray[np.uint8], coder: Coder, setting: float, key: str) -> Row:
    """Encode, decode and compare one image (H, W, 3); a failure is reported with the image, the codec and the setting."""
    try:
        start = time.perf_counter()
        data = coder.encode(image, setting)
        middle = time.perf_counter()
        decoded = coder.decode(data)
        end = time.perf_counter()
    except (JahpError, OSError, ValueError) as error:
        raise JahpError(f"{name}: {coder.name} {coder.label(setting)} failed: {error}") from error
    if decoded.shape != image.shape:
        raise JahpError(f"{name}: {coder.name} {coder.label(setting)} gave shape {decoded.shape} for {image.shape}")
    height, width = image.shape[:2]
    return Row(
        coder.name, coder.label(setting), name, len(data), 8 * len(data) / (height * width),
        psnr(image, decoded), ms_ssim(image, decoded), perceptual(image, decoded), middle - start, end - middle, key,
    )  # fmt: skip


def row_key(name: str, digest: str, codec: str, description: str, label: str) -> str:
    """16 hexadecimal digits over the image's name and the hash of its file, the codec with its description, the setting and the metric."""
    parts = (name, digest, codec, description, label, perceptual_name() or "")
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


def parse_efforts(text: str) -> tuple[int, ...]:
    """"0,1" -> (0, 1), ascending, each once. UsageError for what is no whole number from 0 to 3."""
    parts = _names(text)
    if not parts or not all(part in ("0", "1", "2", "3") for part in parts):
        raise UsageError(f"--efforts {text!r}: expected numbers from 0 to 3 by comma")
    return tuple(sorted({int(part) for part in parts}))


def parse_qualities(text: str) -> tuple[float, ...]:
    """"1,2.5,8" -> (1.0, 2.5, 8.0), ascending, each once. UsageError for what is no number from 1 to 8."""
    try:
        values = tuple(sorted({float(part) for part in _names(text)}))
    except ValueError as error:
        raise UsageError(f"--qualities {text!r}: expected numbers by comma, such as 1,2.5,8") from error
    if not values or not all(1.0 <= q <= 8.0 for q in values):
        raise UsageError(f"--qualities {text!r}: expected numbers from 1 to 8 by comma")
    return values


def _names(text: str) -> list[str]:
    return [] if text == "none" else [part.strip() for part in text.split(",") if part.strip()]


class Progress:
    """One line on standard error: image i of n, settings done, time left. On a terminal it is redrawn in place."""

    def __init__(self, images: int, write: Callable[[str], object] | None = None, live: bool | None = None) -> None:
        self._images = images
        self._write = write if write is not None else sys.stderr.write
        self._live = sys.stderr.isatty() if live is None else live
        self._total = self._done = self._image = 0
        self._began = time.monotonic()

    def start(self, total: int) -> None:
        """`total` measurements lie ahead."""
        self._total, self._began = total, time.monotonic()

    def step(self, image: int, what: str) -> None:
        """One measurement is done, of the image with that number from 1. Off a terminal one line an image is written."""
        self._done += 1
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        line = f"image {image} of {self._images}, {self._done} of {self._total} measured, {_clock(left)} left: {what}"
        if self._live:
            self._write(f"\r\x1b[K{line}")
        elif image != self._image:
            self._write(line + "\n")
        self._image = image

    def end(self) -> None:
        """Clear the line."""
        if self._live and self._total:
            self._write("\r\x1b[K")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
