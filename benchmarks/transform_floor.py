# SPDX-License-Identifier: Apache-2.0
"""What limits the highest quality: the error that is left when latents are not rounded at all, and what any M linear latents would leave.

    python benchmarks/transform_floor.py --photos DIR [--model FILE]

Held-out photos (DIR/held_out.txt), top-left 256 x 256 pixels; PSNR in dB of 8-bit RGB before rounding to 8 bits, mean over the photos.
The linear bound takes the k strongest principal components of 16 x 16 x 3 blocks of the training photos.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from jahp_fast import library
from jahp_fast.models.priors import CompressionModel
from jahp_fast.train.checkpoint import load
from jahp_fast.train.data import find_photos, held_out_crops, load_photo

BLOCK = 16
COMPONENTS = (128, 192, 256, 320, 448)
FINER = (1, 2, 4, 1000)
"""Steps are divided by these."""


def psnr(error: Tensor) -> float:
    """dB, for errors of values in [0, 1]."""
    return -10 * math.log10(max(float(error.square().mean()), 1e-12))


def blocks(x: Tensor) -> Tensor:
    """(3, H, W) -> (n, 768), blocks without overlap."""
    c, h, w = x.shape
    h, w = h // BLOCK, w // BLOCK
    cut = x[:, : h * BLOCK, : w * BLOCK].reshape(c, h, BLOCK, w, BLOCK)
    return cut.permute(1, 3, 0, 2, 4).reshape(h * w, -1) - 0.5


def components(paths: Sequence[Path]) -> Tensor:
    """(768, 768) float64: principal components of the photos' blocks as columns, strongest first."""
    covariance = torch.zeros(3 * BLOCK**2, 3 * BLOCK**2, dtype=torch.float64)
    for path in paths:
        b = blocks(torch.from_numpy(load_photo(path)[:256, :256].copy()).permute(2, 0, 1).double() / 255)
        covariance += b.T @ b
    return torch.linalg.eigh(covariance)[1].flip(1)


@torch.inference_mode()
def model_floor(model: CompressionModel, photos: Sequence[Tensor], finer: float) -> float:
    """Mean PSNR at the highest quality with steps `finer` times as fine as the gains ask for."""
    q = torch.tensor([model.rows - 1])
    errors = [(model.synthesis((model.analysis(x[None], q) * finer).round() / finer, q).clamp(0, 1) - x) for x in photos]
    return sum(map(psnr, errors)) / len(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    files = find_photos([args.photos], None)
    photos = held_out_crops(files.held_out)
    basis = components(files.train)
    for k in COMPONENTS:
        errors = []
        for photo in photos:
            b = blocks(photo.double())
            errors.append(psnr(b - b @ basis[:, :k] @ basis[:, :k].T))
        print(f"{k} principal components: {sum(errors) / len(errors):.2f} dB")
    path = args.model or library.by_name("mbt2018", ()).path
    model = load(path).average.eval()
    for finer in FINER:
        print(f"{path.name}, M = {model.M}, highest quality, steps / {finer}: {model_floor(model, photos, finer):.2f} dB")


if __name__ == "__main__":
    main()
