# SPDX-License-Identifier: Apache-2.0
"""What each effort takes, in processor time and memory, from 0.4 to 12 megapixels, beside slow settings of other codecs.

    python benchmarks/search_costs.py [--megapixels 0.4,2,12] [--searches 0,1,2,2-eye,3] [--codecs avif,heic,jxl] [--threads 1,2]
        [--quality 4] [--rounds 4] [--figures docs/figures.toml --machine NAME]

A row a codec, threads and size: bytes, seconds of processor time (all threads together), and the peak memory of a process of its own. The
picture is the package's photo, tiled. Tables and weights are read and packed before the clock starts. Of efforts 2 and 3 only --rounds are
run, which is enough for the memory; the others count as long as those behind the first one, and no file is shown. Other
codecs take as many threads as they want. They need the extra `eval`; memory is read as Linux tells it. With --figures all that becomes the
run `search-costs` of that file.
"""

from __future__ import annotations

import argparse
import datetime
import io
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jahp_fast import Codec
from jahp_fast.search import descent

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "figures"))
import figures  # not a package

SIZES = {"0.4": (512, 768), "2": (1080, 1920), "12": (3000, 4000)}
PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photo.png"
SLOW = {"avif": "speed 2, quality 40", "heic": "x265 slow, quality 34", "jxl": "effort 9, distance 7"}
MODULES = {"heic": "pillow_heif", "jxl": "imagecodecs"}


class Cost(NamedTuple):
    """Bytes of the file, None where rounds were left out; seconds of processor time; bytes of memory at the most."""

    size: int | None
    seconds: float
    peak: int


def tiled(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3)."""
    with Image.open(PHOTO) as picture:
        photo = np.asarray(picture.convert("RGB"))
    times = -(-height // photo.shape[0]), -(-width // photo.shape[1]), 1
    return np.ascontiguousarray(np.tile(photo, times)[:height, :width])


def peak() -> int:
    """Most memory that this process has held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def ours(shape: tuple[int, int], search: str, threads: int, quality: float, rounds: int) -> Cost:
    """search: an effort, with "-eye" behind it for that tune."""
    name, _, tune = search.partition("-")
    effort, codec, laps = int(name), Codec(quality=quality, threads=threads), list[float]()
    codec.encode(tiled(64, 64), effort, tune=tune or None)
    image, whole = tiled(*shape), descent.SCHEDULES.get(effort)
    if whole is not None:
        descent.SCHEDULES[effort] = whole._replace(rounds=rounds)
    begun = process_time()
    data = codec.encode(image, effort, tune=tune or None, progress=lambda done, of: laps.append(process_time()))
    seconds = process_time() - begun
    left_out = whole is not None and rounds < whole.rounds
    if whole is not None and left_out:
        seconds += (whole.rounds - rounds) * (laps[-1] - laps[0]) / (rounds - 1)
    return Cost(None if left_out else len(data), seconds, peak())


def theirs(shape: tuple[int, int], name: str) -> Cost:
    """At SLOW."""
    image, out = tiled(*shape), io.BytesIO()
    picture = Image.fromarray(image)
    if name == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    begun = process_time()
    if name == "avif":
        picture.save(out, "AVIF", quality=40, subsampling="4:4:4", speed=2)
    elif name == "heic":
        picture.save(out, "HEIF", quality=34, chroma=444, enc_params={"preset": "slow"})
    else:
        import imagecodecs

        out.write(imagecodecs.jpegxl_encode(image, distance=7.0, effort=9))
    return Cost(len(out.getvalue()), process_time() - begun, peak())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", default=",".join(SIZES))
    parser.add_argument("--searches", default="0,1,2,2-eye,3")
    parser.add_argument("--codecs", default=",".join(SLOW), help="or none")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--quality", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=4, help="of efforts 2 and 3, at least 2")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write the run into this file of figures")
    parser.add_argument("--machine", metavar="NAME", help="with --figures: this machine, as docs/lab/machines.md calls it")
    args = parser.parse_args()
    if (args.figures is None) != (args.machine is None):
        parser.error("--figures and --machine go together: a figure says which machine gave it")
    names = [] if args.codecs == "none" else args.codecs.split(",")
    if missing := [MODULES[name] for name in names if name in MODULES and find_spec(MODULES[name]) is None]:
        raise SystemExit(f"{', '.join(missing)} is not installed: pip install 'jahp_fast[eval]', or leave its codec out of --codecs")
    rows: dict[str, tuple[str, Callable[[tuple[int, int]], Cost]]] = {}
    for search in args.searches.split(","):
        for threads in map(int, args.threads.split(",")):
            title = f"effort {search}, {threads} thread{'s' if threads > 1 else ''}"
            cost = partial(ours, search=search, threads=threads, quality=args.quality, rounds=args.rounds)
            rows[f"effort{search}_{threads}"] = title, cost
    for name in names:
        rows[name] = f"{name}, {SLOW[name]}", partial(theirs, name=name)
    sizes = args.megapixels.split(",")
    values: dict[str, tuple[float, int, str]] = {}
    print("| |" + "".join(f" {size} MP |" for size in sizes) + "\n|" + " --- |" * (1 + len(sizes)))
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for key, (title, cost) in rows.items():
            cells = {size: pool.submit(cost, SIZES[size]).result() for size in sizes}
            for size, cell in cells.items():
                of_size = f"{key}_{size.replace('.', '')}"
                values |= {f"{of_size}_s": (cell.seconds, 2, "s"), f"{of_size}_peak": (cell.peak / 1e6, 0, "MB")}
            texts = [
                f" {'' if cell.size is None else f'{cell.size} bytes, '}{cell.seconds:.2f} s, {cell.peak / 1e6:.0f} MB |"
                for cell in cells.values()
            ]
            print(f"| {title} |" + "".join(texts), flush=True)
    if args.figures is not None:
        options = f"--searches {args.searches} --codecs {args.codecs} --threads {args.threads} --rounds {args.rounds}"
        command = f"python benchmarks/search_costs.py --megapixels {args.megapixels} {options} --quality {args.quality:g}"
        figures.write(args.figures, "search-costs", values, command=command, machine=args.machine, date=datetime.date.today())


if __name__ == "__main__":
    main()
