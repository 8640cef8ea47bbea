# SPDX-License-Identifier: Apache-2.0
"""What backend `cuda` should cost on a GPU that is not at hand: counts that follow from the plan, times that follow from assumptions.

    python benchmarks/gpu/gpu_model.py

Counts (barriers, products, words stored in other blocks) are those of kernels/cuda, and tests/gpu/test_gpu_model.py holds them to what the
emulator counts. Cycles are assumptions or other people's measurements, named in GPUS and COSTS; no GPU has confirmed any of the times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WARPS = 8
PART = 4
"""Positions that are decoded before other warps take them up."""


@dataclass(frozen=True)
class Net:
    """Channels of a joint model's layers, and bytes of an activation."""

    n: int
    m: int
    first: int
    second: int
    h_s: tuple[int, int, int]
    planes: int = 1
    kernel: int = 5


@dataclass(frozen=True)
class Gpu:
    """Cycles, but for clock in GHz."""

    name: str
    clock: float
    barrier: float
    exchange: float
    distributed: bool


# clock: below the boost of NVIDIA's data sheets (SXM), A100 at its boost. exchange: a word from one block to another: 180 over the SM-to-SM
# network (arXiv 2402.13499), or a store and a load through the second-level cache. barrier: assumed, the time of a message there and
# back; of a grid, two atomics and a poll through the second-level cache.
GPUS = (Gpu("H100", 1.7, 400, 180, True), Gpu("A100", 1.41, 2000, 540, False))
# Assumed from microbenchmarks of the same paper (shared memory 29 to 33, second-level cache about 260, mma about 33). Rounds of the coder:
# as sass_chain.py has them. The first part of a step is staged while nothing else is done: two loads one after the other.
COSTS = {
    "shared": 33, "second level": 270, "mma": 33, "requantise": 120, "thresholds": 360, "round": 250, "round of 64": 365,
    "step": 350, "stage": 700, "block barrier": 40, "symbol": 120, "product of h_s": 12,
}  # fmt: skip


def up(a: int, b: int) -> int:
    return -(-a // b)


def step_sizes(height: int, width: int, slope: int) -> list[int]:
    """Positions of each step of the wavefront."""
    out = np.zeros(width + slope * (height - 1), int)
    row, column = np.divmod(np.arange(height * width), width)
    np.add.at(out, column + slope * row, 1)
    return out.tolist()


def products_of(net: Net, height: int, width: int) -> dict[str, int]:
    """mma instructions by part: tiles of 8 outputs, chunks of 32 inputs, 16 positions."""
    hz, wz = up(height, 4), up(width, 4)
    taps_old = net.kernel**2 // 2 - 2
    a, b, c = net.h_s

    def product(outputs: int, inputs: int, taps: int, positions: int) -> int:
        return up(outputs, 8) * up(inputs, 32) * taps * up(positions, 16) * net.planes

    steps = [s for s in step_sizes(height, width, net.kernel // 2 + 1) if s]
    return {
        "h_s": product(a, net.n, 25, hz * wz) + product(b, a, 25, 4 * hz * wz) + product(c, b, 9, height * width),
        "ahead": sum(product(2 * net.m, net.m, taps_old, s) + product(net.first, c, 1, s) for s in steps),
        "chain": sum(product(2 * net.m, net.m, 2, s) + product(net.first, 2 * net.m, 1, s) + product(net.second, net.first, 1, s)
                     + product(2 * net.m, net.second, 1, s) for s in steps),
    }  # fmt: skip


def barriers_of(net: Net, height: int, width: int) -> int:
    """Of the group: cells and copies are ready, z is, three of h_s, the first sums; of a step one behind each layer and its symbols."""
    steps = step_sizes(height, width, net.kernel // 2 + 1)
    return 6 + sum(5 if s else 1 for s in steps)


def remote_words_of(net: Net, height: int, width: int, blocks: int) -> int:
    """32-bit words that blocks of a cluster store in each other's shared memory (and in their own)."""
    tiles = up(2 * net.m, 8) + up(net.first, 8) + up(net.second, 8)
    return sum(tiles * up(s, 16) * 32 * net.planes * blocks for s in step_sizes(height, width, net.kernel // 2 + 1))


def predict(net: Net, height: int, width: int, lanes: int, gpu: Gpu, blocks: int = 16) -> dict[str, float]:
    """Milliseconds by part, for the decode of one image's latents of which every symbol is coded."""
    c = COSTS
    steps = [s for s in step_sizes(height, width, net.kernel // 2 + 1) if s]

    def layer(outputs: int, inputs: int, taps: int, positions: int, first: float, after: float) -> float:
        turns = up(up(up(outputs, 8), blocks) * up(positions, 16), WARPS)
        chunks = up(inputs, 32) * taps * net.planes
        return turns * (first + chunks * c["mma"] / 2 + c["requantise"] + after)

    inputs = c["shared"] if gpu.distributed else c["second level"]
    nets = sum(layer(2 * net.m, net.m, 2, s, c["second level"], gpu.exchange) + layer(net.first, 2 * net.m, 1, s, inputs, gpu.exchange)
               + layer(net.second, net.first, 1, s, inputs, gpu.exchange) + layer(2 * net.m, net.second, 1, s, inputs, c["thresholds"])
               for s in steps)  # fmt: skip
    each = c["round of 64"] if lanes == 64 else c["round"]
    last = up(min(PART, max(steps)) * net.m, 32 * WARPS)
    coder = sum(c["step"] + c["stage"] + s * up(net.m, lanes if lanes == 64 else min(lanes, 32)) * each + up(s, PART) * c["block barrier"]
                + c["second level"] + last * c["symbol"] for s in steps)  # fmt: skip
    z = up(height, 4) * up(width, 4) * up(net.n, lanes if lanes == 64 else min(lanes, 32)) * each
    h_s = products_of(net, height, width)["h_s"] / blocks * c["product of h_s"]
    parts = {"nets": nets, "barriers": barriers_of(net, height, width) * gpu.barrier, "coder": coder, "h_s, z": h_s + z}
    ms = {name: cycles / gpu.clock / 1e6 for name, cycles in parts.items()}
    return ms | {"latents": sum(ms.values())}


PAPER = Net(192, 192, 640, 512, (192, 288, 384))


def main() -> None:
    products = products_of(PAPER, 32, 48)
    exchanged = remote_words_of(PAPER, 32, 48, 16) * 4 / 1e6
    print("768x512, 192/192: " + ", ".join(f"{count} products of {part}" for part, count in products.items()))
    print(f"{barriers_of(PAPER, 32, 48)} barriers, {exchanged:.1f} MB stored in blocks of the cluster")
    print("| predicted ms | GPU | nets | barriers | coder | `h_s`, z | **latents** |\n|---|---|---|---|---|---|---|")
    for (height, width, what), lanes in [((32, 48, "768x512"), n) for n in (16, 32, 64)] + [((68, 120, "1920x1080"), 64)]:
        for gpu in GPUS:
            ms = predict(PAPER, height, width, lanes, gpu)
            *parts, latents = (f"{v:.2f}" for v in ms.values())
            print(f"| {what}, {lanes} lanes | {gpu.name} | {' | '.join(parts)} | **{latents}** |")


if __name__ == "__main__":
    main()
