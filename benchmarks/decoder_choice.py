# SPDX-License-Identifier: Apache-2.0
"""What a choice among K variants of the decoder's last layers would save, on held-out pictures, at equal PSNR.

    python benchmarks/decoder_choice.py --photos PHOTOS --tiles TILES --out RUN.json [--qualities 2,4,6,8] [--variants 2,4]

Everything up to the second inverse GDN of g_s stays as it is, and so does every bit of the files. The last two deconvolutions of each
quality, which a model holds once per quality, are finished by SOAP on what reaches them from pictures that are trained on: first one
decoder for all, then K out of it. A picture belongs to the variant that makes the least error of it. They begin as the pictures' own
wishes fall into K groups: the gradients of the last layer, on their first axes. One decoder alone takes as many steps as each of the K.

--photos is split as training does. Of --tiles, the pictures directly in the folder are trained on, and those in its held_out/ judge.
RUN.json keeps each quality that is done. The loss is the logarithm of a picture's squared error, which is its PSNR.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jahp_fast.constants import STRIDE
from jahp_fast.models.layers import GDN, DeconvByRow
from jahp_fast.models.priors import CompressionModel
from jahp_fast.train.checkpoint import load
from jahp_fast.train.data import SUFFIXES, find_photos, load_photo
from jahp_fast.train.soap import SOAP

WEIGHTS = Path(__file__).parents[1] / "jahp_fast" / "weights" / "mbt2018.safetensors"
SIDE, CUT, MARGIN = 192, 128, 8
"""Of pictures to train on, of what a step takes of them, and of its border that is not counted: pixels whose neighbours were cut away."""
HELD_OUT_SIDE = 512
FLOOR = 1 / 12 / 255**2
"""What rounding to 8 bits adds to a squared error anyway: a flat square weighs no more than others."""
BATCH = 8
REASSIGNED = 2
AXES = 4
"""Of the gradients that first groups are made by."""
Layers = list[Tensor]
"""Weight and bias of g_s.4, then of g_s.6."""


@dataclass
class Seen:
    """Pictures, and what reaches the last layers of them at one quality."""

    name: str
    x: list[Tensor]
    """(3, H, W) uint8."""
    h: list[Tensor]
    """(N, H/4, W/4) float16."""
    bpp: float


def pictures(paths: Sequence[Path], side: int) -> list[Tensor]:
    """The middle of each, `side` pixels a side at most, in multiples of 16."""
    out = []
    for path in paths:
        photo = load_photo(path)
        height, width = (min(n, side) // STRIDE * STRIDE for n in photo.shape[:2])
        top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
        out.append(torch.from_numpy(photo[top : top + height, left : left + width].copy()).permute(2, 0, 1))
    return out


@torch.inference_mode()
def seen(name: str, model: CompressionModel, x: list[Tensor], row: int) -> Seen:
    q = torch.tensor([row])
    h, bits = [], 0.0
    for picture in x:
        image = (picture[None].float() / 255).contiguous(memory_format=torch.channels_last)
        y = model.analysis(image, q)
        y_hat = y.round()
        if name != "train":
            likelihoods = [p for p in model._prior(y, y_hat) if p is not None]
            bits -= sum(float(p.log2().sum()) for p in likelihoods) / (picture.shape[1] * picture.shape[2] * len(x))
        y_hat = y_hat * model.inv_gain[row].exp()[:, None, None]
        reached = model.g_s[:4](y_hat)[0]
        if float(reached.abs().max()) > 6e4:
            raise SystemExit(f"what reaches the last layers is too large for float16: {float(reached.abs().max())}")
        h.append(reached.half())
    return Seen(name, x, h, bits)


def decode(h: Tensor, layers: Layers, gdn: GDN) -> Tensor:
    """h (B, N, s, t) float32 -> (B, 3, 4 s, 4 t)."""
    h = gdn(F.conv_transpose2d(h, layers[0], layers[1], 2, 2, 1))
    return F.conv_transpose2d(h, layers[2], layers[3], 2, 2, 1)


def batch(data: Seen, picks: Sequence[int], corners: Sequence[tuple[int, int]], cut: int) -> tuple[Tensor, Tensor]:
    """h and x (in [0, 1]) of a square of each picture; corners are in pixels, multiples of 4."""
    h = [data.h[i][:, t // 4 : (t + cut) // 4, s // 4 : (s + cut) // 4] for i, (t, s) in zip(picks, corners, strict=True)]
    x = [data.x[i][:, t : t + cut, s : s + cut] for i, (t, s) in zip(picks, corners, strict=True)]
    return torch.stack(h).float().contiguous(memory_format=torch.channels_last), torch.stack(x).float() / 255


def log_errors(x_hat: Tensor, x: Tensor) -> Tensor:
    """(B,) dB of squared error, without the margin."""
    inner = (x_hat - x)[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    return 10 * (inner.square().mean((1, 2, 3)) + FLOOR).log10()


class Finisher:
    """A decoder's last layers on their way, with their optimiser."""

    def __init__(self, layers: Layers, gdn: GDN, lr: float, total: int) -> None:
        self.weights = [torch.nn.Parameter(p.detach().clone()) for p in layers]
        self.layers: Layers = list(self.weights)
        self.gdn, self.lr, self.total, self.done = gdn, lr, total, 0
        self.optimizer = SOAP(self.weights, lr)

    def steps(self, data: Seen, members: NDArray[np.int64], count: int, rng: np.random.Generator) -> float:
        """Some steps on these pictures; the rate falls to nothing over the total. The mean of what was descended, in dB."""
        mean = 0.0
        for _ in range(count):
            picks = rng.choice(members, BATCH, replace=len(members) < BATCH).tolist()
            places = [[int(rng.integers(0, (n - CUT) // 4 + 1)) * 4 for n in data.x[i].shape[1:]] for i in picks]
            h, x = batch(data, picks, [(t, s) for t, s in places], CUT)
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * min(1.0, (self.done + 1) / 20) * (1 - self.done / self.total)
            loss = log_errors(decode(h, self.layers, self.gdn), x).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.done += 1
            mean += loss.item() / count
        return mean


def middle(x: Tensor) -> tuple[int, int]:
    """Corner of the middle square that a step would take."""
    return (x.shape[1] - CUT) // 8 * 4, (x.shape[2] - CUT) // 8 * 4


@torch.inference_mode()
def errors_of_training(data: Seen, layers: Layers, gdn: GDN) -> NDArray[np.float64]:
    """dB of the middle of each picture."""
    out = []
    for first in range(0, len(data.x), BATCH):
        picks = range(first, min(first + BATCH, len(data.x)))
        h, x = batch(data, picks, [middle(data.x[i]) for i in picks], CUT)
        out += log_errors(decode(h, layers, gdn), x).tolist()
    return np.array(out)


def groups(data: Seen, layers: Layers, gdn: GDN, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(pictures,) k-means of the pictures' gradients of dB by the last layer's weights, as directions, on their first principal axes."""
    weight, bias = layers[2].detach().clone().requires_grad_(), layers[3].detach()
    rows, squares = [], torch.zeros(len(weight))
    for i in range(len(data.x)):
        h, x = batch(data, [i], [middle(data.x[i])], CUT)
        with torch.no_grad():
            inner = gdn(F.conv_transpose2d(h, layers[0], layers[1], 2, 2, 1))
            squares += inner.square().mean((0, 2, 3)) / len(data.x)
        error = log_errors(F.conv_transpose2d(inner, weight, bias, 2, 2, 1), x).sum()
        rows.append(torch.autograd.grad(error, weight)[0])
    directions = torch.stack([(g / squares.sqrt()[:, None, None, None]).flatten() for g in rows])  # channels of one size
    directions = F.normalize(directions) - F.normalize(directions).mean(0)
    u, s, _ = torch.linalg.svd(directions, full_matrices=False)
    points = (u[:, :AXES] * s[:AXES]).double().numpy()
    best, least = np.zeros(len(points), np.int64), math.inf
    for _ in range(20):
        centres = points[rng.choice(len(points), count, replace=False)]
        for _ in range(50):
            distances = np.square(points[:, None] - centres).sum(-1)
            nearest = distances.argmin(1)
            centres = np.stack([points[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)])
        if distances.min(1).sum() < least:
            best, least = nearest, float(distances.min(1).sum())
    return best


@torch.inference_mode()
def squared_errors(data: Seen, layers: Layers, gdn: GDN, block: int) -> list[NDArray[np.float64]]:
    """Of each held-out picture, what each block adds to the mean squared error of its 8-bit pixels."""
    out = []
    for h, x in zip(data.h, data.x, strict=True):
        x_hat = (decode(h[None].float(), layers, gdn)[0].clamp(0, 1) * 255).round()
        error = (x_hat - x).square().mean(0).double()
        out.append(F.avg_pool2d(error[None] / error.numel(), block, ceil_mode=True, divisor_override=1)[0].flatten().numpy())
    return out


def finish(data: Seen, layers: Layers, gdn: GDN, counts: Sequence[int], settings: argparse.Namespace) -> dict[int, list[Layers]]:
    """The layers of each variant, by the number of variants: 1 is the control."""
    everything, shared, rest = np.arange(len(data.x)), settings.steps[0], settings.steps[1]
    rng = np.random.default_rng(settings.seed)
    control = Finisher(layers, gdn, settings.lr, shared + rest)
    say(f"  all, {shared} steps: {control.steps(data, everything, shared, rng):.3f} dB")
    begun = [p.detach().clone() for p in control.layers]
    say(f"  all, {rest} steps more: {control.steps(data, everything, rest, rng):.3f} dB")
    made = {1: [control.layers]}
    for count in counts:
        member = groups(data, begun, gdn, count, rng)
        variants = [Finisher(begun, gdn, settings.lr, shared + rest) for _ in range(count)]
        for variant in variants:
            variant.done = shared
        for part in range(REASSIGNED + 1):
            if part:
                errors = np.stack([errors_of_training(data, v.layers, gdn) for v in variants])
                before, member = member, errors.argmin(0)
                gain = errors.mean(1).min() - errors.min(0).mean()
                say(f"    {(before != member).mean():.0%} change; the best of {count} is {gain:.3f} dB better than one of them for all")
            sizes = np.bincount(member, minlength=count)
            for k, variant in enumerate(variants):
                mine = everything[member == k] if sizes[k] >= BATCH else everything
                variant.steps(data, mine, rest // (REASSIGNED + 1), rng)
            say(f"  {count} variants, of {sizes.tolist()} pictures")
        made[count] = [variant.layers for variant in variants]
    return made


def judged(sets: Sequence[Seen], shipped: Layers, made: dict[int, list[Layers]], gdn: GDN, block: int) -> dict[str, dict[str, list[float]]]:
    """By set: bits a pixel and mean PSNR in dB of the shipped decoder, and of the best of K for each picture and for each block."""
    out: dict[str, dict[str, list[float]]] = {}
    for data in sets:
        rows = {"shipped": [data.bpp, psnr([[e] for e in squared_errors(data, shipped, gdn, block)], False)]}
        for count, variants in made.items():
            per_picture = list(zip(*(squared_errors(data, layers, gdn, block) for layers in variants), strict=True))
            bits = math.log2(count) * float(np.mean([1 / x[0].numel() for x in data.x]))
            rows[f"{count}"] = [data.bpp + bits, psnr(per_picture, False)]
            if count > 1:
                bits = math.log2(count) * float(np.mean([len(e[0]) / x[0].numel() for e, x in zip(per_picture, data.x, strict=True)]))
                rows[f"{count} by block"] = [data.bpp + bits, psnr(per_picture, True)]
        out[data.name] = rows
    return out


def psnr(pictures: Sequence[Sequence[NDArray[np.float64]]], by_block: bool) -> float:
    """Mean PSNR, of each picture the variant of least error: the same everywhere, or by block."""
    errors = [np.stack(variants) for variants in pictures]
    least = [e.min(0).sum() if by_block else e.sum(1).min() for e in errors]
    return float(np.mean([10 * math.log10(255**2 / max(e, 1e-4)) for e in least]))


def report(results: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """A table for each held-out set: a kind's gain at the qualities, and what it saves at equal PSNR, in the mean of these."""
    qualities = sorted(results, key=float)
    for name in next(iter(results.values())):
        print(f"\n{name}: dB over the shipped decoder at the qualities; mean rate against it and against one decoder finished alike\n")
        print("| decoders | " + " | ".join(qualities) + " | shipped | one |\n" + "|---" * (len(qualities) + 3) + "|")
        kinds = dict.fromkeys(kind for q in qualities for kind in results[q][name])
        for kind in kinds:
            points = {q: results[q][name][kind] for q in qualities if kind in results[q][name]}
            if kind == "shipped":
                print(f"| {kind} | " + " | ".join(f"{b:.3f} bpp, {p:.2f} dB" for b, p in points.values()) + " | | |")
                continue
            cells = [f"{points[q][1] - results[q][name]['shipped'][1]:+.3f}" if q in points else "" for q in qualities]
            for anchor in ("shipped", "1"):
                curve = [results[q][name][anchor] for q in qualities]
                cells.append(f"{100 * saved(curve, list(points.values())):+.2f} %" if len(curve) > 1 else "")
            print(f"| {kind} | " + " | ".join(cells) + " |")


def saved(anchor: Sequence[Sequence[float]], points: Sequence[Sequence[float]]) -> float:
    """Bits over the anchor's at equal PSNR, less 1: the geometric mean over the points. Between the anchor's qualities the logarithm of
    its rate is linear in PSNR, and goes on along the last slopes."""
    logs, psnrs = np.log([bpp for bpp, _ in anchor]), [psnr for _, psnr in anchor]
    out = 0.0
    for bpp, psnr in points:
        at = min(max(int(np.searchsorted(psnrs, psnr)), 1), len(psnrs) - 1)
        slope = (logs[at] - logs[at - 1]) / (psnrs[at] - psnrs[at - 1])
        out += (math.log(bpp) - logs[at] - (psnr - psnrs[at]) * slope) / len(points)
    return math.expm1(out)


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tiles", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--qualities", default="2,4,6,8", help="whole ones")
    parser.add_argument("--variants", default="2,4")
    parser.add_argument("--every", type=int, default=3, help="of the photos to train on, one of so many")
    parser.add_argument("--steps", type=int, nargs=2, default=(150, 240), help="of one decoder for all, and then of it and of each variant")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = load(args.model).average.eval()
    split = find_photos([args.photos])
    tiles, judges = (sorted(p for p in d.iterdir() if p.suffix in SUFFIXES) for d in (args.tiles, args.tiles / "held_out"))
    train = pictures([*split.train[:: args.every], *tiles], SIDE)
    train = [x for x in train if min(x.shape[1:]) >= CUT]
    held_out = {"photos": pictures(split.held_out, HELD_OUT_SIDE), "tiles": pictures(judges, HELD_OUT_SIDE)}
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    gdn = cast(GDN, model.g_s[5])
    for quality in args.qualities.split(","):
        if quality in results:
            continue
        row = int(quality) - 1
        say(f"quality {quality}, {len(train)} pictures to train on")
        data = seen("train", model, train, row)
        shipped = [t[0].detach() for i in (4, 6) for t in cast(DeconvByRow, model.g_s[i]).at(torch.tensor([row]))]
        say(f"  shipped: {errors_of_training(data, shipped, gdn).mean():.3f} dB")
        made = finish(data, shipped, gdn, [int(n) for n in args.variants.split(",")], args)
        del data
        sets = [seen(name, model, x, row) for name, x in held_out.items()]
        results[quality] = judged(sets, shipped, made, gdn, args.block)
        args.out.write_text(json.dumps(results, indent=1))
        report(results)
    report(results)


if __name__ == "__main__":
    main()
