# SPDX-License-Identifier: Apache-2.0
"""Regions and scales of files with a layer over the pixels: by the strips that a region touches, and by no others."""

from dataclasses import replace

import numpy as np
import pytest
from builders import photo
from hypothesis import given, settings
from hypothesis import strategies as st

from jahp_fast import Codec, FormatError
from jahp_fast.files import container, layers
from jahp_fast.files.view import averaged
from jahp_fast.pipelines import cpu

HEIGHT, WIDTH = 107, 91
KINDS = ("residual", "exact", "colours", "overlay", "bounded", "grey")


def drawing():
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(((row // 20 + column // 30) % 2)[:, :, None], (200, 30, 90), (10, 240, 255)).astype(np.uint8)


def beside(picture):
    """A drawing with a photo in it."""
    pixels = drawing()
    pixels[20:90, 25:80] = picture[20:90, 25:80]
    return pixels


@pytest.fixture(scope="module", params=KINDS)
def layered(request):
    """The kind, a codec, a file with alpha of several strips, and its whole decode."""
    picture = photo()[200 : 200 + HEIGHT, 300 : 300 + WIDTH]
    alpha = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    codec = Codec(quality=10, threads=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "_STRIP_PIXELS", 700)
        data = {
            "residual": lambda: codec.encode(np.dstack([picture, alpha])),
            "exact": lambda: codec.encode(np.dstack([picture, alpha]), lossless=True),
            "colours": lambda: codec.encode(drawing(), lossless=True),
            "overlay": lambda: Codec(quality=7).encode(np.dstack([beside(picture), alpha])),
            "bounded": lambda: codec.encode(picture, max_error=5),
            "grey": lambda: codec.encode(picture[:, :, 1]),
        }[request.param]()
    layer = container.unpack(data).layer
    assert len(layer.strips) > 4
    assert layer.kind == {"bounded": "exact", "grey": "residual"}.get(request.param, request.param)
    return layer.kind, codec, data, codec.decode(data)


@st.composite
def regions(draw):
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return left, top, draw(st.integers(1, WIDTH - left)), draw(st.integers(1, HEIGHT - top))


def cut(picture, region):
    left, top, width, height = region
    return picture[top : top + height, left : left + width]


@settings(max_examples=25, deadline=None)
@given(region=regions())
def test_any_region_is_the_same_part_of_the_whole(layered, region):
    _, codec, data, whole = layered
    assert np.array_equal(codec.decode(data, region=region), cut(whole, region))


REGIONS = [None, (0, 0, 1, 1), (WIDTH - 1, HEIGHT - 1, 1, 1), (20, 33, 50, 41), (0, 8, WIDTH, 8), (0, 0, WIDTH, HEIGHT)]


@pytest.mark.parametrize("region", REGIONS, ids=str)
@pytest.mark.parametrize("scale", [1, 2, 8])
def test_every_way_to_decode_takes_them(layered, monkeypatch, region, scale):
    kind, codec, data, whole = layered
    monkeypatch.setattr(cpu, "OVERLAP_PIXELS", 0)
    left, top, width, height = region or (0, 0, WIDTH, HEIGHT)
    rows, columns = slice(top // scale, -(-(top + height) // scale)), slice(left // scale, -(-(left + width) // scale))
    if kind == "residual" and scale > 1:
        stream = container.unpack(data)
        base = {name: value for name, value in stream.chunks.items() if name != container.LAYER}
        wanted = codec.decode(container.pack(replace(stream, chunks=base)), scale=scale)[rows, columns]
    else:
        wanted = averaged(whole, scale)[rows, columns]
    assert np.array_equal(codec.decode(data, region, scale), wanted)
    assert np.array_equal(np.concatenate(list(codec.decode_rows(data, region, scale))), wanted)
    assert np.array_equal(codec.decode_batch([data, data], region, scale), [wanted, wanted])
    tensor = codec.decode_tensor(data, region, scale).permute(1, 2, 0).numpy()
    assert np.array_equal(tensor if wanted.ndim == 3 else tensor[:, :, 0], wanted)
    assert np.array_equal(np.asarray(codec.decode_pil(data, region, scale)), wanted)


def test_only_the_strips_of_a_region_are_decoded(layered, monkeypatch):
    """So damage of others is not found: a region is worth its own strips, as the CRC is worth the file."""
    _, codec, data, whole = layered
    stream = container.unpack(data)
    layer = stream.layer
    strips = [strip if i else strip[:-1] for i, strip in enumerate(layer.strips)]
    damaged = container.pack(replace(stream, chunks=stream.chunks | {container.LAYER: replace(layer, strips=strips).packed()}))
    with pytest.raises(FormatError):
        codec.decode(damaged)
    with pytest.raises(FormatError):
        codec.decode(damaged, region=(3, 2, 9, 9))
    below = (3, layer.rows, 40, HEIGHT - layer.rows)
    assert np.array_equal(codec.decode(damaged, region=below), cut(whole, below))
    taken = []
    decode = layers.Layer.decode

    def noted(self, samples, first, threads):
        if self == layer:  # and not that of alpha
            taken.append((first, len(samples)))
        decode(self, samples, first, threads)

    monkeypatch.setattr(layers.Layer, "decode", noted)
    codec.decode(data, region=(3, layer.rows + 1, 4, layer.rows))
    assert (taken[0][0], sum(rows for _, rows in taken)) == (1, 2 * layer.rows)
