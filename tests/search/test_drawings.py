# SPDX-License-Identifier: Apache-2.0
"""Drawings without the nets: how colours are merged, against a plain oracle, and which of all files an encoder takes."""

import copy

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec, UsageError, _native, info, prepared
from jahp_fast.constants import QUALITY_STEPS, trade_off
from jahp_fast.files.image import Rows
from jahp_fast.files.kind import is_drawing
from jahp_fast.search import drawings
from jahp_fast.search.rate_control import psnr_of
from jahp_fast.train import synthetic

SIZE = (96, 130)
KINDS = ("text", "interface", "chart", "lineart", "map", "pixelart")


def contrasts(pixels):
    """(H, W): the largest difference of a sample to the four neighbours."""
    wide = np.pad(pixels.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    inner = wide[1:-1, 1:-1]
    beside = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
    return np.max([np.abs(inner - other).max(axis=2) for other in beside], axis=0)


def merged_plainly(pixels, bound, contrast):
    """Colour by colour, each against all that were kept."""
    rows = [tuple(p) for p in pixels.reshape(-1, pixels.shape[2]).tolist()]
    colours = sorted(set(rows), key=lambda c: (-rows.count(c), c))
    kept, becomes = [], {}
    for colour in colours:
        far = [max(abs(a - b) for a, b in zip(colour, other, strict=True)) for other in kept]
        if far and min(far) <= bound:
            becomes[colour] = kept[far.index(min(far))]
        else:
            kept.append(colour)
            becomes[colour] = colour
    out = np.array([becomes[colour] for colour in rows], np.uint8).reshape(pixels.shape)
    return np.where((contrasts(pixels) >= contrast)[:, :, None], out, pixels)


def pictures():
    rng = np.random.default_rng(3)
    for height, width in ((1, 1), (1, 40), (40, 1), (23, 31)):
        for channels in (1, 3):
            shape = (height, width, channels)
            yield rng.integers(0, 256, shape, np.uint8)
            yield rng.choice(np.array([0, 255], np.uint8), shape)
            yield rng.integers(100, 140, shape, np.uint8)
            yield rng.choice(np.array([0, 1, 3, 31, 32, 33, 64, 254, 255], np.uint8), shape)


@pytest.mark.parametrize("bound", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow), 12, 31])
def test_colours_are_merged_as_said(bound):
    changed = 0
    for pixels in pictures():
        for contrast in (0, 1, 2 * bound, 200):
            merged = _native.merge_colours(pixels, bound, contrast)
            assert np.array_equal(merged, merged_plainly(pixels, bound, contrast))
            assert np.abs(merged.astype(int) - pixels).max() <= bound
            changed += not np.array_equal(merged, pixels)
    assert changed if bound else not changed


def test_repeated_pixels_are_counted():
    rng = np.random.default_rng(5)
    for height, width, channels in ((1, 1, 3), (1, 9, 1), (9, 1, 3), (2, 2, 3), (40, 33, 1), (31, 50, 3)):
        pixels = rng.integers(0, 2, (height, width, channels), np.uint8)
        inner = pixels[1:, 1:]
        same = (inner == pixels[:-1, 1:]).all(axis=2) & (inner == pixels[1:, :-1]).all(axis=2)
        assert _native.count_repeated(pixels) == same.sum()


def test_rows_that_blocks_share_are_counted_once():
    tall = np.random.default_rng(0).integers(0, 256, (1200, 9, 3), dtype=np.uint8)
    for flat in (299, 300, 301, 302, 303):
        pixels = tall.copy()
        pixels[:flat] = 7
        inner = pixels[1:, 1:]
        share = ((inner == pixels[:-1, 1:]) & (inner == pixels[1:, :-1])).all(axis=2).mean()
        assert is_drawing(Rows(pixels)) == (share >= 0.25)


def test_prices_do_not_hang_on_the_last_bit():
    """They are rounded, and none lies where another library's exponential could round otherwise."""
    for code in range(QUALITY_STEPS, 8 * QUALITY_STEPS + 1):
        price = trade_off(code / QUALITY_STEPS) * 2**16
        assert abs(price % 1 - 0.5) > 1e-4


def loss(pixels, data, quality):
    errors = Codec().decode(data).astype(int).reshape(pixels.shape) - pixels
    return round(trade_off(quality) * 2**16) * int(np.square(errors).sum()) + 8 * len(data) * 3 * 2**16


@pytest.mark.parametrize("kind", KINDS)
def test_what_costs_least_is_kept(kind):
    pixels, kept = synthetic.picture(kind, 5, SIZE), []
    for quality in (1, 2.55, 4, 6, 8):
        data = Codec(quality=quality).encode(pixels)
        nets = Codec(quality=quality, drawings=False).encode(pixels)
        assert info(nets).max_error is None
        kept.append(info(data).max_error)
        assert loss(pixels, data, quality) <= loss(pixels, nets, quality)
        if kept[-1] is not None:
            errors = np.abs(Codec().decode(data).astype(int) - pixels)
            assert errors.max() == kept[-1]
            exact = Codec().encode(pixels, lossless=True)
            assert loss(pixels, data, quality) <= loss(pixels, exact, quality)
        else:
            assert data == nets or "LAYR" in info(data).chunks  # with its drawn part laid over: test_overlays.py
    assert any(bound is not None for bound in kept)
    known = [bound for bound in kept if bound is not None]
    assert known == sorted(known, reverse=True)


