# SPDX-License-Identifier: Apache-2.0
"""Cycles of a round of the CUDA coder, from its machine code, without a GPU.

    python benchmarks/gpu/sass_chain.py [--arch sm_90] [--cuda DIR] [--deeper 0.5] [--list]

Compiles kernels/cuda/context_decode.cu of DIR (this repository; or another checkout, to compare), finds the loop over rounds, and issues
its instructions in order, as one warp does. When an instruction may issue is in its own bits: the compiler writes down how many cycles to
wait behind those of a fixed latency, and which of six barriers to wait for behind all others (control bits 105 to 121, as Jia et al.,
arXiv 1804.06826, section 2.1, found them for Volta; later architectures keep them). LATENCIES says how long the others take, and where
from. Not modelled: conflicts of banks, the cache of instructions, and warps that share the scheduler.

Of branches, those around escapes, refills and errors are not taken, nor is what a bucket seldom needs. `--deeper` is how often a round goes
once through a loop of the search that votes, in the mean (the tree of before 2026-11-29).
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 40
"""Are issued; the second half is counted."""

# Cycles from issue to result. H100: shared memory 29, second-level cache 264; A100: 23 and 200. Both are recalled, from Luo et al., arXiv
# 2501.12084, and Abdelkhalik et al., arXiv 2208.11174. A generic load of shared memory: assumed 6 more. POPC goes through the unit for
# special functions: recalled from Volta, 15. Constants by index (LDC) and special registers: recalled. A branch that is taken: recalled,
# 8 more than its own wait. BAR_READ: an operand of a store has been read, assumed.
LATENCIES = {
    "sm_90": {"LDS": 29, "LD": 35, "LDG": 264, "POPC": 15, "LDC": 30, "ULDC": 30, "other": 20},
    "sm_80": {"LDS": 23, "LD": 29, "LDG": 200, "POPC": 15, "LDC": 30, "ULDC": 30, "other": 20},
}
BRANCH, BAR_READ = 8, 15


@dataclass(frozen=True)
class Instruction:
    """barriers: numbers of 0 to 5, or 7 for none; wait: bits of those that must be over."""

    text: str
    label: str | None
    wait: int
    stall: int
    write_barrier: int
    read_barrier: int

    @property
    def name(self) -> str:
        words = self.text.split()
        return words[1] if words[0].startswith("@") else words[0]

    @property
    def target(self) -> str | None:
        found = re.search(r"`\((\.L\w+)\)", self.text)
        return found[1] if found and self.name.startswith("BRA") else None

    @property
    def always(self) -> bool:
        return not self.text.startswith("@")

    def latency(self, table: dict[str, int]) -> int:
        return table.get(self.name.split(".")[0], table["other"])


def disassemble(cuda: Path, arch: str) -> dict[str, list[Instruction]]:
    """Instructions of each kernel of context_decode.cu."""
    nvcc, triton = shutil.which("nvcc"), importlib.util.find_spec("triton")
    if nvcc is None or triton is None or triton.origin is None:
        raise SystemExit("sass_chain.py needs nvcc, and Triton's disassembler: install the CUDA compiler and the extra 'torch'")
    tool = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        include = [f"-I{cuda / 'kernels' / 'cuda'}", f"-I{cuda / 'csrc'}"]
        source = cuda / "kernels" / "cuda" / "context_decode.cu"
        subprocess.run([nvcc, "-std=c++17", "-O3", "-arch", arch, *include, "-cubin", "-o", str(cubin), str(source)], check=True)
        listing = subprocess.run([tool, "-hex", "-c", cubin], capture_output=True, text=True, check=True).stdout
    return parse(listing)


def parse(listing: str) -> dict[str, list[Instruction]]:
    """What `nvdisasm -hex -c` prints -> instructions by section."""
    kernels: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    text, label = "", None
    for line in listing.splitlines():
        if found := re.match(r"\.text\.(\S+):", line):
            current = kernels.setdefault(found[1], [])
        elif found := re.match(r"(\.L\w+):", line.strip()):
            label = found[1]
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;\s+/\* 0x[0-9a-f]{16} \*/", line):
            text = found[1]
        elif (found := re.match(r"\s*/\* 0x([0-9a-f]{16}) \*/", line)) and text:
            bits = int(found[1], 16) >> 41
            current.append(Instruction(text, label, bits >> 11 & 63, bits & 15, bits >> 5 & 7, bits >> 8 & 7))
            text, label = "", None
    return kernels


def rounds_of(code: Sequence[Instruction]) -> list[list[Instruction]]:
    """The innermost loops that vote, count votes, read words of 16 bits and multiply: those over the rounds of a position."""
    places = {i.label: n for n, i in enumerate(code) if i.label}
    loops = []
    for n, instruction in enumerate(code):
        begin = places.get(instruction.target or "", n + 1)
        if begin <= n and "DIV" not in instruction.name:
            body = list(code[begin : n + 1])
            names = {i.name for i in body}
            wanted = ("POPC", "VOTE.ANY", "LDS.U16", "IMAD")
            if all(name in names or (name == "LDS.U16" and "LD.E.U16" in names) for name in wanted) and len(body) < 800:
                loops.append((begin, n, body))
    return [body for begin, end, body in loops if not any(begin <= b and e <= end and (b, e) != (begin, end) for b, e, _ in loops)]


def path_of(body: Sequence[Instruction], deeper: int) -> list[tuple[Instruction, bool]]:
    """The instructions of one round in their order, each with whether it is a branch that is taken."""
    places = {i.label: n for n, i in enumerate(body) if i.label}
    path, at, turns = [], 0, 0
    while at < len(body):
        instruction = body[at]
        to = places.get(instruction.target or "")
        taken = False
        if at == len(body) - 1:
            taken = True
        elif "DIV" in instruction.name or instruction.target is None:
            pass
        elif to is None:
            taken = False  # leaves the loop
        elif to <= at:  # once more through the search
            turns += 1
            taken = turns < deeper
        else:
            inside = body[at + 1 : to]
            loops = any((t := places.get(i.target or "", -1)) > at and t <= at + 1 + k for k, i in enumerate(inside))
            votes = any(i.name.startswith("VOTE") for i in inside)
            reads = any(i.name == "LDS.U16" for i in inside) and any(i.name == "POPC" for i in inside)
            seldom = not reads and any(i.name.endswith(".U8") or i.name in ("STS", "SHF.L.U64.HI") for i in inside)
            taken = instruction.always or seldom or (loops and (not votes or deeper == 0))
        path.append((instruction, taken))
        at = to if taken and to is not None and at < len(body) - 1 else at + 1
    return path


def cycles_of(path: Sequence[tuple[Instruction, bool]], latencies: dict[str, int]) -> float:
    """Of one round, in the long run."""
    now, ready, marks = 0, [0] * 6, []
    for _ in range(ROUNDS):
        for instruction, taken in path:
            now = max([now] + [ready[b] for b in range(6) if instruction.wait >> b & 1])
            for barrier, latency in ((instruction.write_barrier, instruction.latency(latencies)), (instruction.read_barrier, BAR_READ)):
                if barrier < 6:
                    ready[barrier] = max(ready[barrier], now + latency)
            now += max(instruction.stall, 1) + (BRANCH if taken else 0)
        marks.append(now)
    return (marks[-1] - marks[ROUNDS // 2 - 1]) / (ROUNDS // 2)


def rounds_in(path: Sequence[tuple[Instruction, bool]]) -> int:
    """How many rounds a path has: votes (of both halves of 64 lanes together) with words behind them."""
    rounds, voted = 0, False
    for instruction, _ in path:
        voted = voted or instruction.name.startswith("VOTE")
        if voted and instruction.name in ("LDS.U16", "LD.E.U16"):
            rounds, voted = rounds + 1, False
    return rounds


@dataclass(frozen=True)
class Round:
    """Of one loop: its kernel, symbols of a lane in a round, whether tables lie in shared memory; instructions and cycles of a round."""

    kernel: str
    halves: int
    shared: bool
    instructions: float
    cycles: float


def measured(code: Sequence[Instruction], kernel: str, deeper: float, latencies: dict[str, int]) -> list[Round]:
    """Each loop over rounds of a kernel."""
    out = []
    for body in rounds_of(code):
        paths = [path_of(body, turns) for turns in (0, 1)]
        rounds = rounds_in(paths[0])
        symbols = sum(i.name in ("ST.E", "STG.E") for i, _ in paths[0])
        shallow, deep = (cycles_of(path, latencies) for path in paths)
        shared = sum(i.name.startswith("LDS") for i in body) > sum(i.name.startswith("LD.E") for i in body)
        instructions = (1 - deeper) * len(paths[0]) + deeper * len(paths[1])
        cycles = (1 - deeper) * shallow + deeper * deep
        out.append(Round(kernel, symbols // rounds, shared, instructions / rounds, cycles / rounds))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=sorted(LATENCIES), default="sm_90")
    parser.add_argument("--cuda", type=Path, default=ROOT)
    parser.add_argument("--deeper", type=float, default=0.5)
    parser.add_argument("--list", action="store_true", help="the instructions of each path, too")
    args = parser.parse_args()
    print("| kernel | lanes | tables | instructions | cycles |\n|---|---|---|---|---|")
    for kernel, code in disassemble(args.cuda, args.arch).items():
        name = "cluster" if "cluster" in kernel else "grid"
        for r in measured(code, name, args.deeper, LATENCIES[args.arch]):
            where = "in shared memory" if r.shared else "anywhere"
            print(f"| {r.kernel} | {'64' if r.halves == 2 else 'up to 32'} | {where} | {r.instructions:.0f} | {r.cycles:.0f} |")
        if args.list:
            for body in rounds_of(code):
                for instruction, taken in path_of(body, 0):
                    print(f"    {instruction.stall:2} {instruction.wait:06b} {instruction.text}{'  ->' if taken else ''}")


if __name__ == "__main__":
    main()
