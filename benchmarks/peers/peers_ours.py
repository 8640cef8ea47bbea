# SPDX-License-Identifier: Apache-2.0
"""Our side of peers.py: the ways to decode that it times, on the worker's weights and photo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers_env import PeersError

from jahp_fast import Codec, _native

PAYLOAD_TOLERANCE = 0.05


@dataclass
class Way:
    """A way to decode: one call, and what it takes in wall and CPU seconds; stages by name where the call tells."""

    name: str
    call: Callable[[], dict[str, float]]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)


@contextmanager
def forced_isa(name: str) -> Iterator[None]:
    """JAHP_FAST_ISA for what is made inside; "" leaves the best."""
    before = os.environ.get("JAHP_FAST_ISA")
    os.environ["JAHP_FAST_ISA"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAHP_FAST_ISA"]
        else:
            os.environ["JAHP_FAST_ISA"] = before


def check_payload(ours: int, theirs: int) -> None:
    """Raises PeersError unless our bytes are within PAYLOAD_TOLERANCE of theirs: only then is decoding them the same work."""
    if theirs <= 0 or abs(ours - theirs) > PAYLOAD_TOLERANCE * theirs:
        raise PeersError(f"no fair load: our {ours} bytes are not within {PAYLOAD_TOLERANCE:.0%} of CompressAI's {theirs}")


def check_latents(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Raises PeersError unless ŷ is round(y) of CompressAI's y, but for the roundings that integer transforms tip over."""
    if ours.shape != theirs.shape:
        raise PeersError(f"our ŷ is {ours.shape}, CompressAI's y {theirs.shape}")
    difference = np.abs(ours.astype(np.int64) - theirs)
    if difference.max() > 1 or (difference != 0).mean() > 1e-2:
        raise PeersError(f"our ŷ is not round(y): {(difference != 0).mean():.2%} of it differs, by up to {difference.max()}")


def check_residuals(ours: NDArray[Any], frac_bits: int, theirs: NDArray[Any]) -> None:
    """Form B: raises PeersError unless ŷ = round(y - mean) + mean is within half a step of a y that rounds to CompressAI's."""
    off = np.abs(ours / 2.0**frac_bits - theirs)
    if ours.shape != theirs.shape or off.max() > 1.1:
        raise PeersError(f"our ŷ in form B is up to {off.max():.2f} from round(y)")


def export(state: dict[str, Any], model: Path, photo: NDArray[np.uint8], form: str = "A", bits: int = 8) -> Path:
    """A model file of float weights. The calibration photo is the one timed, as for the float weights: this is a load, and no
    picture quality is read off it."""
    from jahp_fast.export.state import export_state

    export_state(state, model, photos=[photo], form=form, activation_bits=bits, qualities=[4.0])  # type: ignore[arg-type]
    return model


def codec_for(architecture: str, model: Path, threads: int, isa: str = "") -> Codec:
    """A codec whose native backend is made, with the instruction set named."""
    with forced_isa(isa):
        codec = Codec(architecture, quality=4.0, backend="native", threads=threads, models=[str(model)], drawings=False)
        codec.decode_latents(codec.encode(np.zeros((16, 16, 3), np.uint8)))  # the backend is made when first used
    return codec


def latents_way(name: str, codec: Codec, stream: bytes) -> Way:
    """From a stream's bytes to ŷ."""

    def call() -> dict[str, float]:
        codec.decode_latents(stream)
        return {}

    return Way(name, call)


def stages_way(name: str, model: Path, stream: bytes, threads: int) -> Way:
    """The same without the container, with the stages that the decoder itself reports."""
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.files import container

    file, parsed = ModelFile(model), container.unpack(stream)
    decoder = _native.EntropyModel(file.config.as_native(), file.entropy, "")
    size = -(-parsed.height // 16), -(-parsed.width // 16)

    def call() -> dict[str, float]:
        return decoder.decode(parsed.payload, *size, parsed.lanes, parsed.skip, 0, threads)[2]

    return Way(name, call)


def whole_way(name: str, codec: Codec, stream: bytes) -> Way:
    """From a stream's bytes to pixels."""

    def call() -> dict[str, float]:
        codec.decode(stream)
        return {}

    return Way(name, call)


def mean_scale_state(joint: dict[str, Any], latents: NDArray[Any]) -> dict[str, Any]:
    """mbt2018-mean on the joint model's transforms and hyperprior, whose h_s then gives scales and means itself: as wide as each
    channel of `latents` (M, h, w) is spread, about 0, with some of what z says."""
    import torch

    state = {key: value.clone() for key, value in joint.items() if not key.startswith(("entropy_parameters", "context_prediction"))}
    deviation = torch.from_numpy(latents.reshape(len(latents), -1).astype(np.float32).std(1)).clamp_min(0.11)
    weight = state["h_s.4.weight"]
    m = len(deviation)
    weight *= 0.1 / weight.flatten(1).std(1).clamp_min(1e-6)[:, None, None, None] / weight[0].numel() ** 0.5
    weight[:m] *= deviation[:, None, None, None]
    weight[m:] *= deviation[:, None, None, None]
    state["h_s.4.bias"] = torch.cat((deviation, torch.zeros(m)))
    return state


def context_macs(m: int, positions: int) -> int:
    """Multiply-adds of the context layer and entropy_parameters at `positions`, CompressAI's widths."""
    first, second = m * 10 // 3, m * 8 // 3
    return positions * (12 * m * 2 * m + 4 * m * first + first * second + second * 2 * m)
