# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found: figures and failures, their CSV, and means over images.

`results.csv` has a line an image and setting; `key` is a hash of everything the line depends on (the image file's
bytes, the codec's description, the setting, the metrics), by which an interrupted run knows which lines still hold. A
line with an `error` has no figures; the next run tries it again.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from jahp_fast.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Row:
    """One image at one setting. `bytes` is the whole file, `bpp` bits per pixel, `psnr` in dB, times in wall seconds."""

    codec: str
    setting: str
    image: str
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    ssimulacra2: float
    encode_s: float
    decode_s: float
    key: str


@dataclass(frozen=True)
class Failure:
    """An image that a codec failed on at one setting, or that could not be read (`codec` and `setting` are empty then).

    `error` says why, on one line.
    """

    codec: str
    setting: str
    image: str
    key: str
    error: str


@dataclass(frozen=True)
class Mean:
    """Arithmetic means over the images of one codec and setting (`psnr` is the mean of the images' dB).

    Images without a metric (nan) are left out of its mean: `ms_ssim_images` is how many it stands for, `ms_ssim_bpp`
    the mean rate of these alone. A mean over no image is nan. `psnr` is of all `images`, whose mean rate is `bpp`.
    """

    codec: str
    setting: str
    images: int
    bytes: float
    bpp: float
    psnr: float
    ms_ssim: float
    ms_ssim_images: int
    ms_ssim_bpp: float
    ssimulacra2: float
    ssimulacra2_images: int
    ssimulacra2_bpp: float
    encode_s: float
    decode_s: float


ROW_COLUMNS = tuple(f.name for f in fields(Row))
RESULT_COLUMNS = (*ROW_COLUMNS, "error")
MEAN_COLUMNS = tuple(f.name for f in fields(Mean))
_FORMATS = {
    "bpp": ".6f", "psnr": ".4f", "ms_ssim": ".6f", "ms_ssim_bpp": ".6f", "ssimulacra2": ".3f", "ssimulacra2_bpp": ".6f",
    "encode_s": ".4f", "decode_s": ".4f", "bd_rate": ".3f", "low": ".4f", "high": ".4f",
}  # fmt: skip


def to_csv(rows: Iterable[DataclassInstance], columns: Sequence[str]) -> str:
    """A header of the columns and a line for each row, any dataclass; floats with fixed decimals, nan and inf as words."""
    lines = [",".join(columns)]
    for row in rows:
        values = asdict(row)
        lines.append(",".join(_field(name, values[name]) if name in values else "" for name in columns))
    return "\n".join(lines) + "\n"


def _field(name: str, value: object) -> str:
    text = format(value, _FORMATS.get(name, ".1f" if isinstance(value, float) else ""))
    # csv.writer leaves a lone carriage return unquoted (before Python 3.13), which csv.reader then refuses.
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def is_results(path: Path) -> bool:
    """Whether the file looks like a results.csv of ours, by its first columns."""
    try:
        with path.open("rb") as file:
            return file.read(64).startswith(",".join(ROW_COLUMNS[:5]).encode())
    except OSError:
        return False


def read_results(path: Path) -> dict[str, Row]:
    """The measured rows of an earlier results.csv by key; empty without the file. UsageError for some other file."""
    try:
        # Not by text mode, which would change line ends within names.
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read as the results of an earlier run: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = {}
    try:
        # Reports that were made before there was a column for errors can be read as well.
        if tuple(reader.fieldnames or ()) not in (RESULT_COLUMNS, ROW_COLUMNS):
            raise UsageError(f"{path}: not the results of an earlier run (its columns differ); move it away or choose another --out")
        for record in reader:
            if not record.get("error"):
                row = _row(record)
                rows[row.key] = row
    except (TypeError, ValueError, csv.Error) as error:
        line = reader.line_num
        raise UsageError(f"{path}: line {line} is damaged; move the file away or choose another --out") from error
    return rows


def _row(record: Mapping[str, str]) -> Row:
    """Raises TypeError or ValueError for a line that is short or holds no numbers."""
    return Row(
        codec=record["codec"], setting=record["setting"], image=record["image"], bytes=int(record["bytes"]),
        bpp=float(record["bpp"]), psnr=float(record["psnr"]), ms_ssim=float(record["ms_ssim"]),
        ssimulacra2=float(record["ssimulacra2"]), encode_s=float(record["encode_s"]),
        decode_s=float(record["decode_s"]), key=record["key"],
    )  # fmt: skip


def means(rows: Sequence[Row]) -> list[Mean]:
    """One Mean for each codec and setting, in order of first appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.setting), []).append(row)
    result = []
    for (codec, setting), members in groups.items():
        similar = [r for r in members if not math.isnan(r.ms_ssim)]
        perceived = [r for r in members if not math.isnan(r.ssimulacra2)]
        result.append(
            Mean(
                codec, setting, len(members), _mean([r.bytes for r in members]), _mean([r.bpp for r in members]),
                _mean([r.psnr for r in members]),
                _mean([r.ms_ssim for r in similar]), len(similar), _mean([r.bpp for r in similar]),
                _mean([r.ssimulacra2 for r in perceived]), len(perceived), _mean([r.bpp for r in perceived]),
                _mean([r.encode_s for r in members]), _mean([r.decode_s for r in members]),
            )
        )  # fmt: skip
    return result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
