# SPDX-License-Identifier: Apache-2.0
"""A codec of the process that asks: what data loaders, array stores and clusters share.

They run many processes or many threads, so each image takes one thread here, and a codec is made where it is used: never pickled, and
never carried through a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jahp_fast.codec import Codec

Settings = tuple[str, float, tuple[str, ...]]
"""Model, quality, and model files to look through first."""
_codecs: dict[tuple[int, Settings], Codec] = {}
_lock = threading.Lock()
_MOST = 8


def settings(model: str = "mbt2018", quality: float = 4.0, models: Sequence[str | os.PathLike[str]] = ()) -> Settings:
    """What names a codec, in a form that can be pickled."""
    return model, float(quality), tuple(os.fspath(m) for m in models)


def codec_for(wanted: Settings) -> Codec:
    """The codec of this process for these settings, with one thread an image. Raises what Codec raises."""
    from jahp_fast.codec import Codec

    key = os.getpid(), wanted
    codec = _codecs.get(key)
    if codec is None:
        model, quality, models = wanted
        codec = Codec(model, quality=quality, models=models, threads=1)
        with _lock:
            if len(_codecs) >= _MOST:
                _codecs.clear()
            codec = _codecs.setdefault(key, codec)
    return codec


def _new_lock() -> None:  # the parent's may have been held when it forked
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
