# SPDX-License-Identifier: Apache-2.0
"""Regions: bit for bit the same part of the whole picture, wherever it lies, by every way to decode."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jahp_fast import Codec, FormatError, UsageError, _native
from jahp_fast.files import container
from jahp_fast.files.view import View
from jahp_fast.pipelines import cpu
from jahp_fast.pipelines.device import DevicePipeline
from jahp_fast.transforms.layers import Layer
from jahp_fast.transforms.reference import ReferenceNet
from jahp_fast.transforms.window import reaches, seen, window

HEIGHT, WIDTH = 215, 187  # no multiples of 16


@pytest.fixture(scope="module")
def decoded(tiny_models):
    """A codec, a file with alpha and a checksum of its pixels, and its whole decode."""
    codec = Codec("tiny", 5.5, threads=1, models=[tiny_models["tiny"]], pixel_checksum=True)
    alpha = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    data = codec.encode(np.dstack([photo()[:HEIGHT, :WIDTH], alpha]))
    return codec, data, codec.decode(data)


def cut(picture, region):
    left, top, width, height = region
    return picture[top : top + height, left : left + width]


@st.composite
def regions(draw):
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return left, top, draw(st.integers(1, WIDTH - left)), draw(st.integers(1, HEIGHT - top))


@settings(max_examples=60, deadline=None)
@given(region=regions())
def test_any_region_is_the_same_part_of_the_whole(decoded, region):
    codec, data, whole = decoded
    assert np.array_equal(codec.decode(data, region=region), cut(whole, region))


CORNERS = [(0, 0, 1, 1), (WIDTH - 1, HEIGHT - 1, 1, 1), (0, HEIGHT - 1, WIDTH, 1), (WIDTH - 1, 0, 1, HEIGHT), (16, 32, 16, 16),
           (15, 31, 18, 18), (17, 33, 14, 14), (0, 0, WIDTH, HEIGHT)]  # fmt: skip


@pytest.mark.parametrize("region", CORNERS, ids=str)
@pytest.mark.parametrize("overlapped", [False, True])
def test_every_way_to_decode_takes_regions(decoded, monkeypatch, region, overlapped):
    codec, data, whole = decoded
    monkeypatch.setattr(cpu, "OVERLAP_PIXELS", 0 if overlapped else 1 << 22)
    wanted = cut(whole, region)
    assert np.array_equal(np.concatenate(list(codec.decode_rows(data, region=region))), wanted)
    assert np.array_equal(codec.decode_batch([data, data], region=region), [wanted, wanted])
    assert np.array_equal(codec.decode_tensor(data, region=region).permute(1, 2, 0).numpy(), wanted)
    assert np.array_equal(np.asarray(codec.decode_pil(data, region=region)), wanted)


@pytest.mark.parametrize("name", ["tiny-b16", "tiny-mean", "tiny-factorized"])
def test_other_models_grey_and_the_reference(tiny_models, name):
    grey = photo()[:70, :90, 1]
    codec = Codec(name, 3, threads=2, models=[tiny_models[name]])
    data = codec.encode(grey)
    whole, region = codec.decode(data), (33, 18, 40, 31)
    assert np.array_equal(codec.decode(data, region=region), cut(whole, region))
    plain = Codec(name, 3, backend="reference", models=[tiny_models[name]])
    assert np.array_equal(plain.decode(data, region=region), cut(whole, region))


def test_transforms_in_torch_take_regions(decoded):
    """What a GPU runs, here on the CPU: streams of two sizes, and two regions of one."""
    codec, data, whole = decoded
    other = Codec("tiny", 2, threads=1, models=codec._pipelines.models).encode(photo()[:100, :90])
    streams = [container.unpack(d) for d in (data, data, data, other)]
    asked = [(40, 50, 60, 70), (40, 50, 60, 70), (100, 150, 20, 30), (0, 3, 90, 20)]
    pipeline = DevicePipeline(codec._encoder.file, "native")
    views = [View.of(*s.size, region) for s, region in zip(streams, asked, strict=True)]
    images = pipeline.decode(streams, 1, views=views).settle()
    wanted = [cut(whole[:, :, :3], region) for region in asked[:3]] + [cut(codec.decode(other), asked[3])]
    for image, pixels in zip(images, wanted, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)
    rows = np.concatenate(list(pipeline.decode_rows(streams[0], views[0], 1)))
    assert np.array_equal(rows, wanted[0])


def conv(kernel, kind="conv"):
    return Layer(kind, np.ones((1, 1, kernel, kernel), np.int16), np.zeros(1, np.int32), np.zeros(1, np.uint8), "none")


CHAINS = {"deconv": [conv(5, "deconv")], "two": [conv(5, "deconv"), conv(5, "deconv")], "3x3": [conv(3)], "strided": [conv(5)],
          "mixed": [conv(5, "deconv"), conv(3), conv(5, "deconv"), conv(1), conv(3)]}  # fmt: skip


@pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS)
def test_the_halo_is_what_outputs_read_and_no_more(layers):
    """An input that changes an output lies in `seen`, whose first and last inputs change one; no weight here is 0."""
    size = 24
    made = ReferenceNet([*(layer._replace(activation="relu") for layer in layers[:-1]), layers[-1]])
    answers = []
    for i in range(size):
        x = np.zeros((size, 1, 1), np.int16)
        x[i] = 1
        answers.append(made.run(x)[:, 0, 0] != 0)
    touched = np.array(answers)  # (input, output)
    for first in range(touched.shape[1]):
        for end in range(first + 1, touched.shape[1] + 1):
            read = np.flatnonzero(touched[:, first:end].any(1))
            low, high = seen(reaches(layers), first, end)
            assert (max(low, 0), min(high, size)) == (read[0], read[-1] + 1)


def test_only_the_latents_that_count_are_worked_on():
    """512 x 512 pixels in the middle of a large picture: 32 latents a side, one before and two behind."""
    needed = window(reaches([conv(5, "deconv")] * 4), View.of(8000, 4000, (1600, 1600, 512, 512)), 250, 500)
    assert (needed.height, needed.width) == (35, 35)
    assert (needed.top, needed.left) == (16, 16)


BAD = {
    "empty": ((3, 4, 0, 5), "region of 0 x 5 pixels is empty"),
    "upside down": ((3, 4, 5, -5), "region of 5 x -5 pixels is empty"),
    "left of it": ((-1, 4, 5, 5), "not inside of the picture's 187 x 215 pixels"),
    "too wide": ((0, 0, 188, 5), "not inside of the picture's 187 x 215 pixels"),
    "too low": ((0, 211, 5, 5), "not inside of the picture's 187 x 215 pixels"),
    "three": ((0, 1, 2), "region must be .left, top, width, height."),
    "text": ("0,1,2,3", "region must be .left, top, width, height."),
    "number": (5, "region must be .left, top, width, height."),
    "fraction": ((0, 0.5, 2, 2), "region's top must be a whole number"),
    "truth": ((0, 0, True, 2), "region's width must be a whole number"),
}


@pytest.mark.parametrize(("region", "said"), BAD.values(), ids=BAD)
def test_what_is_no_region_is_refused_in_a_sentence(decoded, region, said):
    codec, data, _ = decoded
    for decode in (codec.decode, codec.decode_rows, codec.decode_pil, codec.decode_tensor):
        with pytest.raises(UsageError, match=said):
            decode(data, region=region)
    with pytest.raises(UsageError, match=said):
        codec.decode_batch([data], region=region)


def test_numbers_of_numpy_and_torch_are_numbers(decoded):
    codec, data, whole = decoded
    for region in (np.array([1, 2, 3, 4]), [np.int64(1), torch.tensor(2), 3, 4]):
        assert np.array_equal(codec.decode(data, region=region), cut(whole, (1, 2, 3, 4)))


def test_a_part_is_not_held_to_the_checksum_of_the_whole(decoded):
    """Damage of symbols is found, though, and that of alpha below the region."""
    codec, data, whole = decoded
    stream = container.unpack(data)
    wrong = container.pack(replace(stream, chunks=stream.chunks | {b"pcrc": bytes(4)}))
    assert np.array_equal(codec.decode(wrong, region=(1, 2, 3, 4)), cut(whole, (1, 2, 3, 4)))
    for region in (None, (0, 0, WIDTH, HEIGHT)):
        with pytest.raises(FormatError, match="checksum of the pixels"):
            codec.decode(wrong, region=region)
    damaged = container.pack(replace(stream, checksum=stream.checksum ^ 1))
    short = container.pack(replace(stream, chunks=stream.chunks | {b"ALPH": stream.chunks[b"ALPH"][:-9]}))
    for file, said in ((damaged, "checksum of the decoded symbols"), (short, "alpha")):
        with pytest.raises(FormatError, match=said):
            codec.decode(file, region=(1, 2, 3, 4))
        with pytest.raises(FormatError, match=said):
            list(codec.decode_rows(file, region=(1, 2, 3, 4)))


def test_the_picture_of_a_region_keeps_its_metadata(decoded):
    codec = decoded[0]
    image = Image.fromarray(photo()[:40, :50])
    image.info["icc_profile"] = b"an ICC profile"
    assert codec.decode_pil(codec.encode(image), region=(1, 2, 3, 4)).info["icc_profile"] == b"an ICC profile"


def test_regions_of_a_file_with_copied_positions(tiny_models, monkeypatch):
    codec = Codec("tiny", 4, threads=1, models=[tiny_models["tiny"]], drawings=False)
    picture = np.full((160, 176, 3), 40, np.uint8)
    picture[50:90, 60:100] = photo()[50:90, 60:100]
    data = codec.encode(picture)
    assert b"COPY" in container.unpack(data).chunks
    whole = codec.decode(data)
    for overlapped in (0, 1 << 22):
        monkeypatch.setattr(cpu, "OVERLAP_PIXELS", overlapped)
        for region in ((0, 0, 30, 30), (55, 41, 60, 60), (130, 120, 46, 40)):
            assert np.array_equal(np.concatenate(list(codec.decode_rows(data, region))), cut(whole, region))
    assert codec.decode(data, scale=8).shape == (20, 22, 3)


def test_memory_of_a_region_of_a_large_picture(tmp_path):
    """Its latents are 25 MB as an array, and the activations that the entropy nets hold of them 19, twice that where the machine
    multiplies no bytes."""
    codec, image = Codec(threads=1), np.tile(photo(), (4, 6, 1))[:2048, :4096]
    for name, pixels in (("large", image), ("small", image[:64, :64])):
        (tmp_path / name).write_bytes(codec.encode(pixels))
    program = """if True:
        from jahp_fast import Codec
        def status(field):
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))
        codec = Codec(threads=1)
        codec.decode(open("small", "rb").read())  # nets are packed
        data, before = open("large", "rb").read(), status("VmRSS")
        codec.decode(data, region=(2000, 1000, 64, 64))
        print((status("VmHWM") - before) * 1024 / 1e6)
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert 10 < float(done.stdout) < 40 + 19 * (_native.isa_names()[-1] == "avx2")
