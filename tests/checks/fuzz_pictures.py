# SPDX-License-Identifier: Apache-2.0
"""Mutated picture files of every format that Pillow writes and opens, into the one place that reads pictures.

    PYTHONPATH=tests/support:tests python tests/checks/fuzz_pictures.py [--each 1000] [--seed 0] [--eval-each 50]

Each must be taken or refused by UnsupportedImage; anything else ends the run with the mutant's number. One in twenty of those that are
taken is encoded, decoded and written as TIFF as well. Prints a line per format: mutants, taken, refused. Then `--eval-each` mutants
of each format lie in one folder, which `jahp eval` measures as a whole: a row of an error or rows of figures for each of them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import random
import struct
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

FORMATS = (
    "AVIF", "BLP", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP", "PCX", "PNG", "PPM", "QOI", "SGI",
    "SPIDER", "TGA", "TIFF", "WEBP", "XBM", "CUR", "DCX", "FLI", "FTEX", "GBR", "PIXAR", "PSD", "SUN", "XPM",
)  # fmt: skip


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    grey = Image.radial_gradient("L").resize(size)
    return Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(45))).convert(mode)


def _ico(kind: int) -> bytes:
    out = io.BytesIO()
    picture("RGBA", (16, 16)).save(out, "ICO", sizes=[(16, 16)])
    data = out.getvalue()
    return data[:2] + struct.pack("<H", kind) + data[4:]


def _by_hand(kind: str) -> bytes:
    """Small files of formats that Pillow opens and does not write."""
    rgb, p = picture(), picture().quantize(16)
    if kind == "CUR":
        bmp = io.BytesIO()
        picture("RGB", (16, 16)).save(bmp, "DIB")
        body = bytearray(bmp.getvalue())
        body[8:12] = struct.pack("<i", 32)
        body += bytes(16 * 4)
        return struct.pack("<HHHBBBBHHII", 0, 2, 1, 16, 16, 0, 0, 0, 0, len(body), 22) + bytes(body)
    if kind == "DCX":
        pcx = io.BytesIO()
        rgb.save(pcx, "PCX")
        return struct.pack("<III", 0x3ADE68B1, 12, 0) + pcx.getvalue()
    if kind == "FLI":
        frame = struct.pack("<IHH8x", 16 + 6 + 64, 0xF1FA, 1) + struct.pack("<IH", 6 + 64, 16) + bytes(range(64))
        return struct.pack("<IHHHHHHI", 128 + len(frame), 0xAF11, 1, 8, 8, 8, 3, 70).ljust(128, b"\0") + frame
    if kind == "FTEX":
        return struct.pack("<4sIiiiiii", b"FTEX", 1, 8, 8, 1, 1, 1, 32) + struct.pack("<i", 192) + bytes(range(192))
    if kind == "GBR":
        return struct.pack(">IIIII4sI", 29, 2, 8, 8, 1, b"GIMP", 10) + b"\0" + bytes(range(64))
    if kind == "PIXAR":
        head = bytearray(1024)
        head[:4], head[416:420], head[424:428] = b"\200\350\000\000", struct.pack("<HH", 8, 8), struct.pack("<HH", 14, 2)
        return bytes(head) + bytes(range(192))
    if kind == "PSD":
        head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 32, 48, 8, 3) + bytes(12) + struct.pack(">H", 0)
        return head + b"".join(band.tobytes() for band in rgb.split())
    if kind == "SUN":
        return struct.pack(">8I", 0x59A66A95, 48, 32, 24, 48 * 32 * 3, 1, 0, 0) + rgb.tobytes()
    if kind == "XPM":
        rows = ['"' + "".join(".#"[x > 7] for x in p.crop((0, y, 16, y + 1)).tobytes()) + '"' for y in range(8)]
        return ('/* XPM */\nstatic char *a[] = {\n"16 8 2 1",\n". c #ff0000",\n"# c #0000ff",\n' + ",\n".join(rows) + "\n};\n").encode()
    raise AssertionError(kind)


def sample(kind: str) -> bytes:
    """A small sound file."""
    if kind in ("CUR", "DCX", "FLI", "FTEX", "GBR", "PIXAR", "PSD", "SUN", "XPM"):
        return _by_hand(kind)
    out, exif = io.BytesIO(), Image.Exif()
    exif[274], exif[270] = 6, "a picture"
    mode = {"BLP": "P", "MSP": "1", "XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
    image = picture().quantize(16) if mode == "P" else picture(mode)
    options = {"JPEG": {"exif": exif}, "PNG": {"exif": exif}, "WEBP": {"exif": exif}, "TIFF": {"exif": exif}, "ICO": {"sizes": [(16, 16)]}}
    if kind == "BLP":
        options[kind] = {"blp_version": "BLP2"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # IM
        image.save(out, kind, **options.get(kind, {}))
    return out.getvalue()


def mutants(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: bytes and words changed (those near the start oftener), cut, doubled, zeroed, shuffled."""
    rng = random.Random(seed)
    words = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
    for _ in range(count):
        made = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            at = rng.randrange(min(len(made), rng.choice((64, 512, len(made))))) if made else 0
            match rng.randrange(7):
                case 0 | 1 | 2:
                    made[at : at + 1] = bytes([rng.randrange(256)])
                case 3:
                    size = rng.choice((2, 4))
                    made[at : at + size] = (rng.choice(words) & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("big", "little")))
                case 4:
                    del made[at : at + rng.randrange(1, 40)]
                case 5:
                    made[at:at] = made[at : at + rng.randrange(1, 40)]
                case 6:
                    made[at:] = bytes(len(made) - at) if rng.randrange(2) else b""
        yield bytes(made)


