# SPDX-License-Identifier: Apache-2.0
"""`jahp eval`: rate and distortion of our files beside other codecs on a folder of images."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jahp_fast.constants import MOST_QUALITY, QUALITY_STEPS
from jahp_fast.errors import JahpError, UsageError
from jahp_fast.evaluate.codecs import OUR_QUALITIES, Coder, JahpCodec, matched, select_codecs
from jahp_fast.evaluate.curves import Published, read_published
from jahp_fast.evaluate.files import find_images, make_folder, printable
from jahp_fast.evaluate.gallery import gallery
from jahp_fast.evaluate.measuring import Progress, measure
from jahp_fast.evaluate.pictures import PICTURE_COLUMNS, PictureRate, picture_rates, summary
from jahp_fast.evaluate.report import cell, markdown, plot
from jahp_fast.evaluate.results import MEAN_COLUMNS, Failure, Row, is_results, means, to_csv
from jahp_fast.files.container import quality_code
from jahp_fast.files.outputs import apart
from jahp_fast.search.masking import TUNES
from jahp_fast.system.atomic import write_atomically
from jahp_fast.system.cpu import describe_machine

DEFAULT_MODELS = "mbt2018"
DEFAULT_CODECS = "jpeg,webp,jpeg2000,avif,heic,jxl"
WRITTEN = ("results.csv", "summary.csv", "pictures.csv", "report.md", "index.html", "plot.png")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `jahp eval`."""
    parser.description = (
        "Encode and decode every image of a folder with each codec at each setting; write results.csv, summary.csv, "
        "pictures.csv (with a model of ours), report.md, index.html and plot.png (with matplotlib). "
        "Several folders are sets of their own: each gets a folder of its name in REPORT_DIR. "
        "Started again with the same --out it keeps what is already measured and still holds. "
        "What cannot be read or coded is listed in the report, and the exit status is 1 then."
    )
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGES_DIR", help="folders of opaque 8-bit images; subfolders are left out"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT_DIR", help="folder for the results; made if missing")
    parser.add_argument("--models", default=DEFAULT_MODELS, help=f"our models by comma, or 'none' (default {DEFAULT_MODELS})")
    parser.add_argument("--model", action="append", metavar="FILE", help="a model file to look in too; may be repeated")
    parser.add_argument("--codecs", default=DEFAULT_CODECS, help=f"other codecs by comma, or 'none' (default {DEFAULT_CODECS})")
    parser.add_argument("--qualities", default=",".join(f"{q:g}" for q in OUR_QUALITIES), help="ours, by comma (default 1 to 8)")
    parser.add_argument("--efforts", default="0", help="of our encoder, by comma (default 0)")
    parser.add_argument("--tune", default="none", help="of efforts 2 and 3, by comma: none (the default), eye, or both")
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
        JahpCodec(
            name,
            qualities,
            models=args.model,
            device=args.device,
            backend=args.backend,
            threads=args.threads,
            effort=effort,
            tune=tune,
        )
        for name in _names(args.models)
        for effort, tune in parse_searches(args.efforts, args.tune)
    ]
    others, missing = select_codecs(_names(args.codecs))
    for name, reason in missing.items():
        print(f"{name} is not measured: {reason}", file=sys.stderr)
    coders: list[Coder] = [*ours, *matched(others, ours)]
    if not coders:
        raise UsageError("nothing to measure: both --models and --codecs are empty")
    require_distinct(ours, [codec.name for codec in others])
    sets = [_Set(folder, find_images(folder), out, _published(args, folder)) for folder, out in places(args.images, args.out).items()]
    for each in sets:
        for other in sets:
            require_apart(other.folder, each.out)
    for each in sets:
        make_folder(each.out)
        for name in WRITTEN:
            apart(each.out / name, [*(path for other in sets for path in other.paths), args.published, *(args.model or [])])
    complaints = []
    for each in sets:
        bad, measured = evaluate_set(each, coders, [codec.name for codec in ours], missing, f"{each.name}: " if len(sets) > 1 else "")
        if bad:
            count = len(each.paths)
            what = f"{bad} of {count} images have errors" if measured else f"none of the {count} images could be measured"
            complaints.append(f"{what}; {each.out / 'report.md'} says why")
    if complaints:
        raise JahpError("; ".join(complaints))
    return 0