def test_each_bound_is_tried_as_long_as_it_pays():
    pixels = synthetic.picture("text", 5, SIZE)
    ways = list(drawings.drawn(pixels, 1))
    assert ways[0].layer.bound == 0
    assert len(ways) == 1 + len(drawings.BOUNDS)
    for way, bound in zip(ways[1:], drawings.BOUNDS, strict=True):
        errors = way.samples.astype(int) - pixels
        assert way.layer.bound == np.abs(errors).max() <= bound
        assert (way.bound, way.squares) == (way.layer.bound, np.square(errors).sum())
        assert np.all(contrasts(pixels)[np.any(errors, axis=2)] >= 2 * bound)


def test_photos_are_not_touched():
    pixels = np.ascontiguousarray(photo()[100:196, 200:330])
    for quality in (1, 4, 8, 9.5):
        assert Codec(quality=quality).encode(pixels) == Codec(quality=quality, drawings=False).encode(pixels)


def test_one_colour_is_exact():
    for colour, shape in (((255, 255, 255), (1024, 1024)), ((200, 20, 30), (300, 200)), ((0, 0, 0), (17, 3000))):
        pixels = np.full((*shape, 3), colour, np.uint8)
        for quality in (1, 4, 8, 12):
            data = Codec(quality=quality).encode(pixels)
            assert info(data).max_error == 0
            assert len(data) < 200
            assert np.array_equal(Codec().decode(data), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (20, 30)])
def test_one_colour_is_exact_whatever_is_asked(shape):
    """In grey and below alpha, too, unless a size is asked for that is too small."""
    flat = np.full((*shape, 3), (10, 200, 30), np.uint8)
    seen = np.dstack([flat, np.arange(flat[:, :, 0].size, dtype=np.uint8).reshape(shape)])
    for pixels in (flat, flat[:, :, 1], seen):
        data = Codec(quality=1).encode(pixels)
        assert np.array_equal(Codec().decode(data), pixels)
        for options in ({"effort": 2}, {"target_psnr": 20.0}, {"target_bpp": 9e3}, {"max_bytes": len(data)}, {"lossless": True}):
            assert Codec().encode(pixels, **options) == data
        assert Codec(quality=9).encode(pixels) == Codec().encode_timed(pixels)[0] == data
        assert Codec().encode_batch([photo()[:20, :30], pixels])[1] == data
        assert info(Codec(drawings=False).encode(pixels)).max_error is None
        if info(Codec(quality=1, drawings=False).encode(pixels)).bytes < len(data):
            assert len(Codec().encode(pixels, max_bytes=len(data) - 1)) < len(data)
        else:
            with pytest.raises(UsageError, match="too few for this image"):
                Codec().encode(pixels, max_bytes=len(data) - 1)


def chosen_plainly(pixels, quality, nets):
    """The rule, with nothing left out: each way is coded, and the file of the nets, with a part laid over or not, is decoded."""
    empty = len(Codec().encode(pixels, lossless=True)) - min(len(w.layer.packed()) for w in drawings.drawn(pixels, 1) if not w.squares)
    best, least, last = None, loss(pixels, nets, quality), None
    for way in drawings.drawn(pixels, 1):
        now = drawings.cost(quality, way.squares, empty + len(way.layer.packed()), 3)
        if now > 4 * least or (last is not None and now >= last):
            break
        last = now
        if now <= least:
            best, least = way, now
    return best


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_decides_nothing(kind, monkeypatch):
    pixels = synthetic.picture(kind, 15, SIZE)
    for quality in (1, 3, 5, 8):
        with monkeypatch.context() as patch:
            patch.setattr(prepared, "is_drawing", lambda rows: False)
            nets = Codec(quality=quality).encode(pixels)
        best = chosen_plainly(pixels, quality, nets)
        data = Codec(quality=quality).encode(pixels)
        if best is None:
            assert data == nets
        else:
            assert info(data).max_error == best.bound
            assert np.array_equal(Codec().decode(data), best.samples)


def test_every_way_to_encode_gives_the_same_file():
    drawing, crop = synthetic.picture("text", 6, SIZE), np.ascontiguousarray(photo()[:96, :130])
    for quality in (4, 9):
        codec = Codec(quality=quality)
        data = codec.encode(drawing)
        assert info(data).max_error is not None
        assert codec.encode_batch([drawing, crop]) == [data, codec.encode(crop)]
        assert codec.encode_timed(drawing)[0] == data
        assert Codec(quality=quality, threads=1).encode(drawing) == Codec(quality=quality, threads=3).encode(drawing) == data
        assert copy.copy(codec).encode(drawing) == data
        assert Codec(quality=quality, backend="reference").encode(drawing) == data
    never = Codec(drawings=False)
    assert copy.deepcopy(never).encode(drawing) == never.encode(drawing) != Codec().encode(drawing)


