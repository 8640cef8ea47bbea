# SPDX-License-Identifier: Apache-2.0
"""The public face: what goes in, what comes out, what is refused, and what the environment decides."""

import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builders import photo
from PIL import Image

import jahp_fast
from jahp_fast import Codec, FormatError, JahpError, UnknownModel, UnsupportedImage, UsageError, _native
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.files import container
from jahp_fast.pipelines import cpu


@pytest.fixture(scope="module")
def codec(tiny_models):
    return Codec("tiny", 4, threads=1, models=list(tiny_models.values()))


@pytest.fixture(scope="module")
def trained():
    return Codec("mbt2018", 4, threads=1)


@pytest.mark.parametrize("name", ["tiny", "tiny-b16", "tiny-mean", "tiny-factorized"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (16, 16), (17, 31), (65, 64)], ids=str)
def test_any_size(tiny_models, photo_crop, name, size):
    codec = Codec(name, 6, threads=1, models=[tiny_models[name]], drawings=False)
    image = photo_crop[: size[0], : size[1]]
    data = codec.encode(image)
    decoded = codec.decode(data)
    assert decoded.shape == (*size, 3)
    assert decoded.dtype == np.uint8
    latents = codec.decode_latents(data)
    h, w = -(-size[0] // 16), -(-size[1] // 16)
    assert latents.y.shape == (12, h, w)
    assert latents.y.dtype == np.int32
    assert latents.frac_bits == (6 if name == "tiny-b16" else 0)
    if name == "tiny-factorized":
        assert latents.z is None
    else:
        assert latents.z.shape == (8, -(-h // 4), -(-w // 4))
    assert codec.encode(image) == data
    assert np.array_equal(codec.decode(data), decoded)


def test_rgb_grey_and_alpha(trained, photo_crop):
    rgb = photo_crop[:50, :70]
    decoded = trained.decode(trained.encode(rgb))
    assert np.abs(decoded.astype(int) - rgb).mean() < 6
    grey = trained.decode(trained.encode(rgb[:, :, 1]))
    assert grey.shape == (50, 70)
    assert np.abs(grey.astype(int) - rgb[:, :, 1]).mean() < 6
    alpha = np.random.default_rng(0).integers(0, 256, (50, 70, 1), dtype=np.uint8)
    data = trained.encode(np.dstack([rgb, alpha]))
    rgba = trained.decode(data)
    assert np.array_equal(rgba[:, :, 3:], alpha)
    assert np.array_equal(rgba[:, :, :3], decoded)
    assert jahp_fast.info(data).alpha
    la = trained.decode(trained.encode(Image.fromarray(np.dstack([rgb[:, :, 1:2], alpha]), "LA")))
    assert la.shape == (50, 70, 4)
    assert np.array_equal(la[:, :, 3:], alpha)
    assert np.array_equal(la[:, :, 0], la[:, :, 2])


def test_pil_round_trip_keeps_metadata(codec, photo_crop):
    image = Image.fromarray(photo_crop[:20, :30])
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    image.info |= {"icc_profile": b"an ICC profile", "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    back = codec.decode_pil(codec.encode(image))
    assert (back.mode, back.size) == ("RGB", (30, 20))
    assert back.info["icc_profile"] == b"an ICC profile"
    assert back.info["xmp"] == b"<x:xmpmeta/>"
    assert back.info["exif"] == exif.tobytes()
    assert back.getexif()[0x010F] == "a camera"
    assert codec.decode_pil(codec.encode(image.convert("L"))).mode == "L"
    assert codec.decode_pil(codec.encode(image.convert("RGBA"))).mode == "RGBA"
    assert codec.decode_pil(codec.encode(np.asarray(image))).info == {}


def test_tensors_and_arrays_are_the_same_image(codec, photo_crop):
    import torch

    image = photo_crop[:33, :40]
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    streams = {codec.encode(x) for x in (image, tensor, Image.fromarray(image), np.asfortranarray(image), photo_crop[:33, :40])}
    assert len(streams) == 1
    data = streams.pop()
    decoded = codec.decode_tensor(data)
    assert decoded.shape == (3, 33, 40)
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.numpy().transpose(1, 2, 0), codec.decode(data))
    assert codec.decode_tensor(codec.encode(image[:, :, 0])).shape == (1, 33, 40)
    assert codec.decode_tensor(codec.encode(np.dstack([image, image[:, :, :1]]))).shape == (4, 33, 40)


def test_bytes_like_streams(codec, photo_crop):
    data = codec.encode(photo_crop)
    want = codec.decode(data)
    for kind in (bytearray, memoryview, np.frombuffer):
        stream = kind(data, np.uint8) if kind is np.frombuffer else kind(data)
        assert np.array_equal(codec.decode(stream), want)


def test_batches_keep_their_order(codec, photo_crop):
    images = [photo_crop[:n, :30] for n in (40, 10, 25)]
    streams = codec.encode_batch(iter(images))
    assert streams == [codec.encode(i) for i in images]
    assert [d.shape for d in codec.decode_batch(streams)] == [i.shape for i in images]
    assert codec.encode_batch([]) == codec.decode_batch([]) == []


def test_stages_are_timed(codec, photo_crop):
    data, laps = codec.encode_timed(photo_crop)
    assert data == codec.encode(photo_crop)
    assert {"g_a", "h_a", "entropy"} <= set(laps)
    image, laps = codec.decode_timed(data)
    assert np.array_equal(image, codec.decode(data))
    assert {"latents", "g_s", "latents.h_s", "latents.context", "latents.coder"} <= set(laps)
    assert all(seconds >= 0 for seconds in laps.values())


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_a_photo_comes_out_as_it_should():
    image = photo()[128:320, 256:512]
    got = []
    for quality in (1, 2.5, 4, 6, 8):
        codec = Codec(quality=quality, threads=2)
        data = codec.encode(image)
        got.append((8 * len(data) / image[:, :, 0].size, psnr(codec.decode(data), image)))
    rates, ratios = zip(*got, strict=True)
    assert list(rates) == sorted(rates)
    assert list(ratios) == sorted(ratios)
    assert ratios[0] > 22
    assert ratios[2] > 27
    assert ratios[-1] > 34
    assert rates[0] < 0.5


def test_quality_is_rounded_to_a_twentieth(tiny_models, photo_crop):
    codec = Codec("tiny", 3.333, models=[tiny_models["tiny"]])
    assert codec.quality == 3.35
    data = codec.encode(photo_crop[:20, :20])
    assert jahp_fast.info(data).quality == 3.35
    assert data == Codec("tiny", 3.35, models=[tiny_models["tiny"]]).encode(photo_crop[:20, :20])
    assert data != Codec("tiny", 3.4, models=[tiny_models["tiny"]]).encode(photo_crop[:20, :20])


@pytest.mark.parametrize("quality", [0, 0.99, 12.01, -1, 100, float("nan"), float("inf")])
def test_quality_out_of_range(tiny_models, quality):
    with pytest.raises(UsageError, match=r"quality .* is not one that tiny has: 1 to 12|quality must be a number, not (nan|inf)"):
        Codec("tiny", quality, models=[tiny_models["tiny"]])


def test_stream_of_a_quality_that_its_model_lacks(tmp_path, photo_crop):
    import torch

    from jahp_fast.export.state import export_state
    from jahp_fast.models import registry

    torch.manual_seed(0)
    path = tmp_path / "single.safetensors"
    export_state(registry.build("mbt2018-mean", 8, 12, rows=1).state_dict(), path, photos=[photo_crop], qualities=[5])
    with pytest.raises(UsageError, match="quality 4 is not one that single has: only 5"):
        Codec("single", models=[path])
    codec = Codec("single", 5, models=[path])
    data = codec.encode(photo_crop[:20, :20])
    assert codec.decode(data).shape == (20, 20, 3)
    stream = container.unpack(data)
    fields = {**stream.__dict__, "quality": 4.0}
    with pytest.raises(FormatError, match="quality 4, which its model does not have"):
        codec.decode(container.pack(container.Stream(**fields)))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"device": "gpu"}, "device 'gpu' is not supported; there are 'cpu', 'cuda' and 'cuda:N'"),
        ({"graphs": True}, "graphs need a GPU"),
        ({"backend": "cuda"}, "backend 'cuda' needs device='cuda'"),
        ({"backend": "fast"}, "backend 'fast' is unknown"),
        ({"threads": 0}, "threads must be 1 to 1024"),
        ({"threads": 1025}, "threads must be 1 to 1024"),
        ({"threads": -1}, "threads must be 1 to 1024"),
    ],
)
def test_arguments_out_of_range(tiny_models, arguments, what):
    with pytest.raises(UsageError, match=what):
        Codec("tiny", models=[tiny_models["tiny"]], **arguments)


