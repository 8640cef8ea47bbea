# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu/gpu_model.py counts what the kernels of backend `cuda` do."""

import gpu_model
import numpy as np
import pytest
from builders import Case, random_latents, random_model
from emulated_cuda import EmulatedCuda, last_counts

from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy.layout import StreamLayout


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(1, 1), (7, 2), (5, 9), (18, 54)], ids=str)
def test_cuda_counts_follow_from_the_plan(tmp_path, size, bits):
    n, m = (9, 34) if size[0] < 18 else (3, 9)  # more than one chunk; more than one m-tile
    model = random_model(tmp_path / "m.safetensors", Case("mbt2018", "A", bits), seed=3, N=n, M=m)
    width = {name: array.shape[0] for name, array in model.entropy.items() if name.endswith(".weight")}
    net = gpu_model.Net(n, m, width["entropy_parameters.0.weight"], width["entropy_parameters.2.weight"],
                        tuple(width[f"h_s.{i}.weight"] for i in (0, 2, 4)), 1 if bits == 8 else 2)  # fmt: skip
    layout = StreamLayout(*size, 16)
    z, y = random_latents(model, *size, 1)
    payload = NativeBackend(model).encode(z, y, layout, 1)[0]
    backend, shapes = EmulatedCuda(model), set()
    for _ in range(4 if size[0] < 18 else 1):  # launches take turns
        assert np.array_equal(backend.decode(payload, layout, 1)[1], y)
        counts = last_counts()
        shapes.add((counts["blocks"], counts["cluster"]))
        assert counts["barriers"] == gpu_model.barriers_of(net, *size)
        assert counts["products"] == sum(gpu_model.products_of(net, *size).values())
        assert counts["remote_words"] == gpu_model.remote_words_of(net, *size, counts["blocks"]) * counts["cluster"]
    assert len(shapes) > 1 or size[0] == 18


def test_step_sizes():
    assert gpu_model.step_sizes(2, 4, 3) == [1, 1, 1, 2, 1, 1, 1]
    assert gpu_model.step_sizes(3, 1, 3) == [1, 0, 0, 1, 0, 0, 1]
    assert len(gpu_model.step_sizes(32, 48, 3)) == 141


def test_predictions_rise_with_what_they_count():
    h100, a100 = gpu_model.GPUS
    one = gpu_model.predict(gpu_model.PAPER, 32, 48, 16, h100)
    assert one["latents"] == pytest.approx(sum(v for k, v in one.items() if k != "latents"))
    assert gpu_model.predict(gpu_model.PAPER, 32, 48, 64, h100)["coder"] < 0.5 * one["coder"]
    assert gpu_model.predict(gpu_model.PAPER, 32, 48, 16, a100)["latents"] > one["latents"]
    assert gpu_model.predict(gpu_model.PAPER, 68, 120, 16, h100)["latents"] > 4 * one["latents"]
