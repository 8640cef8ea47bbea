# SPDX-License-Identifier: Apache-2.0
"""The codec on a device, with a backend on the CPU in a device backend's place: what stays there, what waits, what is said."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import with_crc
from fake_device import NoWaiting

from jahp_fast import Codec, DeviceError, FormatError, UnsupportedImage, UsageError, backends, library
from jahp_fast.files import container
from jahp_fast.pipelines import graphs
from jahp_fast.pipelines.device import GROUP_PIXELS, DevicePipeline, groups
from jahp_fast.pipelines.shared import shared
from jahp_fast.system import devices


@pytest.fixture
def fake(monkeypatch):
    """Makes FakeBackend the backend "triton", which may run on the CPU in its interpreter."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(backends._CLASSES, "triton", ("fake_device", "FakeBackend"))
    shared.cache_clear()
    yield
    shared.cache_clear()


@pytest.fixture
def pair(fake, tiny_models):
    """A codec on the device, and the native one that it must agree with."""
    models = list(tiny_models.values())
    return Codec("tiny", 6, backend="triton", models=models), Codec("tiny", 6, threads=1, models=models)


def forged(data):
    """The file with another checksum of its symbols."""
    stream = container.unpack(data)
    return container.pack(container.Stream(**{**stream.__dict__, "checksum": stream.checksum ^ 1}))


def damaged(data):
    """The file with a changed payload and the CRC of what it holds."""
    return with_crc(data[:50] + bytes([data[50] ^ 0x40]) + data[51:])


@pytest.mark.parametrize("name", ["tiny", "tiny-b16", "tiny-mean", "tiny-factorized"])
def test_same_files_and_pixels_as_native(fake, tiny_models, photo_crop, name):
    models = [tiny_models[name]]
    device = Codec(name, 5, backend="triton", models=models, drawings=False)
    native = Codec(name, 5, models=models, drawings=False)
    assert (device.backend, device.device, native.backend) == ("triton", "cpu", "native")
    rgb = photo_crop[:33, :50]
    alpha = np.random.default_rng(0).integers(0, 256, (33, 50, 1), dtype=np.uint8)
    for image in (rgb, rgb[:, :, 0], np.dstack([rgb, alpha]), rgb[:1, :1]):
        data = device.encode(image)
        assert data == native.encode(image)
        want = native.decode(data)
        assert np.array_equal(device.decode(data), want)
        assert np.array_equal(device.decode_timed(data)[0], want)
        tensor = device.decode_tensor(data)
        assert tensor.dtype == torch.uint8
        assert np.array_equal(tensor.numpy(), want[None] if want.ndim == 2 else want.transpose(2, 0, 1))
        got, latents = device.decode_latents(data), native.decode_latents(data)
        assert np.array_equal(got.y, latents.y)
        assert (got.z is None and latents.z is None) or np.array_equal(got.z, latents.z)
    assert set(device.decode_timed(data)[1]) == {"load", "latents", "g_s"}


def test_batches_take_one_launch_and_keep_their_order(pair, photo_crop, tiny_models):
    device, native = pair
    images = [photo_crop[i : i + h, :w] for i, (h, w) in enumerate([(40, 30), (16, 16), (40, 30), (25, 64), (40, 30)])]
    streams = device.encode_batch(iter(images))
    assert streams == [native.encode(image) for image in images]
    backend = device._encoder.backend
    before = backend.launches
    decoded = device.decode_batch(iter(streams))
    assert backend.launches == before + 1
    for got, data in zip(decoded, streams, strict=True):
        assert np.array_equal(got, native.decode(data))
    other = Codec("tiny-mean", 3, models=[tiny_models["tiny-mean"]])
    mixed = [other.encode(images[0]), streams[1], other.encode(images[1]), streams[0]]
    for got, data in zip(device.decode_batch(mixed), mixed, strict=True):
        assert np.array_equal(got, native.decode(data))
    assert device.encode_batch([]) == device.decode_batch([]) == []


def test_batches_say_which_one_was_wrong(pair, photo_crop):
    device, native = pair
    good = [device.encode(photo_crop[:40, :n]) for n in (30, 40, 50)]
    for codec_ in (device, native):
        for i in range(3):
            for change, what in ((damaged, ""), (forged, "checksum of the decoded symbols"), (lambda d: d[:-1], "header speaks of")):
                streams = [*good[:i], change(good[i]), *good[i + 1 :]]
                with pytest.raises(FormatError, match=f"^image {i}: .*{what}"):
                    codec_.decode_batch(streams)
        with pytest.raises(UnsupportedImage, match=r"^image 1: .*not a path"):
            codec_.encode_batch([photo_crop, "photo.png", photo_crop])
        assert [d.shape for d in codec_.decode_batch(good)] == [(40, 30, 3), (40, 40, 3), (40, 50, 3)]


