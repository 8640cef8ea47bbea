# SPDX-License-Identifier: Apache-2.0
"""The Triton range decoder on streams of the factorised model, whose rows no network chooses; and damage, with its exact status."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Case, random_model

from jahp_fast import _native
from jahp_fast.backends.device import check
from jahp_fast.backends.status import STATUS, Status
from jahp_fast.backends.triton import TritonBackend
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.errors import FormatError, UsageError
from jahp_fast.kernels.range_decode import RangeDecoderRef

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
H, W, M = 1, 2, 24


def build(tmp_path_factory, prob_bits):
    path = tmp_path_factory.mktemp("factorised") / "m.safetensors"
    model = random_model(path, Case("bmshj2018-factorized", prob_bits=prob_bits), seed=1, M=M)
    return TritonBackend(model, DEVICE), _native.EntropyModel(model.config.as_native(), model.entropy, "scalar")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Triton's and the native backend of one model, by the precision of its tables."""
    return {bits: build(tmp_path_factory, bits) for bits in (15, 16)}


@pytest.fixture(scope="module")
def backend(built):
    return built[15][0]


@pytest.fixture(scope="module")
def native(built):
    return built[15][1]


def stream(native, lanes, wild=0.2, least=0):
    rng = np.random.default_rng(lanes)
    y = np.where(rng.random((H, W, M)) < wild, rng.integers(-32767, 32768, (H, W, M)), rng.integers(-3, 4, (H, W, M))).astype(np.int32)
    return native.encode(np.zeros((0, 0, 0), np.int32), y, lanes, 0, least, 1)[0], y


def as_tensor(payload):
    return torch.from_numpy(np.frombuffer(payload, np.uint8).copy()).to(DEVICE)


def plain_status(backend, payload, lanes, least):
    coder = RangeDecoderRef(payload, lanes, backend._model.tables, backend._model.config.prob_bits, H * W * M)
    values = [coder.get(m, m, 0) for _ in range(H * W) for m in range(M)]
    return coder.close(least), values


def statuses(backend, payloads, lanes, least=0):
    """Status of each payload by the kernel, in one launch; it must be the plain decoder's."""
    results = backend.start_batch([as_tensor(payload) for payload in payloads], [StreamLayout(H, W, lanes, 0, least)] * len(payloads))
    codes = []
    for payload, result in zip(payloads, results, strict=True):
        want, values = plain_status(backend, payload, lanes, least)
        assert result.status.tolist() == [*want, 0, 0, 0, 0, 0, 0]
        if want == (0, 0):
            assert result.y.ravel().tolist() == values
        codes.append(want[0])
    return codes


def test_triton_range_decode_every_number_of_lanes(backend, native):
    streams = [stream(native, lanes) for lanes in (1, 2, 4, 8, 16, 32, 64)]
    layouts = [StreamLayout(H, W, 1 << i) for i in range(7)]
    results = backend.start_batch([as_tensor(payload) for payload, _ in streams], layouts)
    for (_, y), result in zip(streams, results, strict=True):
        check(result)
        assert np.array_equal(result.y.cpu(), y)
        assert result.z.shape == (0, 0, 0)


def damaged(payload, lanes):
    """Code -> payloads that must end with it."""
    (escapes,) = struct.unpack_from("<I", payload)
    states = 4 + 2 * escapes
    words = states + 4 * lanes
    assert escapes >= 2
    low = payload[:states] + payload[states : words - 4] + struct.pack("<I", 65535) + payload[words:]
    return {
        1: [b"", payload[:3], payload[: 3 + 4 * lanes]],
        2: [b"\xff\xff\xff\xff" + payload[4:], struct.pack("<I", H * W * M + 1) + payload[4:], payload[: words - 1]],
        3: [low],
        4: [payload[:-1], payload[:-2], payload[: words + 4], payload[:words]],
        5: [struct.pack("<I", escapes - 1) + payload[4 : states - 2] + payload[states:], struct.pack("<I", 0) + payload[states:]],
        6: [payload[:4] + struct.pack("<h", 0) + payload[6:]],
        7: [payload[: states - 2] + struct.pack("<h", -32768) + payload[states:]],
        9: [struct.pack("<I", escapes + 1) + payload[4:states] + b"\0\0" + payload[states:]],
        10: [payload + b"\0", payload + b"\0\0", payload + b"\1" + b"\0" * 600],
    }


