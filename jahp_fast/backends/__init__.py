# SPDX-License-Identifier: Apache-2.0
"""Backends: given z symbols and a payload, give ŷ. One protocol, a small module each; all give the same integers.

`JAHP_FAST_BACKEND` names the one that "auto" means.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from jahp_fast.entropy.reference import StreamLayout
from jahp_fast.errors import UsageError

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Ints = NDArray[np.int32]
NAMES = ("native", "reference")
"""In the order in which "auto" prefers them."""


class Backend(Protocol):
    """The entropy path of one model, safe to share between threads."""

    name: str

    def decode(self, payload: bytes, layout: StreamLayout, threads: int) -> tuple[Ints, Ints, dict[str, float]]:
        """Payload -> z (hz, wz, N), y (h, w, M), channels last, y times 2^frac_bits; and seconds by stage.

        Raises FormatError for a damaged payload.
        """

    def encode(self, z: Ints, y: Ints, layout: StreamLayout, threads: int) -> tuple[bytes, Ints, int, dict[str, float]]:
        """z and y -> payload, y as the decoder will see it, the lanes (chosen by size if layout.lanes is 0), and seconds by stage.

        Raises UsageError for a symbol beyond 32767.
        """


def resolve(name: str) -> str:
    """The backend that `name` (of Codec's argument) stands for."""
    source = "backend"
    if name == "auto":
        name, source = os.environ.get("JAHP_FAST_BACKEND") or NAMES[0], "JAHP_FAST_BACKEND"
    if name not in NAMES:
        raise UsageError(f"{source} {name!r} is unknown; there are {', '.join(NAMES)}, and 'auto'")
    return name


def load(name: str, model: ModelFile) -> Backend:
    """Builds the backend of that (resolved) name for a model."""
    if name == "reference":
        from jahp_fast.backends.reference import ReferenceBackend

        return ReferenceBackend(model)
    from jahp_fast.backends.native import NativeBackend

    return NativeBackend(model)
