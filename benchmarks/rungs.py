# SPDX-License-Identifier: Apache-2.0
"""Latent decode at several revisions of this repository, by turns: `python benchmarks/rungs.py REV [REV ...] [--rounds 15]`.

Builds `_native` of each revision (any name that git knows) in a folder of its own below --folder, starts a process with each and
lets them decode the same stream of a random 192/192 and 192/320 model in turn, so that what else the machine does meets all
alike. Prints medians in milliseconds: docs/lab/002-decoder-ladder.md. Every decode is compared with what was encoded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pybind11

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from full_size import full_size_model, typical_latents  # noqa: E402  (needs the path above)

from jahp_fast import _native  # noqa: E402

WORKER = """
import json, sys, time
sys.meta_path = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]  # that of an editable install goes first
import numpy as np
from jahp_fast import _native
from jahp_fast.entropy.model_file import ModelFile
for line in sys.stdin:
    folder, isa, threads, lanes = json.loads(line)
    file, want = ModelFile(folder + "/model.safetensors"), np.load(folder + "/y.npy")
    payload = open(folder + "/payload", "rb").read()
    if folder + isa not in globals():
        globals()[folder + isa] = _native.EntropyModel(file.config.as_native(), file.entropy, isa)
    start = time.perf_counter()
    _, y, stages = globals()[folder + isa].decode(payload, *want.shape[:2], lanes, 0, 0, threads)
    wall = time.perf_counter() - start
    assert np.array_equal(y, want)
    print(json.dumps({"wall": wall, **stages}), flush=True)
"""


def build(revision: str, folder: Path) -> Path:
    """Checks a revision out below `folder` and builds its extension into it."""
    commit = subprocess.run(["git", "rev-parse", "--short", f"{revision}^{{commit}}"], cwd=HERE, capture_output=True, text=True, check=True)
    tree = folder / commit.stdout.strip()
    if any((tree / "jahp_fast").glob("_native*.so")):
        return tree
    tree.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "archive", revision], cwd=HERE.parent, capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(tree)], input=archive.stdout, check=True)
    options = {"CMAKE_BUILD_TYPE": "Release", "JAHP_CUDA": "OFF", "JAHP_PYTHON": "ON", "JAHP_TESTS": "OFF", "PYBIND11_FINDPYTHON": "ON",
               "pybind11_DIR": pybind11.get_cmake_dir(), "Python_EXECUTABLE": sys.executable}  # fmt: skip
    configure = ["cmake", "-S", str(tree), "-B", str(tree / "build"), "-G", "Ninja", *(f"-D{k}={v}" for k, v in options.items())]
    for command in (configure, ["cmake", "--build", str(tree / "build"), "--target", "_native"]):
        print(f"{revision}: {' '.join(command[:2])} ...", file=sys.stderr, flush=True)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for library in (tree / "build").glob("_native*.so"):
        library.rename(tree / "jahp_fast" / library.name)
    return tree


def make_load(folder: Path, m: int) -> int:
    """A model, its latents and their payload as files; the number of lanes."""
    folder.mkdir()
    model = full_size_model(folder / "model.safetensors", 192, m)
    z, y = typical_latents(model, 32, 48)
    payload, seen, lanes, _ = _native.EntropyModel(model.config.as_native(), model.entropy, "").encode(z, y, 0, 0, 0, 2)
    np.save(folder / "y.npy", seen)
    (folder / "payload").write_bytes(payload)
    return lanes


def main(argv: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="rungs.py", description="Latent decode at several revisions, by turns.")
    parser.add_argument("revisions", nargs="+", metavar="REV")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--isas", default="avx2,avx512vnni", help="instruction sets, by comma (default avx2,avx512vnni)")
    parser.add_argument("--folder", type=Path, help="for the builds (default: a temporary one)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="jahp-rungs-") as name:
        trees = {r: build(r, args.folder or Path(name)) for r in args.revisions}
        lanes = {m: make_load(Path(name) / str(m), m) for m in (192, 320)}
        workers = {
            r: subprocess.Popen([sys.executable, "-c", WORKER], cwd="/", env={**os.environ, "PYTHONPATH": str(tree)}, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for r, tree in trees.items()
        }  # fmt: skip
        print(f"{'ms':<12} {'':<12} {'N/M':<8} {'threads':>7} {'wall':>8}  stages")
        for isa in args.isas.split(","):
            for m, lane_count in lanes.items():
                for threads in (1, 2):
                    laps: dict[str, list[dict[str, float]]] = {r: [] for r in workers}
                    for _ in range(args.rounds + 1):
                        for revision, worker in workers.items():
                            assert worker.stdin is not None
                            assert worker.stdout is not None
                            print(json.dumps([f"{name}/{m}", isa, threads, lane_count]), file=worker.stdin, flush=True)
                            laps[revision].append(json.loads(worker.stdout.readline()))
                    for revision, times in laps.items():
                        median = {k: statistics.median(t[k] for t in times[1:]) * 1e3 for k in times[0]}
                        stages = ", ".join(f"{k} {v:.1f}" for k, v in median.items() if k != "wall")
                        print(f"{revision:<12} {isa:<12} 192/{m:<4} {threads:>7} {median['wall']:>8.1f}  {stages}", flush=True)
        for worker in workers.values():
            worker.communicate()


if __name__ == "__main__":
    main(sys.argv[1:])
