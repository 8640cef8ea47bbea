# SPDX-License-Identifier: Apache-2.0
"""Models at the corners of what docs/reference/format.md allows: each is refused by all, when it is opened, or
decoded by all to the same integers.

"All" are the check of model files, the C++ core behind it, the reference and the decoder that was written from the page alone.
"""

import builders as support
import independent
import numpy as np
import pytest
from in_part import one_in

from jahp_fast import Codec, _native
from jahp_fast.backends.native import NativeBackend
from jahp_fast.backends.reference import ReferenceBackend
from jahp_fast.entropy import reference
from jahp_fast.entropy.check import MAX_CHANNELS, MAX_ROWS, MAX_SCALES, MAX_STARTS
from jahp_fast.entropy.layout import StreamLayout
from jahp_fast.entropy.model_file import ModelConfig, ModelFile, save_model
from jahp_fast.errors import FormatError, ModelError, UsageError
from jahp_fast.files import container

TOP = 2**31 - 1


class Corner:
    """A random model whose every freedom takes an end of its range, or near it, by the generator `rng`."""

    def __init__(self, rng):
        self.rng = rng
        architecture = str(rng.choice(support.ARCHITECTURES))
        hyper, context = architecture not in ("bmshj2018-factorized", "mbt2018-context"), architecture in ("mbt2018-context", "mbt2018")
        means = architecture not in ("bmshj2018-factorized", "bmshj2018-hyperprior")
        wide = int(rng.integers(8))  # which of two widths is 4096, if one is: both would take long
        m, n = (4096 if wide == 0 else int(rng.choice([1, 2, 17])), 4096 if wide == 1 else int(rng.choice([1, 3, 16])))
        form = str(rng.choice(["A", "B"])) if means else "A"
        bits = [int(rng.choice(ends)) for ends in ((8, 16), (0, 8), (0, 8), (15, 16))]
        self.config = ModelConfig(architecture, m, n if hyper else 0, form, *bits, (1.0, 8.0))
        self.limit, self.tensors = self.config.activation_limit, {}
        parameters = (2 if means else 1) * m
        features = 0
        if hyper:
            first = self.layer("h_s.0", None, n, 5)
            second = self.layer("h_s.2", None, first, 5)
            features = self.layer("h_s.4", None if context else parameters, second, 3)
            self.tensors["z_offset"] = rng.choice([-(1 << 20) + 1, -1, 0, 1, (1 << 20) - 1], n).astype(np.int32)
        if context:
            seen = self.layer("context_prediction", None, m, int(rng.choice(np.arange(3, 16, 2))))
            hidden = self.layer("entropy_parameters.0", None, features + seen, 1)
            self.layer("entropy_parameters.4", parameters, self.layer("entropy_parameters.2", None, hidden, 1), 1)
            for part, ends in (("mul", [-32768, -1, 0, 1, 32768]), ("add", [-TOP - 1, 0, 1, TOP]), ("shift", [0, 1, 31])):
                self.tensors[f"context_input.{part}"] = rng.choice(ends, m).astype(np.int32)
        self.tables(max(self.config.hyper_latents, 0 if self.config.conditional else m))

    def layer(self, name, outputs, inputs, kernel):
        rng, outputs = self.rng, int(self.rng.choice([1, 2, 16, 33])) if outputs is None else outputs
        weight = rng.choice([-127, -1, 0, 1, 127], (outputs, inputs, kernel, kernel)).astype(np.int8)
        room = TOP - np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * self.limit
        while (room < 0).any():  # the sums would leave 32 bits
            weight[rng.random(weight.shape) < 0.5] = 0
            room = TOP - np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * self.limit
        ends = {"bias": room * rng.choice([-1, 0, 1], outputs), "mul_pos": rng.choice([0, 1, 1 << 20, TOP], outputs),
                "mul_neg": rng.choice([0, 1, 1 << 20, TOP], outputs), "shift": rng.choice([1, 20, 40, 62], outputs),
                "zero": rng.choice([-4095, 0, 4095], outputs)}  # fmt: skip
        self.tensors |= {f"{name}.weight": weight} | {f"{name}.{part}": array.astype(np.int32) for part, array in ends.items()}
        return outputs

    def tables(self, fewest):
        rng, c = self.rng, self.config
        sizes = rng.choice([1, 2, 40], max(fewest, 1) + (1 << c.mean_bits) + 3)
        sizes[-1] = (1 << c.prob_bits) - 1 if rng.random() < 0.3 else 7  # the longest row there can be
        starts = [np.concatenate([[0], np.sort(rng.choice(np.arange(1, 1 << c.prob_bits), size, replace=False))]) for size in sizes]
        self.tensors |= {
            "tables.low": rng.choice([-65535, -20, -1, 0, 65535], len(sizes)).astype(np.int32),
            "tables.size": sizes.astype(np.int32),
            "tables.starts": np.concatenate(starts).astype(np.uint16),
        }
        if c.conditional:
            scales = int(rng.choice([1, 2, 64, 65, 700]))
            thresholds = np.sort(rng.choice([-TOP - 1, -(1 << 23), 0, 1, 1, 1 << 23, TOP], scales - 1))
            drop = rng.choice([0, c.mean_bits], scales)
            most = len(sizes) - (1 << (c.mean_bits - drop) if c.form == "A" and c.means else np.ones(scales, int))
            self.tensors |= {
                "scale.thresholds": thresholds.astype(np.int32),
                "scale.drop": drop.astype(np.int32),
                "scale.row": np.where(rng.random(scales) < 0.3, 0, most).astype(np.int32),
            }

    def write(self, path):
        save_model(path, self.config, self.tensors, {}, {})
        return path


