# SPDX-License-Identifier: Apache-2.0
"""Arguments as people write them: scalars of NumPy and torch, torch's devices, paths and files where bytes or images belong."""

import io
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

import jahp_fast
from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.errors import UnsupportedImage, UsageError
from jahp_fast.system import devices


@pytest.fixture(scope="module")
def codec(tiny_models):
    return Codec("tiny", models=[tiny_models["tiny"]])


@pytest.fixture(scope="module")
def data(codec, photo_crop):
    return codec.encode(photo_crop[:32, :48])


@pytest.mark.parametrize("four", [4, np.float32(4), np.float16(4), np.int64(4), np.array(4.0), torch.tensor(4.0), Decimal(4)])
def test_qualities_are_numbers_of_any_kind(tiny_models, four):
    made = Codec("tiny", four, models=(tiny_models["tiny"],))
    assert (made.quality, type(made.quality)) == (4.0, float)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.array, torch.tensor])
def test_counts_are_whole_numbers_of_any_kind(tiny_models, photo_crop, kind):
    made = Codec("tiny", threads=kind(2), max_pixels=kind(200), models=[tiny_models["tiny"]])
    assert (made.threads, type(made.threads)) == (2, int)
    with pytest.raises(UnsupportedImage, match="max_pixels = 200"):
        made.encode(photo_crop)
    plain = made.encode(photo_crop[:8, :8])
    assert made.encode(photo_crop[:8, :8], effort=kind(0)) == plain
    assert len(made.encode(photo_crop[:8, :8], max_bytes=kind(255))) <= 255


def test_efforts_and_sizes_of_numpy(photo_crop):
    codec = Codec()
    image = photo_crop[:64, :64]
    assert codec.encode(image, effort=np.int64(1)) == codec.encode(image, effort=1)
    assert codec.encode(image, target_bpp=np.float32(1)) == codec.encode(image, target_bpp=1.0)


NO_NUMBERS = [True, np.True_, "4", b"4", math.nan, math.inf, -math.inf, 4j, np.complex64(4), [4], np.array([4.0]), torch.tensor([4.0]),
              torch.tensor(4.0, device="meta"), None, object(), "x" * 200]  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda v: f"{type(v).__name__}-{str(v)[:8]}")
def test_what_is_no_number_is_said(tiny_models, photo_crop, codec, value):
    models, image = [tiny_models["tiny"]], photo_crop[:8, :8]
    wrong = [("quality", lambda: Codec("tiny", value, models=models)), ("effort", lambda: codec.encode(image, effort=value))]
    wrong += [("max_pixels", lambda: Codec("tiny", max_pixels=value, models=models))]
    if value is not None:
        wrong += [("threads", lambda: Codec("tiny", threads=value, models=models)),
                  ("target_bpp", lambda: codec.encode(image, target_bpp=value))]  # fmt: skip
        wrong += [("max_bytes", lambda: codec.encode(image, max_bytes=value))]
    for name, call in wrong:
        with pytest.raises(UsageError, match=f"^{name} must be ") as caught:
            call()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_a_whole_number_that_no_float_holds(codec, tiny_models, photo_crop):
    with pytest.raises(UsageError, match=r"^quality must be a number, not 1000"):
        Codec("tiny", 10**400, models=[tiny_models["tiny"]])
    with pytest.raises(UsageError, match=r"^target_bpp must be a number, not 1000"):
        codec.encode(photo_crop, target_bpp=10**400)


