# SPDX-License-Identifier: Apache-2.0
"""Load on serve.py from many connections at a time, with a bounded number of requests, on this machine alone.

    pip install httpx
    python examples/load_test.py --requests 200 --connections 8

starts a server, sends examples/photo.png and the .jahp file of it by turns, checks each answer, and prints the answers by status and the
percentiles of their times. 503 is an answer like others: the server refuses what it has no place for. --url names a server that runs
already; other options are the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx

HERE = Path(__file__).parent
MOST_REQUESTS, MOST_CONNECTIONS, MOST_SECONDS = 100_000, 256, 600
PERCENTILES = (50, 90, 95, 99, 100)


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """serve.py on a free port of the loopback address: its URL and process. Ended with SIGTERM."""
    process = subprocess.Popen([sys.executable, HERE / "serve.py", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the server does not start; its messages are above")
        yield url, process
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


async def load(url: str, photo: bytes, requests: int, connections: int, seconds: float) -> tuple[Counter[str], dict[str, list[float]]]:
    """Sends them. Returns the answers by operation and status, and the seconds of each that was 200, sorted, by operation.

    Raises AssertionError where an answer of the status 200 is not what it should be. Ends early after `seconds`.
    """
    answers: Counter[str] = Counter()
    times: dict[str, list[float]] = {"encode": [], "decode": []}
    end = time.monotonic() + seconds
    left = iter(range(requests))
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as client:
        first = await client.post("/encode", content=photo)
        first.raise_for_status()
        expected = {"encode": first.content, "decode": (await client.post("/decode", content=first.content)).content}
        bodies = {"encode": photo, "decode": first.content}

        async def connection() -> None:
            for number in left:
                operation = ("encode", "decode")[number % 2]
                started = time.monotonic()
                if started > end:
                    return
                answer = await client.post(f"/{operation}", content=bodies[operation])
                answers[f"{operation} {answer.status_code}"] += 1
                if answer.status_code == 200:
                    times[operation].append(time.monotonic() - started)
                    assert answer.content == expected[operation], f"{operation}: another answer than the first"

        await asyncio.gather(*(connection() for _ in range(connections)))
    return answers, {operation: sorted(t) for operation, t in times.items()}


def percentile(sorted_values: list[float], percent: float) -> float:
    """The smallest value that so many percent are not above."""
    return sorted_values[max(0, math.ceil(len(sorted_values) * percent / 100) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a server on this machine (default: start one)")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="no request is sent later (default 60)")
    args, of_server = parser.parse_known_args()
    if not (0 < args.requests <= MOST_REQUESTS and 0 < args.connections <= MOST_CONNECTIONS and 0 < args.seconds <= MOST_SECONDS):
        parser.error(f"at most {MOST_REQUESTS} requests, {MOST_CONNECTIONS} connections and {MOST_SECONDS} seconds")
    if args.url and urlsplit(args.url).hostname not in ("127.0.0.1", "localhost", "::1"):
        parser.error(f"{args.url} is not on this machine")
    photo = (HERE / "photo.png").read_bytes()
    with server(*of_server) if not args.url else contextlib.nullcontext((args.url, None)) as (url, _):
        started = time.monotonic()
        answers, times = asyncio.run(load(url, photo, args.requests, args.connections, args.seconds))
        taken = time.monotonic() - started
    print(f"{answers.total()} requests over {args.connections} connections in {taken:.1f} s: {answers.total() / taken:.1f} a second")
    print("answers: " + ", ".join(f"{what}: {n}" for what, n in sorted(answers.items())))
    print(f"{'milliseconds':14}" + "".join(f"{f'p{p}':>8}" for p in PERCENTILES))
    for operation, values in times.items():
        if values:
            print(f"{operation:14}" + "".join(f"{1000 * percentile(values, p):8.0f}" for p in PERCENTILES))


if __name__ == "__main__":
    main()
