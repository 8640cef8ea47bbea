# SPDX-License-Identifier: Apache-2.0
"""g_a, h_a and g_s of an exported model on a CPU, in integers, without torch: what surrounds the nets of `_native` or of
transforms.reference.

Images go in and come out by rows, so that memory is bounded by an image's width. The same image gives the same latents, and the same
latents the same pixels, on every machine (docs/reference/format.md, section 14).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.constants import STRIDE
from jahp_fast.entropy.layout import Part
from jahp_fast.files.deep import of_sums, quarters
from jahp_fast.files.view import View, averaged_rows
from jahp_fast.transforms.layers import (
    ACTIVATION_LIMIT,
    LATENT_LIMIT,
    Bytes,
    Gain,
    Ints,
    Layer,
    Shorts,
    SynthesisLayers,
    TransformLayers,
    deep_pixels,
)
from jahp_fast.transforms.small import AS_THEY_ARE, SmallPictures
from jahp_fast.transforms.window import Reach, Window, reaches, window

if TYPE_CHECKING:
    from jahp_fast.entropy.model_file import ModelFile

Pixels = NDArray[np.uint8]
_Scalar = TypeVar("_Scalar", bound=np.generic)
LATENT_ROWS = 4
"""Rows of latents that g_s takes, and g_a gives, at a time."""
ROWS_AT_ONCE = 64
"""Rows that `run_by_rows` hands over: few enough that Ctrl-C is heard soon."""
NETS_KEPT = 4
"""Synthesis nets of so many qualities stay packed: what is their own takes 2 MB at N = 64, and 1.3 ms to be made again."""


class NetStream(Protocol):
    def push(self, rows: Shorts, threads: int = 1) -> NDArray[Any]: ...
    def finish(self, threads: int = 1) -> NDArray[Any]: ...


class Trace(Protocol):
    """What _native.GainTrace and ReferenceTrace have in common."""

    def squares(self) -> list[NDArray[np.uint32]]: ...


class Net(Protocol):
    """What _native.TransformNet and ReferenceNet have in common. A trace belongs to nets of its own kind."""

    def run(self, x: Shorts, threads: int = 1) -> NDArray[Any]: ...
    def stream(self, height: int, width: int, trace: Any = None) -> NetStream: ...
    def followed_by(self, layers: Sequence[Layer]) -> Net: ...


def made_net(layers: Sequence[Layer], native: bool) -> Net:
    """A net of the C++ core, by the instructions of JAHP_FAST_ISA, or NumPy's."""
    if native:
        return _native.TransformNet(layers, os.environ.get("JAHP_FAST_ISA", ""))
    from jahp_fast.transforms.reference import ReferenceNet

    return ReferenceNet(layers)


def made_trace(native: bool, inputs: bool = False) -> Trace:
    """For one pass through g_s and one through its adjoint. inputs: as _native.GainTrace takes it."""
    if native:
        return _native.GainTrace(inputs)
    from jahp_fast.transforms.reference import ReferenceTrace

    return ReferenceTrace()


def _scaler(native: bool) -> Callable[[Ints, Ints, Bytes, int], NDArray[Any]]:
    if native:
        return _native.scaled
    from jahp_fast.transforms.reference import scaled

    return scaled