def decode_all(path, stream, layout):
    """What each decoder reads, or None where it refuses the stream."""
    model, results = ModelFile(path), []
    for backend in (NativeBackend(model), ReferenceBackend(model)):
        try:
            results.append(backend.decode(stream.payload, layout, 2)[:2])
        except FormatError:
            results.append(None)
    if results[1] is not None:
        stream = container.Stream(**{**stream.__dict__, "checksum": reference.symbol_checksum(*results[1])})
    try:
        results.append(independent.decode(independent.parse(container.pack(stream)), independent.Model(path))[:2])
    except independent.Refused:
        results.append(None)
    return results


@pytest.mark.parametrize("seed", one_in(2, range(120)))
def test_corners_are_decoded_alike(tmp_path, seed):
    """Every symbol an escape of the encoder's choice where it can be encoded; and random payloads, which end early or do not."""
    rng = np.random.default_rng(seed)
    corner = Corner(rng)
    path = corner.write(tmp_path / "corner.safetensors")
    model = ModelFile(path)
    h, w = (1, 2) if corner.config.latents == 4096 or corner.config.hyper_latents == 4096 else (3, 6)
    skip = int(rng.choice([0, 1, 255]))
    lanes = int(rng.choice([1, 4, 64]))
    layout = StreamLayout(h, w, lanes, skip, 1)
    z, y = support.random_latents(model, h, w, seed, wild=0.3)
    payloads = [rng.bytes(3000 + 4 * lanes)]
    payloads[0] = (700).to_bytes(4, "little") + payloads[0][4:1404] + b"\xff\xff\xff\x7f" * lanes + payloads[0]
    written = []
    for backend in (NativeBackend(model), ReferenceBackend(model)):
        try:
            written.append(backend.encode(z, y, layout, 1)[:3])
        except UsageError:
            written.append(None)
    assert (written[0] is None) == (written[1] is None)
    if written[0] is not None:
        assert written[0][0] == written[1][0]
        assert np.array_equal(written[0][1], written[1][1])
        payloads.append(written[0][0])
    for payload in payloads:
        stream = container.Stream(16 * w, 16 * h, "RGB", 4.0, model.id, lanes, skip, 0, payload, {})
        results = decode_all(path, stream, layout)
        assert len({found is None for found in results}) == 1
        if payload is not payloads[0]:
            assert results[0] is not None
        for found in results[1:] if results[0] is not None else []:
            assert np.array_equal(found[0], results[0][0])
            assert np.array_equal(found[1], results[0][1])


def test_corners_cover_what_they_shall():
    corners = [Corner(np.random.default_rng(seed)) for seed in range(120)]
    kernels = {c.tensors["context_prediction.weight"].shape[2] for c in corners if c.config.context}
    assert kernels == {3, 5, 7, 9, 11, 13, 15}
    assert {c.config.architecture for c in corners} == set(support.ARCHITECTURES)
    assert any(c.config.latents == 4096 for c in corners)
    assert any(c.config.hyper_latents == 4096 for c in corners)
    assert any(len(c.tensors["scale.row"]) == 1 for c in corners if c.config.conditional)
    assert any(c.tensors["tables.size"].max() == 65535 for c in corners)
    assert {(c.config.form, c.config.activation_bits, c.config.prob_bits) for c in corners} == {
        (form, bits, p) for form in "AB" for bits in (8, 16) for p in (15, 16)
    }


# One thing beyond the page: the name of a tensor (or of a field of the config), and what it becomes.


def as_layer(tensors, name, outputs, inputs, kernel):
    parts = {"mul_pos": 1, "mul_neg": 1, "shift": 1, "zero": 0, "bias": 0}
    return {f"{name}.weight": np.zeros((outputs, inputs, kernel, kernel), np.int8)} | {
        f"{name}.{part}": np.full(outputs, value, np.int32) for part, value in parts.items()
    }


def kernel_of(name, kernel):
    return lambda t: as_layer(t, name, *t[f"{name}.weight"].shape[:2], kernel)


def many_rows(t):
    count = MAX_ROWS + 1
    starts = np.tile(np.array([0, 1], np.uint16), count)
    return {"tables.low": np.zeros(count, np.int32), "tables.size": np.ones(count, np.int32), "tables.starts": starts}