def test_damage_is_told_at_the_end(pair, photo_crop):
    device, _ = pair
    data = device.encode(photo_crop[:40, :40])
    for method in (device.decode, device.decode_tensor, device.decode_timed):
        with pytest.raises(FormatError, match=r"^the words end before symbol 77$"):
            method(damaged(data))
        with pytest.raises(FormatError, match=r"^the checksum of the decoded symbols does not match$"):
            method(forged(data))
    assert device.decode(data).shape == (40, 40, 3)


def test_nothing_is_read_back_before_the_end(pair, photo_crop):
    device, native = pair
    files = [device.encode(photo_crop[:40, :n]) for n in (40, 40, 50)]
    streams = [container.unpack(data) for data in files]
    pipeline = device._encoder
    with NoWaiting() as mode:
        started = [pipeline.decode(streams, 1), pipeline.decode(streams[:1], 1)]
    assert mode.seen > 50
    for rgb, data in zip([*started[0].settle(), *started[1].settle()], [*files, files[0]], strict=True):
        assert np.array_equal(rgb.permute(1, 2, 0).numpy(), native.decode(data))
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():  # the check itself can fail
        torch.zeros(1).item()


def test_memory_that_runs_out(pair, photo_crop, monkeypatch):
    device, _ = pair
    data = device.encode(photo_crop[:40, :30])
    transforms = device._encoder.transforms

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    with monkeypatch.context() as patch:
        patch.setattr(transforms, "synthesis", exhausted)
        patch.setattr(transforms, "analysis", exhausted)
        tail = "not enough memory on the device: CUDA out of memory$"
        for call, what in (
            (lambda: device.decode(data), "decoding an image of 30 x 40 pixels"),
            (lambda: device.decode_tensor(data), "decoding an image of 30 x 40 pixels"),
            (lambda: device.decode_timed(data), "decoding an image of 30 x 40 pixels"),
            (lambda: device.decode_batch([data, data]), "decoding 2 images of up to 30 x 40 pixels"),
            (lambda: device.encode(photo_crop), "encoding an image of 128 x 96 pixels"),
            (lambda: device.encode_batch([photo_crop, photo_crop[:9]]), "encoding 2 images of up to 128 x 96 pixels"),
        ):
            with pytest.raises(DeviceError, match=f"^{what}: {tail}") as caught:
                call()
            assert caught.value.__context__.__traceback__ is None  # else its frames would keep tensors alive
    assert device.decode(data).shape == (40, 30, 3)


def test_images_go_in_groups_of_bounded_memory():
    assert groups([(2, 3), (4, 4), (2, 3), (3, 2), (2, 3)]) == [[0, 2, 4], [1], [3]]
    side = 1024
    at_once = GROUP_PIXELS // side**2
    assert [len(g) for g in groups([(side, side)] * (2 * at_once + 1))] == [at_once, at_once, 1]
    assert groups([(1 << 14, 1 << 14)] * 2) == [[0], [1]]
    assert groups([]) == []


class FakeRecording:
    """Runs the function anew at each replay, over copies at fixed addresses, as a graph would."""

    made = ()

    def __init__(self, function, inputs):
        self.function, self.inputs = function, tuple(t.clone() for t in inputs)
        self.replays, self.closed = 0, False
        FakeRecording.made = (*FakeRecording.made, self)

    def replay(self, inputs):
        assert not self.closed
        self.replays += 1
        for fixed, given in zip(self.inputs, inputs, strict=True):
            assert fixed.dtype == given.dtype
            assert fixed.shape == given.shape
            fixed.copy_(given)
        return self.function(*self.inputs)

    def close(self):
        self.closed = True


@pytest.fixture
def recordings(monkeypatch):
    monkeypatch.setattr(FakeRecording, "made", ())
    return lambda: FakeRecording.made


