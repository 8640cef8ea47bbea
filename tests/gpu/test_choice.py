# SPDX-License-Identifier: Apache-2.0
"""Which backend decodes a batch: the constants give what was measured, and a pipeline acts on them."""

import numpy as np
import pytest

from jahp_fast import Codec, backends, library
from jahp_fast.backends import choice
from jahp_fast.files import container
from jahp_fast.pipelines import device as device_pipelines
from jahp_fast.pipelines.device import DevicePipeline

SMALL, LARGE = (32, 48), (68, 120)


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [(choice.cuda_ms([SMALL], 132), 11.0), (choice.cuda_ms([LARGE], 132), 36.2), (choice.triton_ms([SMALL], 132), 26.4),
     (choice.triton_ms([LARGE], 132), 69.5), (choice.cuda_ms([SMALL] * 64, 132), 64 * 1.57),
     (choice.triton_ms([SMALL] * 64, 132), 64 * 0.46)],
)  # fmt: skip
def test_constants_are_what_was_measured(predicted, measured):
    assert predicted == pytest.approx(measured, rel=0.12)


def test_one_image_by_cuda_and_many_by_triton():
    assert [choice.faster([SMALL] * n, 132) for n in (1, 2, 16, 17, 64, 256)] == ["cuda"] * 3 + ["triton"] * 3
    assert [choice.faster([LARGE] * n, 132) for n in (1, 2, 64)] == ["cuda", "triton", "triton"]
    assert choice.faster([(1, 1)], 132) == "cuda"
    for n in (1, 5, 40, 300):  # a batch never takes less than a part of it
        assert choice.cuda_ms([SMALL] * n, 108) <= choice.cuda_ms([SMALL] * (n + 1), 108)
        assert choice.triton_ms([SMALL] * n, 108) <= choice.triton_ms([SMALL] * (n + 1), 108)


def test_a_choice_is_for_auto_alone(monkeypatch):
    monkeypatch.setattr(backends, "_lacking", lambda name, device: "")
    assert backends.for_batches("auto", "cuda", "cuda:0") == "triton"
    assert backends.for_batches("cuda", "cuda", "cuda:0") is None
    assert backends.for_batches("auto", "triton", "cuda:0") is None
    monkeypatch.setattr(backends, "_lacking", lambda name, device: "not installed" * (name == "triton"))
    assert backends.for_batches("auto", "cuda", "cuda:0") is None


def test_a_pipeline_decodes_batches_by_the_other(tiny_models, photo_crop, monkeypatch):
    for name in ("cuda", "triton"):
        monkeypatch.setitem(backends._CLASSES, name, ("fake_device", "FakeBackend"))
    monkeypatch.setattr(device_pipelines, "multiprocessors", lambda device: 132)
    codec = Codec("tiny", 5, models=[tiny_models["tiny"]])
    stream, want = codec.encode(photo_crop[:33, :50]), codec.decode(codec.encode(photo_crop[:33, :50]))
    file = library.by_name("tiny", [tiny_models["tiny"]])
    pipeline = DevicePipeline(file, "cuda", batches="triton")
    one = [container.unpack(stream)]
    for batch, launches in ((1, (1, None)), (20, (1, 1)), (2, (2, 1))):
        for rgb in pipeline.decode(one * batch, 1).settle():
            assert np.array_equal(rgb.permute(1, 2, 0).numpy(), want)
        other = pipeline._of_batches
        assert (pipeline.backend.launches, None if other is None else other.launches) == launches
    alone = DevicePipeline(file, "cuda")
    alone.decode(one * 20, 1).settle()
    assert alone.backend.launches == 1
