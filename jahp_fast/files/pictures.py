# SPDX-License-Identifier: Apache-2.0
"""Picture files in and out through Pillow: the one place where what Pillow raises becomes an error of ours.

Pillow's parsers raise nearly anything on damaged files (RuntimeError for AVIF, NotImplementedError for DDS, AttributeError for
SPIDER, struct.error for TIFF ...), so everything that touches a file of somebody else's runs inside `library_errors`.

Orientation: the EXIF tag is metadata. It is kept and never applied by itself. `oriented` turns the pixels and clears the tag, on
request; `saved` does so where the format that is written cannot hold the tag, and says so by a LossWarning. (Of TIFF files alone
Pillow turns the pixels itself as it reads them, and the tag is gone before anybody here sees it.)
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from jahp_fast.errors import JahpError, LossWarning, UnsupportedImage, UsageError
from jahp_fast.files import deep_pictures
from jahp_fast.files.deep import DeepPicture
from jahp_fast.files.metadata import KEPT, descriptive_exif, orientation_of, parsed_exif

EXIF_PREFIX = b"Exif\0\0"
HOLD_EXIF = frozenset({"AVIF", "HEIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"})
"""Formats that carry an EXIF block when Pillow writes them."""
_NO_PICTURES = frozenset({"MPEG"})
"""Formats that Pillow knows by their beginning and has no decoder for, beside its stubs."""
SAVE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "JPEG": {"quality": 97, "subsampling": 0},
    "MPO": {"quality": 97, "subsampling": 0},
    "WEBP": {"lossless": True},
}
"""What a decoded picture is written with where Pillow's own choice would lose much of it again."""
_TIFF_XMP = 700
_SAID = {"icc_profile": "ICC profile", "xmp": "XMP"}
LOSSY = frozenset({"AVIF", "JPEG", "MPO"})
DEEP = "it has more than 8 bits per channel, of which 8 are kept"
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
"""By EXIF's orientation: whether left and right change places first, and how many quarter turns to the left follow."""
CUT = "{} is written with 8 bits a channel, rounded from 16; png without options has all"
_CONVERT = "convert it to sRGB, or give it an ICC profile"


@contextmanager
def library_errors(what: str, *, memory: bool = False) -> Iterator[None]:
    """Whatever an image library raises inside becomes UnsupportedImage: `what` and the reason. Our own errors and warnings pass.

    memory: a MemoryError too, where sizes come out of a damaged file; else it passes.
    """
    try:
        yield
    except (JahpError, LossWarning):  # a warning is raised where the caller has made errors of warnings
        raise
    except MemoryError:
        if memory:
            raise UnsupportedImage(f"{what}: it asks for more memory than there is") from None
        raise
    except UnidentifiedImageError:
        raise UnsupportedImage(f"{what}: it is of no format that Pillow knows") from None
    except Exception as e:  # not a fault hidden but one named: see the top of this page
        raise UnsupportedImage(f"{what}: {str(e).strip() or type(e).__name__}".replace("\n", " ")) from None


def read_all(data: bytes | bytearray | memoryview, name: str) -> Image.Image | DeepPicture:
    """`read`, with samples of more than 8 bits where they can be had: deep_pictures."""
    image, cut = _opened(data, name, None, None, deep_pictures.readable)
    if not cut:
        return image
    with library_errors(f"{name}: its samples of more than 8 bits cannot be read, convert it to 8 bits first", memory=True):
        return DeepPicture(deep_pictures.samples(data, image, name), image)


def read(data: bytes | bytearray | memoryview, name: str, formats: Sequence[str] | None = None, most: int | None = None) -> Image.Image:
    """A picture file, its pixels loaded, with a LossWarning for what a .jahp file will not hold of it.

    Args:
        name: of the file, for messages.
        formats: Pillow's names of the formats that are tried; by default all of them.
        most: pixels that are allowed; by default Pillow's own limit alone.

    Raises:
        UnsupportedImage: it cannot be read.
        TooLarge: more than `most` pixels, or more than Pillow allows; nothing was decoded.
    """
    return _opened(data, name, formats, most, lambda _: False)[0]


def _opened(
    data: bytes | bytearray | memoryview,
    name: str,
    formats: Sequence[str] | None,
    most: int | None,
    kept: Callable[[Image.Image], bool],
) -> tuple[Image.Image, bool]:
    """As read, and whether Pillow has cut its samples down and `kept` says that they will be had otherwise."""
    with library_errors(f"{name} is not an image that can be read", memory=True):
        try:
            image = Image.open(io.BytesIO(data), formats=None if formats is None else tuple(formats))
        except Image.DecompressionBombError as e:
            raise TooLarge(f"{name} is not an image that can be read: {e}") from None
        except UnidentifiedImageError:
            taken = "that Pillow knows" if formats is None else "that is taken: " + ", ".join(formats)
            raise UnsupportedImage(f"{name} is not an image of a format {taken}") from None
        if most is not None and image.width * image.height > most:
            raise TooLarge(f"{image.width} x {image.height} pixels are more than {most}")
        for loss in colour_losses(image, data):
            warnings.warn(LossWarning(loss), stacklevel=3)
        if points := cicp_of(image, data):
            image.info["cicp"] = points
        cut = deep(image) and kept(image)
        warn_of_losses(image, cut)
        image.load()
        return image, cut