@pytest.mark.parametrize(
    ("module", "backend"), [("fake_device", "FakeBackend"), ("fake_device", "SizedFake"), ("emulated_cuda", "EmulatedCuda")],
    ids=["latents-before-the-graph", "sized", "cuda"],
)  # fmt: skip
def test_graphs_of_the_decode(fake, monkeypatch, tiny_models, photo_crop, recordings, module, backend):
    """The third stream of a shape comes out of a recording of the second, whatever its bytes, lanes and quality; damage is still told."""
    monkeypatch.setitem(backends._CLASSES, "triton", (module, backend))
    path = tiny_models["tiny"]
    natives = [Codec("tiny", q, models=[path]) for q in (2, 4, 8)]
    pipeline = DevicePipeline(library.load(path), "triton")
    pipeline._graphs = graphs.GraphCache(FakeRecording, capacity=2)

    def decode(data):
        return pipeline.decode([container.unpack(data)], 1).settle()[0].permute(1, 2, 0).numpy()

    sizes = [(40, 30), (40, 31), (41, 30)]
    for h, w in (*sizes[:2], *sizes[:2], *sizes[:2]):
        for native in natives:
            data = native.encode(photo_crop[5 : 5 + h, :w])
            assert np.array_equal(decode(data), native.decode(data))
            for change in (damaged, forged):
                with pytest.raises(FormatError, match=r"symbol|lane|escapes|left over"):
                    decode(change(data))
    assert len(recordings()) == 2
    assert all(r.replays == 26 and not r.closed for r in recordings())  # 3 rounds of 9, the very first as it is
    data = natives[0].encode(photo_crop[: sizes[2][0], : sizes[2][1]])
    for _ in range(3):
        assert np.array_equal(decode(data), natives[0].decode(data))
    assert [r.closed for r in recordings()] == [True, False, False]
    pipeline._graphs.clear()
    assert all(r.closed for r in recordings())
    assert type(pipeline.backend).__name__ == backend
    inputs = {len(r.inputs) for r in recordings()}
    assert inputs == {4 if backend == "FakeBackend" else 3}  # z, y, status and row; else payload, size and row: the whole decode


def test_copied_positions_are_decoded_on_the_cpu(fake, tiny_models, photo_crop):
    """In a batch with others, alone, and where there are graphs; what is damaged is told by its number."""
    path = tiny_models["tiny"]
    native = Codec("tiny", 4, models=[path], drawings=False)
    flat = np.full((128, 304, 3), (30, 90, 200), np.uint8)
    flat[:64, :16] = photo_crop[:64, :16]
    device = Codec("tiny", 4, backend="triton", models=[path], drawings=False)
    data = device.encode(flat)
    assert data == native.encode(flat)
    assert container.COPIES in container.unpack(data).chunks
    files = [native.encode(photo_crop[:40, :30]), data, native.encode(photo_crop[:41, :30])]
    for got, file in zip(device.decode_batch(files), files, strict=True):
        assert np.array_equal(got, native.decode(file))
    assert np.array_equal(device.decode(data), native.decode(data))
    assert np.array_equal(np.concatenate(list(device.decode_rows(data))), native.decode(data))
    for change in (damaged, forged):
        with pytest.raises(FormatError, match="1: "):
            device.decode_batch([files[0], change(data), files[2]])
        with pytest.raises(FormatError, match="2: "):
            device.decode_batch([files[0], data, change(files[2])])
    pipeline = DevicePipeline(library.load(path), "triton")
    pipeline._graphs = graphs.GraphCache(FakeRecording, capacity=2)
    pixels = pipeline.decode([container.unpack(data)], 1).settle()[0]
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), native.decode(data))


def test_each_image_of_a_batch_has_its_quality(fake, tiny_models, photo_crop):
    """Gains and layers of g_s differ by quality; those of one shape and quality go through it together."""
    path = tiny_models["tiny"]
    pipeline = DevicePipeline(library.load(path), "triton")
    natives = [Codec("tiny", q, models=[path]) for q in (2, 7.35, 2, 4)]
    files = [native.encode(photo_crop[i : 40 + i, :30]) for i, native in enumerate(natives)]
    decoded = pipeline.decode([container.unpack(data) for data in files], 1).settle()
    for pixels, native, data in zip(decoded, natives, files, strict=True):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), native.decode(data))
    ones, transforms = torch.ones(1, 3, 2, 12, dtype=torch.int32), pipeline.transforms
    two, four = (transforms.synthesis(ones, transforms.decoding_row(q), 40, 30).int() for q in (2, 4))
    assert (two - four).abs().max() > 3  # or this test says nothing