def many_starts(t):
    count = MAX_STARTS // (1 << 15) + 1
    starts = np.tile(np.arange(1 << 15, dtype=np.uint16), count)
    return {"tables.low": np.zeros(count, np.int32), "tables.size": np.full(count, (1 << 15) - 1, np.int32), "tables.starts": starts}


def many_scales(t):
    n = MAX_SCALES + 1
    return {"scale.row": np.zeros(n, np.int32), "scale.drop": np.full(n, 6, np.int32), "scale.thresholds": np.zeros(n - 1, np.int32)}


BEYOND = {
    **{f"h_s.4 of {k}x{k}": (kernel_of("h_s.4", k), f"h_s.4.weight has an impossible kernel of {k} x {k}") for k in (1, 2, 5, 15, 17)},
    "h_s.0 of 3x3": (kernel_of("h_s.0", 3), "h_s.0.weight has an impossible kernel"),
    "h_s.2 of 7x7": (kernel_of("h_s.2", 7), "h_s.2.weight has an impossible kernel"),
    "a context of 1x1": (kernel_of("context_prediction", 1), "context_prediction.weight has an impossible kernel"),
    "a context of 4x4": (kernel_of("context_prediction", 4), "context_prediction.weight has an impossible kernel"),
    "a context of 17x17": (kernel_of("context_prediction", 17), "context_prediction.weight has an impossible kernel"),
    "a dense layer of 3x3": (kernel_of("entropy_parameters.2", 3), "entropy_parameters.2.weight has an impossible kernel"),
    "too wide a layer": (lambda t: as_layer(t, "h_s.0", MAX_CHANNELS + 1, 8, 5) | as_layer(t, "h_s.2", 13, MAX_CHANNELS + 1, 5),
                         "h_s.0 has 16385 outputs; 16384 are the most"),
    "too many scales": (many_scales, "there are 65537 scales; 65536 are the most"),
    "too many rows": (many_rows, "there are 65537 table rows; 65536 are the most"),
    "too many entries": (many_starts, "tables.starts has 16809984 entries; 16777216 are the most"),
    "a threshold that falls": (lambda t: {"scale.thresholds": t["scale.thresholds"][::-1].copy()}, "scale thresholds do not rise"),
}  # fmt: skip


@pytest.mark.parametrize("what", BEYOND)
def test_what_goes_beyond_is_refused_by_all_when_it_is_opened(tmp_path, what):
    change, words = BEYOND[what]
    good = support.random_model(tmp_path / "good.safetensors", support.Case("mbt2018"), seed=5)
    save_model(path := tmp_path / "bad.safetensors", good.config, good.entropy | change(good.entropy), {}, {})
    for opened in (ModelFile, lambda p: Codec("bad", models=[p])):
        with pytest.raises(ModelError, match=words):
            opened(path)
    with pytest.raises(independent.Refused):
        independent.Model(path)


def test_the_core_takes_what_the_check_takes_at_its_bounds(tmp_path):
    """The most scales, rows and outputs of a layer that the page allows."""
    good = support.random_model(tmp_path / "good.safetensors", support.Case("mbt2018"), seed=5)
    tensors = dict(good.entropy) | as_layer(None, "h_s.0", MAX_CHANNELS, 8, 5) | as_layer(None, "h_s.2", 13, MAX_CHANNELS, 5)
    tensors |= {name: array[:-1] for name, array in many_scales(None).items()}
    tensors |= {name: array[2 if name == "tables.starts" else 1 :] for name, array in many_rows(None).items()}
    path = tmp_path / "edge.safetensors"
    save_model(path, good.config, tensors, {}, {})
    model = ModelFile(path)
    assert len(model.entropy["scale.row"]) == MAX_SCALES
    _native.EntropyModel(model.config.as_native(), model.entropy)
    independent.Model(path)
    z, y = support.random_latents(model, 2, 3, 1)
    payload = NativeBackend(model).encode(z, y, StreamLayout(2, 3, 1, 0, 1), 1)[0]
    assert np.array_equal(NativeBackend(model).decode(payload, StreamLayout(2, 3, 1, 0, 1), 1)[1], y)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 120, 4))
def test_corners_on_the_emulated_device(tmp_path, seed):
    from emulated_cuda import EmulatedCuda

    corner = Corner(np.random.default_rng(seed))
    model = ModelFile(corner.write(tmp_path / "corner.safetensors"))
    if 4096 in (corner.config.latents, corner.config.hyper_latents):
        pytest.skip("too slow in an emulator")
    native, cuda, layout = NativeBackend(model), EmulatedCuda(model), StreamLayout(2, 3, 1, seed % 3, 1)
    z, y = support.random_latents(model, 2, 3, seed, wild=0.3)
    try:
        payload, seen, _, _ = native.encode(z, y, layout, 1)
    except UsageError:
        with pytest.raises(UsageError):
            cuda.encode(z, y, layout, 1)
        return
    assert cuda.encode(z, y, layout, 1)[0] == payload
    assert np.array_equal(cuda.decode(payload, layout, 1)[1], seen)
