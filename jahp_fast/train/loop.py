# SPDX-License-Identifier: Apache-2.0
"""The training loop: a budget in minutes, a checkpoint every quarter of an hour and at the end, and nothing lost in between."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import nn

from jahp_fast.errors import JahpError, UnsupportedImage, UsageError, first_line
from jahp_fast.models import fused
from jahp_fast.models.layers import Rows
from jahp_fast.models.priors import CompressionModel
from jahp_fast.models.registry import model_info
from jahp_fast.system.console import ProgressLine, clock
from jahp_fast.train import checkpoint, report
from jahp_fast.train.captured import CapturedStep
from jahp_fast.train.checkpoint import Training
from jahp_fast.train.data import Crops, PhotoFiles, Photos, find_photos, held_out_crops
from jahp_fast.train.loss import Loss, RateDistortion, evaluate, ladder
from jahp_fast.train.optimizer import make_optimizer, make_quantile_optimizer, trained_names
from jahp_fast.train.process import sole_user, stopping, use_bf16
from jahp_fast.train.ranks import Ranks, joined
from jahp_fast.train.resident import ResidentCrops
from jahp_fast.train.settings import Settings, default_lr
from jahp_fast.train.soap import SOAP
from jahp_fast.train.start import load_start

WARM_UP = 300
CLIP_NORM = 2.0
AVERAGE_KEEP = 0.999
LOG_EVERY = 100
CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
MAX_SKIPPED = 50
"""Steps without finite gradients, one after the other, before the run gives up."""
EAGER_STEPS = 10
"""Before a step is captured as a CUDA graph: SOAP's state has its place by then, and libraries have chosen their kernels."""
SETTLED, TURN_EVERY, TURN_EVERY_CUDA = 1000, 10, 40
"""After so many steps SOAP's bases change slowly: on a GPU, where turning them takes longer than four steps, they are turned less often."""
RANK_SEEDS = 1_000_003
"""Between the seeds of two ranks."""


class Diverged(JahpError):
    """Gradients stay infinite: the learning rate is too large for where the model stands."""


