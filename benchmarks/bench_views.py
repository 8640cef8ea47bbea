# SPDX-License-Identifier: Apache-2.0
"""Parts and small pictures beside whole decodes: a photo at each scale, and 512 x 512 pixels of 0.4 to 33 megapixels, with peak memory.

    pytest benchmarks/bench_views.py --benchmark-only --benchmark-columns=median,min,iqr,rounds --benchmark-group-by=group

`extra_info` (--benchmark-json) has seconds of this process's own processor time beside the clock's, which other work on the machine changes
less; and the peak memory of a process that decodes a part, and of one that decodes all by rows, and what of it a codec that has decoded
nothing yet did not have.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import photo

from jahp_fast import Codec
from jahp_fast.files.view import averaged

SIZES = {"0.4 MP": (512, 768), "8.3 MP": (2160, 3840), "33 MP": (4320, 7680)}
PEAK = """
import sys
from pathlib import Path
from jahp_fast import Codec

def status(field):
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(field)))

data, region, codec = Path(sys.argv[1]).read_bytes(), eval(sys.argv[2]), Codec(threads=1)
before = status("VmRSS")
print(sum(len(block) for block in codec.decode_rows(data, region)), status("VmHWM"), before)
"""


def processor(work, rounds):
    """Least processor time of this process."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.fixture(scope="module")
def small_file(timing):
    codec = Codec(threads=1)
    return codec, codec.encode(photo() if timing else photo()[:70, :90])


@pytest.mark.parametrize("what", ["latents", "whole", "scale 2", "scale 4", "scale 8", "scale 16"])
@pytest.mark.benchmark(group="768x512, one thread")
def test_scales(benchmark, small_file, timing, what):
    codec, data = small_file
    scale = int(what.split()[1]) if what.startswith("scale") else 1

    def work():
        return codec.decode_latents(data).y if what == "latents" else codec.decode(data, scale=scale)

    work()
    result = benchmark(work)
    benchmark.extra_info["processor ms"] = round(1000 * processor(work, 15 if timing else 1), 2)
    if what != "latents":
        means = averaged(codec.decode(data), scale).astype(float)
        assert np.square(result - means).mean() < 255**2 * 10**-3.8


@pytest.fixture(scope="module", params=SIZES)
def large_file(request, timing, tmp_path_factory):
    """A size, its height and width, its codec and its file: the photo, tiled."""
    height, width = SIZES[request.param] if timing else (96, 112)
    image = np.tile(photo(), (-(-height // 512), -(-width // 768), 1))[:height, :width]
    path = tmp_path_factory.mktemp("large") / "large.jahp"
    codec = Codec(threads=1)
    path.write_bytes(codec.encode(image))
    return request.param, (height, width), codec, path


@pytest.mark.parametrize("what", ["latents", "whole", "512 x 512", "scale 16"])
def test_parts(benchmark, large_file, timing, what):
    name, (height, width), codec, path = large_file
    benchmark.group = f"{name}, one thread"
    data, side = path.read_bytes(), 512 if timing else 40
    region = ((width - side) // 2, (height - side) // 2, side, side) if what.startswith("512") else None
    work = {
        "latents": lambda: len(codec.decode_latents(data).y),
        "scale 16": lambda: sum(len(block) for block in codec.decode_rows(data, scale=16)),
    }.get(what, lambda: sum(len(block) for block in codec.decode_rows(data, region)))
    wanted = {"latents": 192, "whole": height, "512 x 512": side, "scale 16": -(-height // 16)}[what]
    assert benchmark.pedantic(work, rounds=3 if timing else 1, warmup_rounds=1) == wanted
    benchmark.extra_info["processor ms"] = round(1000 * processor(work, 2 if timing else 1), 1)
    if what in ("whole", "512 x 512") and Path("/proc/self/status").exists():
        done = subprocess.run([sys.executable, "-c", PEAK, path, repr(region)], capture_output=True, text=True, check=True)
        rows, peak, before = map(int, done.stdout.split())
        assert rows == wanted
        benchmark.extra_info["peak MB"] = round(peak * 1024 / 1e6)
        benchmark.extra_info["above the start MB"] = round((peak - before) * 1024 / 1e6)
