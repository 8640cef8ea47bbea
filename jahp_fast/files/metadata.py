# SPDX-License-Identifier: Apache-2.0
"""What of a PIL image's metadata a .jahp file holds: ICC profile, EXIF, XMP, and code points of colours (`info["cicp"]`, 4 bytes).

EXIF is kept as it stood in the source, byte by byte, where it describes and nothing else. Blocks with tags that say how a TIFF file
lies on the disk (strips, compression, planes, sizes) are written anew without them: they would spoil whatever is made of them later.
"""

from __future__ import annotations

import re
import warnings
import weakref
from typing import Any

from PIL import Image, ImageFile

from jahp_fast.errors import LossWarning

KEPT = ("icc_profile", "exif", "xmp")
ORIENTATION = 0x0112
DESCRIPTIVE = frozenset({
    0x010D, 0x010E, 0x010F, 0x0110, 0x0112, 0x011A, 0x011B, 0x011D, 0x0128, 0x012D, 0x0131, 0x0132, 0x013B, 0x013C, 0x013E, 0x013F,
    0x0211, 0x0213, 0x0214, 0x4746, 0x4749, 0x8298, 0x8769, 0x8825, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, 0xA005, 0xC4A5,
})  # fmt: skip
"""Tags of the first directory that describe a picture (CIPA DC-008, tables 3 to 6, and Windows' own): names, dates, camera, resolution,
orientation, white point, copyright, and the Exif and GPS directories."""
_DIRECTORIES = (0x8769, 0x8825)
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(="|>)([1-8])')
_XMP_ORIENTATION_WHOLE = re.compile(rb'\s*tiff:Orientation="[0-9]"|<tiff:Orientation>[0-9]</tiff:Orientation>')


class Given(bytes):
    """In an image's `info`: metadata that belong to the pixels of this very image, so that their orientation holds.

    Pillow hands `info` on to whatever is made of an image; there it says nothing more.
    """

    def __new__(cls, data: bytes, image: Image.Image) -> Given:
        made = super().__new__(cls, data)
        made._image = weakref.ref(image)
        return made

    _image: weakref.ref[Image.Image]

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (bytes(self),)

    @staticmethod
    def holds(value: Any, image: Image.Image) -> bool:
        """Whether `value`, out of the image's `info`, was given for it."""
        return isinstance(value, Given) and value._image() is image


def parsed_exif(data: bytes) -> Image.Exif | None:
    """The tags of an EXIF block, with or without its prefix; None for one that Pillow cannot parse and write again."""
    exif = Image.Exif()
    try:
        exif.load(data)
        exif.tobytes()
    except Exception:  # struct.error, SyntaxError, KeyError ...: the block is damaged, and that is the answer
        return None
    return exif


def descriptive_exif(exif: Image.Exif) -> bytes:
    """The block of those tags that describe the picture; b"" where none does."""
    for tag in [tag for tag in exif if tag not in DESCRIPTIVE]:
        del exif[tag]
    return exif.tobytes() if len(exif) else b""


def without_orientation(data: bytes) -> bytes:
    """An EXIF block without the orientation tag; as it is where it has none or is damaged."""
    exif = parsed_exif(data)
    if exif is None or ORIENTATION not in exif:
        return data
    del exif[ORIENTATION]
    return exif.tobytes() if len(exif) else b""


def orientation_of(image: Image.Image) -> int:
    """1 to 8, by the image's EXIF or, without a tag there, its XMP, as viewers take it; 1 where none says."""
    exif = parsed_exif(image.info.get("exif") or b"")
    value = exif.get(ORIENTATION) if exif is not None else None
    if value is None and (said := _XMP_ORIENTATION.search(_bytes(image.info.get("xmp")))):
        value = int(said[2])
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def exif_of(image: Image.Image) -> bytes:
    """The EXIF block to keep of a PIL image, b"" where it has none.

    What was changed by way of `image.getexif()` counts. The orientation belongs to the pixels of the file: it is kept for an image as
    it was opened or decoded, or where it was set by `getexif`; of one that was made from another (by transpose, crop, convert) it is left
    out with a LossWarning, because nobody can know whether the pixels were turned.
    """
    stored = image.info.get("exif") or b""
    raw = stored.tobytes() if isinstance(stored, Image.Exif) else stored if isinstance(stored, bytes) else _bytes(stored)
    parsed = parsed_exif(raw) if raw else None
    if raw and parsed is None:
        return bytes(raw)  # damaged; a decoder hands it on as it stood
    given = Given.holds(stored, image) or isinstance(stored, Image.Exif)
    edited = None if isinstance(stored, Image.Exif) else _edited(image, parsed)
    if edited is not None:
        return descriptive_exif(edited)
    if parsed is None or not len(parsed):
        return b""
    if ORIENTATION in parsed and not given and not isinstance(image, ImageFile.ImageFile):
        if parsed[ORIENTATION] != 1:
            _warn_of_orientation("EXIF")
        raw = without_orientation(raw)
        parsed = parsed_exif(raw)
        if parsed is None or not raw:
            return b""
    return bytes(raw) if all(tag in DESCRIPTIVE for tag in parsed) else descriptive_exif(parsed)


def xmp_of(image: Image.Image) -> bytes:
    """The XMP packet to keep of a PIL image, b"" where it has none; its orientation follows the rule of `exif_of`."""
    stored = image.info.get("xmp")
    raw = _bytes(stored)
    said = _XMP_ORIENTATION.search(raw)
    if said is None or Given.holds(stored, image):
        return raw
    taken_out = False
    if isinstance(image, ImageFile.ImageFile):
        try:
            taken_out = ORIENTATION not in image.getexif()  # where Pillow has put it
        except Exception:  # struct.error, SyntaxError, KeyError ...: the EXIF block is damaged, and nobody can have taken it out
            return raw
        if not taken_out:
            return raw
    if said[2] != b"1" and not taken_out:
        _warn_of_orientation("XMP")
    return _XMP_ORIENTATION_WHOLE.sub(b"", raw)


def _warn_of_orientation(block: str) -> None:
    warnings.warn(LossWarning(
        f"its {block} orientation is left out, since the image was changed after it was opened: call ImageOps.exif_transpose first, or "
        "set image.getexif()[274] to what is right now"), stacklevel=3)  # fmt: skip


def _edited(image: Image.Image, stored: Image.Exif | None) -> Image.Exif | None:
    """The image's tags where they are others than its file's; None where they are those, or damaged."""
    try:
        now = image.getexif()
        if ORIENTATION in now and (stored is None or ORIENTATION not in stored):
            said = _XMP_ORIENTATION.search(_bytes(image.info.get("xmp")))
            if said and now[ORIENTATION] == int(said[2]):  # Pillow has put it there, out of XMP
                now = _copied(now)
                del now[ORIENTATION]
        if not len(now) and stored is None:
            return None
        if stored is not None and now.tobytes() == stored.tobytes():
            return None
        return _copied(now)
    except Exception:  # struct.error, SyntaxError, KeyError ...: the block is damaged, and that is the answer
        return None


def _copied(exif: Image.Exif) -> Image.Exif:
    """The tags that describe, in a block of their own: the tags of a BigTIFF file would be written with its wide offsets."""
    copy = Image.Exif()
    for tag in exif:
        if tag in DESCRIPTIVE and tag not in _DIRECTORIES:
            copy[tag] = exif[tag]
    for tag in _DIRECTORIES:
        if inner := exif.get_ifd(tag):
            copy.get_ifd(tag).update(inner)
    return copy


def _bytes(value: Any) -> bytes:
    """Metadata that ought to be bytes; text is encoded, anything else is none."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else b""


def chunks_of(image: Image.Image, mode: str) -> dict[bytes, bytes]:
    """The chunks of a PIL image that is coded as "RGB" or "L". A profile of other colours is left out with a LossWarning."""
    profile = _bytes(image.info.get("icc_profile"))
    if profile[36:40] == b"acsp" and profile[16:20] != (b"GRAY" if mode == "L" else b"RGB "):
        space = profile[16:20].decode("ascii", "replace").strip()
        warnings.warn(LossWarning(f"its ICC profile is for {space}, not for {mode}, and is left out"), stacklevel=2)
        profile = b""
    cicp = _bytes(image.info.get("cicp"))
    found = {b"iccp": profile, b"exif": exif_of(image), b"xmp_": xmp_of(image), b"cicp": cicp if len(cicp) == 4 else b""}
    return {kind: data for kind, data in found.items() if data}
