# SPDX-License-Identifier: Apache-2.0
"""One rank of test_train_ranks.py, started by torchrun: train_rank.py PHOTOS OUT STEPS. What it draws and does lies in OUT/RANK.pt then."""

import io
import sys
from pathlib import Path

import torch

from jahp_fast.train.loop import Trainer
from jahp_fast.train.ranks import joined
from jahp_fast.train.report import Screen
from jahp_fast.train.settings import Settings

TINY = {"width": 4, "latents": 6, "batch": 2, "crop": 64, "minutes": 5.0, "precision": "float32", "threads": 1}


def main() -> None:
    photos, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with joined() as ranks:
        trainer = Trainer(Settings(photos=(photos,), work=out / "none", optimizer="adam", lr=0.05, **TINY), Screen(io.StringIO()), ranks)
        draw, drawn = trainer.crops.draw, []

        def recorded() -> torch.Tensor:
            x = draw()
            drawn.append((x, torch.get_rng_state()))  # qualities and noise are drawn from here on
            return x

        trainer.crops.draw = recorded  # type: ignore[method-assign]
        losses, gradients = [], []
        for _ in range(steps):
            loss = trainer.step()
            assert loss is not None
            losses.append([float(loss.total), float(loss.bpp), float(loss.mse)])
            gradients.append([p.grad.clone() for p in trainer.weights])  # averaged, and clipped
        trainer.ranks.require_same(trainer.model.state_dict().values())
        found = {"model": trainer.model.state_dict(), "average": trainer.average.state_dict(), "drawn": drawn, "losses": losses,
                 "gradients": gradients, "crops": trainer.training.crops}  # fmt: skip
        torch.save(found, out / f"{ranks.rank}.pt")


if __name__ == "__main__":
    main()
