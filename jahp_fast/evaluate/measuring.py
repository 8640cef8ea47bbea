# SPDX-License-Identifier: Apache-2.0
"""The run of an evaluation: every image through every codec at every setting, whatever fails on the way."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from jahp_fast.errors import JahpError, UnsupportedImage
from jahp_fast.evaluate.codecs import Coder, on_picture
from jahp_fast.evaluate.files import load_rgb, printable
from jahp_fast.evaluate.metrics import ms_ssim, psnr
from jahp_fast.evaluate.plugins import perceptual, perceptual_name
from jahp_fast.evaluate.results import RESULT_COLUMNS, Failure, Row, read_results, to_csv
from jahp_fast.system.atomic import write_atomically
from jahp_fast.system.console import ProgressLine, clock


class _Image:
    """An image file on its way: `found` has its rows and failures by key, in their order; None is yet to come."""

    def __init__(self, path: Path, coders: Sequence[Coder], descriptions: Mapping[str, str], kept: Mapping[str, Row]) -> None:
        self.path = path
        self.jobs: dict[str, tuple[Coder, float]] = {}
        self.found: dict[str, Row | Failure | None] = {}
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            self.unreadable(f"it cannot be read: {error.strerror}")
            return
        for coder in coders:
            for setting in coder.settings:
                key = row_key(path.name, digest, coder.name, descriptions[coder.name], coder.label(setting))
                self.jobs[key] = coder, setting
                self.found[key] = kept.get(key)

    @property
    def missing(self) -> list[str]:
        """Keys of what is to be measured."""
        return [key for key, found in self.found.items() if found is None]

    @property
    def sizes(self) -> dict[tuple[str, str], int]:
        """Bytes of the files that were made of it so far, by codec and label of the setting."""
        return {(row.codec, row.setting): row.bytes for row in self.found.values() if isinstance(row, Row)}

    def unreadable(self, reason: str) -> None:
        """One failure is all that is known of it."""
        key = row_key(self.path.name, "", "", "", "")
        self.found = {key: Failure("", "", self.path.name, key, one_line(reason))}


def measure(paths: Sequence[Path], coders: Sequence[Coder], results: Path, progress: Progress) -> tuple[list[Row], list[Failure]]:
    """Rows for each image, codec and setting, in that order of nesting, and what failed.

    `results` is rewritten every few seconds.

    Rows of an earlier run whose key still holds are taken over; failures are tried again. Nothing of the file is lost
    by an interruption: what is measured is written then, and rows not yet reached stay in it.
    """
    kept = read_results(results)
    descriptions = {coder.name: coder.description for coder in coders}
    images = [_Image(path, coders, descriptions, kept) for path in paths]
    progress.start(sum(len(image.missing) for image in images))
    table = _Table(results, images)
    try:
        for number, image in enumerate(images, 1):
            _measure_image(image, number, progress, table)
    finally:
        progress.end()
        table.write()
    # Rows come from the file, rounded as it is, so that a run in one go and a resumed one report the same figures.
    return list(read_results(results).values()), [found for found in table.found() if isinstance(found, Failure)]


def _measure_image(image: _Image, number: int, progress: Progress, table: _Table) -> None:
    missing, name = image.missing, image.path.name
    if not missing:
        return
    try:
        pixels = load_rgb(image.path, "it")
    except UnsupportedImage as error:
        image.unreadable(str(error))
        progress.step(number, f"{printable(name)} cannot be measured", len(missing))
        return
    for key in missing:
        coder, setting = image.jobs[key]
        label = coder.label(setting)
        try:
            image.found[key] = measure_one(name, pixels, on_picture(coder, image.sizes), setting, key)
        except JahpError as error:
            image.found[key] = Failure(coder.name, label, name, key, one_line(str(error)))
        except MemoryError:
            image.found[key] = Failure(coder.name, label, name, key, "there is not enough memory for it")
        progress.step(number, f"{printable(name)} {coder.name} {label}")
        table.write_at_times()


class _Table:
    """results.csv, as far as it is known; written anew when that is a small part of the time that goes by."""

    def __init__(self, path: Path, images: Sequence[_Image]) -> None:
        self._path, self._images, self._next = path, images, time.monotonic() + 1

    def found(self) -> Iterable[Row | Failure]:
        return (found for image in self._images for found in image.found.values() if found is not None)

    def write(self) -> None:
        write_atomically(self._path, to_csv(self.found(), RESULT_COLUMNS).encode(errors="surrogateescape"))

    def write_at_times(self) -> None:
        began = time.monotonic()
        if began >= self._next:
            self.write()
            ended = time.monotonic()
            self._next = ended + max(1.0, 20 * (ended - began))


def measure_one(name: str, image: NDArray[np.uint8], coder: Coder, setting: float, key: str) -> Row:
    """Encode, decode and compare one image (H, W, 3). Raises JahpError where the codec fails on it."""
    start = time.perf_counter()
    data = coder.encode(image, setting)
    middle = time.perf_counter()
    decoded = coder.decode(data)
    end = time.perf_counter()
    if decoded.shape != image.shape:
        raise JahpError(f"it comes back in shape {decoded.shape} instead of {image.shape}")
    height, width = image.shape[:2]
    return Row(
        coder.name, coder.label(setting), name, len(data), 8 * len(data) / (height * width),
        psnr(image, decoded), ms_ssim(image, decoded), perceptual(image, decoded), middle - start, end - middle, key,
    )  # fmt: skip


def one_line(text: str) -> str:
    """An error as it stands in a table."""
    return printable(" ".join(text.split()))


def row_key(name: str, digest: str, codec: str, description: str, label: str) -> str:
    """16 hexadecimal digits over the image's name and its file's hash, codec and description, setting and metric."""
    parts = (name, digest, codec, description, label, perceptual_name() or "")
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


class Progress:
    """One line on standard error: image i of n, settings done, time left. On a terminal it is redrawn in place."""

    def __init__(self, images: int, stream: TextIO | None = None) -> None:
        self._images = images
        self._line = ProgressLine(stream)
        self._total = self._done = self._image = 0
        self._began = time.monotonic()

    def start(self, total: int) -> None:
        """`total` measurements lie ahead."""
        self._total, self._began = total, time.monotonic()

    def step(self, image: int, what: str, count: int = 1) -> None:
        """`count` measurements are done, of the image with that number from 1. Off a terminal: a line an image."""
        self._done += count
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        if self._line.live or image != self._image:
            self._line.show(f"image {image} of {self._images}, {self._done} of {self._total} measured, {clock(left)} left: {what}")
        self._image = image

    def end(self) -> None:
        """Clear the line."""
        self._line.clear()