class CpuTransforms:
    """The transforms of a model. Safe to share between threads. Each net is read and packed when it is first needed, once;
    what g_s has for a quality alone, when that is, and the NETS_KEPT used last are kept.

    Raises ModelError from its methods if a tensor is missing, has the wrong shape or is out of range.

    Args:
        native: nets of the C++ core; otherwise NumPy's.
    """

    def __init__(self, model: ModelFile, native: bool) -> None:
        self._model, self._native, self._layers = model, native, TransformLayers(model)
        self._scaled = _scaler(native)
        self._lock = threading.Lock()
        self._nets: dict[str, Net] = {}
        self._synthesis: SynthesisLayers | None = None
        self._small: SmallPictures | None = None
        self._g_s: OrderedDict[tuple[float | None, int, bool], tuple[Net, Sequence[Reach]]] = OrderedDict()
        self._gains: dict[str, Gain] = {}

    def _net(self, name: str, layers: Callable[[], list[Layer]]) -> Net:
        with self._lock:
            if name not in self._nets:
                self._nets[name] = made_net(layers(), self._native)
            return self._nets[name]

    def _layers_of_g_s(self) -> SynthesisLayers:
        if self._synthesis is None:
            self._synthesis = self._layers.g_s()
        return self._synthesis

    def g_s_layers(self, quality: float) -> list[Layer]:
        """All layers of g_s at a quality."""
        with self._lock:
            synthesis = self._layers_of_g_s()
            return [*synthesis.common, *synthesis.at(quality)]

    def _beginning(self, count: int) -> Net:
        """Of so many of g_s's common layers; the first of them is packed once for all."""
        name, common = f"g_s {count}", self._layers_of_g_s().common
        if name not in self._nets:
            self._nets[name] = self._beginning(1).followed_by(common[1:count]) if count > 1 else made_net(common[:1], self._native)
        return self._nets[name]

    def _g_s_at(self, quality: float, scale: int, deep: bool) -> tuple[Net, Sequence[Reach]]:
        """The net to pictures at a scale, 1 or one of self.scales, and what its layers read. deep: at full size, see deep_pixels."""
        with self._lock:
            synthesis = self._layers_of_g_s()
            key = (quality if synthesis.tails or scale > 1 else None), scale, deep
            if key not in self._g_s:
                layers = [*synthesis.common, *synthesis.at(quality)] if scale == 1 else self._small_pictures().at(quality, scale)
                begun = len(synthesis.common) if scale == 1 else AS_THEY_ARE[min(scale, 8)]
                if deep:
                    layers, begun = [*layers[:-1], deep_pixels(layers[-1])], min(begun, len(layers) - 1)
                self._g_s[key] = self._beginning(begun).followed_by(layers[begun:]), reaches(layers)
            self._g_s.move_to_end(key)
            if len(self._g_s) > NETS_KEPT:
                self._g_s.popitem(last=False)
            return self._g_s[key]

    def _small_pictures(self) -> SmallPictures:
        if self._small is None:
            self._small = SmallPictures(self._model, self._layers_of_g_s())
        return self._small

    @property
    def scales(self) -> tuple[int, ...]:
        """Those that are made without the whole picture."""
        with self._lock:
            return self._small_pictures().scales

    def gain(self, name: str) -> Gain:
        """name: "gain", "inv_gain" or "h_a.input"."""
        with self._lock:
            if name not in self._gains:
                self._gains[name] = Gain(self._model, name)
            return self._gains[name]

    def scaled(self, x: Ints, name: str, quality: float, limit: int) -> NDArray[Any]:
        """x (h, w, M) times a gain at a quality, rounded and clamped; int16 where the limit lets it be."""
        return self._scaled(np.ascontiguousarray(x), *self.gain(name).at(quality), limit)

    def analysis(self, blocks: Iterable[NDArray[Any]], height: int, width: int, quality: float | None, threads: int = 1) -> Ints:
        """An image's rows from top to bottom, in blocks (k, width, 3) uint8 or uint16 -> y (h, w, M) times 2^LATENT_BITS, not rounded
        further.

        Without a quality, the sums that `scaled` takes with the name "gain".
        The border is repeated to multiples of 16: h = ceil(height / 16), w = ceil(width / 16).
        """
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        stream: NetStream | None = None
        y = np.empty((h, w, self._model.config.latents), np.int32)
        seen = done = 0

        def take(rows: Ints) -> None:
            nonlocal done
            y[done : done + len(rows)] = rows if quality is None else self.scaled(rows, "gain", quality, LATENT_LIMIT)
            done += len(rows)

        for block in blocks:
            seen += len(block)
            if stream is None:
                deep = block.dtype == np.uint16
                net = self._net("g_a deep", self._layers.deep_g_a) if deep else self._net("g_a", self._layers.g_a)
                stream = net.stream(STRIDE * h, STRIDE * w)
            below = STRIDE * h - height if seen == height else 0
            values = quarters(block) if block.dtype == np.uint16 else block
            take(stream.push(_edged(values, len(block) + below, STRIDE * w), threads))
        if stream is not None:
            take(stream.finish(threads))
        return y

    def hyper_analysis(self, y: Ints, threads: int = 1) -> Ints:
        """y (h, w, M), as analysis gives it -> z (ceil(h/4), ceil(w/4), N) times 2^LATENT_BITS, not rounded further."""
        sizes = self._model.config.architecture == "bmshj2018-hyperprior"
        net = self._net("h_a", self._layers.h_a)
        stream = net.stream(*y.shape[:2])
        parts = [
            stream.push(self.scaled(np.abs(rows) if sizes else rows, "h_a.input", 0, ACTIVATION_LIMIT), threads)
            for rows in in_blocks(y, ROWS_AT_ONCE)
        ]
        return np.concatenate([*parts, stream.finish(threads)])

    def part_for(self, view: View, height: int, width: int, quality: float) -> Part:
        """The latents that a view of the height x width image depends on."""
        return self._window(view, height, width, quality).part

    def _window(self, view: View, height: int, width: int, quality: float) -> Window:
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        if not view.partial:
            return Window(Part((0, h), (0, w)), 0, 0)
        if view.scale > 1 and view.scale not in self.scales:
            view = view.at_full_size(height, width)
        return window(self._g_s_at(quality, view.scale, view.deep)[1], view, h, w)

    def synthesis(
        self,
        blocks: Iterable[Ints],
        height: int,
        width: int,
        quality: float,
        threads: int = 1,
        trace: Trace | None = None,
        view: View | None = None,
    ) -> Iterator[NDArray[Any]]:
        """Rows of the part_for a view of ŷ from top to bottom, in blocks (k, w, M) int32, with the model's fractional bits -> those of
        that view of the height x width image, by default all of it, (k', view.width, 3) uint8, or uint16 of a deep view. A trace takes
        what the inverse GDNs multiply by.

        A view at a scale that is none of self.scales is the mean of its pixels at full size.
        """
        view = view or View.whole(height, width)
        if view.scale > 1 and view.scale not in self.scales:
            large = self.synthesis(blocks, height, width, quality, threads, trace, view.at_full_size(height, width))
            yield from averaged_rows(large, view.scale)
            return
        net, _ = self._g_s_at(quality, view.scale, view.deep)
        needed = self._window(view, height, width, quality)
        stream = net.stream(needed.height, needed.width, trace)
        across, end = slice(needed.left, needed.left + view.width), needed.top + view.height
        made = 0

        def wanted(rows: NDArray[Any]) -> NDArray[Any]:
            nonlocal made
            first, made = made, made + len(rows)
            part = rows[max(needed.top - first, 0) : max(end - first, 0), across]
            return of_sums(part) if view.deep else part

        for block in blocks:
            rows = wanted(stream.push(self.scaled(block, "inv_gain", quality, ACTIVATION_LIMIT), threads))
            if len(rows):
                yield rows
        rows = wanted(stream.finish(threads))
        if len(rows):
            yield rows


def run_by_rows(net: Net, x: Shorts, threads: int = 1) -> NDArray[Any]:
    """net.run(x, threads) in several calls of the core instead of one."""
    stream = net.stream(*x.shape[:2])
    parts = [stream.push(rows, threads) for rows in in_blocks(x, ROWS_AT_ONCE)]
    return np.concatenate([*parts, stream.finish(threads)])


def _edged(values: NDArray[Any], height: int, width: int) -> Shorts:
    """(k, w, 3) with its last column and then its last row repeated, to (height, width, 3)."""
    k, w = values.shape[:2]
    out = np.empty((height, width, 3), np.int16)
    out[:k, :w] = values
    out[:k, w:] = values[:, -1:]
    out[k:] = out[k - 1]
    return out


def in_blocks(array: NDArray[_Scalar], rows: int) -> list[NDArray[_Scalar]]:
    """Views of the array, `rows` rows each, the last what is left."""
    return [array[r : r + rows] for r in range(0, len(array), rows)]