class TooLarge(UnsupportedImage):
    """An image of more pixels than are allowed."""


def warn_of_losses(image: Image.Image, deep_kept: bool = False) -> None:
    """A LossWarning for what the pixels of an opened file, not loaded yet, lose as pictures of one frame, of 8 bits but for deep_kept."""
    if deep(image) and not deep_kept:
        hint = "" if image.format not in deep_pictures.FORMATS else "; the extra jahp_fast[deep] keeps them in `jahp encode`"
        warnings.warn(LossWarning(DEEP + hint), stacklevel=3)
    # Photos of phones carry previews as further frames of an MPO, and layers are frames to the PSD plugin.
    frames = 1 if image.format in ("MPO", "PSD", None) else int(getattr(image, "n_frames", 1))
    if frames > 1:
        at = image.tell() + 1
        warnings.warn(LossWarning(f"it has {frames} frames, of which number {at} alone is taken"), stacklevel=3)


def deep(image: Image.Image) -> bool:
    """Whether Pillow cuts the file's samples down to 8 bits, as the raw mode of its tiles, not loaded yet, tells."""
    if image.mode not in ("L", "LA", "RGB", "RGBA", "RGBX", "P"):
        return False  # refused, or deep in Pillow's hands as well
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(a, str) and (";16" in a or ";12" in a or ";10" in a) for a in args):
            return True
        if image.format == "PPM" and any(isinstance(a, int) and a > 255 for a in args[1:]):
            return True
    return False


def colour_losses(image: Image.Image, data: bytes | bytearray | memoryview) -> list[str]:
    """What the file says of its colours that neither an ICC profile nor a .jahp file repeats; one sentence each."""
    head = bytes(data[: 1 << 16])
    lost = []
    if image.format == "AVIF":
        at = head.find(b"av1C")
        if at >= 0 and len(head) > at + 6 and head[at + 6] & 0x40:  # high_bitdepth (AV1-ISOBMFF, 2.3.3)
            lost.append(DEEP)
    if image.format == "JPEG2000":
        at = head.find(b"ihdr")
        if at >= 0 and len(head) > at + 14 and head[at + 14] != 255 and (head[at + 14] & 0x7F) > 7:
            lost.append(DEEP)
    if image.info.get("icc_profile") or cicp_of(image, data):
        return lost
    gamma, primaries_xy = image.info.get("gamma"), image.info.get("chromaticity")
    srgb = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    unlike = primaries_xy is not None and any(abs(a - b) > 0.002 for a, b in zip(primaries_xy, srgb, strict=False))
    if "srgb" not in image.info and ((gamma and abs(float(gamma) - 0.45455) > 0.005) or unlike):
        lost.append(f"its colours are described by gAMA and cHRM, which are not kept: {_CONVERT}")
    return lost


def cicp_of(image: Image.Image, data: bytes | bytearray | memoryview) -> bytes:
    """What the file says of its colours by code points of ITU-T H.273: primaries, transfer, 0 and 1, as cICP has them of RGB; b"" where
    it says nothing, or sRGB, or what stands for that. A profile wins over AVIF's, and loses to PNG's."""
    head = bytes(data[: 1 << 16])
    if image.format == "PNG":
        points = head.partition(b"IDAT")[0].partition(b"\0\0\0\4cICP")[2][:4]
        return points if len(points) == 4 and points[:2] not in (b"\1\x0d", b"\2\2") else b""
    at = head.find(b"colrnclx")
    if image.format != "AVIF" or image.info.get("icc_profile") or not 0 <= at < len(head) - 12:
        return b""
    primaries, transfer = head[at + 9], head[at + 11]
    return b"" if primaries in (1, 2) and transfer in (1, 2, 6, 13) else bytes([primaries, transfer, 0, 1])


def turned(image: Image.Image | DeepPicture, name: str) -> Image.Image | DeepPicture:
    """`oriented`, of deep pictures too."""
    if isinstance(image, Image.Image):
        return oriented(image, name)
    flip, turns = _TURNS.get(orientation_of(image.image), (False, 0))
    samples = image.samples[:, ::-1] if flip else image.samples
    return DeepPicture(np.ascontiguousarray(np.rot90(samples, turns)), oriented(image.image, name))


def oriented(image: Image.Image, name: str) -> Image.Image:
    """The image with its pixels turned as its orientation tag says, and without the tag; as it is where there is none."""
    with library_errors(f"{name} cannot be turned as its orientation says"):
        return ImageOps.exif_transpose(image)