@dataclass(frozen=True)
class _Set:
    """A folder, its image files, where its report goes, and published points of it."""

    folder: Path
    paths: list[Path]
    out: Path
    published: list[Published]

    @property
    def name(self) -> str:
        return self.folder.resolve().name


def _published(args: argparse.Namespace, folder: Path) -> list[Published]:
    if args.published is None:
        return []
    return read_published(args.published, args.dataset or folder.resolve().name, _names(args.sources))


def places(folders: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where each folder's report goes: of one it is `out`, of several folders of their names in it.

    Raises UsageError where two have one name.
    """
    if len(folders) == 1:
        return {folders[0]: out}
    by_name: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in by_name:
            raise UsageError(f"{by_name[name]} and {folder} have one name, by which the sets are told apart: rename one")
        by_name[name] = folder
    return {folder: out / name for name, folder in by_name.items()}


def evaluate_set(each: _Set, coders: Sequence[Coder], ours: Sequence[str], missing: Mapping[str, str], prefix: str) -> tuple[int, int]:
    """Measure a set, write its report, print its summary and place; the numbers of images with errors, and of rows.

    Raises JahpError.
    """
    rows, failures = measure(each.paths, coders, each.out / "results.csv", Progress(len(each.paths)))
    rates = picture_rates(rows, ours, [coder.name for coder in coders])
    write_report(each.out, rows, failures, coders, ours, (len(each.paths), each.name), missing, each.published, rates)
    page = gallery(each.paths, coders, ours, each.out, rows) if ours else None
    if page is not None:
        write_atomically(each.out / "index.html", page.encode(errors="backslashreplace"))
    else:
        _remove(each.out / "index.html")
    if ours and page is None:
        print(
            "index.html is left out: there is no image that our codec measured at the sizes that it shows",
            file=sys.stderr,
        )
    for model in ours:
        if line := summary(rates, model):
            print(printable(prefix) + line)
    print(each.out / "report.md")
    return len({failure.image for failure in failures}), len(rows)


def require_apart(images: Path, out: Path) -> None:
    """Raises UsageError where the report would lie among the images, or an earlier one does, with its plot."""
    same = os.path.realpath(out) == os.path.realpath(images)
    with suppress(OSError):  # there is no such folder yet
        same = same or os.path.samefile(out, images)
    if same:
        raise UsageError(f"--out {out} is the folder of the images: name another one, whose files are not taken for images")
    if is_results(images / "results.csv"):
        raise UsageError(
            f"{images} holds the report of an earlier run, whose plot is no image to measure: move results.csv and plot.png away"
        )


def require_distinct(ours: Sequence[JahpCodec], others: Sequence[str]) -> None:
    """Makes our encoders, so that what a model lacks is said before any work.

    Raises UsageError where two names are one model (a file of --model answers to its architecture's name too), and
    where the report would have one name for two things.
    """
    reserved = [*others, "ours", "original"]  # the latter two in the page
    for codec in ours:
        if codec.name in reserved:
            raise UsageError(f"--models: {codec.name} is the name of something else in the report: rename the model file")
        reserved.append(codec.name)
        for setting in codec.settings:
            codec.encoder(setting)
    names: dict[str, str] = {}
    for codec in ours:
        other = names.setdefault(codec.encoder(codec.settings[0]).model_id, codec.model)
        if other != codec.model:
            raise UsageError(f"--models: {other} and {codec.model} are one model: a file of --model answers to its architecture too")


def _remove(path: Path) -> None:
    """Removes what an earlier run has left there. Raises JahpError where that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise JahpError(f"cannot remove {path}, which this run does not make: {error.strerror}") from None


def write_report(
    out: Path,
    rows: Sequence[Row],
    failures: Sequence[Failure],
    coders: Sequence[Coder],
    ours: Sequence[str],
    images: tuple[int, str],
    missing: Mapping[str, str],
    published: Sequence[Published],
    rates: Sequence[PictureRate],
) -> None:
    """Write summary.csv, pictures.csv, plot.png and report.md into `out`.

    Without a plot there is a line on standard error that says why, and without `rates` no pictures.csv.

    `images` is the number of image files and the name of their folder.
    """
    write_atomically(out / "summary.csv", to_csv(means(rows), MEAN_COLUMNS).encode(errors="surrogateescape"))
    if rates:
        write_atomically(out / "pictures.csv", to_csv(rates, PICTURE_COLUMNS).encode(errors="surrogateescape"))
    else:
        _remove(out / "pictures.csv")
    count, folder = images
    picture = plot(rows, f"{count} images of {folder}", published)
    if isinstance(picture, str):
        print(f"plot.png is left out: {picture}", file=sys.stderr)
        _remove(out / "plot.png")
    else:
        write_atomically(out / "plot.png", picture)
    bad = len({failure.image for failure in failures})
    text = markdown(
        rows, images=f"{count} images of {cell(folder)}{f', {bad} with errors, listed below' if bad else ''}.",
        descriptions={coder.name: coder.description for coder in coders}, ours=ours, machine=describe_machine(),
        plotted=isinstance(picture, bytes), missing=missing, published=published, failures=failures, rates=rates,
    )  # fmt: skip
    write_atomically(out / "report.md", text.encode(errors="backslashreplace"))


def parse_efforts(text: str) -> tuple[int, ...]:
    """Like "0,1" -> (0, 1), ascending, each once. UsageError for what is no whole number from 0 to 3."""
    parts = _names(text)
    if not parts or not all(part in ("0", "1", "2", "3") for part in parts):
        raise UsageError(f"--efforts {text!r}: expected numbers from 0 to 3 by comma")
    return tuple(sorted({int(part) for part in parts}))


def parse_searches(efforts: str, tunes: str) -> list[tuple[int, str | None]]:
    """Efforts, ascending, efforts 2 and 3 with each tune by comma: "0,2" and "none,eye" -> [(0, None), (2, None), (2, "eye")].

    UsageError for what is no effort or no tune, and for a tune without an effort that has it.
    """
    numbers, names = parse_efforts(efforts), list(dict.fromkeys(part.strip() for part in tunes.split(",")))
    if not all(name in ("none", *TUNES) for name in names):
        raise UsageError(f"--tune {tunes!r}: expected none, {', '.join(TUNES)} or both by comma")
    if names != ["none"] and numbers[-1] < 2:
        raise UsageError(f"--tune {tunes}: only efforts 2 and 3 have a tune: name one with --efforts")
    wanted = [None if name == "none" else name for name in names]
    return [(effort, tune) for effort in numbers for tune in (wanted if effort > 1 else [None])]


def parse_qualities(text: str) -> tuple[float, ...]:
    """Like "1,2.5,8" -> (1.0, 2.5, 8.0), ascending, rounded to what files hold, each once.

    UsageError for what is no number from 1 to 12.
    """
    try:
        values = [float(part) for part in _names(text)]
    except ValueError as error:
        raise UsageError(f"--qualities {text!r}: expected numbers by comma, such as 1,2.5,8") from error
    if not values or not all(1.0 <= q <= MOST_QUALITY for q in values):
        raise UsageError(f"--qualities {text!r}: expected numbers from 1 to 12 by comma")
    return tuple(sorted({quality_code(q) / QUALITY_STEPS for q in values}))


def _names(text: str) -> list[str]:
    """Words by comma, each once; "none" is none."""
    return [] if text == "none" else list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
