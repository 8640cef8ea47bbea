# SPDX-License-Identifier: Apache-2.0
"""`jahp export CKPT OUT`: a float checkpoint becomes a model file, and what its integers cost is measured."""

from __future__ import annotations

import argparse
import copy
import random
import shutil
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jahp_fast.errors import UsageError
from jahp_fast.files.outputs import checked_file, force_option
from jahp_fast.system.atomic import write_atomically
from jahp_fast.train.settings import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jahp_fast.export.finetune import Latents
    from jahp_fast.models.priors import CompressionModel
    from jahp_fast.train.data import Crops, Photo, PhotoFiles

HEAD_PHOTOS, TABLE_PHOTOS = 128, 320
"""Photos that heads of small pictures are fitted on, at most, and photos whose hyper-latents are counted."""
SKIP_PHOTOS, SKIP_SIDE, SKIP_CROP = 32, 176, 512
"""Photos that the threshold for skipping is chosen on, at most; the least of their sides, and what they are cropped to."""
FINETUNE_BATCH, FINETUNE_SIDE, FINETUNE_MEMORY = 8, 256, 2**31
"""Crops a step, their side in pixels, and bytes of decoded photos to keep."""
SYNTHETIC, SYNTHETIC_SIDE = 6, 192
"""Synthetic pictures of each kind, and their side in pixels: what photos lack, and transforms must bear."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Rounds a checkpoint to integers, its entropy path and its transforms, calibrated on photos and on synthetic pictures, and writes "
        "a model file. Prints real payloads beside the rate that the float model estimates, and what pixels and sizes lose by the "
        "integers, on held-out photos."
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="a state dict (.safetensors, .pt, .pth.tar), a trainer's last.pt, or an exported model"
    )
    parser.add_argument("out", metavar="OUT.safetensors", help="the model file to write")
    parser.add_argument("--photos", required=True, nargs="+", metavar="DIR", help="folders of training photos, searched in depth")
    parser.add_argument(
        "--held-out", metavar="FILE", help="names of photos to measure on and not to calibrate on (default: DIR/held_out.txt)"
    )
    parser.add_argument("--calibrate", type=int, default=32, metavar="N", help="photos to calibrate on (default 32)")
    parser.add_argument("--measure", type=int, default=12, metavar="N", help="photos to measure on, the largest (default 12)")
    parser.add_argument("--form", choices=("A", "B"), default="A", help="A: integer latents (default). B: latents are residuals plus means")
    parser.add_argument("--activation-bits", type=int, choices=(8, 16), default=8, help="of the entropy nets (default 8)")
    parser.add_argument("--prob-bits", type=int, choices=(15, 16), default=15, help="of the probability tables (default 15)")
    parser.add_argument("--search-clipping", action="store_true", help="search how far to clip each activation (minutes)")
    parser.add_argument(
        "--finetune",
        type=int,
        default=0,
        metavar="STEPS",
        help="train the entropy nets with their rounding in the loop, on 8 crops per step (half a second on one core)",
    )
    parser.add_argument("--metric", choices=METRICS, help="what the weights were trained for (default: as the checkpoint says, else mse)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of photos")
    parser.add_argument("--onto", metavar="MODEL", help="g_s alone, all else as in this model file: payloads stay")
    parser.add_argument("--share", type=float, metavar="S", help="with --onto: how far to go, to 1 (default)")
    parser.add_argument("--tables", action="store_true", help="new tables for a model file, and nothing else")
    force_option(parser)


def _choose(files: PhotoFiles, args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Training photos in random order, and the largest held-out photos to measure on."""
    shuffled = list(files.train)
    random.Random(args.seed).shuffle(shuffled)
    largest = sorted(files.held_out, key=lambda p: (-p.stat().st_size, p.name))
    return shuffled, largest[: args.measure]


def extremes(photos: Sequence[Photo]) -> list[Photo]:
    """Synthetic pictures of all kinds. photos: what objects are cut from."""
    from jahp_fast.train.synthetic import KINDS, picture

    size = SYNTHETIC_SIDE, SYNTHETIC_SIDE
    return [picture(kind, seed, size, photos=photos) for kind in KINDS for seed in range(SYNTHETIC)]


def _tabled(out: str, shuffled: Sequence[Path]) -> bytes:
    """Counts z of a model file that was just written, and chooses what encoders leave out; returns the new id.

    Of a model for MS-SSIM they leave out nothing: it gains next to nothing by its own measure, and the eye loses
    (docs/lab/031-skipped-symbols.md).
    """
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.export.hyper_tables import count_hyper_tables
    from jahp_fast.export.skipping import choose_skip
    from jahp_fast.train.data import load_photo

    print(f"counting hyper-latents on {min(len(shuffled), TABLE_PHOTOS)} photos", flush=True)
    identity = count_hyper_tables(out, (load_photo(p) for p in shuffled[:TABLE_PHOTOS]))
    if ModelFile(out).metric == "ms-ssim":
        return identity
    large = (p for p in (load_photo(path) for path in shuffled) if min(p.shape[:2]) >= SKIP_SIDE)
    photos = [p[:SKIP_CROP, :SKIP_CROP] for p in islice(large, SKIP_PHOTOS)]
    if not photos:
        print(f"no photo has {SKIP_SIDE} x {SKIP_SIDE} pixels: encoders will leave no symbols out", flush=True)
        return identity
    print(f"choosing which symbols encoders leave out, on {len(photos)} photos", flush=True)
    return choose_skip(out, photos)