def test_max_pixels(tiny_models, photo_crop):
    big, small = (Codec("tiny", models=[tiny_models["tiny"]], max_pixels=n) for n in (400, 399))
    image = photo_crop[:20, :20]
    data = big.encode(image)
    assert big.decode(data).shape == (20, 20, 3)
    with pytest.raises(UnsupportedImage, match="20 x 20 pixels are more than max_pixels = 399"):
        small.encode(image)
    for method in (small.decode, small.decode_latents, small.decode_pil, small.decode_tensor):
        with pytest.raises(FormatError, match="max_pixels = 399"):
            method(data)


def test_padding_of_images_that_are_too_easy(codec, photo_crop):
    """A payload must have a byte for every 16,384 pixels; the encoder pads it, and the padding is verified."""
    z, y = np.zeros((8, 8, 8), np.int32), np.zeros((32, 32, 12), np.int32)
    model = codec._encoder.backend
    payload = model.encode(z, y, StreamLayout(32, 32, 1, 0, 0), 1)[0]
    padded = model.encode(z, y, StreamLayout(32, 32, 1, 0, len(payload) + 9), 1)[0]
    assert padded == payload + bytes(9)
    assert np.array_equal(model.decode(padded, StreamLayout(32, 32, 1, 0, len(padded)), 1)[1], y)
    with pytest.raises(FormatError, match="left over"):
        model.decode(padded, StreamLayout(32, 32, 1, 0, 0), 1)
    stream = container.unpack(codec.encode(photo_crop[:20, :20]))
    longer = container.Stream(**{**stream.__dict__, "payload": stream.payload + b"\0"})
    with pytest.raises(FormatError, match="left over"):
        codec.decode(container.pack(longer))


