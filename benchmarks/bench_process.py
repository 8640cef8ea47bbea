# SPDX-License-Identifier: Apache-2.0
"""The `jahp` command as a whole process: its start, its time from 0.4 to 33 megapixels, its peak memory; and photos a second, warm.

Sizes other than the photo's are the photo, tiled. Where timing is disabled the sizes are small and the bounds are not asked for.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import photo
from PIL import Image

from jahp_fast import Codec

SIZES = {"0.4 MP": (512, 768), "2.1 MP": (1080, 1920), "8.3 MP": (2160, 3840), "33 MP": (4320, 7680)}
MOST_MEMORY = 2 << 30
JAHP = """
import sys
from jahp_fast.cli import main
status = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(status)
"""
"""The command, and at its end Linux's high-water mark of memory in KiB (getrusage has the parent's)."""


def tiled(height, width):
    """(height, width, 3) uint8."""
    image = photo()
    return np.tile(image, (-(-height // image.shape[0]), -(-width // image.shape[1]), 1))[:height, :width]


def process(*arguments):
    """Runs the command; its peak memory in bytes."""
    done = subprocess.run([sys.executable, "-c", JAHP, *map(str, arguments)], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.fixture(scope="module", params=SIZES)
def files(request, tmp_path_factory, timing):
    """PNG and .jahp of a size."""
    folder = tmp_path_factory.mktemp("sizes")
    height, width = SIZES[request.param]
    image = tiled(height, width) if timing else tiled(height // 16, width // 16)
    png, jahp = folder / "in.png", folder / "in.jahp"
    Image.fromarray(image).save(png, compress_level=1)
    jahp.write_bytes(Codec().encode(image))
    return request.param, png, jahp


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize("what", ["encode", "decode"])
def test_process(benchmark, files, tmp_path, timing, what):
    benchmark.group = f"jahp {what}, cold"
    size, png, jahp = files
    command = ["encode", png, tmp_path / "out.jahp"] if what == "encode" else ["decode", jahp, tmp_path / "out.png"]
    peaks = []
    rounds = (7 if size == "0.4 MP" else 2) if timing else 1
    benchmark.pedantic(lambda: peaks.append(process(*command)), rounds=rounds, warmup_rounds=0)
    assert (tmp_path / command[-1].name).stat().st_size > 0
    if what == "encode":
        assert (tmp_path / "out.jahp").read_bytes() == jahp.read_bytes()
    benchmark.extra_info["peak MB"] = round(max(peaks) / 1e6)
    assert max(peaks) <= MOST_MEMORY


@pytest.mark.parametrize("what", ["encode", "decode"])
def test_warm(benchmark, files, timing, what):
    """Inside a process: milliseconds a megapixel, which must not grow with the size."""
    benchmark.group = f"{what}, warm"
    _, png, jahp = files
    codec, data = Codec(), jahp.read_bytes()
    with Image.open(png) as image:
        pixels = np.asarray(image)

    def rows():
        return sum(len(block) for block in codec.decode_rows(data))

    result = benchmark.pedantic(rows if what == "decode" else lambda: codec.encode(pixels), rounds=3 if timing else 1, warmup_rounds=1)
    assert result == (len(pixels) if what == "decode" else data)
    if benchmark.enabled:
        benchmark.extra_info["ms per MP"] = round(1e9 * benchmark.stats["median"] / pixels[:, :, 0].size, 1)


@pytest.mark.parametrize("what", ["encode", "decode"])
def test_photos_a_second(benchmark, timing, what):
    """Twelve photos of 768x512 as a batch."""
    benchmark.group = f"{what} photos of 768x512 as a batch"
    image = photo() if timing else photo()[:64, :64]
    images = [np.roll(image, 64 * k, axis=1) for k in range(12 if timing else 2)]
    codec = Codec()
    streams = codec.encode_batch(images)
    result = benchmark.pedantic(codec.encode_batch if what == "encode" else codec.decode_batch,
                                (images if what == "encode" else streams,), rounds=5 if timing else 1, warmup_rounds=1)  # fmt: skip
    if what == "encode":
        assert result == streams
    else:
        assert all(np.array_equal(a, codec.decode(s)) for a, s in zip(result, streams, strict=True))
    if benchmark.enabled:
        benchmark.extra_info["photos a second"] = round(len(images) / benchmark.stats["median"], 1)


def test_start(benchmark):
    """Of the interpreter, NumPy and the command without work: what a decode costs before it begins."""
    benchmark.group = "jahp decode, cold"
    program = "import jahp_fast.cli, jahp_fast.codec"
    benchmark.pedantic(subprocess.run, ([sys.executable, "-c", program],), {"check": True}, rounds=5, warmup_rounds=1)
