# SPDX-License-Identifier: Apache-2.0
"""Counts what the inner loops of the 16-bit products take on Arm CPUs, where there is none to measure on.

    python benchmarks/neon_count.py [--compiler aarch64-linux-gnu-g++] [--mca llvm-mca-19] [--cpu neoverse-n2 ...]

Each kernel of 64-bit Arm is compiled, and llvm-mca schedules the loop with the most multiplications by its model of each CPU. A count of
this kind knows nothing of caches and branches. Printed are multiply-adds per cycle, and how many times as many as the first kernel's.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPUS = ("neoverse-n2", "neoverse-v1", "neoverse-v2", "ampere1a", "cortex-a510")
ROUNDS = 200


@dataclass(frozen=True)
class Kernel:
    name: str
    march: str
    multiply: str  # what its multiplications end in
    macs: float  # of one of them


# Four products of bytes make one of 16 bits: 32 / 4.
KERNELS = (Kernel("matmul_i16_neon", "armv8.2-a+dotprod", "mlal", 4), Kernel("matmul_i16_i8mm", "armv8.2-a+dotprod+i8mm", "mmla", 8))


def inner_loop(assembly: str, multiply: str) -> list[str]:
    """Of the loops without branches inside, that with the most multiplications."""
    lines = [line.split("//")[0].strip() for line in assembly.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    loops = []
    for i, line in enumerate(lines):
        jump = re.fullmatch(r"(?:b\.?\w*|cbn?z\s+\w+,)\s+(\S+)", line)
        if jump and labels.get(jump[1], i) < i:
            body = [x for x in lines[labels[jump[1]] + 1 : i + 1] if x and not x.startswith(".")]
            if not any(re.match(r"b\.?\w*\s|cbn?z", x) or x.endswith(":") for x in body[:-1]):
                loops.append(body)
    return max(loops, key=lambda body: multiplications(body, multiply))


def multiplications(body: list[str], multiply: str) -> int:
    return sum(re.match(rf"\w*{multiply}2?\s", line) is not None for line in body)


def cycles(body: list[str], mca: str, cpu: str) -> float:
    """Of one round, when many follow each other."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", f"-iterations={ROUNDS}"]
    report = subprocess.run(command, input="\n".join(body), capture_output=True, text=True, check=True).stdout
    found = re.search(r"Total Cycles:\s+(\d+)", report)
    assert found, report
    return int(found[1]) / ROUNDS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compiler", default="aarch64-linux-gnu-g++")
    parser.add_argument("--mca", default="llvm-mca-19")
    parser.add_argument("--cpu", nargs="+", default=CPUS, metavar="CPU")
    args = parser.parse_args()
    first: dict[str, float] = {}
    for kernel in KERNELS:
        source = ROOT / f"csrc/simd/{kernel.name}.cpp"
        command = [args.compiler, "-std=c++20", "-O3", f"-march={kernel.march}", f"-I{ROOT / 'csrc'}", "-S", "-o", "-", source]
        body = inner_loop(subprocess.run(command, capture_output=True, text=True, check=True).stdout, kernel.multiply)
        count = multiplications(body, kernel.multiply)
        print(f"{kernel.name}: {len(body)} instructions, {count} of them multiply, {count * kernel.macs:g} multiply-adds")
        for cpu in args.cpu:
            rate = count * kernel.macs / cycles(body, args.mca, cpu)
            print(f"  {cpu:12} {rate:5.2f} a cycle  {rate / first.setdefault(cpu, rate):.2f}")


if __name__ == "__main__":
    main()
