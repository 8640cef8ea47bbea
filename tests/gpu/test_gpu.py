# SPDX-License-Identifier: Apache-2.0
"""On a real GPU: both device backends give the CPU's integers, streams and threads are respected, and no error leaves anything behind.

`make gpu-check` runs these; they are deselected everywhere else.
"""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from builders import CASES, SHIPPED, photo, random_latents, random_model, with_crc

from jahp_fast import Codec, DeviceError, FormatError, UnsupportedImage, UsageError, backends
from jahp_fast.backends.device import check
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.files import container
from jahp_fast.models import registry

pytestmark = pytest.mark.gpu
SIZES = [(1, 1), (3, 7), (9, 14), (32, 48)]


@pytest.fixture(params=backends.ON_DEVICE)
def name(request):
    """A device backend; one that this build lacks fails, and says so."""
    return backends.resolve(request.param, "cuda:0")


def on_gpu(array):
    return torch.from_numpy(np.frombuffer(array, np.uint8).copy()).cuda()


@pytest.fixture
def codecs(name):
    """The shipped model on the GPU and on the CPU."""
    return Codec(device="cuda", backend=name), Codec(threads=2)


@pytest.mark.parametrize("mode", ["typical", "saturated", "edge"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_random_models_give_the_cpus_integers(tmp_path, name, case, mode):
    model = random_model(tmp_path / "m.safetensors", case, seed=7, mode=mode)
    native, device = backends.load("native", model), backends.load(name, model, "cuda:0")
    started = []
    for seed, (h, w) in enumerate(SIZES[:3]):
        z, y = random_latents(model, h, w, seed)
        for lanes, skip in ((0, 0), (1, 0), (64, 2 if model.config.conditional else 0)):
            try:
                payload, y_hat, lanes_used, _ = native.encode(z, y, StreamLayout(h, w, lanes, skip), 1)
            except UsageError:  # a residual or a skipped mean of an extreme model may be beyond the range of symbols
                with pytest.raises(UsageError):
                    device.encode(z, y, StreamLayout(h, w, lanes, skip), 1)
                continue
            layout = StreamLayout(h, w, lanes_used, skip)
            again = device.encode(z, y, StreamLayout(h, w, lanes, skip), 1)
            assert (again[0], again[2]) == (payload, lanes_used)
            assert np.array_equal(again[1], y_hat)
            got = device.decode(payload, layout, 1)
            assert np.array_equal(got[0], z)
            assert np.array_equal(got[1], y_hat)
            started.append((on_gpu(payload), layout, z, y_hat))
    assert started or mode == "edge"
    results = device.start_batch([s[0] for s in started], [s[1] for s in started]) if started else []
    for result, (_, _, z, y_hat) in zip(results, started, strict=True):
        check(result)
        assert np.array_equal(result.z.cpu().numpy(), z)
        assert np.array_equal(result.y.cpu().numpy(), y_hat)


@pytest.mark.parametrize("quality", [1, 4, 8])
def test_the_shipped_model(codecs, quality):
    gpu, cpu = codecs
    image = photo()
    data = Codec(quality=quality).encode(image)
    assert np.array_equal(gpu.decode_latents(data).y, cpu.decode_latents(data).y)
    off = np.abs(gpu.decode(data).astype(int) - cpu.decode(data))
    assert off.max() <= 1
    assert off.mean() < 0.05
    own = Codec(quality=quality, device="cuda", backend=gpu.backend).encode(image)
    assert abs(len(own) - len(data)) < 0.01 * len(data)
    assert np.array_equal(gpu.decode_latents(own).y, cpu.decode_latents(own).y)


def test_tensors_stay_on_the_device(codecs):
    gpu, _ = codecs
    image = torch.from_numpy(photo()[:200, :300].copy()).permute(2, 0, 1)
    data = gpu.encode(image.cuda())
    assert data == gpu.encode(image)
    decoded = gpu.decode_tensor(data)
    assert decoded.device == torch.device("cuda", 0)
    assert np.array_equal(decoded.cpu().permute(1, 2, 0).numpy(), gpu.decode(data))
    grey = gpu.encode(photo()[:50, :60, 1])
    assert gpu.decode_tensor(grey).shape == (1, 50, 60)
    with pytest.raises(UnsupportedImage, match="uint8"):
        gpu.encode(image.float().cuda())


def test_decoding_waits_for_nothing_before_its_end(codecs):
    gpu, cpu = codecs
    data = cpu.encode(photo()[:128, :192])
    stream = container.unpack(data)
    want = gpu.decode(data)  # compiles and loads
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with gpu._encoder.guard("decoding"):
            started = gpu._encoder.decode([stream], 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.array_equal(started.settle()[0].permute(1, 2, 0).cpu().numpy(), want)


def test_streams_of_the_caller(codecs):
    """Work is queued on the current stream: behind what fills it, and each thread on its own."""
    gpu, cpu = codecs
    streams = [cpu.encode(photo()[i : i + 96, i : i + 128]) for i in range(4)]
    want = [gpu.decode(data) for data in streams]

    def decode(index):
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda._sleep(20_000_000)
            out = gpu.decode_tensor(streams[index])
            return np.array_equal(out.permute(1, 2, 0).cpu().numpy(), want[index])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(decode, [0, 1, 2, 3] * 5))
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_batches(codecs):
    gpu, cpu = codecs
    images = [photo()[:h, :w] for h, w in ((64, 96), (64, 96), (33, 50), (200, 100), (64, 96))]
    streams = gpu.encode_batch(images)
    for data, image, pixels in zip(streams, images, gpu.decode_batch(streams), strict=True):
        assert pixels.shape == image.shape
        assert np.abs(pixels.astype(int) - cpu.decode(data)).max() <= 1
    broken = streams[3][:60] + bytes([streams[3][60] ^ 1]) + streams[3][61:]
    with pytest.raises(FormatError, match=r"^image 3: "):
        gpu.decode_batch([*streams[:3], with_crc(broken), streams[4]])


def test_graphs(name):
    graphs, plain = Codec(device="cuda", backend=name, graphs=True), Codec(device="cuda", backend=name)
    for size in ((96, 128), (96, 128), (50, 70), (96, 128), (50, 70), (50, 70)):
        for quality in (1, 8):
            data = Codec(quality=quality).encode(photo()[: size[0], : size[1]])
            assert np.abs(graphs.decode(data).astype(int) - plain.decode(data)).max() <= 1
            with pytest.raises(FormatError):
                graphs.decode(with_crc(data[:60] + bytes([data[60] ^ 1]) + data[61:]))


def test_damaged_streams_do_not_poison_the_context(codecs):
    gpu, cpu = codecs
    data = cpu.encode(photo()[:96, :128])
    want = cpu.decode_latents(data).y
    end = 44 + len(container.unpack(data).payload)
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data)
        for at in rng.integers(44, end, int(rng.integers(1, 5))):
            broken[at] = int(rng.integers(256))
        if bytes(broken) != data:
            with pytest.raises(FormatError):
                gpu.decode(with_crc(bytes(broken)))
    torch.cuda.synchronize()
    assert np.array_equal(gpu.decode_latents(data).y, want)


def test_memory_that_runs_out_is_told_and_given_back(codecs):
    gpu, cpu = codecs
    data = cpu.encode(np.tile(photo(), (3, 3, 1)))
    small = cpu.encode(photo()[:64, :64])
    gpu.decode(small)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / total)
    try:
        for call in (gpu.decode, gpu.decode_tensor):
            with pytest.raises(DeviceError, match="decoding an image of 2304 x 1536 pixels: not enough memory on the device"):
                call(data)
        gc.collect()
        assert torch.cuda.memory_allocated() <= before
        assert gpu.decode(small).shape == (64, 64, 3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert gpu.decode(data).shape == (1536, 2304, 3)


def test_models_in_pytorch():
    """Strings go between a CPU and a GPU, both ways."""
    x = torch.from_numpy(photo()[:64, :96].copy()).permute(2, 0, 1)[None].float() / 255
    torch.manual_seed(0)
    here = registry.build("mbt2018", 8, 12).eval()
    with torch.no_grad():
        here.gain.fill_(4.0)
        here.inv_gain.fill_(-4.0)
    here.update(x)
    there = registry.build("mbt2018", 8, 12).eval()
    there.load_state_dict(here.state_dict())
    there.update(x)
    assert there._coder.key == here._coder.key
    there.cuda()
    for coder, decoder in ((here, there), (there, here)):
        out = coder.compress(x.to(coder.gain.device))
        x_hat = decoder.decompress(**out)["x_hat"]
        assert x_hat.device == decoder.gain.device
        assert torch.allclose(x_hat.cpu(), coder.decompress(**out)["x_hat"].cpu(), atol=2e-3)


def test_auto_prefers_the_extension():
    codec = Codec(device="cuda")
    assert codec.backend == "cuda"
    assert codec.device == f"cuda:{torch.cuda.current_device()}"
    mixed = Codec(device="cuda", backend="native")
    data = Codec(models=[SHIPPED]).encode(photo()[:64, :64])
    assert np.abs(mixed.decode(data).astype(int) - codec.decode(data)).max() <= 1
