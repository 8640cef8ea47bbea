# SPDX-License-Identifier: Apache-2.0
"""Drawings with photos among them: which pixels the nets get, against plain oracles, and what comes of it."""

import itertools
import math
from collections import deque

import ground_rates
import numpy as np
import pytest
from builders import photo
from independent.layers import Bits, ColoursStrip
from PIL import Image

from jahp_fast import Codec, _native, info
from jahp_fast.constants import trade_off
from jahp_fast.files import container, layers
from jahp_fast.search import drawings
from jahp_fast.search.rate_control import psnr_of
from jahp_fast.train import synthetic

SIZE = (144, 200)
KINDS = ("text", "interface", "chart")


def page(kind="text", seed=5, size=SIZE):
    """A drawing with a photo in the middle, which no square of 16 pixels fits."""
    pixels = synthetic.picture(kind, seed, size).copy()
    top, left = size[0] // 4 + 3, size[1] // 3 + 5
    pixels[top : top + size[0] // 2, left : left + size[1] // 2] = photo()[100 : 100 + size[0] // 2, 300 : 300 + size[1] // 2]
    return pixels


class Counted(Bits):
    """Bits that note what they cost, in 2^-8 bits."""

    def __init__(self, data):
        super().__init__(data)
        self.spent = 0

    def get(self, p):
        bit = super().get(p)
        self.spent += round(256 * math.log2(4096 / (p if bit else 4096 - p)))
        return bit


class CountedStrip(ColoursStrip):
    def __init__(self, *arguments):
        self.costs = []
        super().__init__(*arguments)

    def pixel(self, *arguments):
        before = self.bits.spent
        colour = super().pixel(*arguments)
        self.costs.append(self.bits.spent - before)
        return colour


def costs_of(pixels, rows):
    """What each pixel takes, read out of the coded strips by the other decoder."""
    found = []
    for top in range(0, len(pixels), rows):
        part = pixels[top : top + rows]
        (data,) = _native.encode_colours(part.copy(), rows, 1)
        found += CountedStrip(Counted(data), *part.shape).costs
    return np.array(found).reshape(pixels.shape[:2])


def by_squares(values):
    height, width = values.shape
    padded = np.pad(values.astype(np.int64), ((0, -height % 16), (0, -width % 16)))
    return padded.reshape(padded.shape[0] // 16, 16, -1, 16).sum(axis=(1, 3))


def grown(pixels, drawn):
    """With all that is linked to it by pixels of one colour."""
    drawn, height, width = drawn.copy(), *pixels.shape[:2]
    front = deque(zip(*np.nonzero(drawn), strict=True))
    while front:
        y, x = front.popleft()
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and not drawn[v, u] and np.array_equal(pixels[y, x], pixels[v, u]):
                drawn[v, u] = True
                front.append((v, u))
    return drawn


def holes_of(pixels, coarse, costs, price, size):
    """costs: of each pixel, drawn (costs_of)."""
    channels = pixels.shape[2]
    unit = 2**16 * channels
    steps = np.abs(np.diff(coarse.astype(int), axis=1, prepend=coarse[:, :1])).sum(axis=2)
    busy = by_squares(steps + 1)
    errors = by_squares(np.square(coarse.astype(int) - pixels).sum(axis=2))
    more = by_squares(costs) * unit // 256 - 8 * size * unit // busy.sum() * busy - price * errors
    if more[more > 0].sum() < 2048 * unit:
        return None
    holes = np.repeat(np.repeat(more > 0, 16, axis=0), 16, axis=1)[: len(pixels), : pixels.shape[1]]
    holes = ~grown(pixels, ~holes)
    return holes.astype(np.uint8) if holes.any() and not holes.all() else None


def filled_of(pixels, holes):
    """Means of what is known upwards, and down again with weights of 9, 3, 3 and 1."""

    def complete(values, known):
        if known.all() or known.size == 1:
            return values
        height, width = known.shape
        padding = (0, height % 2), (0, width % 2)
        shape = (height + 1) // 2, 2, (width + 1) // 2, 2
        counts = np.pad(known, padding).reshape(shape).sum(axis=(1, 3))
        sums = np.pad(values * known[:, :, None], (*padding, (0, 0))).reshape(*shape, -1).sum(axis=(1, 3))
        means = (sums + counts[:, :, None] // 2) // np.maximum(counts, 1)[:, :, None]
        small = complete(means, counts > 0)
        y, x = np.mgrid[:height, :width]
        v, u = y // 2, x // 2
        beside_v, beside_u = np.clip(v + 2 * (y % 2) - 1, 0, len(small) - 1), np.clip(u + 2 * (x % 2) - 1, 0, small.shape[1] - 1)
        smooth = (9 * small[v, u] + 3 * small[beside_v, u] + 3 * small[v, beside_u] + small[beside_v, beside_u] + 8) >> 4
        return np.where(known[:, :, None], values, smooth)

    return ((complete(pixels.astype(np.int64) * 16, holes != 0) + 8) >> 4).astype(np.uint8)


def pairs():
    """Pictures with what nets could have made of them."""
    rng = np.random.default_rng(2)
    for kind in KINDS:
        pixels = page(kind, 3, (67, 90))
        yield pixels, np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    most = page("text", 4, (67, 90))
    most[16:] = photo()[200:251, 300:390]
    yield most, np.clip(most + rng.normal(0, 3, most.shape), 0, 255).astype(np.uint8)
    grey = np.ascontiguousarray(pixels[:, :, 1:2])
    yield grey, np.clip(grey + rng.normal(0, 9, grey.shape), 0, 255).astype(np.uint8)
    yield rng.integers(0, 256, (20, 33, 3), np.uint8), np.full((20, 33, 3), 128, np.uint8)
    yield np.full((33, 20, 1), 9, np.uint8), np.full((33, 20, 1), 8, np.uint8)


def test_holes_are_where_the_nets_cost_less():
    kinds = set()
    for pixels, coarse in pairs():
        for rows in (24, 72):
            costs = costs_of(pixels, rows)
            for price, size in ((118, 60), (118, 1500), (852, 500), (11796, 3000)):
                wanted = holes_of(pixels, coarse, costs, price, size)
                found = _native.choose_holes(pixels, coarse, rows, price, size, 2)
                assert (wanted is None) == (found is None)
                assert found is None or np.array_equal(found, wanted)
                kinds.add(None if found is None else bool(found.mean() > 0.5))
    assert kinds == {None, False, True}


def test_what_holes_cost_is_their_errors_and_their_share_of_the_bits():
    rng = np.random.default_rng(5)
    for pixels, coarse in pairs():
        for share in (0, 0.3, 1):
            holes = (rng.random(pixels.shape[:2]) < share).astype(np.uint8)
            now, then = coarse.astype(np.int64), np.roll(coarse, 1, 1).astype(np.int64)
            busy = 1 + np.where(np.arange(pixels.shape[1]) > 0, np.abs(now - then).sum(2), 0)
            errors = np.square(pixels - now).sum(2)
            for price, size in ((118, 60), (11796, 3000)):
                each = (size * 8 * pixels.shape[2] << 16) // int(busy.sum())
                wanted = each * int(busy[holes != 0].sum()) + price * int(errors[holes != 0].sum())
                assert _native.cost_of_holes(pixels, coarse, holes, price, size) == wanted


@pytest.mark.parametrize("channels", [1, 3])
def test_a_plain_ground_is_of_squares_of_one_colour(channels):
    rng, kinds = np.random.default_rng(channels), set()
    for height, width in ((1, 1), (16, 16), (17, 40), (50, 67)):
        for share in (0, 0.02, 0.3, 1):
            pixels = np.full((height, width, channels), 200, np.uint8)
            pixels[:, width // 2 :] = 7
            pixels[rng.random((height, width)) < share] = rng.integers(0, 256, channels)
            for top, left in itertools.product(range(0, height, 16), range(0, width, 16)):
                if rng.random() < share:
                    pixels[top : top + 16, left : left + 16, 0] ^= rng.integers(
                        0, 2, pixels[top : top + 16, left : left + 16, 0].shape, np.uint8
                    )
            drawn = np.zeros((height, width), bool)
            for top, left in itertools.product(range(0, height, 16), range(0, width, 16)):
                square = np.s_[top : top + 16, left : left + 16]
                drawn[square] = (pixels[square] == pixels[top, left]).all()
            for linked in (False, True):
                wanted = ~(grown(pixels, drawn) if linked else drawn)
                found = _native.beside_plain(pixels, linked)
                if wanted.all() or not wanted.any():
                    assert found is None
                else:
                    assert np.array_equal(found, wanted)
                kinds.add((linked, found is None))
    assert len(kinds) == 4


def test_the_nets_get_a_smooth_continuation():
    rng = np.random.default_rng(7)
    for height, width, channels in ((1, 1, 1), (1, 17, 3), (40, 1, 3), (33, 50, 1), (64, 64, 3)):
        pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
        for share in (0, 0.01, 0.5, 1):
            holes = (rng.random((height, width)) < share).astype(np.uint8)
            filled = _native.fill_drawn(pixels, holes)
            if holes.any():
                assert np.array_equal(filled, filled_of(pixels, holes))
                assert np.array_equal(filled[holes != 0], pixels[holes != 0])
    flat = np.full((50, 70, 3), (250, 3, 90), np.uint8)
    holes = np.zeros((50, 70), np.uint8)
    holes[20:30, 9:12] = 1
    assert np.array_equal(_native.fill_drawn(flat, holes), flat)


@pytest.mark.parametrize("channels", [1, 3])
def test_long_runs_of_one_colour_are_coded_as_the_specification_says(channels):
    """Where the models have learnt all that they can, too; and where a run ends, in a dot, an edge or a hole."""
    rng = np.random.default_rng(channels)
    pixels = np.full((48, 700, channels), 255, np.uint8)
    pixels[30:] = 0
    pixels[40:, 350:] = 9
    for y, x in zip(rng.integers(0, 48, 12), rng.integers(0, 700, 12), strict=True):
        pixels[y, x] = rng.integers(0, 256)
    holes = np.zeros(pixels.shape[:2], np.uint8)
    holes[8:20, 100:600] = 1
    (plain,), (laid,) = _native.encode_colours(pixels, 48, 1), _native.encode_overlay(pixels, holes, 48, 1)
    assert np.array_equal(ColoursStrip(Bits(plain), *pixels.shape).samples, pixels)
    strip = ColoursStrip(Bits(laid), *pixels.shape, overlay=True)
    assert np.array_equal(strip.holes, holes != 0)
    assert np.array_equal(strip.samples[~strip.holes], pixels[~strip.holes])
    back = np.empty_like(pixels)
    _native.decode_colours([plain], back, 48, 1)
    assert np.array_equal(back, pixels)
    back[:] = 77
    _native.decode_overlay([laid], back, 48, 1)
    assert np.array_equal(back, np.where(holes[:, :, None] != 0, 77, pixels))


def test_merging_leaves_holes_alone():
    pixels, holes = page(), np.zeros(SIZE, np.uint8)
    holes[40:100, 60:150] = 1
    merged = _native.merge_colours(pixels, 12, 24, holes)
    assert np.array_equal(merged[holes != 0], pixels[holes != 0])
    other = pixels.copy()
    other[60:80, 80:120] = 255 - other[60:80, 80:120]  # colours inside do not count
    again = _native.merge_colours(other, 12, 24, holes)
    outside = np.pad(holes, 1)[1:-1, 1:-1] == 0
    assert np.array_equal(again[outside], merged[outside])
    assert not np.array_equal(merged, pixels)


def loss(pixels, data, quality):
    errors = Codec().decode(data).astype(int).reshape(pixels.shape) - pixels
    return round(trade_off(quality) * 2**16) * int(np.square(errors).sum()) + 8 * len(data) * 3 * 2**16


@pytest.mark.parametrize("kind", KINDS)
def test_pages_cost_less_than_without(kind):
    pixels = page(kind)
    laid = 0
    for quality in (1, 3.35, 6, 8):
        data, nets = Codec(quality=quality).encode(pixels), Codec(quality=quality, drawings=False).encode(pixels)
        layer = container.unpack(data).layer
        if layer is None:
            assert data == nets
            continue
        laid += layer.kind == "overlay"
        assert loss(pixels, data, quality) < loss(pixels, nets, quality)
        assert info(data).quality == (quality if layer.kind == "overlay" else None)
        assert info(data).base_quality is None
    assert laid >= 2


def test_half_of_the_page_is_exact():
    """And the photo is as good as without."""
    pixels = page("interface")
    data, nets = (Codec(quality=8, drawings=drawings).encode(pixels) for drawings in (True, False))
    photo_at = np.s_[39:111, 71:171]
    ours, theirs = (np.square(Codec().decode(d).astype(int) - pixels) for d in (data, nets))
    assert container.unpack(data).layer.kind == "overlay"
    assert len(data) < len(nets)
    assert ours[photo_at].mean() <= 1.1 * theirs[photo_at].mean()
    assert (ours.max(axis=2) == 0).mean() > 0.4
    assert np.delete(ours, np.s_[39:111], axis=0).mean() < 0.1 * np.delete(theirs, np.s_[39:111], axis=0).mean()


def test_every_way_to_encode_gives_the_same_file():
    pixels = page()
    codec = Codec(quality=5, pixel_checksum=True)
    data = codec.encode(pixels)
    assert container.unpack(data).layer.kind == "overlay"
    codec.decode(data)  # and holds it to its checksum
    assert codec.encode_batch([pixels, photo()[:64, :64].copy(), pixels])[::2] == [data, data]
    assert codec.encode_timed(pixels)[0] == data
    assert Codec(quality=5, pixel_checksum=True, threads=3).encode(pixels) == data
    assert Codec(quality=5, pixel_checksum=True, backend="reference").encode(pixels) == data


def test_grey_and_alpha():
    pixels = page("chart")
    seen = np.dstack([pixels, pixels[:, :, 1]])
    for image in (pixels[:, :, 0].copy(), seen):
        data = Codec(quality=6, pixel_checksum=True).encode(image)
        assert container.unpack(data).layer.kind == "overlay"
        assert Codec().decode(data).shape == image.shape
    assert np.array_equal(Codec().decode(data)[:, :, 3], seen[:, :, 3])


@pytest.mark.parametrize("effort", [1, 2])
def test_effort_goes_to_what_the_nets_get(effort):
    """And never costs more: where a search gains nothing of what is seen, the nearest integers stay."""
    ratios = []
    for seed, quality in itertools.product((8, 9, 10, 11), (3, 7)):
        pixels = page("text", seed, (96, 128))
        data = Codec(quality=quality).encode(pixels, effort)
        assert container.unpack(data).layer.kind == "overlay"
        ratios.append(loss(pixels, data, quality) / loss(pixels, Codec(quality=quality).encode(pixels), quality))
    assert max(ratios) <= 1
    assert np.mean(ratios) < 0.99


def product(blur):
    """A photo in an ellipse on white, which it ends in by so many pixels."""
    return ground_rates.on_white(Image.fromarray(photo()[100:388, 200:616]), blur)[0]


@pytest.mark.parametrize("quality", [4, 6, 8])
@pytest.mark.parametrize(("blur", "saved"), [(0, 0.05), (3, 0), (8, 0)])
def test_a_plain_ground_comes_back_as_it_was(blur, saved, quality):
    """Where a picture ends in it softly too: nets alone leave it a shade off."""
    pixels = product(blur)
    codec, nets = Codec(quality=quality, threads=1), Codec(quality=quality, drawings=False)
    data, plain = codec.encode(pixels), nets.encode(pixels)
    assert container.unpack(data).layer.kind == "overlay"
    assert loss(pixels, data, quality) < (1 - saved) * loss(pixels, plain, quality)
    ground = _native.beside_plain(pixels, False) == 0
    assert np.array_equal(codec.decode(data)[ground], pixels[ground])
    assert (codec.decode(plain)[ground] != pixels[ground]).mean() > 0.05
    searched = codec.encode(pixels, 1)
    assert loss(pixels, searched, quality) <= loss(pixels, data, quality)
    assert np.array_equal(codec.decode(searched)[ground], pixels[ground])


@pytest.mark.parametrize(("pixels", "better"), [(page("text"), 0), (product(0), 1)], ids=["page", "object"])
def test_of_two_ways_to_divide_the_better_one(pixels, better):
    """Square by square, for a page; the ground alone, for an object whose edges ring."""
    codec = Codec(quality=6, drawings=False)
    data = codec.encode(pixels)
    coarse = codec.decode(data)
    chosen = _native.choose_holes(pixels, coarse, layers.strip_rows(*pixels.shape[:2]), drawings.price(6.0), len(data), 1)
    ways, costs = list(drawings.overlaid(pixels, coarse, 6.0, len(data), 1)), []
    for way, holes in zip(ways, (chosen, _native.beside_plain(pixels, True)), strict=True):
        assert np.array_equal(way.filled, _native.fill_drawn(pixels, holes))
        nets = codec.encode(way.filled)
        seen = codec.decode(nets)
        way.layer.decode(seen, 0, 1)
        costs.append(drawings.cost(6.0, int(np.square(seen.astype(int) - pixels).sum()), len(nets) + len(way.layer.packed()), 3))
    assert costs[better] < costs[not better]
    assert container.unpack(Codec(quality=6).encode(pixels)).layer.packed() == ways[better].layer.packed()


def test_sizes_and_targets():
    pixels = page("interface", 8)
    whole, nets = len(Codec(quality=5).encode(pixels)), Codec(quality=5, drawings=False)
    data, other = Codec().encode(pixels, max_bytes=whole), nets.encode(pixels, max_bytes=whole)
    assert len(data) <= whole
    squares = [int(np.square(Codec().decode(d).astype(int) - pixels).sum()) for d in (data, other)]
    assert squares[0] < squares[1] / 2
    for wanted in (30, 36, 41):
        data = Codec().encode(pixels, target_psnr=wanted)
        reached = psnr_of(int(np.square(Codec().decode(data).astype(int) - pixels).sum()), pixels.size)
        assert reached > wanted - 0.15
        assert reached < wanted + 0.15 or info(data).quality == 1  # the lowest may be better
        assert container.unpack(data).layer.kind == "overlay"


def test_photos_are_not_touched(monkeypatch):
    """Not even where much of them is burnt out, as long as nothing is flat."""
    monkeypatch.setattr(_native, "choose_holes", None)
    pixels = np.clip(photo()[:128, :192].astype(int) + 40, 0, 255).astype(np.uint8)
    rng = np.random.default_rng(1)
    pixels[rng.random(pixels.shape[:2]) < 0.55] = 255
    assert _native.maybe_drawn(_native.count_repeated(pixels), *pixels.shape[:2])
    assert not _native.partly_flat(pixels)
    assert Codec(drawings=False).encode(pixels) == Codec().encode(pixels)


def test_a_layer_is_as_small_as_it_can_be():
    """Of the bounds that are tried the one of least loss, as long as it falls."""
    pixels = page("text")
    codec = Codec(quality=3, drawings=False)
    data = codec.encode(pixels)
    found = next(drawings.overlaid(pixels, codec.decode(data), 3.0, len(data), 1))
    holes = _native.choose_holes(pixels, codec.decode(data), layers.strip_rows(*SIZE), drawings.price(3.0), len(data), 1)
    losses = []
    for bound in (0, *drawings.BOUNDS):
        merged = _native.merge_colours(pixels, bound, 2 * bound, holes)
        squares = int(np.square(merged.astype(int) - pixels).sum())
        losses.append(drawings.cost(3.0, squares, len(layers.overlay(merged, holes, 1).packed()), 3))
    falling = next((i for i in range(1, len(losses)) if losses[i] >= losses[i - 1]), len(losses))
    coded = np.zeros_like(pixels)
    found.layer.decode(coded, 0, 1)
    errors = np.where(holes[:, :, None] != 0, 0, coded.astype(int) - pixels)
    assert drawings.cost(3.0, int(np.square(errors).sum()), len(found.layer.packed()), 3) == losses[falling - 1]
    assert np.array_equal(found.filled, _native.fill_drawn(pixels, holes))