@pytest.mark.parametrize(("lanes", "prob_bits"), [(16, 15), (64, 16)])
def test_triton_status_of_each_damage(built, lanes, prob_bits):
    backend, native = built[prob_bits]
    payload, _ = stream(native, lanes)
    cases = damaged(payload, lanes)
    payloads = [bad for some in cases.values() for bad in some]
    assert statuses(backend, payloads, lanes) == [code for code, some in cases.items() for _ in some]
    for bad in payloads:
        with pytest.raises(FormatError):
            native.decode(bad, H, W, lanes, 0, 0, 1)


def test_triton_status_of_a_wrong_end(backend, native):
    """A last word that differs leaves its lane elsewhere, or breaks symbols: found in any case, and by its true name."""
    payload, _ = stream(native, 8, wild=0.0)
    bad = [payload[:-1] + bytes([payload[-1] ^ 1 << bit]) for bit in range(8)]
    codes = statuses(backend, bad, 8)
    assert 8 in codes
    assert 0 not in codes


def test_triton_padding(backend, native):
    payload, _ = stream(native, 4)
    least = len(payload) + 700
    full, _ = stream(native, 4, least=least)
    spoilt = [full[:-1] + b"\1", full[: len(payload)] + b"\1" + full[len(payload) + 1 :], full[:-1], payload + b"\0"]
    assert statuses(backend, [full, payload, *spoilt], 4, least) == [0, 0, 10, 10, 10, 10]


def test_triton_random_damage(backend, native):
    """Bytes changed at random: the same failure as the plain decoder, and one if and only if the C++ core finds one."""
    rng = np.random.default_rng(0)
    payload, _ = stream(native, 4)
    bad = []
    for _ in range(12):
        data = np.frombuffer(payload, np.uint8).copy()
        data[rng.integers(0, len(data), 2)] = rng.integers(0, 256, 2)
        bad.append(data.tobytes()[: len(data) - int(rng.integers(0, 3))])
    codes = statuses(backend, bad, 4)
    assert len(set(codes)) > 2
    for code, data in zip(codes, bad, strict=True):
        try:
            native.decode(data, H, W, 4, 0, 0, 1)
            assert code == 0
        except FormatError:
            assert code != 0


def test_triton_check_says_what_was_wrong(backend, native):
    payload, _ = stream(native, 8)
    with pytest.raises(FormatError, match="left over behind the last word"):
        check(backend.start(as_tensor(payload + b"\0\0"), StreamLayout(H, W, 8)))
    with pytest.raises(FormatError, match=r"before symbol \d+$"):
        backend.decode(payload[:-2], StreamLayout(H, W, 8), 1)


def test_all_kernels_have_the_same_codes():
    """Python's are Triton's too; CUDA's stand in a header."""
    header = (Path(__file__).parents[2] / "kernels" / "cuda" / "coder.cuh").read_text()
    names = re.findall(r"k([A-Za-z]+)", re.search(r"enum Status \{(.*?)\};", header, re.DOTALL).group(1))
    assert [re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() for name in names] == [status.name for status in Status]
    assert [status.value for status in Status] == list(range(len(Status)))
    assert sorted(STATUS) == [status for status in Status if status is not Status.SOUND]


def test_triton_bad_arguments(backend):
    payload = torch.zeros(8, dtype=torch.uint8, device=DEVICE)
    for layout, what in (
        (StreamLayout(H, W, 3), "lanes"),
        (StreamLayout(H, W, 0), "lanes"),
        (StreamLayout(0, W, 1), "0 x 2"),
        (StreamLayout(H, 1 << 21, 1), "1 x 2097152"),
    ):
        with pytest.raises(UsageError, match=what):
            backend.start(payload, layout)
    layout = StreamLayout(H, W, 1)
    with pytest.raises(UsageError, match="vector of uint8"):
        backend.start(payload.int(), layout)
    with pytest.raises(UsageError, match="2 layouts"):
        backend.start_batch([payload], [layout, layout])
    assert backend.start_batch([], []) == []
