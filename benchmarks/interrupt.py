# SPDX-License-Identifier: Apache-2.0
"""How soon Ctrl-C is heard: SIGINT at many moments of encoding and decoding a large picture.

    python benchmarks/interrupt.py [TIMES]          # the photo repeated so often each way, 5 by default: 3840x2560

Prints for each the seconds that it takes, and from the signal to KeyboardInterrupt: median and longest of 12 moments.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from builders import photo

from jahp_fast import Codec

MOMENTS = 12


def heard_after(function: Callable[[], object], moment: float) -> float | None:
    """Seconds from a SIGINT at that moment to the exception; None if the function was over before."""
    sent = 0.0

    def send() -> None:
        nonlocal sent
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(moment, send)
    try:
        timer.start()
        function()
        timer.cancel()
        timer.join()
    except KeyboardInterrupt:
        return time.perf_counter() - sent
    return None


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    picture = np.tile(photo(), (times, times, 1))
    codec = Codec()
    data = codec.encode(picture)
    calls: dict[str, Callable[[], object]] = {
        "encode": lambda: codec.encode(picture),
        "decode": lambda: codec.decode(data),
        "decode_rows": lambda: [len(rows) for rows in codec.decode_rows(data)],
    }
    for name, call in calls.items():
        began = time.perf_counter()
        call()
        seconds = time.perf_counter() - began
        heard = [heard_after(call, seconds * (i + 0.5) / MOMENTS) for i in range(MOMENTS)]
        delays = [delay for delay in heard if delay is not None]
        print(f"{name} of {picture.shape[1]}x{picture.shape[0]}: {seconds:.2f} s; heard {len(delays)} times, "
              f"after {1000 * statistics.median(delays):.0f} ms, at most {1000 * max(delays):.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
