# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures of what photos lack, by kind and seed, to train on and to evaluate on.

`python -m jahp_fast.train.synthetic` writes them.

A picture depends on its kind, seed, size and (for `objects` and `page`) photos alone, and on the releases of NumPy and Pillow:
not on the process, the order, or what was drawn before. Seeds from HELD_OUT_SEED on are held out: never train on
them.
"""

from __future__ import annotations

import io
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from numpy.random import PCG64, Generator, SeedSequence
from PIL import Image

from jahp_fast.arguments import shown, whole
from jahp_fast.errors import JahpError, UsageError
from jahp_fast.files.pictures import library_errors
from jahp_fast.system.atomic import write_atomically
from jahp_fast.system.console import Parser, ProgressLine, clock, exit_status
from jahp_fast.train import graphics, pages, shades, sketches
from jahp_fast.train.canvas import Pixels, Size
from jahp_fast.train.shades import Photos

HELD_OUT_SEED = 1_000_000
"""Pictures of this seed and above are for evaluation alone."""
LEAST_SIDE, MOST_SIDE = 32, 8192
_OF_PHOTOS: dict[str, Callable[[Generator, Size, Photos], Pixels]] = {"objects": shades.objects, "page": pages.page}
_PHOTOS_BYTES = 2**30
"""Of decoded photos that the command keeps."""
_ALONE: dict[str, Callable[[Generator, Size], Pixels]] = {
    "flat": shades.flat,
    "ramp": shades.ramp,
    "radial": shades.radial,
    "vignette": shades.vignette,
    "grain": shades.grain,
    "text": graphics.text,
    "interface": graphics.interface,
    "chart": graphics.chart,
    "map": sketches.street_map,
    "lineart": sketches.line_art,
    "pixelart": sketches.pixel_art,
}
KINDS: tuple[str, ...] = (*_ALONE, *_OF_PHOTOS)
"""What `picture` makes. `objects` and `page` need photos."""


def picture(kind: str, seed: int, size: Size = (384, 384), photos: Photos = ()) -> Pixels:
    """(H, W, 3) uint8, the same for the same arguments in every process.

    Args:
        kind: one of KINDS.
        seed: 0 or above; from HELD_OUT_SEED on for evaluation alone.
        size: height and width, 32 to 8192 each.
        photos: arrays of uint8, (H, W, 3), that `objects` and `page` are made with; other kinds do not look at them.

    Raises:
        UsageError: another kind, seed or size, or one that needs photos without any.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind {shown(kind)} of synthetic pictures: choose among {', '.join(KINDS)}")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise UsageError(f"size must be a height and a width, not {shown(size)}")
    height, width = (whole(name, n, LEAST_SIDE, MOST_SIDE) for name, n in zip(("the height", "the width"), size, strict=True))
    rng = Generator(PCG64(SeedSequence([int.from_bytes(kind.encode(), "big"), whole("seed", seed, 0, 2**63)])))
    if kind not in _OF_PHOTOS:
        return _ALONE[kind](rng, (height, width))
    if not len(photos):
        raise UsageError(f"{kind} is made with photos: give some (photos=, --photos), or choose other kinds")
    return _OF_PHOTOS[kind](rng, (height, width), photos)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m jahp_fast.train.synthetic",
        description=f"Writes synthetic pictures as KIND-SEED.png. Seeds from {HELD_OUT_SEED} on are for evaluation, never for training. "
        "Pictures that are there already stay, so that an interrupted run goes on where it was.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to; made if missing")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="pictures of each kind")
    parser.add_argument(
        "--kinds", metavar="NAMES", help=f"by comma, of {', '.join(KINDS)} (default: all; {' and '.join(_OF_PHOTOS)} only with --photos)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first picture of each kind (default 0)")
    parser.add_argument("--size", default="384x384", metavar="WxH", help="width and height in pixels (default 384x384)")
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER",
        help=f"for {' and '.join(_OF_PHOTOS)}: those that jahp train trains on, or for seeds from {HELD_OUT_SEED} on those it holds out",
    )  # fmt: skip
    parser.add_argument("-f", "--force", action="store_true", help="make pictures anew that are there already")
    return parser


def _kinds(names: str | None, photos: bool) -> list[str]:
    if names is None:
        return [kind for kind in KINDS if photos or kind not in _OF_PHOTOS]
    kinds = list(dict.fromkeys(names.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--kinds {names}: there is no kind {kind!r}: choose among {', '.join(KINDS)}")
    needy = [kind for kind in kinds if kind in _OF_PHOTOS]
    if needy and not photos:
        raise UsageError(f"{needy[0]} is made with photos: give a folder of them by --photos, or choose other --kinds")
    return kinds


def _size(text: str) -> Size:
    """Height and width of «WxH»."""
    width, _, height = text.partition("x")
    if not all(n.isdecimal() and LEAST_SIDE <= int(n) <= MOST_SIDE for n in (width, height)):
        raise UsageError(f"--size {text} is not like 384x256, with {LEAST_SIDE} to {MOST_SIDE} pixels a side")
    return int(height), int(width)


def _photos(folder: Path, held_out: bool) -> Photos:
    """The photos of one side of the split that training makes, decoded when they are asked for."""
    from jahp_fast.train import data

    split = data.find_photos([folder])
    files = split.held_out if held_out else split.train
    if not files:
        raise UsageError(
            f"no photo of {folder} is held out, and seeds from {HELD_OUT_SEED} on need some: name them in {data.HELD_OUT_LIST} there"
        )
    return data.Photos(files, 1, _PHOTOS_BYTES)


def _is_there(path: Path, size: Size) -> bool:
    """Raises UsageError for a picture of another size: the folder has pictures of one size, or the user knows."""
    if not path.exists():
        return False
    with library_errors(f"{path} cannot be read as a picture"), Image.open(path) as image:
        width, height = image.size
    if (height, width) != size:
        raise UsageError(f"{path} is there, of {width}x{height} pixels: choose another folder or --size, or make it anew with --force")
    return True


def _write(args: Namespace) -> int:
    whole("--count", args.count, 1)
    whole("--seed", args.seed, 0, 2**62)
    if args.seed < HELD_OUT_SEED < args.seed + args.count:
        seeds = f"seeds {args.seed} to {args.seed + args.count - 1}"
        raise UsageError(f"{seeds} mix pictures to train on with held-out ones, from {HELD_OUT_SEED} on: make two runs")
    kinds, size = _kinds(args.kinds, args.photos is not None), _size(args.size)
    photos = _photos(args.photos, args.seed >= HELD_OUT_SEED) if set(kinds) & set(_OF_PHOTOS) else ()
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise JahpError(f"cannot make the folder {args.folder}: {e.strerror}") from None
    line, began = ProgressLine(often=0.2, seldom=30.0, wait=True), time.monotonic()
    total, written = args.count * len(kinds), 0
    for k in range(total):
        kind, seed = kinds[k % len(kinds)], args.seed + k // len(kinds)
        path = args.folder / f"{kind}-{seed}.png"
        if args.force or not _is_there(path, size):
            data = io.BytesIO()
            Image.fromarray(picture(kind, seed, size, photos)).save(data, "PNG", compress_level=3)
            write_atomically(path, data.getvalue(), args.force)
            written += 1
        line.show(f"{k + 1} of {total} pictures, {clock((time.monotonic() - began) / (k + 1) * (total - k - 1))} left")
    line.say(f"{written} pictures written to {args.folder}" + (f", {total - written} were there" if written < total else ""))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return exit_status(lambda: _write(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
