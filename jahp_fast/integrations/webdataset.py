# SPDX-License-Identifier: Apache-2.0
"""A decoder function for WebDataset: fields of samples whose name ends in ".jahp" become images.

    import webdataset
    from jahp_fast.integrations.webdataset import decoder
    samples = webdataset.WebDataset("photos-{000..009}.tar").decode(decoder("torch"))

webdataset itself is not imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from jahp_fast.errors import UsageError
from jahp_fast.files.view import checked_scale
from jahp_fast.local import Settings, codec_for, settings

KINDS = ("numpy", "torch", "pil")


class JahpDecoder:
    """A callable (key, bytes) -> image, or None for fields that are not .jahp, as WebDataset's `decode` takes it. Can be pickled."""

    def __init__(self, kind: str, wanted: Settings, scale: int) -> None:
        self._kind, self._settings, self._scale = kind, wanted, scale

    def __call__(self, key: str, data: bytes) -> Any:
        if key.rsplit(".", 1)[-1].lower() != "jahp":
            return None
        codec = codec_for(self._settings)
        by_kind: dict[str, Callable[..., Any]] = {"numpy": codec.decode, "torch": codec.decode_tensor, "pil": codec.decode_pil}
        return by_kind[self._kind](data, scale=self._scale)


def decoder(kind: str = "numpy", models: Sequence[str | os.PathLike[str]] = (), scale: int = 1) -> JahpDecoder:
    """A decoder function.

    Args:
        kind: "numpy", (H, W, 3) uint8; "torch", (3, H, W) uint8; or "pil". Grey and alpha: see Codec.decode and decode_tensor.
        models: model files, looked through before the folders of JAHP_FAST_MODELS and the package's own.
        scale: 1, 2, 4, 8 or 16: divide the images' sides by it (Codec.decode).

    Raises UsageError for another kind or scale.
    """
    if kind not in KINDS:
        raise UsageError(f"kind must be {', '.join(KINDS)}, not {kind!r}")
    return JahpDecoder(kind, settings(models=models), checked_scale(scale))