@pytest.mark.parametrize("value", [2.0, np.float32(2), torch.tensor(2.0), Decimal(2)])
def test_fractions_are_no_counts(tiny_models, value):
    with pytest.raises(UsageError, match="threads must be 1 to 1024, a whole number"):
        Codec("tiny", threads=value, models=[tiny_models["tiny"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graphs": "no"}, "graphs must be True or False, not 'no'"),
        ({"exact": 1}, "exact must be True or False, not 1"),
        ({"backend": 3}, "backend must be one of native.*not 3"),
        ({"device": 0}, "device 0 is not supported"),
        ({"device": None}, "device None is not supported"),
        ({"device": torch.device("meta")}, r"device device\(type='meta'\) is not supported"),
        ({"model": Path("a/my.safetensors")}, r"Codec\('my', models=\['a/my.safetensors'\]\)"),
        ({"model": 3}, "a model is named by a string, not by 3"),
        ({"models": "a/my.safetensors"}, r"models must be a list of files: models=\['a/my.safetensors'\]"),
        ({"models": Path("a/my.safetensors")}, r"models=\['a/my.safetensors'\]"),
        ({"models": [3]}, "models must be a list of files"),
        ({"models": 3}, "models must be a list of files, not 3"),
    ],
)
def test_other_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        Codec(**arguments)


def test_devices_of_torch(tiny_models, monkeypatch):
    assert Codec("tiny", device=torch.device("cpu"), models=[tiny_models["tiny"]]).device == "cpu"
    assert devices.checked(torch.device("cpu", 0)) == "cpu"
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert devices.checked(torch.device("cuda:0")) == "cuda:0"
    assert devices.checked(torch.device("cuda")) == "cuda:1"


READERS = ("decode", "decode_latents", "decode_pil", "decode_tensor", "decode_rows", "decode_timed", "decode_batch", "info", "module")


@pytest.mark.parametrize("reader", READERS)
def test_a_path_is_no_file(codec, data, tmp_path, reader):
    path = tmp_path / "photo.jahp"
    path.write_bytes(data)

    def read(value):
        if reader in ("info", "module"):
            return (jahp_fast.info if reader == "info" else jahp_fast.decode)(value)
        return getattr(codec, reader)([value] if reader == "decode_batch" else value)

    for value in (path, str(path)):
        with pytest.raises(UsageError, match=r"pathlib\.Path\('.*photo\.jahp'\)\.read_bytes\(\)"):
            read(value)
    with path.open("rb") as file, pytest.raises(UsageError, match=r"not as a BufferedReader: read it"):
        read(file)
    for value in (None, 5, [1, 2], torch.zeros(2)):
        with pytest.raises(UsageError, match="wanted as bytes"):
            read(value)


def test_bytes_of_any_kind(codec, data):
    want = codec.decode(data)
    array = np.frombuffer(data, np.uint8)
    for value in (bytearray(data), memoryview(data), array, memoryview(np.repeat(array, 2))[::2]):
        assert np.array_equal(codec.decode(value), want)
        assert jahp_fast.info(value) == jahp_fast.info(data)


def test_a_path_is_no_image(codec, data, tmp_path):
    for value in (tmp_path / "photo.png", str(tmp_path / "photo.png")):
        for call in (codec.encode, codec.encode_timed, jahp_fast.encode, lambda v: codec.encode_batch([v])):
            with pytest.raises(UnsupportedImage, match=r"PIL\.Image\.open\('.*photo\.png'\)"):
                call(value)
    for value in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        with pytest.raises(UnsupportedImage, match=r"PIL\.Image\.open"):
            codec.encode(value)


def test_batches_are_lists(codec, data):
    for value in (data, "photo.jahp", Path("photo.jahp"), None):
        for call in (codec.decode_batch, codec.encode_batch):
            with pytest.raises(UsageError, match=r"several .* are wanted"):
                call(value)
    assert codec.decode_batch(iter([])) == codec.encode_batch(()) == []


@pytest.mark.parametrize("option", [("-q", "nan"), ("-q", "inf"), ("--target-bpp", "nan"), ("--target-bpp", "inf"), ("--max-bytes", "0")])
def test_the_command_says_it_too(tmp_path, photo_crop, capsys, option):
    from PIL import Image

    Image.fromarray(photo_crop[:8, :8]).save(tmp_path / "in.png")
    assert main(["encode", str(tmp_path / "in.png"), str(tmp_path / "out.jahp"), *option]) == 1
    said = capsys.readouterr().err
    assert said.startswith("jahp: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out.jahp").exists()
