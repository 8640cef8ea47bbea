# SPDX-License-Identifier: Apache-2.0
"""What the precision of the probability tables costs and weighs: real payloads beside the float model's estimate.

    python benchmarks/table_budget.py CHECKPOINT --photos DIR

One export a row of the table, each with another number of scales, cells of means, cut or weight of the tails or bits of probability;
activations have ranges as seen (no clipping, no fine-tuning), so that the rows differ in the tables alone. `entries` are 16-bit words of
the tables. Excess in percent, on the largest held-out photos (DIR/held_out.txt).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.export.calibration import activation_ranges, calibrate
from jahp_fast.export.model import EntropyTables, export_model, factorised_rows, gaussian_scales, own_tables
from jahp_fast.export.payload import payload_table
from jahp_fast.export.tables import TAIL, WIDE
from jahp_fast.models.priors import CompressionModel
from jahp_fast.train.checkpoint import load
from jahp_fast.train.data import find_photos, load_photo


@dataclass(frozen=True)
class Budget:
    prob_bits: int = 15
    count: int = 64
    cells: float = 24.0
    tail: float = TAIL
    wide: float = WIDE


BUDGETS = (
    Budget(),
    Budget(wide=0.0),
    Budget(wide=0.05),
    Budget(wide=0.1),
    Budget(wide=0.2),
    Budget(tail=0.25),
    Budget(tail=0.08),
    Budget(tail=0.02),
    Budget(tail=0.001),
    Budget(prob_bits=16),
    Budget(count=48),
    Budget(count=96),
    Budget(cells=16.0),
    Budget(cells=40.0),
    Budget(count=96, cells=40.0),
)


def tables(model: CompressionModel, budget: Budget) -> EntropyTables:
    rows = factorised_rows(model.entropy_bottleneck, budget.prob_bits)
    scale, scale_rows = gaussian_scales(
        len(rows),
        budget.prob_bits,
        fractions=True,
        count=budget.count,
        cells=budget.cells,
        tail=budget.tail,
        wide=budget.wide,
    )
    return EntropyTables(rows + scale_rows, scale, own_tables(model, "A", budget.prob_bits).z_offset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--calibrate", type=int, default=32)
    parser.add_argument("--measure", type=int, default=8)
    args = parser.parse_args()
    files = find_photos([args.photos])
    train = random.Random(0).sample(files.train, min(args.calibrate, len(files.train)))
    largest = sorted(files.held_out, key=lambda p: (-p.stat().st_size, p.name))[: args.measure]
    measured = [load_photo(p) for p in largest]
    model = load(args.checkpoint).average.eval()
    calibration = calibrate(model, [load_photo(p) for p in train])
    activations = activation_ranges(model, calibration).activations(model, "A", 127)
    print("| bits | scales | cells | tail | wide | entries | " + " | ".join(f"q{r + 1}" for r in range(model.rows)) + " |")
    print("| --- " * (6 + model.rows) + "|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        for budget in BUDGETS:
            export_model(model, path, activations, prob_bits=budget.prob_bits, tables=tables(model, budget))
            file = ModelFile(path)
            excess = " | ".join(f"{100 * row.excess:+.2f}" for row in payload_table(model, file, measured))
            entries = file.entropy["tables.starts"].size
            print(
                f"| {budget.prob_bits} | {budget.count} | {budget.cells:g} | {budget.tail:g} | {budget.wide:g} | {entries} | {excess} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
