# SPDX-License-Identifier: Apache-2.0
"""Pillow reads and writes .jahp files once this module is imported: format "JAHP", MIME type image/jahp.

    import jahp_fast.integrations.pillow
    Image.open("photo.png").save("photo.jahp", quality=4)
    Image.open("photo.jahp").show()

`Image.open` reads the header and the metadata; pixels are decoded when they are first needed. Modes: RGB, RGBA, L, LA. Pillow has no
entry point by which it would find plugins by itself, so the import is needed.

`draft` makes the picture smaller before it is decoded, by 2, 4, 8 or 16, and `thumbnail` uses it by itself, as for JPEG.

Options of `save`: quality (1 to 12, 4 by default), model (a name, see Codec), effort, tune, max_bytes, target_bpp, target_psnr,
target_ssimulacra2, lossless, max_error (see Codec.encode), and icc_profile, exif, xmp, which replace the image's own; None or b"" leaves
them out. Modes 1, P, PA and images with a transparent colour are converted. EXIF is kept without being asked for. Its orientation is kept
for an image as it was opened; one that was made from it (by transpose, convert ...) has lost it, as with Pillow's own formats, with a
LossWarning.

Whoever catches Pillow's errors, subclasses of OSError, catches these too.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile

from jahp_fast.errors import FormatError, JahpError, UnsupportedImage
from jahp_fast.files import container
from jahp_fast.files.metadata import Given, exif_of, xmp_of
from jahp_fast.files.view import SCALES

if TYPE_CHECKING:
    from jahp_fast.codec import Codec

FORMAT = "JAHP"
MIME = "image/jahp"
EXTENSION = ".jahp"
_OPTIONS = ("effort", "tune", "max_bytes", "target_bpp", "target_psnr", "target_ssimulacra2", "lossless", "max_error")
_METADATA = ("icc_profile", "exif", "xmp")


class UnreadableImage(FormatError, OSError):
    """A .jahp file whose pixels cannot be decoded, or whose model is not found."""


class UnwritableImage(UnsupportedImage, OSError):
    """An image that .jahp cannot hold."""


@lru_cache(maxsize=4)
def _codec(model: str, quality: float) -> Codec:
    from jahp_fast.codec import Codec

    return Codec(model, quality=quality)


def _decode(data: bytes, scale: int) -> Any:
    from jahp_fast.codec import decode

    return decode(data, scale=scale)


class JahpImageFile(ImageFile.ImageFile):
    """What Image.open returns for a .jahp file."""

    format = FORMAT
    format_description = "Learned image codec (mbt2018)"
    _data: bytes | None = None
    """The file, until its pixels are decoded. Of the class, because Pillow unpickles images without opening them."""
    _scale = 1

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        try:
            stream = container.unpack(data)
        except FormatError as e:
            raise SyntaxError(str(e)) from None  # by which Pillow knows that it should try other formats
        self._data = data
        self._size = stream.size
        self._mode = stream.mode + ("" if b"ALPH" not in stream.chunks else "A")
        for kind, name in container.METADATA_CHUNKS.items():
            if kind in stream.chunks and name in _METADATA:
                self.info[name] = stream.chunks[kind]
        said: dict[str, Any] = {"quality": stream.asked_quality, "model": stream.model.hex()}
        if stream.exact is not None:
            said = {"max_error": stream.exact.bound}
        self.info.update(said)
        self.tile = []

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Makes the image as small as can be decoded at once without a side falling below `size`. Its mode stays.

        Returns what Pillow's JPEG plugin returns, the mode and the box of the image in its new size; None where pixels are there already,
        or have been asked for at another size.
        """
        if self._data is None or self._scale > 1 or size is None:
            return None
        scale = max(s for s in SCALES if s == 1 or s <= min(self.width // max(size[0], 1), self.height // max(size[1], 1)))
        box = 0, 0, self.width / scale, self.height / scale
        self._scale, self._size = scale, (-(-self.width // scale), -(-self.height // scale))
        return self.mode, box

    def load(self) -> Any:
        """Decodes at the first call. Raises UnreadableImage."""
        if self._data is not None:
            try:
                pixels = _decode(self._data, self._scale)
            except JahpError as e:
                raise UnreadableImage(str(e)) from e
            self._data = None
            if self.mode == "LA":
                pixels = np.ascontiguousarray(pixels[:, :, [0, 3]])
            if self.fp is not None and getattr(self, "_exclusive_fp", False):
                self.fp.close()
            self.fp = io.BytesIO(pixels.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Nothing to seek for: pixels lie in memory."""


def _given(value: Any, image: Image.Image) -> Any:
    value = value.tobytes() if isinstance(value, Image.Exif) else value or b""
    return Given(value, image) if isinstance(value, bytes) else value


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    options: dict[str, Any] = dict(getattr(image, "encoderinfo", {}))
    plain = image
    if any(name in options for name in _METADATA):
        plain = image.copy()
        for name, own in (("exif", exif_of), ("xmp", xmp_of), ("icc_profile", lambda image: image.info.get("icc_profile"))):
            plain.info[name] = _given(options[name] if name in options else own(image), plain)
    codec: Any = _codec(options.get("model", "mbt2018"), float(options.get("quality", 4.0)))
    try:
        data = codec.encode(plain, **{name: options[name] for name in _OPTIONS if name in options})
    except UnsupportedImage as e:
        raise UnwritableImage(str(e)) from e
    fp.write(data)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


Image.register_open(FORMAT, JahpImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME)