def _latents(model: CompressionModel, crops: Crops, seed: int) -> Callable[[], Latents]:
    """Batches for fine-tuning: crops of photos, each at a random row of the gains."""
    import torch

    from jahp_fast.export.finetune import Latents

    generator = torch.Generator().manual_seed(seed)

    def draw() -> Latents:
        with torch.no_grad():
            rows = torch.randint(model.rows, (crops.batch,), generator=generator)
            y = model.analysis(crops.draw(), rows)
            return Latents(y.round(), model.hyper_analysis(y).round() if hasattr(model, "h_a") else None, rows)

    return draw


def run(args: argparse.Namespace) -> int:
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.export.calibration import activation_ranges, calibrate
    from jahp_fast.export.finetune import finetune, search_clipping
    from jahp_fast.export.finishing import part_way, with_decoder
    from jahp_fast.export.model import checked_form, export_model
    from jahp_fast.train.checkpoint import load
    from jahp_fast.train.data import Crops, Photos, find_photos, load_photo

    if args.tables and (args.finetune or args.search_clipping or args.metric):
        raise UsageError("--tables leaves the nets as they are: leave out --finetune, --search-clipping and --metric")
    if args.onto and (args.tables or args.finetune or args.search_clipping or args.metric):
        raise UsageError("--onto leaves all but g_s as it is: leave out --tables, --finetune, --search-clipping and --metric")
    if (args.onto or args.tables) and (args.form, args.activation_bits, args.prob_bits) != ("A", 8, 15):
        option = "--onto" if args.onto else "--tables"
        raise UsageError(f"{option} keeps the model file's form and bits: leave out --form, --activation-bits and --prob-bits")
    if args.share is not None and not args.onto:
        raise UsageError("--share is for --onto")
    if args.finetune < 0:
        raise UsageError(f"--finetune {args.finetune} is not a number of steps")
    files = find_photos([Path(p) for p in args.photos], Path(args.held_out) if args.held_out else None)
    checked_file(args.out, [args.checkpoint, args.onto, args.held_out, *files.train, *files.held_out], force=args.force)
    shuffled, largest = _choose(files, args)
    if args.tables:
        with tempfile.TemporaryDirectory() as folder:
            copied = Path(folder, Path(args.checkpoint).name)
            shutil.copyfile(ModelFile(args.checkpoint).path, copied)
            identity = _tabled(str(copied), shuffled)
            write_atomically(args.out, copied.read_bytes(), args.force)
        print(f"{args.out}: model {identity.hex()}", flush=True)
        return 0
    calibration_photos, measured_photos = ([load_photo(p) for p in paths] for paths in (shuffled[: args.calibrate], largest))
    start = load(Path(args.checkpoint))
    model = start.average.eval()
    checked_form(model, args.form, args.activation_bits, args.prob_bits)
    if args.share is not None:
        part_way(args.onto, model, args.share)
    float_model = copy.deepcopy(model)
    if args.onto:
        print(f"rounding g_s, on {len(calibration_photos)} photos", flush=True)
        identity = with_decoder(args.onto, model, args.out, calibration_photos, extremes(calibration_photos), args.force)
        _finish(args, identity, shuffled, float_model, measured_photos)
        return 0
    print(f"{model.architecture}, N = {model.N}, M = {model.M}: calibrating on {len(calibration_photos)} photos", flush=True)
    calibration = calibrate(model, calibration_photos)
    ranges = activation_ranges(model, calibration)
    limit = 127 if args.activation_bits == 8 else 4095
    if args.search_clipping:
        activations = search_clipping(model, ranges, calibration, form=args.form, activation_bits=args.activation_bits)
    else:
        activations = ranges.activations(model, args.form, limit)
    if args.finetune:
        photos = Photos(files.train, FINETUNE_SIDE, FINETUNE_MEMORY)
        held_out = calibrate(model, [p[:FINETUNE_SIDE, :FINETUNE_SIDE] for p in measured_photos])
        draw = _latents(model, Crops(photos, FINETUNE_BATCH, FINETUNE_SIDE, args.seed), args.seed)
        activations = finetune(model, activations, draw, held_out, activation_bits=args.activation_bits, steps=args.finetune)
    print("rounding" + (", and measuring what an encoder's search needs" if args.form == "A" else ""), flush=True)
    export_model(
        model, args.out, activations, form=args.form, activation_bits=args.activation_bits, prob_bits=args.prob_bits,
        calibration=calibration, photos=calibration_photos, extremes=extremes(calibration_photos),
        metric=args.metric or start.training.metric or "mse", force=args.force,
    )  # fmt: skip
    _finish(args, _tabled(args.out, shuffled), shuffled, float_model, measured_photos)
    return 0


def _finish(
    args: argparse.Namespace, identity: bytes, shuffled: Sequence[Path], float_model: CompressionModel, measured: Sequence[Photo]
) -> None:
    """Heads of small pictures, and what is said of the new file."""
    from jahp_fast.entropy.model_file import ModelFile
    from jahp_fast.export.heads import add_heads
    from jahp_fast.export.loss import format_loss_table, transform_losses
    from jahp_fast.export.payload import format_payload_table, payload_table
    from jahp_fast.train.data import load_photo

    print(f"fitting heads of small pictures on {min(len(shuffled), HEAD_PHOTOS)} photos", flush=True)
    add_heads(args.out, [load_photo(p) for p in shuffled[:HEAD_PHOTOS]])
    print(f"{args.out}: model {identity.hex()}, {Path(args.out).stat().st_size / 1e6:.1f} MB", flush=True)
    if measured:
        print(f"payload beside the float model's estimate, {len(measured)} held-out photos:", flush=True)
        file = ModelFile(args.out)
        print(format_payload_table(payload_table(float_model, file, measured)))
        print("integer transforms beside the float model's, pixels in dB of PSNR:", flush=True)
        print(format_loss_table(transform_losses(float_model, file, measured)))
