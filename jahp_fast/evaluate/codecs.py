# SPDX-License-Identifier: Apache-2.0
"""The codecs that `jahp eval` and `jahp demo` compare: each a name, a list of settings, encode and decode.

A new one is one more entry in `PILLOW_CODECS`, or an object of the `Coder` protocol where Pillow does not reach.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL import __version__ as pillow_version

from jahp_fast.errors import JahpError, UsageError
from jahp_fast.files.pictures import library_errors

if TYPE_CHECKING:
    from jahp_fast import Codec

OUR_QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


class Coder(Protocol):
    """What the evaluation needs of a codec. `settings` ascend in quality; every setting is a number that `encode` understands."""

    @property
    def name(self) -> str:
        """Short and unique: the `codec` column."""

    @property
    def description(self) -> str:
        """One line for the report: options and the library's version. A change of it invalidates kept results."""

    @property
    def settings(self) -> Sequence[float]: ...

    def label(self, setting: float) -> str:
        """The `setting` column, such as q=50."""

    def encode(self, image: NDArray[np.uint8], setting: float) -> bytes:
        """(H, W, 3) uint8 -> the whole file. Raises JahpError where the codec does not take the image."""

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The file -> (H, W, 3) uint8. Raises JahpError."""


@dataclass(frozen=True)
class PillowCodec:
    """A format that Pillow writes; `options(setting, image)` are the keyword arguments of `Image.save`."""

    name: str
    group: str
    format: str
    parameter: str
    settings: Sequence[float]
    options: Callable[[float, NDArray[np.uint8]], dict[str, Any]]
    words: str
    library: tuple[str, str]

    @property
    def description(self) -> str:
        feature, title = self.library
        version = features.version(feature)
        if feature == "jpg" and features.check_feature("libjpeg_turbo"):
            # version("jpg") is the emulated interface, 6.2 for every libjpeg-turbo.
            title, version = "libjpeg-turbo", features.version_feature("libjpeg_turbo")
        return f"{self.words}; {title} {version}, Pillow {pillow_version}"

    def label(self, setting: float) -> str:
        return f"{self.parameter}={setting:g}"

    def encode(self, image: NDArray[np.uint8], setting: float) -> bytes:
        out = io.BytesIO()
        with library_errors(f"{self.name} does not encode it"):
            Image.fromarray(image).save(out, format=self.format, **self.options(setting, image))
        return out.getvalue()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        what = f"{self.name} does not decode its own file"
        with library_errors(what), Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return np.asarray(image.convert("RGB"))


def _jpeg(subsampling: int) -> Callable[[float, NDArray[np.uint8]], dict[str, Any]]:
    return lambda setting, image: {"quality": round(setting), "optimize": True, "subsampling": subsampling}


def _webp(setting: float, image: NDArray[np.uint8]) -> dict[str, Any]:
    return {"quality": round(setting), "method": 6}


def _jpeg2000(setting: float, image: NDArray[np.uint8]) -> dict[str, Any]:
    # OpenJPEG refuses more resolutions than the smaller side has halvings; 6 is its default.
    resolutions = min(6, int(min(image.shape[:2])).bit_length())
    # A raw codestream: the .jp2 boxes around it say nothing that the decoder needs.
    return {
        "irreversible": True,
        "mct": 1,
        "quality_mode": "rates",
        "quality_layers": [setting],
        "no_jp2": True,
        "num_resolutions": resolutions,
    }


def _avif(setting: float, image: NDArray[np.uint8]) -> dict[str, Any]:
    return {"quality": round(setting), "subsampling": "4:4:4", "speed": 4}


_JPEG_QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)

PILLOW_CODECS: tuple[PillowCodec, ...] = (
    PillowCodec("jpeg420", "jpeg", "JPEG", "q", _JPEG_QUALITIES, _jpeg(2), "JPEG 4:2:0, optimize=True, subsampling=2",
                ("jpg", "libjpeg")),
    PillowCodec("jpeg444", "jpeg", "JPEG", "q", _JPEG_QUALITIES, _jpeg(0), "JPEG 4:4:4, optimize=True, subsampling=0",
                ("jpg", "libjpeg")),
    PillowCodec("webp", "webp", "WEBP", "q", (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95), _webp, "WebP lossy 4:2:0, method=6",
                ("webp", "libwebp")),
    PillowCodec("jpeg2000", "jpeg2000", "JPEG2000", "ratio", (240, 160, 120, 80, 60, 40, 30, 20, 15, 10, 8, 6), _jpeg2000,
                "JPEG 2000, irreversible=True, mct=1, quality_mode=rates (compression ratio), raw codestream",
                ("jpg_2000", "OpenJPEG")),
    PillowCodec("avif", "avif", "AVIF", "q", (5, 15, 25, 35, 45, 55, 65, 75, 85, 92), _avif,
                "AVIF 4:4:4, speed=4, subsampling=4:4:4", ("avif", "libavif")),
)  # fmt: skip


def pillow_codec(name: str) -> PillowCodec:
    """The codec of that exact name."""
    return next(codec for codec in PILLOW_CODECS if codec.name == name)


def select_codecs(names: Sequence[str]) -> tuple[list[Coder], dict[str, str]]:
    """Codecs by name or by group ("jpeg" is both of its chroma samplings), in the order given, each once.

    Returns the codecs, and by name those that are not installed here, with what would bring them.
    Raises UsageError for an unknown name.
    """
    from jahp_fast.evaluate.plugins import PLUGIN_CODECS

    chosen: dict[str, Coder] = {}
    missing: dict[str, str] = {}
    for name in names:
        matching = [codec for codec in PILLOW_CODECS if name in (codec.name, codec.group)]
        plugins = [codec for codec in PLUGIN_CODECS if codec.name == name]
        if not matching and not plugins:
            known = sorted({c.group for c in PILLOW_CODECS} | {c.name for c in PILLOW_CODECS} | {c.name for c in PLUGIN_CODECS})
            raise UsageError(f"unknown codec {name!r}; known are {', '.join(known)}")
        for codec in matching:
            if features.check(codec.library[0]):
                chosen[codec.name] = codec
            else:
                missing[codec.name] = f"this Pillow {pillow_version} was built without {codec.library[1]}"
        for plugin in plugins:
            if plugin.installed():
                chosen[plugin.name] = plugin
            else:
                missing[plugin.name] = f"{plugin.package} is not installed: pip install 'jahp_fast[eval]'"
    return list(chosen.values()), missing


@dataclass(frozen=True)
class Matched:
    """A codec that takes compression ratios, at the sizes of another codec's files of the same picture.

    One list of ratios for all pictures would give each the same bits, whatever it needs, and compare files of sizes that
    lie far apart. The settings count: half the size of `like`'s first file, the size of each, twice that of the last, so
    that the qualities of both overlap where one codec needs up to twice the bytes of the other. `sizes` has the bytes of
    `like`'s files of one picture by the label of their setting; `on_picture` gives them.
    """

    codec: PillowCodec
    like: Coder
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.codec.name

    @property
    def description(self) -> str:
        # With the other's description, because a change of its files changes the sizes.
        return (
            f"{self.codec.description}; for each picture the ratios that give the sizes of {self.like.name}'s files "
            f"({self.like.description}), half the first and twice the last"
        )

    @property
    def settings(self) -> Sequence[float]:
        return range(len(self.like.settings) + 2)

    def _target(self, setting: float) -> tuple[str, float]:
        """The label of the other codec's setting, and the factor on its size."""
        last = len(self.like.settings) - 1
        index = round(setting) - 1
        factor = 0.5 if index < 0 else 2.0 if index > last else 1.0
        return self.like.label(self.like.settings[min(max(index, 0), last)]), factor

    def label(self, setting: float) -> str:
        label, factor = self._target(setting)
        return f"{factor:g}x {label}"

    def encode(self, image: NDArray[np.uint8], setting: float) -> bytes:
        label, factor = self._target(setting)
        if label not in self.sizes:
            raise JahpError(f"{self.like.name} has no file of it at {label}, whose size is the target")
        # OpenJPEG takes 1 for all that there is; a picture of few pixels may be smaller than our file of it.
        return self.codec.encode(image, max(1.0, image.size / (factor * self.sizes[label])))

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        return self.codec.decode(data)