def test_unknown_models(tiny_models, photo_crop):
    with pytest.raises(UnknownModel, match=r"no weights for mbt2018-mean are installed.*jahp train"):
        Codec("mbt2018-mean")
    with pytest.raises(UnknownModel, match=r"no model is called 'nothing'.*looked in.*architectures are bmshj2018-factorized"):
        Codec("nothing")
    codec = Codec("tiny", models=[tiny_models["tiny"]])
    data = codec.encode(photo_crop[:20, :20])
    with pytest.raises(UnknownModel, match=f"written by model {codec.model_id}, which is not in .*name its file with models="):
        Codec().decode(data)
    with pytest.raises(UnknownModel, match=codec.model_id):
        jahp_fast.decode(data)
    assert jahp_fast.info(data).model == codec.model_id


def test_models_of_the_environment(tiny_models, photo_crop, monkeypatch):
    data = Codec("tiny-b16", models=[tiny_models["tiny-b16"]]).encode(photo_crop[:20, :20])
    folder = tiny_models["tiny-b16"].parent
    monkeypatch.setenv("JAHP_FAST_MODELS", os.pathsep.join(["/nonexistent", str(folder)]))
    assert Codec("tiny-b16").encode(photo_crop[:20, :20]) == data
    assert Codec().decode(data).shape == (20, 20, 3)


def test_backend_of_the_environment(tiny_models, photo_crop, monkeypatch):
    def name(backend="auto"):
        return Codec("tiny", backend=backend, models=[tiny_models["tiny"]])._encoder.backend.name

    assert name() == "native"
    monkeypatch.setenv("JAHP_FAST_BACKEND", "reference")
    assert name() == "reference"
    assert name("native") == "native"
    monkeypatch.setenv("JAHP_FAST_BACKEND", "")
    assert name() == "native"
    monkeypatch.setenv("JAHP_FAST_BACKEND", "turbo")
    with pytest.raises(UsageError, match="JAHP_FAST_BACKEND 'turbo' is unknown; there are native, reference, cuda, triton"):
        name()


def test_instruction_set_of_the_environment(tiny_models, photo_crop, monkeypatch):
    image = photo_crop[:30, :30]
    streams = set()
    for isa in _native.isa_names():
        monkeypatch.setenv("JAHP_FAST_ISA", isa)
        streams.add(Codec("tiny", models=[tiny_models["tiny"]]).encode(image))
    assert len(streams) == 1
    lacking = next(n for n in ("neon", "avx2", "avx512vnni") if n not in _native.isa_names())
    for name, what in (
        ("sse9", "JAHP_FAST_ISA=sse9 is none of scalar, avx2, avxvnni, avx512vnni, neon, i8mm, wasm"),
        (lacking, "this CPU lacks it"),
    ):
        monkeypatch.setenv("JAHP_FAST_ISA", name)
        with pytest.raises(UsageError, match=what):
            Codec("tiny", models=[tiny_models["tiny"]]).encode(image)


def test_two_threads_share_a_codec(tiny_models, photo_crop):
    codec = Codec("tiny", 4, threads=2, models=list(tiny_models.values()))
    images = [photo_crop[i : i + 40, i : i + 50] for i in range(12)]
    want = [codec.encode(i) for i in images]
    fresh = Codec("tiny", 4, threads=2, models=list(tiny_models.values()))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fresh.encode, images)) == want
        decoded = list(pool.map(fresh.decode, want))
    assert all(np.array_equal(d, codec.decode(w)) for d, w in zip(decoded, want, strict=True))


