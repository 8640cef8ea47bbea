# SPDX-License-Identifier: Apache-2.0
"""The Triton backend against the NumPy oracle: every architecture, form and width of activations, odd sizes, batches, damage."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from builders import CASES, SHIPPED, Case, random_latents, random_model

from jahp_fast import _native
from jahp_fast.backends.device import check
from jahp_fast.backends.triton import TritonBackend
from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import FormatError, JahpError, UsageError
from jahp_fast.kernels import context_decode as module
from jahp_fast.kernels.context_decode import context_decode_reference, most_positions
from jahp_fast.kernels.conv_i8 import conv_i8_reference
from jahp_fast.kernels.packing import pack_model
from jahp_fast.kernels.range_decode import RangeDecoderRef
from jahp_fast.kernels.reveal import reveal_reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ONE_OF_EACH = [case for i, case in enumerate(CASES) if case.prob_bits == (15, 16)[i // 2 % 2]]


def as_tensor(payload):
    return torch.from_numpy(np.frombuffer(payload, np.uint8).copy()).to(DEVICE)


def outcome(function):
    try:
        return function()
    except JahpError as e:
        return type(e)


def round_trip(model, height, width, *, seed, lanes, skip=0, wild=0.02, backend=None):
    """Encodes and decodes with the oracle and with Triton; returns the payload, or the class of the common refusal."""
    z, y = random_latents(model, height, width, seed, wild)
    z_row = (seed + height) % (len(model.entropy["tables.low"]) - model.config.hyper_latents + 1)
    layout = StreamLayout(height, width, lanes, skip, z_row=z_row)
    backend = backend or TritonBackend(model, DEVICE)
    want = outcome(lambda: reference.encode(reference.ReferenceModel(model), z, y, layout))
    got = outcome(lambda: backend.encode(z, y, layout, 1))
    if not isinstance(want, tuple):
        assert got is want
        return want
    payload, seen, lanes = want
    assert got[0] == payload
    assert np.array_equal(got[1], seen)
    assert got[2] == lanes
    z_back, y_back, times = backend.decode(payload, replace(layout, lanes=lanes), 1)
    assert np.array_equal(z_back, z)
    assert np.array_equal(y_back, seen)
    assert z_back.dtype == y_back.dtype == np.int32
    assert times.keys() == {"all"}
    return payload


@pytest.mark.parametrize(
    ("case", "skip"),
    [pytest.param(case, 3 * (i % 2), marks=[pytest.mark.slow] if i % 3 else []) for i, case in enumerate(ONE_OF_EACH)],
    ids=str,
)
def test_triton_every_form(tmp_path, case, skip):
    model = random_model(tmp_path / "m.safetensors", case, seed=len(str(case)) + skip, M=13, z_bits=skip)
    assert isinstance(round_trip(model, 2, 3, seed=skip, lanes=16, skip=skip), bytes)


@pytest.mark.parametrize(
    ("case", "mode"),
    [(Case("mbt2018"), "edge"), (Case("mbt2018", "B", 16), "saturated"), (Case("mbt2018-mean", "A", 16), "edge")],
    ids=str,
)
def test_triton_clamps_and_limits(tmp_path, case, mode):
    model = random_model(tmp_path / "m.safetensors", case, seed=0, mode=mode)
    kinds = {type(round_trip(model, 2, 3, seed=0, lanes=16, wild=0.2)), type(round_trip(model, 1, 3, seed=1, lanes=16, skip=2, wild=0.0))}
    assert bytes in kinds


@pytest.mark.slow
@pytest.mark.parametrize("case", [Case("mbt2018"), Case("mbt2018-mean", "B")], ids=str)
def test_triton_chooses_lanes(tmp_path, case):
    model = random_model(tmp_path / "m.safetensors", case, seed=6, N=40, M=70)
    backend, chosen = TritonBackend(model, DEVICE), set()
    for height, width, skip in ((1, 1, 0), (3, 4, 0), (7, 8, 2 if not model.config.context else 0)):
        layout = StreamLayout(height, width, 0, skip, 700)
        z, y = random_latents(model, height, width, 1, 0.3)
        want = _native.EntropyModel(model.config.as_native(), model.entropy).encode(z, y, 0, skip, 700, 1)
        got = backend.encode(z, y, layout, 1)
        assert got[0] == want[0]
        assert np.array_equal(got[1], want[1])
        assert got[2] == want[2]
        chosen.add(got[2])
    assert len(chosen) == 3


@pytest.mark.parametrize(("kernel", "mean_bits", "form"), [(3, 0, "A"), (7, 8, "B")])
def test_triton_kernel_and_mean_bits(tmp_path, kernel, mean_bits, form):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018", form), seed=3, kernel=kernel, mean_bits=mean_bits)
    assert isinstance(round_trip(model, 3, 3, seed=2, lanes=16, wild=0.0), bytes)


@pytest.mark.parametrize(("N", "M", "lanes"), [(1, 1, 1), (70, 65, 64)])
def test_triton_channels_and_lanes(tmp_path, N, M, lanes):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018", "A", 16), seed=M, N=N, M=M)
    assert isinstance(round_trip(model, 1, 2, seed=M, lanes=lanes), bytes)


@pytest.mark.skipif(DEVICE != "cpu", reason="a device multiplies blocks of 16 at least; test_triton_steps_of_two_blocks runs there")
def test_triton_steps_of_more_positions_than_a_block(tmp_path, monkeypatch):
    """Blocks of 2, so that small steps take two of them, the second one half full."""
    monkeypatch.setattr(module, "context_decode", partial(module.context_decode, block=2))
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=1, N=3, M=5, kernel=3)
    assert most_positions(3, 5, 2) == 3
    assert isinstance(round_trip(model, 3, 5, seed=1, lanes=8), bytes)


@pytest.mark.gpu
def test_triton_steps_of_two_blocks(tmp_path):
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=1)
    assert most_positions(50, 120, 3) == 40
    assert isinstance(round_trip(model, 50, 120, seed=1, lanes=0), bytes)


@pytest.mark.gpu
def test_triton_shipped_model():
    model = ModelFile(SHIPPED)
    assert isinstance(round_trip(model, 32, 48, seed=2, lanes=8), bytes)


@pytest.mark.slow
def test_triton_batch_of_different_sizes(tmp_path):
    """One call: sizes, lanes and skip thresholds differ, and one payload in the middle is damaged."""
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018"), seed=5, N=5, M=9)
    backend, slow = TritonBackend(model, DEVICE), reference.ReferenceModel(model)
    layouts = [StreamLayout(1, 1, 1), StreamLayout(3, 4, 64, 2), StreamLayout(2, 2, 8), StreamLayout(1, 5, 16, 1, 900)]
    coded = []
    for i, layout in enumerate(layouts):
        z, y = random_latents(model, layout.height, layout.width, i)
        payload, seen, _ = reference.encode(slow, z, y, layout)
        coded.append((payload, z, seen))
    payloads = [payload for payload, _, _ in coded]
    payloads[2] = payloads[2][:-2]
    results = backend.start_batch([as_tensor(payload) for payload in payloads], layouts)
    for i, (result, (_, z, seen)) in enumerate(zip(results, coded, strict=True)):
        if i == 2:
            with pytest.raises(FormatError):
                check(result)
            continue
        check(result)
        assert np.array_equal(result.z.cpu(), z)
        assert np.array_equal(result.y.cpu(), seen)


def plain_decode(model, payload, layout):
    """context_decode_reference on packed buffers, behind plain h_s -> z, y, (code, detail)."""
    c = model.config
    packed = pack_model(c, model.entropy, torch.device("cpu"))
    hz, wz = -(-layout.height // 4), -(-layout.width // 4)
    most = hz * wz * c.hyper_latents + layout.height * layout.width * c.latents
    coder = RangeDecoderRef(payload, layout.lanes, packed.tables, c.prob_bits, most)
    z = torch.tensor([coder.get(n, n, 0) for _ in range(hz * wz) for n in range(c.hyper_latents)]).view(hz, wz, -1)
    x = torch.zeros(hz, wz, packed.h_s[0].inputs, dtype=torch.int64)
    x[..., : c.hyper_latents] = reveal_reference(z, packed.z_input, c.activation_limit)
    for i, layer in enumerate(packed.h_s):
        size = (2 * x.shape[0], 2 * x.shape[1]) if i < 2 else (layout.height, layout.width)
        x = conv_i8_reference(x, layer, *size)
    start = conv_i8_reference(x, packed.hyper, layout.height, layout.width, raw=True)
    y = context_decode_reference(coder, packed, layout.height, layout.width, layout.skip, start)
    return z.int(), y, coder.close(layout.min_bytes)


@pytest.mark.parametrize("form", ["A", pytest.param("B", marks=pytest.mark.slow)])
def test_triton_damage_behind_a_context(tmp_path, form):
    """The kernel and its plain version agree on sound and on damaged streams: latents, code and symbol."""
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018", form), seed=2, N=3, M=6)
    backend = TritonBackend(model, DEVICE)
    layout = StreamLayout(2, 3, 8, 2)
    z, y = random_latents(model, 2, 3, 1, 0.05)
    payload = reference.encode(reference.ReferenceModel(model), z, y, layout)[0]
    rng = np.random.default_rng(4)
    payloads = [payload, payload[:-2], payload + b"\0"]
    for _ in range(2):
        data = np.frombuffer(payload, np.uint8).copy()
        data[rng.integers(4, len(data))] ^= 1 << rng.integers(0, 8)
        payloads.append(data.tobytes())
    results = backend.start_batch([as_tensor(data) for data in payloads], [layout] * len(payloads))
    codes = []
    for data, result in zip(payloads, results, strict=True):
        plain_z, plain_y, status = plain_decode(model, data, layout)
        assert result.status.tolist()[:2] == list(status)
        codes.append(status[0])
        if status[0] == 0:
            assert torch.equal(result.z.cpu(), plain_z)
            assert torch.equal(result.y.cpu(), plain_y)
    assert codes[0] == 0
    assert 4 in codes
    assert 10 in codes


def test_triton_refuses_symbols_beyond_the_limit(tmp_path):
    for case in (Case("mbt2018"), Case("mbt2018-mean", "B")):
        model = random_model(tmp_path / "m.safetensors", case, seed=0, N=3, M=5)
        backend = TritonBackend(model, DEVICE)
        z, y = random_latents(model, 1, 2, 0, 0.0)
        layout = StreamLayout(1, 2, 1)
        for bad in ((z + 32768, y), (z, y + (32768 << model.config.frac_bits) * 2), (z, np.full_like(y, -(2**31)))):
            with pytest.raises(UsageError, match="beyond 32767"):
                backend.encode(*(a.astype(np.int32) for a in bad), layout, 1)
        with pytest.raises(UsageError, match=r"y must have the shape \(1, 2, 5\)"):
            backend.encode(z, y[:, :1], layout, 1)


def test_triton_needs_a_device(tmp_path, monkeypatch):
    model = random_model(tmp_path / "m.safetensors", Case("bmshj2018-factorized"), seed=0, M=3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no GPU, no driver"):
        TritonBackend(model, "cuda")
    with pytest.raises(UsageError, match="not on 'meta'"):
        TritonBackend(model, "meta")
    with pytest.raises(UsageError, match="'tpu0' is unknown"):
        TritonBackend(model, "tpu0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    with pytest.raises(UsageError, match="'cuda:2': this machine has 2"):
        TritonBackend(model, "cuda:2")
    with pytest.raises(UsageError, match=r"compute capability \(7, 5\)"):
        TritonBackend(model, "cuda:1")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(UsageError, match="needs the package triton"):
        TritonBackend(model, DEVICE)


def test_triton_out_of_memory(tmp_path, monkeypatch):
    backend = TritonBackend(random_model(tmp_path / "m.safetensors", Case("bmshj2018-factorized"), seed=0, M=3), DEVICE)

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nand more")

    monkeypatch.setattr(backend, "_start", fail)
    with pytest.raises(UsageError, match=r"too little memory for this: CUDA out of memory. Tried to allocate 20.00 GiB.$"):
        backend.start(torch.zeros(9, dtype=torch.uint8, device=DEVICE), StreamLayout(1, 1, 1))


def test_triton_without_interpreter_refuses_the_cpu(tmp_path):
    path = tmp_path / "m.safetensors"
    random_model(path, Case("bmshj2018-factorized"), seed=0, M=3)
    code = f"""
from jahp_fast.backends.triton import TritonBackend
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import UsageError
try:
    TritonBackend(ModelFile({str(path)!r}), "cpu")
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True, timeout=60)
    assert "only with TRITON_INTERPRET=1" in done.stdout
