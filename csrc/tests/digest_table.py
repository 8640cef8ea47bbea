# SPDX-License-Identifier: Apache-2.0
"""stream_digest and picture_digest built in many ways: one table of what the same numbered streams and pictures give, which must be
one number each.

    python csrc/tests/digest_table.py [--streams 1000] [--emulated 100] [--only NAME ...] [--jobs N]

Ways run side by side. Builds into build/digest-NAME; needs cmake and ninja. A way whose compiler is not installed is listed as missing,
and the exit status is 1 if a result differs from another of as many, or from csrc/tests/stream_digest.golden or picture_digest.golden.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"stream_digest": "--streams", "picture_digest": "--pictures"}


@dataclass(frozen=True)
class Way:
    name: str
    compiler: str
    flags: str = "-O2"
    toolchain: str = ""
    emulator: tuple[str, ...] = ()
    threads: str = "1,2"
    ending: str = ""


WAYS = [
    Way("gcc-O0", "g++", "-O0", threads="1"),  # slow enough
    Way("gcc-O2", "g++"),
    Way("gcc-O3", "g++", "-O3"),
    Way("clang-O0", "clang++-19", "-O0", threads="1"),
    Way("clang-O2", "clang++-19"),
    Way("clang-O3", "clang++-19", "-O3"),
    Way("musl", "", "-O2", "zig-musl"),
    Way("aarch64", "aarch64-linux-gnu-g++", "-O2", "aarch64", ("qemu-aarch64", "-cpu", "max")),
    Way("s390x", "s390x-linux-gnu-g++", "-O2", "s390x", ("qemu-s390x",)),
    Way("wasm", "em++", "-O2", "wasm", ("node", "--no-experimental-fetch"), "1", ".js"),
    Way("windows", "x86_64-w64-mingw32-g++-posix", "-O2", "mingw", ("wine",), ending=".exe"),
]


def zig() -> str | None:
    """The program zig: JAHP_ZIG, one that is installed, or that of `pip install ziglang`."""
    if found := os.environ.get("JAHP_ZIG") or shutil.which("zig"):
        return found
    spec = importlib.util.find_spec("ziglang")
    return None if spec is None or spec.origin is None else str(Path(spec.origin).with_name("zig"))


def build(way: Way, cores: int) -> Path:
    folder = ROOT / "build" / f"digest-{way.name}"
    how = [f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/{way.toolchain}.cmake"] if way.toolchain else [f"-DCMAKE_CXX_COMPILER={way.compiler}"]
    options = ["-DJAHP_PYTHON=OFF", "-DJAHP_TESTS=ON", "-DJAHP_CUDA=OFF", "-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_CXX_FLAGS={way.flags}"]
    environment = os.environ | ({"JAHP_ZIG": zig() or ""} if way.toolchain == "zig-musl" else {})
    for command in (["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *how, *options], ["ninja", "-C", folder, f"-j{cores}", *PROGRAMS]):
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return folder / "csrc/tests"


def missing(way: Way) -> str:
    if way.toolchain == "zig-musl":
        return "" if zig() else "zig"
    names = [way.compiler, *way.emulator[:1]]
    return ", ".join(name for name in names if shutil.which(name) is None)


def recorded(program: str) -> dict[int, str]:
    """Results from the first number on, by how many there were."""
    lines = (ROOT / f"csrc/tests/{program}.golden").read_text().splitlines()
    fields = [line.split() for line in lines if not line.startswith("#")]
    return {int(count): result for *first, count, result in fields if not first or first == ["0"]}


def run(way: Way, count: int, cores: int) -> list[tuple[str, str, str]]:
    """Of each program: its name, its digest, and the line of the table."""
    folder, rows = build(way, cores), []
    for program, option in PROGRAMS.items():
        command = [*way.emulator, str(folder / f"{program}{way.ending}"), option, str(count), "--threads", way.threads]
        quiet = os.environ | {"WINEDEBUG": "-all"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=quiet)
        if done.returncode != 0:
            line = f"{way.name:10} {program:15} failed with status {done.returncode}"
            rows.append((program, f"failure of {way.name}", line))
            continue
        _, _, put, result = done.stdout.splitlines()[-1].split()
        rows.append((program, result, f"{way.name:10} {program:15} {way.threads:8} {count:6}  {put}  {result}"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="One table of digests.")
    parser.add_argument("--streams", type=int, default=1000, help="and pictures, of each native build and instruction set")
    parser.add_argument("--emulated", type=int, default=100, help="of each build under an emulator")
    parser.add_argument("--only", nargs="+", choices=[way.name for way in WAYS])
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=min(cores, len(WAYS)), help="ways at a time (default: as many as there are cores)")
    args = parser.parse_args()
    results: dict[tuple[str, int], set[str]] = {}
    print(f"{'build':10} {'program':15} {'threads':8} {'count':>6}  input     result", flush=True)
    wanted = [way for way in WAYS if not args.only or way.name in args.only]
    for way in wanted:
        if lacks := missing(way):
            print(f"{way.name:10} not run: {lacks}", flush=True)
    there = [way for way in wanted if not missing(way)]
    counts = [args.emulated if way.emulator else args.streams for way in there]
    with ThreadPoolExecutor(args.jobs) as pool:
        for count, rows in zip(counts, pool.map(run, there, counts, [max(1, cores // args.jobs)] * len(there)), strict=True):
            for program, result, line in rows:
                results.setdefault((program, count), set()).add(result)
                print(line, flush=True)
    wrong = {key: found for key, found in results.items() if found != {recorded(key[0]).get(key[1], next(iter(found)))}}
    print(f"differences: {wrong or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
