# SPDX-License-Identifier: Apache-2.0
"""From files to pixels, whatever models they name: latents, g_s, a layer over its pixels, a checksum, alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jahp_fast.files import container as _container
from jahp_fast.files import image as _image
from jahp_fast.files.finish import AlphaRows, alpha_of, as_seen, coarse_view, layered_rows
from jahp_fast.files.pixel_proof import PixelProof
from jahp_fast.files.view import View
from jahp_fast.pipelines.contract import Pipeline
from jahp_fast.pipelines.shared import Pipelines
from jahp_fast.system.devices import Clock
from jahp_fast.system.parallel import each

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]


def sizes_said(sizes: Sequence[tuple[int, int]]) -> str:
    """What images of these widths and heights are called where memory runs out."""
    width, height = max(sizes, key=lambda s: s[0] * s[1])
    many = f"{len(sizes)} images of up to " if len(sizes) > 1 else "an image of "
    return f"{many}{width} x {height} pixels"


@dataclass(frozen=True)
class Decoding:
    """Models in use, on so many threads. exact: whether pixels are those of every machine."""

    pipelines: Pipelines
    threads: int
    exact: bool

    def rows(self, stream: _container.Stream, view: View) -> Iterator[Pixels]:
        """Blocks as Codec.decode_rows gives them; a model that is not there is an error at once."""
        return self._rows(None if stream.exact else self._pipeline_of(stream, view), stream, view)

    def _pipeline_of(self, stream: _container.Stream, view: View) -> Pipeline:
        return self.pipelines.of_stream(stream, coarse_view(stream, view).deep)

    def _rows(self, loaded: Pipeline | None, stream: _container.Stream, view: View) -> Iterator[Pixels]:
        alpha = AlphaRows.of(stream, view)
        proof = PixelProof(stream, view, self.exact)
        coarse = () if loaded is None else loaded.decode_rows(stream, coarse_view(stream, view), self.threads)
        for rgb in layered_rows(stream, view, coarse, self.threads):
            proof.take(rgb)
            yield _image.join(as_seen(rgb, view), stream.mode, None if alpha is None else alpha.rows(len(rgb)))
        if alpha is not None:
            alpha.finish()

    def batch(self, streams: Sequence[_container.Stream], views: Sequence[View], labels: Sequence[int] | None = None) -> list[Pixels]:
        """Arrays as Codec.decode gives them. labels: the streams' numbers in errors; None for a single one that has none."""
        pipelines = each(
            lambda i: None if streams[i].exact else self._pipeline_of(streams[i], views[i]), range(len(streams)), labels=labels
        )
        out: dict[int, Pixels] = {}
        for loaded in dict.fromkeys(pipelines):
            if loaded is None:
                continue
            mine = [i for i, pipeline in enumerate(pipelines) if pipeline is loaded]
            group, seen = [streams[i] for i in mine], [views[i] for i in mine]

            def finish(k: int, rgb: Pixels, group: list[_container.Stream] = group, seen: list[View] = seen) -> Pixels:
                return self.joined(group[k], seen[k], [rgb])

            said = None if labels is None else [labels[i] for i in mine]
            with loaded.guard("decoding " + sizes_said([s.size for s in group])):
                loaded.warm()
                coarse = [coarse_view(s, view) for s, view in zip(group, seen, strict=True)]
                out.update(zip(mine, loaded.decode_batch(group, coarse, self.threads, finish, said), strict=True))
        exact = [i for i, pipeline in enumerate(pipelines) if pipeline is None]
        said = None if labels is None else [labels[i] for i in exact]
        out.update(zip(exact, each(lambda i: self.joined(streams[i], views[i], []), exact, labels=said), strict=True))
        return [out[i] for i in range(len(streams))]

    def joined(self, stream: _container.Stream, view: View, coarse: Sequence[Pixels]) -> Pixels:
        """The array that Codec.decode returns for (H, W, 3) pixels of coarse_view, which a file of exact ones does without."""
        blocks = list(layered_rows(stream, view, coarse, self.threads))
        rgb = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        PixelProof(stream, view, self.exact).take(rgb)
        return _image.join(as_seen(rgb, view), stream.mode, alpha_of(stream, view))

    def timed(self, stream: _container.Stream) -> tuple[Pixels, dict[str, float]]:
        """As Codec.decode_timed."""
        whole = View.whole(stream.height, stream.width)
        if stream.exact:
            clock = Clock("cpu")
            pixels = self.joined(stream, whole, [])
            clock.lap("layer")
            return pixels, clock.laps
        loaded, clock = self._pipeline_of(stream, whole), Clock(self.pipelines.device)
        with loaded.guard("decoding " + sizes_said([stream.size])):
            loaded.warm()
            clock.lap("load")
            rgb, times = loaded.decode_timed(stream, self.threads, clock)
        pixels = self.joined(stream, whole, [rgb])
        if stream.layer is not None:
            clock.lap("layer")
        return pixels, clock.laps | {f"latents.{name}": seconds for name, seconds in times.items()}

    def tensor(self, stream: _container.Stream, view: View) -> torch.Tensor:
        """As Codec.decode_tensor."""
        import torch

        if stream.layer is not None:
            whole = torch.from_numpy(self.batch([stream], [view])[0]).to(self.pipelines.device)
            return whole[None] if whole.ndim == 2 else whole.permute(2, 0, 1).contiguous()
        loaded = self.pipelines.of_stream(stream)
        with loaded.guard("decoding " + sizes_said([stream.size])):
            rgb = loaded.decode_tensor(stream, view, self.threads)
        if self.pipelines.device == "cpu" and _container.PIXEL_CHECKSUM in stream.chunks:
            PixelProof(stream, view, self.exact).take(rgb.permute(1, 2, 0).numpy())
        if stream.mode == "L":
            rgb = ((rgb.sum(0, keepdim=True, dtype=torch.int32) + 1) // 3).to(torch.uint8)
        alpha = alpha_of(stream, view)
        if alpha is None:
            return rgb
        return torch.cat([rgb.expand(3, -1, -1), torch.from_numpy(np.ascontiguousarray(alpha))[None].to(rgb.device)])
