# SPDX-License-Identifier: Apache-2.0
"""Small pictures by two versions of the package, by turns, so that other work on the machine meets both alike.

    python benchmarks/small_turns.py OLD/.venv/bin/python NEW/.venv/bin/python PHOTO [--seconds 60]

A process of each waits, and does one piece after the other, five times where it is short. Prints milliseconds of the processor, medians,
and the ratio of the medians and of the minima.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time

WORKER = """
import sys, time
import numpy as np
from PIL import Image
from jahp_fast import Codec
from jahp_fast.backends.native import NativeBackend
from jahp_fast.files import container
from jahp_fast.library import by_name
from jahp_fast.pipelines.entropy_path import layout_of

photo, codec, model = np.asarray(Image.open(sys.argv[1]).convert("RGB")), Codec(threads=1), by_name("mbt2018")
backend, work = NativeBackend(model), {}
for side in (64, 128, 256):
    image = np.ascontiguousarray(photo[200 : 200 + side, 300 : 300 + side])
    data = codec.encode(image)
    payload, layout = container.unpack(data).payload, layout_of(container.unpack(data), model)
    z, y, _ = backend.decode(payload, layout, 1)
    work |= {
        f"{side}: encode": lambda image=image: codec.encode(image),
        f"{side}: decode": lambda data=data: codec.decode(data),
        f"{side}: latents to payload": lambda z=z, y=y, layout=layout: backend.encode(z, y, layout, 1),
        f"{side}: payload to latents": lambda payload=payload, layout=layout: backend.decode(payload, layout, 1),
    }
print("|".join(work), flush=True)
for line in sys.stdin:
    name, times = line.strip().split("|")
    work[name]()
    start = time.process_time()
    for _ in range(int(times)):
        work[name]()
    print((time.process_time() - start) / int(times) * 1000, flush=True)
"""


class Version:
    """A process of one version, that waits for work."""

    def __init__(self, python: str, photo: str) -> None:
        self._process = subprocess.Popen([python, "-c", WORKER, photo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.names = self._answer().split("|")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def milliseconds(self, name: str) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}|{5 if name.startswith('64') else 1}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("photo")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    versions = [Version(python, args.photo) for python in (args.old, args.new)]
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in versions[0].names}
    end, turn = time.monotonic() + args.seconds, 0
    while time.monotonic() < end or turn < 2:
        for name, found in times.items():
            for i in (turn % 2, 1 - turn % 2):
                found[i].append(versions[i].milliseconds(name))
        turn += 1
    print(f"{turn} turns")
    for name, (old, new) in times.items():
        medians = statistics.median(old), statistics.median(new)
        ratios = f"{medians[1] / medians[0]:.2f}, {min(new) / min(old):.2f}"
        print(f"{name:25} {medians[0]:8.3f} {medians[1]:8.3f}   {ratios}")
    for version in versions:
        version.end()


if __name__ == "__main__":
    main()
