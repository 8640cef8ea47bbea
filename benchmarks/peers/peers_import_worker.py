# SPDX-License-Identifier: Apache-2.0
"""CompressAI's side of peers_import.py, in the peers' environment: makes a model or loads its checkpoint, codes photos with it.

Prints one JSON object a photo: {"photo", "plain", "accelerated"}, the last two {"bytes", "psnr", "seconds", "log_lanes"} of
CompressAI's own `compress` and `decompress`, and of those that `accelerate` gave the same model; log_lanes, the first byte of a string, is
one only there. Weights are random and calibrated, or trained by CompressAI's own forward pass and losses. jahp_fast has to be
on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy
import torch
from compressai.models import (
    FactorizedPrior,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from peers_calibrate import calibrate
from peers_calibrate_priors import calibrate_prior
from PIL import Image
from torch import Tensor

from jahp_fast.compat.compressai import accelerate

MODELS = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
    "mbt2018": JointAutoregressiveHierarchicalPriors,
}
LAMBDA = 0.025
CROP, BATCH = 128, 8


def read_array(path: Path) -> Any:
    """(H, W, 3) uint8."""
    with Image.open(path) as image:
        return numpy.array(image.convert("RGB"))


def read_photo(path: Path) -> Tensor:
    """float (1, 3, H, W) in [0, 1], cropped to multiples of 64."""
    array = read_array(path)
    array = array[: array.shape[0] // 64 * 64, : array.shape[1] // 64 * 64]
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255


def train(model: Any, folder: Path, steps: int, seed: int = 1) -> None:
    """Trains in place on crops of the JPEG and PNG photos below `folder`. The rate falls over the last third."""
    held_out = {name for path in folder.glob("held_out.txt") for name in path.read_text().split()}
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".jpeg", ".png") and p.name not in held_out)
    rng = random.Random(seed)
    quantiles = [p for name, p in model.named_parameters() if name.endswith("quantiles")]
    rest = [p for name, p in model.named_parameters() if not name.endswith("quantiles")]
    main, auxiliary = torch.optim.Adam(rest, 1e-3), torch.optim.Adam(quantiles, 1e-2)
    photos: dict[Path, Tensor] = {}
    model.train()
    for step in range(steps):
        main.param_groups[0]["lr"] = 1e-3 * min(1.0, max(0.02, 3 * (1 - step / steps)))
        crops = []
        for path in rng.sample(files[:200], BATCH):
            if path not in photos:
                photos[path] = torch.from_numpy(numpy.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
            photo = photos[path]
            top, left = (rng.randrange(max(1, n - CROP + 1)) for n in photo.shape[1:])
            crops.append(photo[:, top : top + CROP, left : left + CROP])
        x = torch.stack([c for c in crops if c.shape[1:] == (CROP, CROP)]).float() / 255
        out = model(x)
        pixels = x.shape[0] * CROP * CROP
        rate = sum(-p.log2().sum() / pixels for p in out["likelihoods"].values())
        loss = LAMBDA * 255**2 * (out["x_hat"] - x).square().mean() + rate
        main.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        main.step()
        auxiliary.zero_grad()
        model.aux_loss().backward()
        auxiliary.step()
    model.eval()
    for _ in range(1500):  # the medians and the tables' reach come from the quantiles
        auxiliary.zero_grad()
        model.aux_loss().backward()
        auxiliary.step()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", choices=MODELS, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--m", type=int, required=True)
    parser.add_argument("--steps", type=int, default=0, help="of training; 0: random weights, calibrated on the first photo")
    parser.add_argument("--train-photos", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--calibrate", nargs="*", type=Path, default=[], help="photos to calibrate the accelerated model on")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(os.cpu_count() or 1)
    if args.checkpoint.exists():
        model = MODELS[args.architecture].from_state_dict(torch.load(args.checkpoint, weights_only=True)["state_dict"])
    else:
        model = MODELS[args.architecture](args.n, args.m)
        if args.steps:
            train(model, args.train_photos, args.steps)
        elif args.architecture == "mbt2018":
            calibrate(model.eval(), read_photo(args.photos[0]), 0.46)
        else:
            calibrate_prior(model.eval(), read_photo(args.photos[0]))
    model.eval().update(force=True)
    torch.save({"epoch": 0, "state_dict": model.state_dict()}, args.checkpoint)
    torch.set_num_threads(1)  # its loop over positions is fastest so
    photos = [(path.name, read_photo(path)) for path in args.photos]
    plain = [coded(model, x) for _, x in photos]
    accelerate(model, [read_array(path) for path in args.calibrate] or None)
    for (name, x), row in zip(photos, plain, strict=True):
        print(json.dumps({"photo": name, "plain": row, "accelerated": coded(model, x)}), flush=True)


def coded(model: Any, x: Tensor) -> dict[str, float]:
    """What `compress` and `decompress` of the model as it stands make of a photo, and their seconds together."""
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.compress(x)
        x_hat = model.decompress(out["strings"], out["shape"])["x_hat"]
    seconds = time.perf_counter() - start
    mse = float(((x_hat * 255).round() - x * 255).square().mean())
    size = sum(len(s) for strings in out["strings"] for s in strings)
    return {"bytes": size, "psnr": 10 * math.log10(255**2 / mse), "seconds": seconds, "log_lanes": out["strings"][0][0][0]}


if __name__ == "__main__":
    main()