def format_of(suffix: str) -> str | None:
    """Pillow's name of the format that is written for a file ending (".png"), None where it writes none."""
    kind = Image.registered_extensions().get(suffix.lower())
    return kind if kind in Image.SAVE and has_pixels(kind) else None


def has_pixels(kind: str) -> bool:
    """Whether Pillow itself reads or writes pixels of this format; it only names some (BUFR, GRIB, HDF5, MPEG, WMF)."""
    reader = Image.OPEN[kind][0] if kind in Image.OPEN else None
    return kind not in _NO_PICTURES and not (isinstance(reader, type) and issubclass(reader, ImageFile.StubImageFile))


@contextmanager
def told(name: str) -> Iterator[None]:
    """Each warning that arises inside becomes one line on standard error, behind `name`. Not for several threads at a time."""
    with noted() as notes:
        yield
    for note in notes:
        print(f"{name}: {note}", file=sys.stderr)


@contextmanager
def noted() -> Iterator[list[str]]:
    """The warnings that arise inside, each once, in a list that is filled at the end. Not for several threads at a time."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LossWarning)
        yield notes
    notes += dict.fromkeys(" ".join(str(w.message).split()) for w in caught)


def save_options(words: Sequence[str]) -> dict[str, Any]:
    """Pillow's options of words like quality=90, lossless=true, compression=tiff_lzw. Raises UsageError."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--save-option takes NAME=VALUE, like quality=90, not {word!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def saved(image: Image.Image, kind: str, name: str, options: Mapping[str, Any] | None = None) -> bytes:
    """A picture file of Pillow's format `kind`, with the metadata in the image's `info` that it can hold.

    Formats that lose are written nearly without loss (SAVE_OPTIONS) unless `options`, Pillow's own, say otherwise. What the
    file does not hold of the picture is said by a LossWarning.

    Raises UnsupportedImage for pictures that the format cannot hold as they are; png holds all.
    """
    exif = image.info.get("exif")
    if kind not in HOLD_EXIF and orientation_of(image) != 1:
        warnings.warn(LossWarning(f"{kind} holds no orientation: the pixels are turned as it says"), stacklevel=2)
        image = oriented(image, name)
    metadata = {key: image.info[key] for key in KEPT if image.info.get(key) and key != "exif"}
    if exif and kind in HOLD_EXIF:
        parsed = parsed_exif(exif)
        if kind == "TIFF":  # the tags become the file's own: nothing but descriptions may come among them
            metadata |= {"exif": descriptive_exif(parsed)} if parsed is not None else {}
        else:
            metadata["exif"] = EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX)
        if kind == "TIFF" and parsed is None:
            warnings.warn(LossWarning("its EXIF block is damaged, and is left out"), stacklevel=2)
    if kind == "AVIF" and exif and parsed_exif(exif) is None:
        metadata.pop("exif", None)
        warnings.warn(LossWarning("its EXIF block is damaged, and is left out"), stacklevel=2)
    if kind == "PNG" and (xmp := metadata.pop("xmp", None)):  # Pillow reads it there, and does not write it
        metadata["pnginfo"] = PngInfo()
        metadata["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    if kind == "TIFF" and (xmp := metadata.pop("xmp", None)):
        tags = Image.Exif()
        if metadata.get("exif"):
            tags.load(metadata["exif"])
        tags[_TIFF_XMP] = xmp
        metadata["exif"] = tags
    if image.info.get("cicp"):
        said = f"its colours are described by cicp, which {kind} does not hold as Pillow writes it; png without options does"
        warnings.warn(LossWarning(said), stacklevel=2)
    chosen = {**SAVE_OPTIONS.get(kind, {}), **(options or {})}
    if kind in LOSSY and not options:
        said = ", ".join(f"{k}={v}" for k, v in chosen.items())
        warnings.warn(LossWarning(f"{kind} loses a little once more, written with {said}; --save-option changes that"), stacklevel=2)
    buffer = io.BytesIO()
    with library_errors(f"{name} cannot be written as {kind}; png always works"):
        image.save(buffer, kind, **metadata, **chosen)
        if kind in Image.OPEN:
            written = Image.open(io.BytesIO(buffer.getvalue()), formats=(kind,))
            size = written.size
            if sorted(size) != sorted(image.size):  # Pillow turns TIFF files by their tag as it opens them
                raise UnsupportedImage(
                    f"{name} cannot be written as {kind}: it would have {size[0]} x {size[1]} pixels, not "
                    f"{image.width} x {image.height}; png always works"
                )
            lost = [said for key, said in _SAID.items() if image.info.get(key) and not written.info.get(key)]
            if image.info.get("exif") and kind not in HOLD_EXIF:
                lost.append("EXIF")
            if lost:
                warnings.warn(LossWarning(f"{kind} holds no {', no '.join(lost)}, which the picture has"), stacklevel=3)
    if kind == "GIF":
        warnings.warn(LossWarning("GIF holds 256 colours"), stacklevel=2)
    return buffer.getvalue()
