# SPDX-License-Identifier: Apache-2.0
"""Pictures of 64 to 256 pixels a side, in one thread: whole encodes and decodes, and what of them is the core's coding of latents.

    pytest benchmarks/bench_small.py --benchmark-only --benchmark-timer=time.process_time --benchmark-columns=min,median,iqr,rounds \
        --benchmark-group-by=group
"""

import numpy as np
import pytest
from builders import photo

from jahp_fast import Codec
from jahp_fast.backends.native import NativeBackend
from jahp_fast.files import container
from jahp_fast.library import by_name
from jahp_fast.pipelines.entropy_path import layout_of


@pytest.fixture(scope="module")
def codec():
    return Codec(threads=1)


@pytest.mark.parametrize("what", ["encode", "decode", "latents to payload", "payload to latents"])
@pytest.mark.parametrize("side", [64, 128, 256])
def test_small(benchmark, codec, timing, side, what):
    benchmark.group = f"{side} x {side}, one thread"
    image = np.ascontiguousarray(photo()[200 : 200 + side, 300 : 300 + side])
    data = codec.encode(image)
    stream = container.unpack(data)
    model = by_name("mbt2018")
    layout, backend = layout_of(stream, model), NativeBackend(model)
    z, y, _ = backend.decode(stream.payload, layout, 1)
    work = {
        "encode": lambda: codec.encode(image),
        "decode": lambda: codec.decode(data),
        "latents to payload": lambda: backend.encode(z, y, layout, 1)[0],
        "payload to latents": lambda: backend.decode(stream.payload, layout, 1)[1],
    }[what]
    wanted = {"encode": data, "decode": codec.decode(data), "latents to payload": stream.payload, "payload to latents": y}[what]
    assert memoryview(benchmark(work)) == memoryview(wanted)