def test_one_codec_decodes_every_model(tiny_models, photo_crop):
    paths = list(tiny_models.values())
    decoder = Codec("mbt2018", models=paths)
    for name in tiny_models:
        codec = Codec(name, 7, models=paths)
        data = codec.encode(photo_crop[:40, :40])
        assert np.array_equal(decoder.decode(data), codec.decode(data))


def test_a_wrong_checksum_of_symbols_is_noticed(codec, photo_crop):
    stream = container.unpack(codec.encode(photo_crop[:30, :30]))
    forged = container.pack(container.Stream(**{**stream.__dict__, "checksum": stream.checksum ^ 1}))
    with pytest.raises(FormatError, match="checksum of the decoded symbols"):
        codec.decode(forged)


def test_module_functions(photo_crop):
    data = jahp_fast.encode(photo_crop[:16, :16], quality=2)
    assert jahp_fast.decode(data).shape == (16, 16, 3)
    said = jahp_fast.info(data)
    assert (said.width, said.height, said.quality, said.mode, said.alpha) == (16, 16, 2.0, "RGB", False)
    assert set(jahp_fast.__all__) <= set(dir(jahp_fast))
    for name in ("FormatError", "ModelError", "UnknownModel", "UnsupportedImage", "UsageError"):
        assert issubclass(getattr(jahp_fast, name), JahpError)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jahp_fast.nothing


def test_import_is_light(codec, photo_crop):
    """Neither torch nor anything else that is heavy is loaded by the import, nor by reading a header."""
    program = (
        "import sys, jahp_fast\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'triton', 'PIL', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "jahp_fast.info(sys.stdin.buffer.read())\n"
        "heavy = {'torch', 'matplotlib', 'triton'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    data = codec.encode(photo_crop[:9, :9])
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("overlap", [False, True])
def test_rows_are_the_image(trained, photo_crop, overlap, monkeypatch):
    monkeypatch.setattr(cpu, "OVERLAP_PIXELS", 0 if overlap else 1 << 30)
    alpha = np.random.default_rng(0).integers(0, 256, (90, 70, 1), dtype=np.uint8)
    rgb = photo_crop[:90, :70]
    for image in (rgb, rgb[:, :, 1], np.dstack([rgb, alpha]), rgb[:1, :1], rgb[:64], rgb[:65]):
        data = trained.encode(image)
        blocks = list(trained.decode_rows(data))
        assert all(len(block) for block in blocks)
        assert np.array_equal(np.concatenate(blocks), trained.decode(data))


@pytest.mark.parametrize("overlap", [False, True])
def test_rows_of_damaged_streams(codec, photo_crop, overlap, monkeypatch):
    monkeypatch.setattr(cpu, "OVERLAP_PIXELS", 0 if overlap else 1 << 30)
    image = np.dstack([photo_crop, photo_crop[:, :, :1]])
    data = codec.encode(image)
    for cut in (data[:-1], data[:30], b"", data[:60] + b"x" + data[61:]):
        with pytest.raises(FormatError):  # at once, before the first block is asked for
            codec.decode_rows(cut)
    stream = container.unpack(data)
    payload = bytearray(stream.payload)
    payload[20] ^= 0x55
    alpha = stream.chunks[b"ALPH"]
    for change in (
        {"checksum": stream.checksum ^ 1},
        {"payload": bytes(payload)},
        {"chunks": {b"ALPH": alpha[:-5]}},
        {"chunks": {b"ALPH": alpha + b"x"}},
        {"chunks": {b"ALPH": alpha[:8] + struct.pack("<I", len(alpha) - 11) + alpha[12:] + b"x"}},
        {"chunks": {b"ALPH": b"\3" + alpha[1:]}},
    ):
        forged = container.pack(container.Stream(**{**stream.__dict__, **change}))
        with pytest.raises(FormatError):
            codec.decode(forged)
        rows = 0
        with pytest.raises(FormatError):  # noqa: PT012  (the blocks before the error are what is looked at)
            for block in codec.decode_rows(forged):
                rows += len(block)
        assert rows < len(image)


def test_rows_that_nobody_wants_any_more(trained, monkeypatch):
    """The decode behind an iterator that is dropped ends with it; the codec goes on."""
    monkeypatch.setattr(cpu, "OVERLAP_PIXELS", 0)
    image = np.tile(photo()[:64], (1, 8, 1))
    data = trained.encode(image)
    for _ in range(3):
        next(iter(trained.decode_rows(data)))
    assert len(np.concatenate(list(trained.decode_rows(data)))) == 64
