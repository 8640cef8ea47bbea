# SPDX-License-Identifier: Apache-2.0
"""What is handed to other processes comes out of a pickle equal and working."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

import jahp_fast
from jahp_fast import Codec
from jahp_fast.integrations.torch_data import JahpDataset


def asked(codec):
    """__init__'s arguments."""
    return codec.__reduce__()[1]


def copies(value):
    yield from (pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))
    yield copy.copy(value)
    yield copy.deepcopy(value)


def test_a_codec_is_made_anew_of_its_arguments(tiny_models, photo_crop):
    path = tiny_models["tiny"]
    codec = Codec("tiny", 2.5, "cpu", "reference", 3, [path], 50_000, graphs=False, exact=True, drawings=False)
    assert asked(codec) == ("tiny", 2.5, "cpu", "reference", 3, (path,), 50_000, False, True, False, False, False)
    image = photo_crop[:32, :48]
    data = codec.encode(image)
    for again in copies(codec):
        assert asked(again) == asked(codec)
        for name in ("quality", "device", "backend", "threads", "model_id"):
            assert getattr(again, name) == getattr(codec, name)
        assert again.encode(image) == data
        assert np.array_equal(again.decode(data), codec.decode(data))
        with pytest.raises(jahp_fast.UnsupportedImage, match="max_pixels = 50000"):
            again.encode(np.zeros((250, 250), np.uint8))


def test_every_argument_is_kept(tiny_models):
    """Those of a GPU, too, which need not be here."""
    codec = Codec("tiny", 3, models=[tiny_models["tiny"]])
    codec._device, codec._graphs, codec._exact, codec._pixel_checksum, codec._for_gpu = "cuda:1", True, False, True, True
    assert codec.__reduce__() == (
        Codec,
        ("tiny", 3.0, "cuda:1", "auto", None, (tiny_models["tiny"],), 2**28, True, False, True, True, True),
    )


def test_quality_as_it_is_now(tiny_models):
    codec = Codec("tiny", models=[tiny_models["tiny"]])
    codec.quality = 6.0
    assert copy.copy(codec).quality == 6.0


def test_a_codec_goes_to_other_processes(tiny_models, photo_crop):
    codec = Codec("tiny", models=[tiny_models["tiny"]], threads=1)
    images = [photo_crop[:16, : 16 * i] for i in (1, 2, 3)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        files = list(pool.map(codec.encode, images, timeout=60))
        pixels = list(pool.map(codec.decode, files, timeout=60))
    assert files == [codec.encode(image) for image in images]
    assert all(np.array_equal(a, codec.decode(f)) for a, f in zip(pixels, files, strict=True))


def test_a_copy_whose_model_is_gone_says_so(tiny_models, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(tiny_models["tiny"].read_bytes())
    text = pickle.dumps(Codec("mine", models=[path]))
    path.unlink()
    with pytest.raises(jahp_fast.ModelError, match=r"mine\.safetensors"):
        pickle.loads(text)


def test_what_a_codec_gives(tiny_models, photo_crop):
    codec = Codec("tiny", models=[tiny_models["tiny"]])
    data = codec.encode(photo_crop)
    latents = codec.decode_latents(data)
    for value in (latents, jahp_fast.info(data)):
        assert all(again == value for again in copies(value))
    other = codec.decode_latents(codec.encode(photo_crop[::-1].copy()))
    assert latents != other
    assert latents != jahp_fast.Latents(latents.y, latents.frac_bits, None)
    assert latents != 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(latents)


def test_integrations(tiny_models, photo_crop, tmp_path):
    numcodecs = pytest.importorskip("jahp_fast.integrations.numcodecs", exc_type=ImportError)
    zarr = pytest.importorskip("jahp_fast.integrations.zarr", exc_type=ImportError)
    for value in (numcodecs.Jahp(5, "mbt2018-ms-ssim"), zarr.JahpCodec(5, "mbt2018-ms-ssim")):
        assert all(again == value for again in copies(value))
    models = [tiny_models["tiny"]]
    (tmp_path / "a.jahp").write_bytes(Codec("tiny", models=models).encode(photo_crop))
    dataset = JahpDataset(tmp_path, models=models)
    for again in copies(dataset):
        assert again.files == dataset.files
        assert torch.equal(again[0], dataset[0])