def test_grey_alpha_and_checksums():
    drawing = synthetic.picture("interface", 2, SIZE)
    grey = drawing[:, :, 0].copy()
    seen = np.dstack([drawing, drawing[:, :, 1]])
    codec = Codec(quality=8, pixel_checksum=True)
    for pixels in (grey, drawing, seen):
        data = codec.encode(pixels)
        bound = info(data).max_error
        assert bound is not None
        back = codec.decode(data)
        assert back.shape == pixels.shape
        assert np.abs(back.astype(int) - pixels).max() <= bound
    assert np.array_equal(back[:, :, 3], seen[:, :, 3])


def test_above_quality_8_what_is_not_larger():
    drawing = synthetic.picture("chart", 3, SIZE)
    for quality in (8.05, 10, 12):
        data, layered = Codec(quality=quality).encode(drawing), Codec(quality=quality, drawings=False).encode(drawing)
        exact = Codec().encode(drawing, lossless=True)
        assert data == (exact if len(exact) <= len(layered) else layered)


@pytest.mark.parametrize("effort", [1, 2])
def test_with_effort(effort):
    drawing = synthetic.picture("lineart", 7, (64, 64))
    for quality in (1, 3, 8):
        data = Codec(quality=quality).encode(drawing, effort)
        nets = Codec(quality=quality, drawings=False).encode(drawing, effort)
        assert loss(drawing, data, quality) <= loss(drawing, nets, quality)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind):
    """Never larger, never worse than without, and there is a file where the nets have none."""
    drawing = synthetic.picture(kind, 8, SIZE)
    exact = len(Codec().encode(drawing, lossless=True))
    rescued = 0
    for share in (0.3, 0.6, 0.9, 1, 2):
        most = int(share * exact)
        try:
            nets = Codec(drawings=False).encode(drawing, max_bytes=most)
        except UsageError:
            nets = None
        if nets is None and info(Codec().encode(drawing, max_error=31)).bytes > most:
            with pytest.raises(UsageError, match="too few for this image"):
                Codec().encode(drawing, max_bytes=most)
            continue
        data = Codec().encode(drawing, max_bytes=most)
        rescued += nets is None
        assert len(data) <= most
        errors = [np.square(Codec().decode(d).astype(int) - drawing).sum() for d in (data, nets) if d is not None]
        assert errors[0] <= errors[-1]
        if share >= 1:
            assert info(data).max_error == 0
    assert rescued or kind != "pixelart"


def test_too_few_bytes_are_compared_with_what_it_takes():
    """A drawing's own file, where that is smaller than what the nets make of it."""
    drawing = synthetic.picture("pixelart", 4, SIZE)
    least = len(Codec(quality=1).encode(drawing))
    assert least < len(Codec(quality=1, drawings=False).encode(drawing))
    with pytest.raises(UsageError, match=f"at quality 1, the lowest, it takes {least}$"):
        Codec().encode(drawing, max_bytes=300)


@pytest.mark.parametrize("kind", ["text", "map"])
def test_targets_of_quality(kind):
    """Reached, by no more bytes than without; those that the nets do not reach, too."""
    drawing = synthetic.picture(kind, 9, SIZE)
    for wanted in (24, 30, 38, 50, 90):
        data = Codec().encode(drawing, target_psnr=wanted)
        errors = np.square(Codec().decode(data).astype(int) - drawing)
        reached = psnr_of(int(errors.sum()), errors.size)
        try:
            nets = Codec(drawings=False).encode(drawing, target_psnr=wanted)
        except UsageError:
            nets = None
        assert nets is None or len(data) <= len(nets)
        least = wanted if info(data).max_error is not None else wanted - 0.1  # a step of quality is 0.06 dB
        assert data == nets or reached >= least
    data = Codec().encode(drawing, target_ssimulacra2=90.0)
    assert info(data).max_error is not None


def test_no_bound_takes_more_than_no_error():
    for kind in KINDS:
        drawing = synthetic.picture(kind, 10, SIZE)
        sizes = [len(Codec().encode(drawing, max_error=bound)) for bound in (0, 2, 8, 31)]
        assert max(sizes) == sizes[0]
        for bound in (2, 8, 31):
            data = Codec().encode(drawing, max_error=bound)
            assert np.abs(Codec().decode(data).astype(int) - drawing).max() == info(data).max_error <= bound


def test_pillow_images_of_few_colours():
    drawing = Image.fromarray(synthetic.picture("chart", 4, SIZE)).quantize()
    data = Codec(quality=8).encode(drawing)
    assert info(data).max_error is not None
    assert Codec().decode(data).shape == (*SIZE, 3)