@contextlib.contextmanager
def _most_pixels(count: int) -> Iterator[None]:
    """Pillow refuses pictures of more than twice as many."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = count
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def evaluate_mutants(folder: Path, each: int, seed: int) -> tuple[int, int]:
    """`jahp eval` on a folder of mutants, ours at one quality beside Pillow's JPEG; the numbers that were measured, and not.

    Raises AssertionError for a status that does not fit, a mutant without its rows, a row that is half, or an error of several lines.
    """
    from jahp_fast.cli import main as jahp
    from jahp_fast.evaluate.codecs import pillow_codec

    images, out = folder / "images", folder / "out"
    images.mkdir()
    for kind in FORMATS:
        for number, data in enumerate(mutants(sample(kind), each, seed)):
            (images / f"{kind}-{number}.png").write_bytes(data)
    told = io.StringIO()
    with _most_pixels(1 << 13), contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = jahp(["eval", str(images), "--out", str(out), "--qualities", "3", "--codecs", "jpeg420"])
    rows: dict[str, list[dict[str, str]]] = {}
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["image"], []).append(row)
    assert set(rows) == {path.name for path in images.iterdir()}
    settings = 1 + len(pillow_codec("jpeg420").settings)
    bad = 0
    for name, found in rows.items():
        errors = [row["error"] for row in found if row["error"]]
        bad += bool(errors)
        assert len(found) == (1 if errors and not found[0]["codec"] else settings), (name, found)
        assert all(e.isprintable() for e in errors), (name, errors)
        assert all(bool(row["error"]) != bool(row["bytes"] and row["psnr"]) for row in found), (name, found)
    assert status == (1 if bad else 0), told.getvalue()
    assert "Traceback" not in told.getvalue(), told.getvalue()
    for name in ("report.md", "summary.csv"):
        assert (out / name).stat().st_size > 0, name
    return len(rows) - bad, bad


def main() -> None:
    from jahp_fast import Codec
    from jahp_fast.errors import UnsupportedImage
    from jahp_fast.files import pictures
    from jahp_fast.files.image import split

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=1000, help="mutants per format (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eval-each", type=int, default=50, help="mutants per format for jahp eval (default 50)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = 1 << 22
    codec, total = Codec(), 0
    for kind in FORMATS:
        taken = refused = 0
        for number, data in enumerate(mutants(sample(kind), args.each, args.seed)):
            try:
                image = pictures.read(data, f"{kind} {number}", most=1 << 20)
                parts = split(image)
                taken += 1
                if taken % 20 == 0 and parts.rows.width * parts.rows.height < 1 << 14:
                    pictures.saved(codec.decode_pil(codec.encode(image)), "TIFF", "it")
            except UnsupportedImage:
                refused += 1
            except BaseException as e:
                sys.exit(f"{kind} {number} of seed {args.seed}: {type(e).__name__}: {e}")
        total += args.each
        print(f"{kind:9} {args.each:6} mutants, {taken:6} taken, {refused:6} refused", flush=True)
    print(f"{total} mutants of {len(FORMATS)} formats")
    with tempfile.TemporaryDirectory() as folder:
        measured, failed = evaluate_mutants(Path(folder), args.eval_each, args.seed)
    print(f"jahp eval: {measured} measured, {failed} not")


if __name__ == "__main__":
    main()
