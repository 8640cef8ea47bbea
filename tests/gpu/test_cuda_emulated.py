# SPDX-License-Identifier: Apache-2.0
"""The backend `cuda`, its bindings and its kernels with the emulator as the device, against the native backend; csrc/tests has more."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import CASES, Case, random_latents, random_model
from emulated_cuda import EmulatedCuda
from fake_device import NoWaiting
from in_part import one_in

from jahp_fast import Codec, backends
from jahp_fast.backends.device import check
from jahp_fast.backends.native import NativeBackend
from jahp_fast.backends.status import STATUS
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import FormatError, UsageError
from jahp_fast.files import container
from jahp_fast.pipelines.entropy_path import layout_of
from jahp_fast.pipelines.shared import shared

GOLDEN = Path(__file__).parents[1] / "golden"
ENTRIES = {name: entry for name, entry in json.loads((GOLDEN / "golden.json").read_text()).items() if np.prod(entry["shape"]) < 1000}


@cache
def of_model(name):
    model = ModelFile(GOLDEN / f"{name}.safetensors")
    return model, NativeBackend(model), EmulatedCuda(model)


def as_tensor(payload):
    return torch.from_numpy(np.frombuffer(payload, np.uint8).copy())


@pytest.mark.parametrize("name", one_in(2, sorted(ENTRIES)))
def test_cuda_golden_streams_there_and_back(name):
    stream = container.unpack((GOLDEN / f"{name}.jahp").read_bytes())
    model, native, cuda = of_model(ENTRIES[name]["model"])
    layout = layout_of(stream, model)
    z, y, _ = native.decode(stream.payload, layout, 1)
    if layout.copies:
        for refused in (lambda: cuda.decode(stream.payload, layout, 1), lambda: cuda.encode(z, y, layout, 1)):
            with pytest.raises(UsageError, match="do not copy positions"):
                refused()
        return
    z_back, y_back, times = cuda.decode(stream.payload, layout, 1)
    assert np.array_equal(z_back, z)
    assert np.array_equal(y_back, y)
    assert times.keys() == {"all"}
    payload, seen, lanes, times = cuda.encode(z, y, layout, 1)
    assert (payload, lanes) == (stream.payload, stream.lanes)
    assert np.array_equal(seen, y)
    assert times.keys() == {"rows", "coder"}


@pytest.mark.parametrize("case", CASES[::3], ids=str)
@pytest.mark.parametrize("mode", ["typical", "edge"])
def test_cuda_encodes_as_native(tmp_path, case, mode):
    """Latents that were never rounded to what a decoder sees, extreme models, lanes chosen by size; what native refuses is refused."""
    model = random_model(tmp_path / "m.safetensors", case, seed=5, mode=mode)
    native, cuda = NativeBackend(model), EmulatedCuda(model)
    for seed, (lanes, skip) in enumerate([(0, 0), (16, 2 if model.config.conditional else 0)]):
        z, y = random_latents(model, 3, 7, seed)
        layout = StreamLayout(3, 7, lanes, skip)
        try:
            wanted = native.encode(z, y, layout, 1)
        except UsageError:
            with pytest.raises(UsageError, match="beyond 32767"):
                cuda.encode(z, y, layout, 1)
            continue
        got = cuda.encode(z, y, layout, 1)
        assert (got[0], got[2]) == (wanted[0], wanted[2])
        assert np.array_equal(got[1], wanted[1])
    with pytest.raises(UsageError, match=r"y must have the shape \(3, 8, 12\), not"):
        cuda.encode(np.zeros_like(z) if model.config.hyper_latents else z, y, StreamLayout(3, 8, 1), 1)


def test_cuda_batches_and_sizes(tmp_path):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=5)
    native, cuda = NativeBackend(model), EmulatedCuda(model)
    payloads, layouts, wanted = [], [], []
    for seed in range(18):  # more than a launch takes
        z, y = random_latents(model, 1 + seed % 3, 4, seed)
        layout = StreamLayout(1 + seed % 3, 4, 1 << seed % 7)
        payloads.append(native.encode(z, y, layout, 1)[0])
        layouts.append(layout)
        wanted.append((z, y))
    payloads[7] = payloads[7][:20]
    results = cuda.start_batch([as_tensor(p) for p in payloads], layouts)
    for i, (result, (z, y)) in enumerate(zip(results, wanted, strict=True)):
        if i == 7:
            with pytest.raises(FormatError):
                check(result)
            continue
        check(result)
        assert np.array_equal(result.z.numpy(), z)
        assert np.array_equal(result.y.numpy(), y)
    room = as_tensor(payloads[4] + bytes(1000))
    size = torch.tensor([len(payloads[4])], dtype=torch.int32)
    with NoWaiting() as mode:
        result = cuda.start_sized(room, size, layouts[4])
    assert mode.seen > 0
    check(result)
    assert np.array_equal(result.y.numpy(), wanted[4][1])
    for bad, code in ((0, 1), (-1, 11), (len(room) + 1, 11)):
        size[0] = bad
        result = cuda.start_sized(room, size, layouts[4])
        assert result.status[0] == code
        with pytest.raises(FormatError, match=STATUS[code]):
            check(result)
    for bad in (size.long(), size[0], torch.zeros(2, dtype=torch.int32)):
        with pytest.raises(UsageError, match="the size must be a"):
            cuda.start_sized(room, bad, layouts[4])


@pytest.mark.parametrize("name", ["tiny", "tiny-b16", "tiny-mean", "tiny-factorized"])
def test_cuda_codec(monkeypatch, tiny_models, photo_crop, name):
    """Whole files, by a codec that takes the emulated backend for one that may run on a CPU."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(backends._CLASSES, "triton", ("emulated_cuda", "EmulatedCuda"))
    shared.cache_clear()
    device, native = (Codec(name, 5, backend=b, models=[tiny_models[name]]) for b in ("triton", "native"))
    for image in (photo_crop[:33, :50], photo_crop[:1, :1]):
        data = device.encode(image)
        assert data == native.encode(image)
        assert np.array_equal(device.decode(data), native.decode(data))
    shared.cache_clear()
