# SPDX-License-Identifier: Apache-2.0
"""libjahp writes the files that the package writes at effort 0, byte for byte, and refuses what it refuses, in the same words."""

from functools import cache, partial
from pathlib import Path

import golden_pictures as pictures
import libjahp
import numpy as np
import pytest
from builders import photo
from in_part import one_in

from jahp_fast import Codec, JahpError, info, library
from jahp_fast.files import container
from jahp_fast.train import synthetic

GOLDEN = Path(__file__).parents[1] / "golden"
SHIPPED = library.by_name("mbt2018").path


def smooth(height, width, channels, seed=0, waves=(4, 40), noise=6.0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    each = [128 + 90 * np.sin(rows / a + columns / b + c) for a, b, c in rng.uniform(*waves, (channels, 3))]
    noisy = np.stack(each, 2) + rng.normal(0, noise, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def flat(height, width, channels):
    out = np.zeros((height, width, channels), np.uint8)
    out[height // 3 : height // 2] = 200
    out[:, width // 2] = 90
    return out


def on_white(height, width, edge):
    """A picture in the middle, which ends in white over so many pixels."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.minimum(np.minimum(rows, height - 1 - rows) - height // 4, np.minimum(columns, width - 1 - columns) - width // 4)
    share = np.clip(inside / edge, 0, 1)[:, :, None]
    return np.rint(smooth(height, width, 3) * share + 255 * (1 - share)).astype(np.uint8)


PICTURES = {
    "on white": on_white(130, 170, 0.5), "softly on white": on_white(130, 170, 9),
    "RGB": smooth(97, 130, 3), "grey": smooth(97, 130, 1)[:, :, 0], "RGBA": smooth(40, 75, 4), "one pixel": smooth(1, 1, 3),
    "one row": smooth(1, 90, 3), "one column": smooth(70, 1, 1)[:, :, 0], "few colours": flat(150, 200, 3), "flat alpha": flat(90, 64, 4),
    "constant": np.full((300, 200, 3), 77, np.uint8), "large constant": np.full((3000, 2000), 9, np.uint8),
    "constant pixel": np.full((1, 1, 3), (10, 200, 30), np.uint8), "constant row": np.full((1, 90), 7, np.uint8),
    "soft": smooth(160, 200, 3, waves=(150, 300), noise=0.7),
    "constant below alpha": np.dstack([np.full((40, 30, 3), 77, np.uint8), smooth(40, 30, 1)]),
}  # fmt: skip

LARGE_IS_SLOW = [pytest.param(name, marks=[pytest.mark.slow] if name == "large constant" else []) for name in PICTURES]


@cache
def model(path):
    return libjahp.Model(path)


def agreed(package, encoder, pixels):
    """Both give the same file, which is returned, or refuse in the same words."""
    try:
        wanted = package()
    except JahpError as e:
        with libjahp.same_refusal(type(e), str(e)):
            encoder.encode(pixels)
        return None
    assert encoder.encode(pixels) == wanted
    return wanted


@pytest.mark.parametrize("threads", [1, 2])
def test_golden_pictures(threads):
    """Models of all kinds, forms and architectures."""
    for i, (name, height, width, channels, quality) in enumerate(pictures.PICTURES):
        encoder = libjahp.Encoder(model(GOLDEN / f"{name}.safetensors"), quality, threads=threads, drawings=0)
        data = encoder.encode(pictures.picture(i, height, width, channels))
        assert data == (GOLDEN / f"{name}-{i}.jahp").read_bytes()


@pytest.mark.parametrize("quality", one_in(2, [1, 4, 3.21, 7.95, 8, 8.05, 9, 12, 10.4]))
@pytest.mark.parametrize("name", PICTURES)
def test_qualities(name, quality):
    pixels, checked = PICTURES[name], quality in (4, 9)
    codec = Codec(quality=quality, threads=2, pixel_checksum=checked)
    encoder = libjahp.Encoder(model(SHIPPED), quality, threads=2, pixel_checksum=int(checked))
    data = agreed(lambda: codec.encode(pixels), encoder, pixels)
    assert np.array_equal(libjahp.Decoder([model(SHIPPED)]).decode(data), codec.decode(data))


@pytest.mark.parametrize("kind", ["text", "map", "chart"])
def test_drawings(kind):
    """Kept by themselves or not, with and without goals."""
    pixels, kept = synthetic.picture(kind, 3, (90, 120)), set()
    for quality in (1, 3.3, 8, 11):
        for drawings in (False, True):
            codec = Codec(quality=quality, drawings=drawings)
            encoder = libjahp.Encoder(model(SHIPPED), quality, drawings=int(drawings))
            kept.add(info(agreed(lambda codec=codec: codec.encode(pixels), encoder, pixels)).max_error)
    assert len(kept) > 2
    exact = len(Codec().encode(pixels, lossless=True))
    goals = [{"max_bytes": int(exact * share)} for share in (0.1, 0.4, 0.7, 0.95, 1)] + [{"target_psnr": p} for p in (22.0, 37.0, 60.0)]
    for goal in (*goals, {"target_bpp": 0.3}):
        agreed(lambda goal=goal: Codec().encode(pixels, **goal), libjahp.Encoder(model(SHIPPED), **goal), pixels)


def page(kind):
    """A drawing with a photo in it."""
    pixels = synthetic.picture(kind, 5, (120, 170)).copy()
    pixels[30:92, 50:140] = photo()[100:162, 300:390]
    return pixels


@pytest.mark.parametrize("kind", ["text", "interface"])
def test_drawings_with_photos(kind):
    """Laid over the pixels of the latents; with goals, in grey, with alpha."""
    pixels, kept = page(kind), set()
    seen = np.dstack([pixels, pixels[:, :, :1]])
    for image in (pixels, pixels[:, :, 0].copy(), seen):
        for quality in (2, 5.05, 8, 9):
            codec = Codec(quality=quality, pixel_checksum=quality == 8)
            encoder = libjahp.Encoder(model(SHIPPED), quality, threads=2, pixel_checksum=int(quality == 8))
            data = agreed(lambda codec=codec, image=image: codec.encode(image), encoder, image)
            assert np.array_equal(libjahp.Decoder([model(SHIPPED)]).decode(data), codec.decode(data))
            kept.add(container.unpack(data).layer.kind)
    assert "overlay" in kept
    goals = ({"max_bytes": 900}, {"max_bytes": 3500}, {"target_bpp": 1.9}, {"target_psnr": 33.0}, {"target_psnr": 41.0})
    for goal in goals:
        agreed(lambda goal=goal: Codec().encode(pixels, **goal), libjahp.Encoder(model(SHIPPED), **goal), pixels)


@pytest.mark.parametrize("bound", [0, 1, 31])
@pytest.mark.parametrize("name", LARGE_IS_SLOW)
def test_bounds(name, bound):
    """They need no model."""
    pixels = PICTURES[name]
    for checked in (False, True):
        codec, encoder = Codec(pixel_checksum=checked), libjahp.Encoder(max_error=bound, pixel_checksum=int(checked))
        data = agreed(lambda codec=codec: codec.encode(pixels, max_error=bound), encoder, pixels)
        back = libjahp.Decoder().decode(data).astype(int)
        shape = (*pixels.shape[:2], -1)
        assert np.abs(back.reshape(shape) - pixels.reshape(shape).astype(int)).max() <= bound


@pytest.mark.parametrize("name", LARGE_IS_SLOW)
def test_sizes(name):
    pixels = PICTURES[name]
    largest = len(Codec(quality=8).encode(pixels))
    smallest = len(Codec(quality=1).encode(pixels))
    reached = set()
    for share in (0, 0.1, 0.3, 0.6, 0.95, 1, 3):
        most = max(1, round(smallest - 5 + share * (largest - smallest + 5)))
        data = agreed(lambda most=most: Codec().encode(pixels, max_bytes=most), libjahp.Encoder(model(SHIPPED), max_bytes=most), pixels)
        assert data is None or len(data) <= most
        reached.add(None if data is None else len(data))
    assert len(reached) > 1


@pytest.mark.parametrize("name", sorted(pictures.MODELS))
def test_sizes_with_other_models(name):
    """Form B cannot trim; some models have a single quality."""
    path = GOLDEN / f"{name}.safetensors"
    pixels, lowest = PICTURES["RGB"], Codec(name, model(path).info.lowest, models=[path])
    start = len(lowest.encode(pixels))
    for most in (start - 10, start, start + 3, start + 50, 2 * start):
        encoder = libjahp.Encoder(model(path), lowest.quality, max_bytes=most)
        agreed(lambda most=most: lowest.encode(pixels, max_bytes=most), encoder, pixels)


TARGETS = [
    {"target_bpp": 0.2}, {"target_bpp": 1.5}, {"target_bpp": 30.0}, {"target_bpp": 1.5, "max_bytes": 900}, {"target_bpp": 0.01},
    {"target_psnr": 28.5}, {"target_psnr": 33.0}, {"target_psnr": 3.0}, {"target_psnr": 70.0}, {"target_psnr": 30.0, "max_bytes": 900},
    {"target_psnr": 30.0, "target_bpp": 1.0}, {"target_bpp": 1.0, "max_error": 1},
]  # fmt: skip


@pytest.mark.parametrize("wanted", TARGETS, ids=str)
@pytest.mark.parametrize("name", ["RGB", "grey", "RGBA", "one row"])
def test_targets(name, wanted):
    pixels = PICTURES[name]
    agreed(lambda: Codec().encode(pixels, **wanted), libjahp.Encoder(model(SHIPPED), **wanted), pixels)


@pytest.mark.parametrize(("target", "value"), [("target_bpp", -0.5), ("target_psnr", 100.5), ("target_psnr", -1.5)])
def test_targets_that_are_none(target, value):
    with pytest.raises(JahpError) as caught:
        Codec().encode(PICTURES["RGB"], **{target: value})
    with libjahp.same_refusal(type(caught.value), str(caught.value)):
        libjahp.Encoder(model(SHIPPED), **{target: value})


def deep(depth, channels):
    """Samples of so many bits, with noise in the last."""
    rng, most = np.random.default_rng(depth), (1 << depth) - 1
    wide = smooth(70, 85, channels).astype(np.uint32) * most // 255 + rng.integers(0, 2, (70, 85, channels))
    return np.minimum(wide, most).astype(np.uint16)


@pytest.mark.parametrize(("depth", "channels"), [(16, 3), (16, 1), (9, 3), (10, 4), (16, 4)])
def test_deep_samples(depth, channels):
    pixels = deep(depth, channels)[:, :, 0] if channels == 1 else deep(depth, channels)
    for quality, arguments in ((4, {}), (7.35, {}), (10, {}), (12, {}), (1, {"max_bytes": 2500}), (4, {"target_psnr": 33.0})):
        codec = Codec(quality=quality, threads=2, pixel_checksum=quality in (4, 10))
        options = {"sample_bits": 16, "depth": depth, "pixel_checksum": int(quality in (4, 10)), **arguments}
        encoder = libjahp.Encoder(model(SHIPPED), quality, threads=2, **options)
        data = agreed(lambda codec=codec, arguments=arguments: codec.encode(pixels, depth=depth, **arguments), encoder, pixels)
        assert data is None or container.unpack(data).depth == depth


@pytest.mark.parametrize(("depth", "channels"), [(16, 3), (16, 1), (9, 3), (10, 4), (12, 2)])
def test_deep_samples_without_loss(depth, channels):
    """Noise, few values and one, within every kind of bound; with alpha, and with strips for several threads."""
    pixels = deep(depth, channels)[:, :, 0] if channels == 1 else deep(depth, channels)
    several = np.tile(pixels, (6, 8, *(1,) * (pixels.ndim - 2)))
    for given in (pixels, pixels // 7 * 7, np.full_like(pixels, 300), several):
        for bound in (0,) if given is several and channels > 1 else (0, 3, 63):
            options = {"sample_bits": 16, "depth": depth, "pixel_checksum": int(bound == 3)}
            encoder = libjahp.Encoder(None, threads=2, max_error=bound, **options)
            asked = partial(Codec(threads=2, pixel_checksum=bound == 3).encode, given, max_error=bound, depth=depth)
            data = encoder.encode(given) if channels == 2 else agreed(asked, encoder, given)
            for bits, dtype in ((8, np.uint8), (16, np.uint16)):
                back = libjahp.Decoder([], threads=2, sample_bits=bits).decode(data)
                assert np.array_equal(back, Codec().decode(data, dtype=dtype))


def test_deep_alpha():
    """It is kept; its lower bits stand in the file where they do not only repeat the upper ones."""
    pixels = deep(12, 2)
    encoder = libjahp.Encoder(model(SHIPPED), sample_bits=16, depth=12)
    back = libjahp.Decoder([model(SHIPPED)], sample_bits=16).decode(encoder.encode(pixels))
    assert np.array_equal(back[:, :, 3], (pixels[:, :, 1].astype(np.int64) * 65535 + 2047) // 4095)
    white = np.full((20, 30, 4), 4095, np.uint16)
    data = agreed(lambda: Codec().encode(white, depth=12), encoder, white)
    assert "alpl" not in {kind.decode() for kind in container.unpack(data).chunks}


def test_deep_samples_that_are_refused():
    pixels = smooth(20, 20, 3).astype(np.uint16) * 200
    encoder = libjahp.Encoder(model(SHIPPED), sample_bits=16, depth=12)
    assert agreed(lambda: Codec().encode(pixels, depth=12), encoder, pixels) is None
    for given, bits, bound in ((pixels >> 7, 9, 64), (pixels >> 6, 10, 128), (PICTURES["RGB"], 8, 32), (pixels, 16, 256)):
        options = {"max_error": bound} | ({} if bits == 8 else {"depth": bits})
        with pytest.raises(JahpError, match="max_error must be 0 to") as caught:
            Codec().encode(given, **options)
        with libjahp.same_refusal(type(caught.value), str(caught.value)):
            libjahp.Encoder(None, **options, sample_bits=8 if bits == 8 else 16).encode(given)
    with pytest.raises(JahpError) as caught:
        Codec().encode(pixels, depth=8)
    with libjahp.same_refusal(type(caught.value), str(caught.value)):
        libjahp.Encoder(model(SHIPPED), depth=8)


def test_strides_and_metadata():
    wide = smooth(33, 60, 3)
    encoder = libjahp.Encoder(model(SHIPPED))
    assert encoder.encode(wide[:, :44]) == encoder.encode(wide[:, :44].copy()) == Codec().encode(wide[:, :44])
    for kind, content in (("xmp_", b"<x/>"), ("iccp", b"profile"), ("exif", b"II*\0"), ("cicp", b"\1\15\0\1")):
        encoder.call("set_chunk", kind.encode(), content, len(content))
    stream = container.unpack(encoder.encode(wide))
    assert stream.chunks == {b"xmp_": b"<x/>", b"iccp": b"profile", b"exif": b"II*\0", b"cicp": b"\1\15\0\1"}
    plain = container.unpack(Codec().encode(wide))
    assert (stream.payload, stream.checksum) == (plain.payload, plain.checksum)


def test_grey_and_alpha():
    """Two channels are those of Pillow's mode LA."""
    from PIL import Image

    pixels = smooth(30, 41, 2)
    assert libjahp.Encoder(model(SHIPPED)).encode(pixels) == Codec().encode(Image.fromarray(pixels, "LA"))


REFUSED = {
    "a quality beyond all": ({"quality": 12.2}, {}, {}),
    "a quality that is none": ({"quality": 0.4}, {}, {}),
    "too many pixels": ({"max_pixels": 97 * 130 - 1}, {"max_pixels": 97 * 130 - 1}, {}),
    "a size above quality 8": ({"quality": 9}, {"max_bytes": 1000}, {"max_bytes": 1000}),
    "a size and a bound": ({}, {"max_bytes": 1000, "max_error": 2}, {"max_bytes": 1000, "max_error": 2}),
    "too few bytes": ({}, {"max_bytes": 3}, {"max_bytes": 3}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what):
    made, options, arguments = REFUSED[what]
    encoder = libjahp.Encoder(model(SHIPPED), made.get("quality"), **options)
    assert agreed(lambda: Codec(**made).encode(PICTURES["RGB"], **arguments), encoder, PICTURES["RGB"]) is None


def test_a_model_of_one_quality_refuses_others():
    path = GOLDEN / "pictures-b.safetensors"
    for quality in (3, 8, 9):
        encoder, made = libjahp.Encoder(model(path), quality), {"model": "pictures-b", "quality": quality, "models": [path]}
        assert agreed(lambda made=made: Codec(**made).encode(PICTURES["RGB"]), encoder, PICTURES["RGB"]) is None