class Trainer:
    """One run, or one rank of it. `train` does it all; `step` is one step, for benchmarks.

    Rank 0 alone writes, measures and speaks, and its random numbers are those that a checkpoint keeps; the others draw crops, qualities and
    noise from seeds of their own, new ones whenever a run goes on.
    """

    def __init__(self, settings: Settings, screen: ProgressLine, ranks: Ranks | None = None) -> None:
        self.settings, self.screen, self.ranks = settings, screen, ranks or Ranks()
        if self.ranks.size > 1:
            for option, unfit in (("--clock cpu", settings.clock == "cpu"), ("--device cuda", settings.device == "cuda")):
                if unfit:
                    raise UsageError(f"{option} is for one process, and this run has {self.ranks.size}")
        self.clock = CLOCKS[settings.clock]
        self.started = self.clock()
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        if settings.device != "cpu" and not (settings.device == "cuda" and torch.cuda.is_available()):
            raise UsageError(f"--device {settings.device}: not here; cpu always is, cuda where torch finds a GPU")
        self.device = torch.device(settings.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        fused.use(settings.kernels == "auto")
        seed = settings.seed or 0
        torch.manual_seed(seed)
        start = load_start(settings, screen)
        self.training = start.training
        # What a falling rate ends at is to be averaged, not where it began, which a short run would hardly leave.
        self.averaged_from = self.training.steps if settings.decay else 0
        metric = settings.metric or self.training.metric or "mse"
        lambdas = self._lambdas(metric, start.model.rows)
        if metric == self.training.metric and self.training.lambdas not in (None, lambdas.tolist()):
            screen.say("note: the trade-offs differ from the checkpoint's")
        self.training.metric, self.training.lambdas = metric, lambdas.tolist()
        self.loss = RateDistortion(metric, lambdas.to(self.device))
        row = settings.lambda_row
        if row is not None and not 1 <= row <= start.model.rows:
            raise UsageError(f"--lambda-row {row} is outside 1 to {start.model.rows}, the rows of this model")
        self.rows = range(start.model.rows) if row is None else range(row - 1, row)

        own_seed = seed + 1 + self.training.steps + RANK_SEEDS * self.ranks.rank
        self.files, self.crops, self.held_out = self._look_for_photos(own_seed)
        self.crops_per_step = settings.batch * self.ranks.size
        if self.training.crops_state is not None and self.ranks.rank == 0 and isinstance(self.crops, Crops):
            self.crops.state = self.training.crops_state

        self.model = start.model.to(self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = start.average.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.model.bf16 = use_bf16(settings.precision, self.device)
        trained = set(trained_names(self.model, self.training.only))
        self.weights = [p for n, p in self.model.named_parameters() if n in trained]
        if self.training.only is not None:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name in trained)
        self._make_optimizers()
        if self.ranks.rank:
            torch.manual_seed(own_seed)
        elif self.training.noise_state is not None:
            torch.set_rng_state(self.training.noise_state)
        self.ranks.require_same(self._state())
        self.skipped = 0
        self.captured: CapturedStep | None = None
        self.capturing = self.device.type == "cuda" and isinstance(self.optimizer, SOAP) and metric == "mse"
        photos = self.crops.photos
        info = model_info(self.model)
        screen.say(
            f"{info.architecture}, N = {info.N}, M = {info.M}, {info.rows} rows, {info.parameters / 1e6:.2f} M parameters; "
            f"from {start.what}, {self.training.steps} steps so far"
        )
        precision = ("bf16" if self.model.bf16 else "float32") + (", compiled" if settings.compile else "")
        screen.say(
            f"{len(photos)} photos to train on ({photos.too_small} smaller than a crop), {len(self.held_out)} held out; "
            f"{metric}, {self.training.optimizer_kind}, {precision}, {torch.get_num_threads()} threads"
            + (f" in each of {self.ranks.size} processes" if self.ranks.size > 1 else "")
        )
        self.run_model = self._compiled() if settings.compile else self.model

    def _look_for_photos(self, seed: int) -> tuple[PhotoFiles, Crops | ResidentCrops, list[torch.Tensor]]:
        settings = self.settings
        files = find_photos(settings.photos, settings.held_out)
        memory = round(settings.memory_gib * 2**30)
        on_cpu = self.device.type == "cpu"
        photos = Photos(files.train, settings.crop, memory if on_cpu else 0)
        crops: Crops | ResidentCrops
        if on_cpu:
            crops = Crops(photos, settings.batch, settings.crop, seed)
        else:
            crops = ResidentCrops(photos, settings.batch, settings.crop, seed, memory, self.device)
        return files, crops, held_out_crops(files.held_out)

    def _look_again(self) -> None:
        """Takes up photos that have come into the folders since, and leaves those that are gone; where they cannot be used, all stays."""
        crops = self.crops
        try:
            if find_photos(self.settings.photos, self.settings.held_out) == self.files:
                return
            self.files, self.crops, self.held_out = self._look_for_photos((self.settings.seed or 0) + 1 + self.training.steps)
        except (UsageError, UnsupportedImage) as e:
            self.screen.say(f"{e}: going on with the photos of before")
            return
        if isinstance(crops, Crops) and isinstance(self.crops, Crops):
            self.crops.state = crops.state
        self.screen.say(f"{len(self.crops.photos)} photos to train on now, {len(self.held_out)} held out")

    def _state(self) -> Iterator[torch.Tensor]:
        yield from self.model.state_dict().values()
        yield from self.average.state_dict().values()

    def _lambdas(self, metric: str, rows: int) -> torch.Tensor:
        asked, saved = self.settings.lambda_, self.training
        if asked is not None:
            if rows != 1:
                raise UsageError(f"--lambda is for a model of one row, and this one has {rows}: use --lambda-row 1 to {rows}")
            return torch.tensor([asked])
        if saved.lambdas is not None and saved.metric == metric and len(saved.lambdas) == rows:
            return torch.tensor(saved.lambdas)
        if rows == 1:
            raise UsageError("this model has one row of gains, and nothing says which trade-off it is for: give --lambda")
        return ladder(metric, rows)

    def _make_optimizers(self) -> None:
        saved = self.training
        kind = self.settings.optimizer or saved.optimizer_kind
        self.lr = self.settings.lr or default_lr(kind, self.crops_per_step)
        self.optimizer = make_optimizer(kind, self.model, self.lr, half=self.model.bf16, only=saved.only)
        self.quantile_optimizer = make_quantile_optimizer(self.model, saved.only)
        if saved.optimizer is not None and kind == saved.optimizer_kind:
            self.optimizer.load_state_dict(saved.optimizer)
        elif saved.optimizer is not None:
            self.screen.say(f"the checkpoint was trained with {saved.optimizer_kind}: {kind} starts afresh and is warmed up")
            saved.warm_steps = 0
        if saved.quantile_optimizer is not None and self.quantile_optimizer is not None:
            self.quantile_optimizer.load_state_dict(saved.quantile_optimizer)
        saved.optimizer_kind = kind
        saved.optimizer = saved.quantile_optimizer = None  # the optimisers hold it now

    def _compiled(self) -> CompressionModel:
        """The model by torch.compile, over the same weights: the same random numbers, and figures equal but for rounding."""
        from torch._dynamo.exc import BackendCompilerFailed  # three seconds

        self.screen.say("compiling the model: minutes, less where torch finds it in its cache")
        model = cast(CompressionModel, torch.compile(self.model, dynamic=False, options={"fallback_random": True}))
        random = torch.get_rng_state()
        side = self.settings.crop
        x = torch.rand(self.settings.batch, 3, side, side).to(self.device, memory_format=torch.channels_last)
        q = self._qualities(len(x))
        try:
            self.loss(model, x, q).total.backward()  # type: ignore[no-untyped-call]
        except BackendCompilerFailed as e:
            raise UsageError(f"--compile: torch cannot compile here: {first_line(e)}") from None
        self.model.zero_grad()
        torch.set_rng_state(random)
        return model

    def step(self, done: float = 0.0) -> Loss | None:
        """One step; None where its gradients were not finite and nothing changed.

        done: the part of the run that is behind, 0 to 1, for the decay.
        """
        training = self.training
        lr = self.lr * min(1.0, (training.warm_steps + 1) / WARM_UP) * (max(0.02, 1 - done) if self.settings.decay else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
            if "precondition_frequency" in group:  # a checkpoint may come from the other kind of device
                slow = self.device.type == "cuda" and training.warm_steps >= SETTLED
                group["precondition_frequency"] = TURN_EVERY_CUDA if slow else TURN_EVERY
        x = self.crops.draw()
        q = self._qualities(len(x))
        loss = self._descend(x, q) if self.captured is None else self.captured(x, q)
        if loss is None:
            return None
        if self.quantile_optimizer is not None:
            self.quantile_optimizer.zero_grad()
            self.model.quantile_loss().backward()
            self.quantile_optimizer.step()
        training.steps += 1
        training.warm_steps += 1
        training.crops += self.crops_per_step
        counted = training.steps - self.averaged_from
        keep = min(AVERAGE_KEEP, (1 + counted) / (10 + counted))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep)
        return loss

    def _qualities(self, batch: int) -> Rows:
        """Each crop draws its row; on a GPU, neighbours share one where that gives each row the same number of crops."""
        rows = self.rows
        if self.device.type == "cuda" and batch % len(rows) == 0:
            return rows
        return torch.randint(rows.start, rows.stop, (batch,)).to(self.device)

    def _descend(self, x: torch.Tensor, q: Rows) -> Loss | None:
        loss = self.loss(self.run_model, x, q)
        self.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.weights if p.grad is not None]
        loss = Loss(*self.ranks.average(gradients, torch.stack((loss.total.detach(), loss.bpp, loss.mse))))
        if not bool(torch.isfinite(nn.utils.clip_grad_norm_(self.weights, CLIP_NORM))):
            self.skipped += 1
            if self.skipped > MAX_SKIPPED:
                raise self._diverged()
            return None
        self.skipped = 0
        self.optimizer.step()
        if self.capturing and self.training.warm_steps >= EAGER_STEPS:
            self._capture(x, q)
        return loss

    def _capture(self, x: torch.Tensor, q: Rows) -> None:
        """Steps from the next on are one CUDA graph, where that can be."""
        self.capturing = False
        try:
            loss, optimizer = self.loss, cast(SOAP, self.optimizer)
            self.captured = CapturedStep(lambda x, q: loss(self.run_model, x, q), optimizer, self.weights, CLIP_NORM, x, q)
        except RuntimeError as e:
            self.screen.say(f"a step cannot be captured as a CUDA graph here: {first_line(e)}")

    @staticmethod
    def _diverged() -> Diverged:
        return Diverged(f"{MAX_SKIPPED} steps without finite gradients: go on from the checkpoint with a smaller --lr")

    def _on_its_stream(self) -> AbstractContextManager[object]:
        """On a GPU, a stream that is not the default one: only there can a graph be captured."""
        if self.device.type == "cpu":
            return nullcontext()
        return torch.cuda.stream(torch.cuda.Stream(self.device))  # type: ignore[no-untyped-call]

    def save(self) -> None:
        """Both files of the working folder. Raises JahpError where the ranks do not hold the same weights."""
        self.ranks.require_same(self._state())
        if self.ranks.rank:
            return
        state = self.training
        state.noise_state, state.crops_state = torch.get_rng_state(), self.crops.state if isinstance(self.crops, Crops) else None
        content = Training(**vars(state))
        content.optimizer, content.optimizer_names = self.optimizer.state_dict(), trained_names(self.model, state.only)
        if self.quantile_optimizer is not None:
            content.quantile_optimizer = self.quantile_optimizer.state_dict()
        checkpoint.save(self.settings.work, self.model, self.average, content)

    def measure(self, rows: range) -> None:
        """The averaged model on the held-out photos, to the screen and to held_out.csv."""
        if not self.held_out or self.ranks.rank:
            return
        results = evaluate(self.average, self.held_out, rows, self.device)
        t = self.training
        lines = report.held_out_rows(t.steps, t.crops, t.minutes, results)
        report.append_rows(self.settings.work / report.HELD_OUT_LOG, report.HELD_OUT_COLUMNS, lines)
        self.screen.say(report.describe(results))

    def train(self) -> bool:
        """Trains until the minutes or the steps are over or a signal comes, and saves. Returns whether it ran to its end."""
        settings, training = self.settings, self.training
        first, before, saved = training.steps, training.minutes, self.clock()
        sums, counted, mark = torch.zeros(3, device=self.device), 0, self.clock()
        self._look_again()  # compiling takes minutes
        with stopping() as received, self._on_its_stream():
            while True:
                elapsed = self.clock() - self.started
                done = elapsed / 60 / settings.minutes
                if settings.steps is not None:
                    done = max(done, (training.steps - first) / settings.steps)
                done, signalled = self.ranks.largest(done, received[0] if received else 0)
                if signalled or done >= 1:
                    break
                loss = self.step(done)
                now = self.clock()
                training.minutes = before + (now - self.started) / 60
                if loss is None:
                    continue
                sums += torch.stack((loss.total, loss.bpp, loss.mse))
                counted += 1
                rate = counted * self.crops_per_step / (now - mark)
                mean = sums / counted
                self.screen.show(partial(self._line, mean, rate, self._remaining(now - self.started, training.steps - first, rate)))
                if counted == LOG_EVERY:
                    if self.captured is not None and self.captured.unsound > MAX_SKIPPED:
                        raise self._diverged()
                    self._log(mean.tolist(), rate)
                    sums, counted, mark = torch.zeros_like(sums), 0, self.clock()
                if self.ranks.largest(now - saved)[0] > settings.checkpoint_minutes * 60:
                    self.save()
                    self.measure(self.rows[::2])
                    self._look_again()
                    saved = self.clock()
                    mark += saved - now  # not training time
            if counted:
                self._log((sums / counted).tolist(), counted * self.crops_per_step / (self.clock() - mark))
            self.save()
            if signalled:
                name = signal.Signals(int(signalled)).name
                self.screen.say(f"{name}: saved {settings.work / checkpoint.LAST} at step {training.steps}")
                return False
            self.measure(self.rows)
            if self.held_out and self.ranks.rank == 0:
                self.screen.say(report.draw(settings.work))
            self.screen.say(f"saved {settings.work / checkpoint.AVERAGE} at step {training.steps}")
            return True

    def _remaining(self, elapsed: float, steps: int, rate: float) -> float:
        """Seconds until the minutes are over, or the steps at this rate."""
        seconds = self.settings.minutes * 60 - elapsed
        if self.settings.steps is None:
            return seconds
        return min(seconds, (self.settings.steps - steps) * self.crops_per_step / rate)

    def _line(self, mean: torch.Tensor, rate: float, remaining: float) -> str:
        loss, bpp, mse = mean.tolist()
        psnr = 10 * math.log10(255**2 / max(mse, 1e-6))
        left = clock(remaining)
        return f"step {self.training.steps}, loss {loss:.3f}, {bpp:.3f} bpp, {psnr:.2f} dB, {rate:.1f} crops/s, {left} left"

    def _log(self, mean: list[float], rate: float) -> None:
        if self.ranks.rank:
            return
        t = self.training
        row: list[float | int] = [t.steps, t.crops, t.minutes, *mean, self.optimizer.param_groups[0]["lr"], rate]
        report.append_rows(self.settings.work / report.LOG, report.LOG_COLUMNS, [row])


def train(settings: Settings, screen: ProgressLine | None = None) -> bool:
    """Runs `settings` in its working folder; True if it ran to its end, False if a signal ended it. Raises JahpError."""
    with joined() as ranks:
        if ranks.rank:
            with open(os.devnull, "w", encoding="ascii") as nowhere:
                return Trainer(settings, ProgressLine(nowhere), ranks).train()
        with sole_user(settings.work):
            return Trainer(settings, screen or ProgressLine(sys.stdout, 1.0, 30.0), ranks).train()