def test_a_recording_that_fails_is_told(recordings):
    def impossible(function, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    cache = graphs.GraphCache(impossible)
    double = lambda t: (2 * t,)  # noqa: E731
    assert cache.run("k", double, torch.ones(2))[0].tolist() == [2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        cache.run("k", double, torch.ones(2))
    with pytest.raises(torch.OutOfMemoryError):  # and nothing half made is kept
        cache.run("k", double, torch.ones(2))


@pytest.fixture
def gpu(monkeypatch):
    """Two GPUs, as far as torch tells; `capability`, `missing` packages and the devices `seen` by the extension may be changed."""
    state = SimpleNamespace(capability=(9, 0), missing=set(), seen=2)
    monkeypatch.setitem(sys.modules, "jahp_fast._cuda", SimpleNamespace(device_count=lambda: state.seen))
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: state.capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name in state.missing else object())
    return state


def test_devices_by_name(gpu):
    assert [devices.checked(d) for d in ("cpu", "cuda", "cuda:0", "cuda:1")] == ["cpu", "cuda:1", "cuda:0", "cuda:1"]
    with pytest.raises(DeviceError, match="device 'cuda:2' does not exist: there are 2"):
        devices.checked("cuda:2")
    for name in ("gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "", "mps", "cuda:1234"):
        with pytest.raises(UsageError, match="is not supported; there are 'cpu'"):
            devices.checked(name)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (AssertionError("Torch not compiled with CUDA enabled"), "Torch not compiled with CUDA enabled"),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update"), r"too old \(found .*\)$"),
        (RuntimeError("Found no NVIDIA driver on your system. Please check that"), "Found no NVIDIA driver on your system$"),
    ],
)
def test_no_gpu(monkeypatch, error, what):
    def init():
        raise error

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(DeviceError, match=f"^device 'cuda' cannot be used: .*{what}"):
        Codec(device="cuda")


def test_which_backend_runs_where(gpu, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    assert backends.resolve("auto") == "native"
    assert backends.resolve("auto", "cuda:0") == "cuda"
    gpu.missing = {"jahp_fast._cuda"}
    assert backends.resolve("auto", "cuda:0") == "triton"
    with pytest.raises(DeviceError, match="backend 'cuda' cannot be used: this build has no CUDA extension; install from source"):
        backends.resolve("cuda", "cuda:0")
    gpu.missing, gpu.seen = set(), 0
    assert backends.resolve("auto", "cuda:0") == "triton"
    with pytest.raises(DeviceError, match="its extension sees no device; the driver may be older"):
        backends.resolve("cuda", "cuda:0")
    gpu.seen = 2
    gpu.missing = {"jahp_fast._cuda", "triton"}
    what = r"no backend can run on cuda:0: cuda: .*; triton: triton is not installed; pip install 'jahp_fast\[triton\]'"
    with pytest.raises(DeviceError, match=what):
        backends.resolve("auto", "cuda:0")
    gpu.missing = set()
    gpu.capability = (7, 5)
    with pytest.raises(DeviceError, match=r"capability 8\.0 or newer, and a card has 7\.5"):
        backends.resolve("auto", "cuda:0")
    gpu.capability = (12, 0)
    assert backends.resolve("auto", "cuda:0") == "cuda"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    gpu.capability = (9, 4)
    assert backends.resolve("auto", "cuda:0") == "triton"
    with pytest.raises(DeviceError, match="needs a card of NVIDIA"):
        backends.resolve("cuda", "cuda:0")
    monkeypatch.setattr(torch.version, "hip", None)
    for name in ("native", "reference"):
        assert backends.resolve(name, "cuda:0") == name
    for name in ("cuda", "triton"):
        with pytest.raises(UsageError, match=f"backend '{name}' needs device='cuda': it does not run on a CPU"):
            backends.resolve(name, "cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backends.resolve("triton", "cpu") == "triton"
    monkeypatch.setenv("JAHP_FAST_BACKEND", "native")
    assert backends.resolve("auto", "cuda:0") == "native"
    monkeypatch.setenv("JAHP_FAST_BACKEND", "cuda")
    with pytest.raises(UsageError, match="JAHP_FAST_BACKEND 'cuda' needs device='cuda'"):
        backends.resolve("auto")


def test_one_backend_for_all_models(gpu, tiny_models):
    codecs = [Codec(name, device="cuda", models=list(tiny_models.values())) for name in tiny_models]
    assert {c.backend for c in codecs} == {"cuda"}
    gpu.missing = {"jahp_fast._cuda"}
    codecs = [Codec(name, device="cuda", models=list(tiny_models.values())) for name in tiny_models]
    assert {c.backend for c in codecs} == {"triton"}


def test_backends_are_made_for_their_device(monkeypatch, tiny_models):
    made = []
    module = SimpleNamespace(CudaBackend=lambda model, device: made.append((model, device)))
    monkeypatch.setitem(sys.modules, "jahp_fast.backends.cuda", module)
    model = library.load(tiny_models["tiny"])
    backends.load("cuda", model, "cuda:1")
    assert made == [(model, "cuda:1")]
