# SPDX-License-Identifier: Apache-2.0
"""backends/cuda.py and the bindings below it: what they refuse, and on a device that they decode as the native backend does."""

import importlib.util

import numpy as np
import pytest
from builders import CASES, Case, random_latents, random_model

from jahp_fast.backends.cuda import CudaBackend, check_payload, find_fault
from jahp_fast.backends.device import DeviceResult, check
from jahp_fast.backends.native import NativeBackend
from jahp_fast.backends.status import STATUS
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError, JahpError, UsageError

built = pytest.mark.skipif(importlib.util.find_spec("jahp_fast._cuda") is None, reason="built without a CUDA compiler")
EVERY = [case for case in CASES if case.prob_bits == 15]
JOINT = Case("mbt2018")


def packed(tmp_path, case=JOINT, **shape):
    from jahp_fast import _cuda

    model = random_model(tmp_path / "model.safetensors", case, seed=1, **shape)
    return _cuda, model, _cuda.pack(model.config.as_native(), dict(model.entropy))


@pytest.mark.parametrize(
    ("major", "index", "driver", "message"),
    [
        ([], 0, 0, "there is no CUDA driver"),
        ([], 0, 13000, "there is no CUDA device"),
        ([], 0, 12080, "the CUDA driver is too old: it runs CUDA 12.8, and this build needs 13"),
        ([9], 1, 13000, "there is no CUDA device 1; there are 1"),
        ([9, 7], 1, 13000, "CUDA device 1 has compute capability 7.x; the kernels need 8.0 or newer"),
    ],
)
def test_cuda_faults_are_named(major, index, driver, message):
    assert find_fault(major, index, driver, 13000) == message


def test_cuda_devices_that_serve():
    assert find_fault([7, 8], 1, 13010, 13000) is None
    assert find_fault([12], 0, 13000, 13000) is None


@built
def test_cuda_backend_refuses_other_devices(tmp_path):
    model = random_model(tmp_path / "model.safetensors", JOINT, seed=1)
    with pytest.raises(UsageError, match="runs on a CUDA device, not on 'cpu'"):
        CudaBackend(model, "cpu")
    with pytest.raises(UsageError, match=r"^backend 'cuda': .*"):
        CudaBackend(model, "cuda:99")


@built
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_cuda_blob_holds_each_weight_once(tmp_path, case):
    cuda, model, blob = packed(tmp_path, case)
    for name in [n for n in model.entropy if n.endswith(".weight")]:
        weight = model.entropy[name]
        used = name.startswith("h_s") <= bool(model.config.hyper_latents)
        changed = weight.copy()
        changed[-1, -1, 0, 0] ^= 1  # a cell that masks let through, of an output that is used
        other = cuda.pack(model.config.as_native(), dict(model.entropy) | {name: changed})
        assert sum(a != b for a, b in zip(blob, other, strict=True)) == used, name


@built
def test_cuda_bindings_check_what_they_are_given(tmp_path):
    cuda, _, blob = packed(tmp_path)
    small, large = cuda.workspace_bytes(blob, 1, 1), cuda.workspace_bytes(blob, 32, 48)
    assert 0 < small < large < 1 << 22
    for height, width in ((0, 4), (4, -1), (1 << 13, 1 << 12)):
        with pytest.raises(UsageError, match="impossible"):
            cuda.workspace_bytes(blob, height, width)
    with pytest.raises(UsageError, match="does not come from pack"):
        cuda.workspace_bytes(blob[:-1], 1, 1)
    image = {"payload_ptr": 4096, "payload_bytes": 9, "workspace_ptr": 4096, "z_ptr": 4096, "y_ptr": 4096, "status_ptr": 4096,
             "height": 4, "width": 4, "lanes": 8, "skip": 0, "z_row": 0, "min_bytes": 0}  # fmt: skip
    for change, message in (
        ({"workspace_ptr": 4100}, "workspace_ptr is no address"),
        ({"y_ptr": 0}, "y_ptr is no address"),
        ({"payload_ptr": 0}, "payload_ptr is no address"),
        ({"lanes": 3}, "lanes must be"),
        ({"skip": 256}, "skip must be"),
        ({"z_row": -1}, "z_row must be"),
        ({"z_row": 1 << 16}, "z_row must be"),
        ({"height": 0}, "impossible"),
        ({"min_bytes": -1}, "must not be negative"),
        ({"payload_bytes": 1 << 31}, "2 GB or more"),
        ({"size_ptr": 2}, "size_ptr is no address"),
    ):
        with pytest.raises(UsageError, match=message):
            cuda.decode(blob, 4096, [image | change])
    for change, message in (({"rows_ptr": 0}, "rows_ptr is no address"), ({"shifts_ptr": 6}, "shifts_ptr is no address")):
        with pytest.raises(UsageError, match=message):
            cuda.rows(blob, 4096, [image | {"rows_ptr": 4096, "shifts_ptr": 4096} | change])
    for call in (cuda.decode, cuda.rows):
        with pytest.raises(UsageError, match="model_ptr is no address"):
            call(blob, 100, [image])


