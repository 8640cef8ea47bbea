# SPDX-License-Identifier: Apache-2.0
"""jahp_fast: a learned image codec that is fast to decode and decodes to the same latents everywhere.

    data = jahp_fast.encode(image, quality=4.0)
    image = jahp_fast.decode(data)

Importing this loads neither torch nor a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jahp_fast.errors import (
    DeviceError,
    FormatError,
    JahpError,
    MissingExtra,
    ModelError,
    UnknownModel,
    UnsupportedImage,
    UsageError,
)

if TYPE_CHECKING:
    from jahp_fast.codec import Codec, decode, encode
    from jahp_fast.records import Info, Latents, info

__version__ = "0.1.0"
__all__ = [
    "Codec", "DeviceError", "FormatError", "Info", "JahpError", "Latents", "MissingExtra", "ModelError", "UnknownModel",
    "UnsupportedImage", "UsageError", "decode", "encode", "info",
]  # fmt: skip
_LAZY = {"Codec": "codec", "decode": "codec", "encode": "codec", "Info": "records", "Latents": "records", "info": "records"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"jahp_fast.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'jahp_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