def matched(others: Sequence[Coder], ours: Sequence[Coder]) -> list[Coder]:
    """`others`, those that take a ratio at the sizes of the first of `ours`; without one of ours, as they are."""
    return [
        Matched(codec, ours[0]) if ours and isinstance(codec, PillowCodec) and codec.parameter == "ratio" else codec for codec in others
    ]


def on_picture(coder: Coder, sizes: Mapping[tuple[str, str], int]) -> Coder:
    """The coder for one picture, of which `sizes` has the bytes of files that were made, by codec and label of the setting."""
    if not isinstance(coder, Matched):
        return coder
    return replace(coder, sizes={label: size for (name, label), size in sizes.items() if name == coder.like.name})


@dataclass
class JahpCodec:
    """Our own files, made and read through `jahp_fast.Codec`; one encoder object a quality, made when first asked for."""

    model: str
    settings: Sequence[float] = OUR_QUALITIES
    models: Sequence[str] | None = None
    device: str = "cpu"
    backend: str = "auto"
    threads: int | None = None
    effort: int = 0
    tune: str | None = None
    _encoders: dict[float, Codec] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        return self.model + (f"-e{self.effort}" if self.effort else "") + (f"-{self.tune}" if self.tune else "")

    @property
    def description(self) -> str:
        import jahp_fast

        model_id, tune = self.encoder(self.settings[0]).model_id, f", tune {self.tune}" if self.tune else ""
        where = f"device {self.device}, backend {self.backend}"
        return f"jahp_fast {jahp_fast.__version__}, model id {model_id}, {where}, effort {self.effort}{tune}"

    def label(self, setting: float) -> str:
        return f"q={setting:g}"

    def encode(self, image: NDArray[np.uint8], setting: float) -> bytes:
        return self.encoder(setting).encode(image, self.effort, tune=self.tune)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        # Any object decodes any stream: model and quality come from the stream.
        return self.encoder(self.settings[0]).decode(data)

    def encoder(self, setting: float) -> Codec:
        """The codec object for one quality, warmed up, because the first run of a transform also plans and allocates."""
        import jahp_fast

        if setting not in self._encoders:
            codec = jahp_fast.Codec(self.model, quality=setting, device=self.device, backend=self.backend, threads=self.threads,
                                    models=self.models)  # fmt: skip
            # No drawing, which would be kept without the nets: each stage is run once.
            codec.decode(
                codec.encode(np.arange(64 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3), self.effort, tune=self.tune)
            )
            self._encoders[setting] = codec
        return self._encoders[setting]