@built
def test_cuda_decode_without_device_is_an_error(tmp_path):
    cuda, _, blob = packed(tmp_path)
    if cuda.device_count() == 0:
        image = dict.fromkeys(("payload_ptr", "workspace_ptr", "z_ptr", "y_ptr", "status_ptr"), 4096)
        image |= {"payload_bytes": 9, "height": 4, "width": 4, "lanes": 8, "skip": 0, "z_row": 0, "min_bytes": 0}
        with pytest.raises(JahpError, match=r"^context_decode: "):
            cuda.decode(blob, 4096, [image])


def test_cuda_payloads_are_checked():
    import torch

    cpu, layout = torch.device("cpu"), StreamLayout(4, 4, 8)
    check_payload(torch.zeros(5, dtype=torch.uint8), cpu, layout)
    for payload in (torch.zeros(5), torch.zeros((1, 5), dtype=torch.uint8), torch.zeros(10, dtype=torch.uint8)[::2]):
        with pytest.raises(UsageError, match="the payload must be a contiguous"):
            check_payload(payload, cpu, layout)
    with pytest.raises(UsageError, match="the payload must be a contiguous"):
        check_payload(torch.zeros(5, dtype=torch.uint8), torch.device("cuda:0"), layout)
    with pytest.raises(UsageError, match="lanes must be one of"):
        check_payload(torch.zeros(5, dtype=torch.uint8), cpu, StreamLayout(4, 4, 0))


@pytest.mark.parametrize("code", STATUS)
def test_cuda_status_codes_become_errors(code):
    import torch

    nothing = torch.zeros(0, dtype=torch.int32)
    with pytest.raises(FormatError, match=r"payload|lane|symbol|left over|words|escapes"):
        check(DeviceResult(nothing, nothing, torch.tensor([code, 7, 0, 0, 0, 0, 0, 0])))
    check(DeviceResult(nothing, nothing, torch.zeros(8, dtype=torch.int32)))


@built
@pytest.mark.gpu
@pytest.mark.parametrize("case", EVERY, ids=str)
@pytest.mark.parametrize("lanes", [1, 8, 64])
def test_cuda_decodes_as_native(tmp_path, case, lanes):
    import torch

    model = random_model(tmp_path / "model.safetensors", case, seed=2, N=24, M=40)
    skip = 2 if lanes == 8 and model.config.conditional else 0
    native, cuda = NativeBackend(model), CudaBackend(model)
    payloads, layouts, latents = [], [], []
    for seed, (height, width) in enumerate([(1, 1), (9, 2), (20, 30), (32, 48)]):
        z, y = random_latents(model, height, width, seed, 0.02)
        payload, seen, _, _ = native.encode(z, y, StreamLayout(height, width, lanes, skip), 1)
        layouts.append(StreamLayout(height, width, lanes, skip))
        payloads.append(payload)
        latents.append((z, seen))
        z_back, y_back, _ = cuda.decode(payload, layouts[-1], 1)
        assert np.array_equal(z_back, z)
        assert np.array_equal(y_back, seen)
        with pytest.raises(FormatError):
            cuda.decode(payload[:-2], layouts[-1], 1)
        assert cuda.encode(z, y, layouts[-1], 1)[0] == payload
        room = torch.from_numpy(np.frombuffer(payload + bytes(999), np.uint8).copy()).cuda()
        for size, code in ((len(payload), 0), (0, 1), (-1, 11), (len(room) + 1, 11)):
            result = cuda.start_sized(room, torch.tensor([size], dtype=torch.int32, device="cuda"), layouts[-1])
            assert result.status[0].item() == code
            assert code or np.array_equal(result.y.cpu().numpy(), seen)
    on_device = [torch.from_numpy(np.frombuffer(p, np.uint8).copy()).cuda() for p in payloads]
    for result, (z, seen) in zip(cuda.start_batch(on_device * 5, layouts * 5), latents * 5, strict=True):
        check(result)
        assert np.array_equal(result.z.cpu().numpy(), z)
        assert np.array_equal(result.y.cpu().numpy(), seen)
