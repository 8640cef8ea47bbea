# SPDX-License-Identifier: Apache-2.0
"""Lines of csrc/ that the fuzz targets reach: the corpora, and some generated inputs of each target.

    python csrc/fuzz/coverage.py [--inputs 300]

Builds into build/coverage with gcc; needs cmake, ninja and gcov. A line counts once however many files include it. Prints a share a folder,
and the files of which least is reached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "coverage"
TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.cpp") if path.stem not in ("fuzz_main", "fuzz_libfuzzer"))


def run(*command: str | Path) -> bytes:
    return subprocess.run(command, check=True, cwd=BUILD, stdout=subprocess.PIPE).stdout


def lines() -> dict[str, dict[int, bool]]:
    """File, as in the repository -> line -> whether it was reached. Templates have many counts of a line."""
    found: dict[str, dict[int, bool]] = defaultdict(dict)
    for data in sorted(BUILD.rglob("*.gcda")):
        for report in run("gcov", "--json-format", "--stdout", data).splitlines():
            for file in json.loads(report)["files"]:
                name = file["file"].removeprefix("./")
                if name.startswith(("csrc/core/", "csrc/simd/")):
                    for line in file["lines"]:
                        number = line["line_number"]
                        found[name][number] = found[name].get(number, False) or line["count"] > 0
    return found


def share(files: list[dict[int, bool]]) -> float:
    return 100 * sum(sum(reached.values()) for reached in files) / sum(map(len, files))


def main() -> None:
    parser = argparse.ArgumentParser(description="Lines that the fuzz targets reach.")
    parser.add_argument("--inputs", type=int, default=300, help="generated, of each target")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    options = ["-DJAHP_PYTHON=OFF", "-DJAHP_TESTS=ON", "-DJAHP_CUDA=OFF", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O0 --coverage"]
    run("cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", *options)
    run("ninja", "-j2", *TARGETS)
    for old in BUILD.rglob("*.gcda"):
        old.unlink()
    for target in TARGETS:
        program = BUILD / "csrc/fuzz" / target
        run(program, str(args.inputs))
        run(program, "--replay", ROOT / "csrc/fuzz/corpus" / target.removeprefix("fuzz_"))
    found = lines()
    for folder in ("csrc/core", "csrc/simd", "csrc"):
        print(f"{share([reached for name, reached in found.items() if name.startswith(folder + '/')]):5.1f} % of {folder}")
    for name in sorted(found, key=lambda n: share([found[n]]))[:12]:
        print(f"{share([found[name]]):5.1f} % of {name}")


if __name__ == "__main__":
    main()
