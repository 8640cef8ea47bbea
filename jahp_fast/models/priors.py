# SPDX-License-Identifier: Apache-2.0
"""The five models: one analysis and synthesis transform, five priors over the latents.

Sources: `bmshj2018-*`: Ballé et al. (ICLR 2018). `mbt2018*`: Minnen, Ballé, Toderici (NeurIPS 2018), with the layer sizes of
CompressAI. Attribute names and state-dict keys are CompressAI's. Added are `gain` and `inv_gain` (rows, M), natural logarithms, one row a
quality (as in Cui et al., "Asymmetric gained deep image compression with continuous rate adaptation", CVPR 2021). Where there are several
rows, g_s's last two deconvolutions have as many: `g_s.6.0.weight` and so on in place of `g_s.6.weight`. Most of what transforms lose by
serving all qualities is lost there (docs/lab/011-one-model-for-all-qualities.md).

Quantisation is the paper's (form A): y_hat = round(gain * g_a(x)), an integer, and the mean lives in the entropy model alone.
In training the entropy model sees y plus uniform noise in [-1/2, 1/2) and g_s sees round(y) with a straight-through gradient.
z_hat = round(z), or z plus noise.

Legend of the drawings: EB factorised prior (entropy bottleneck), GC Gaussian conditional, C context_prediction (masked 5x5),
EP entropy_parameters (three 1x1 layers), Q rounding, xG and xG' multiplication by the gain and the inverse gain of the
quality's row.
"""

from __future__ import annotations

import abc
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from jahp_fast.constants import BY_ROW, LAMBDAS, STRIDE
from jahp_fast.errors import UsageError
from jahp_fast.models.compressible import Compressible
from jahp_fast.models.layers import GDN, DeconvByRow, EntropyBottleneck, MaskedConv2d, Rows, gaussian_likelihood, rounded, rows_at


@dataclass
class Coded:
    """What `forward` returns for a batch of B images."""

    x_hat: Tensor
    """(B, 3, H, W), not clamped."""
    y_bits: Tensor
    """(B,) estimated bits of the latents."""
    z_bits: Tensor
    """(B,) estimated bits of the hyper-latents; zeros where a model has none."""
    bpp: Tensor
    """(B,) bits of both, a pixel."""


def conv(in_channels: int, out_channels: int, kernel_size: int = 5, stride: int = 2) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)


def deconv(in_channels: int, out_channels: int, kernel_size: int = 5, stride: int = 2) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, output_padding=stride - 1)


def leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.01, inplace=True)


def relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)


def lambda_ladder(rows: int) -> Tensor:
    """(rows,) float32 trade-offs on 255^2 * MSE: the published eight, or as many in geometric steps over the same range."""
    if rows == len(LAMBDAS):
        return torch.tensor(LAMBDAS)
    if rows == 1:
        return torch.tensor([LAMBDAS[3]])
    return torch.logspace(math.log10(LAMBDAS[0]), math.log10(LAMBDAS[-1]), rows)


def each(values: Tensor, images: int) -> Tensor:
    """values (k, ...) for `images` images: as they are where k is 1 or `images`, else each for images / k neighbours."""
    return values if len(values) in (1, images) else values.repeat_interleave(images // len(values), 0)


class CompressionModel(Compressible, nn.Module, abc.ABC):
    """g_a, g_s and the gains; a subclass adds its prior over y_hat as `_prior`. update, compress and decompress: see Compressible.

    bf16: run all layers but each net's last in bfloat16 autocast (last layers, likelihoods, and GDN but for the factors of
    its sum, stay in float32). For training.
    """

    architecture: ClassVar[str]
    bf16: bool

    def __init__(self, N: int, M: int, rows: int) -> None:
        super().__init__()
        if min(N, M, rows) < 1:
            raise UsageError(f"N, M and rows must be positive, not {N}, {M} and {rows}")
        self.N, self.M, self.rows, self.bf16 = N, M, rows, False
        self.g_a = nn.Sequential(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        g_s: list[nn.Module] = [deconv(M, N), GDN(N, True), deconv(N, N), GDN(N, True), deconv(N, N), GDN(N, True), deconv(N, 3)]
        for i in BY_ROW if rows > 1 else ():
            g_s[i] = DeconvByRow(cast(nn.ConvTranspose2d, g_s[i]), rows)
        self.g_s = nn.Sequential(*g_s)
        # Steps a good model ends near: rate theory gives a step proportional to 1 / sqrt(lambda), and fresh g_a output is small.
        step = (lambda_ladder(rows) / LAMBDAS[3]).sqrt() * 6
        self.gain = nn.Parameter(step.log()[:, None].repeat(1, M))
        self.inv_gain = nn.Parameter(-step.log()[:, None].repeat(1, M))

    def _run(self, layers: nn.Sequential, x: Tensor, last_in_float: bool = True, q: Rows | None = None) -> Tensor:
        """q: for layers by row."""
        last = len(layers) - 1
        for i, layer in enumerate(layers):
            in_bf16 = self.bf16 and not (last_in_float and i == last)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=in_bf16):
                x = x if in_bf16 or x.dtype == torch.float64 else x.float()
                x = layer(x, q) if isinstance(layer, DeconvByRow) else layer(x)
        return x

    def analysis(self, x: Tensor, q: Rows) -> Tensor:
        """x (B, 3, H, W) in [0, 1] -> y (B, M, H/16, W/16), scaled by the gain and not rounded. H and W are multiples of 16.

        q: (k,) rows of the gains from 0, integers or floats between them, each for B / k neighbours of the batch; here and in `synthesis`.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % STRIDE or x.shape[3] % STRIDE:
            raise UsageError(f"an image batch must be (B, 3, H, W) with H and W multiples of {STRIDE}, not {tuple(x.shape)}")
        return self._run(self.g_a, x) * each(rows_at(self.gain, q).to(x.dtype).exp(), len(x))[..., None, None]

    def synthesis(self, y_hat: Tensor, q: Rows) -> Tensor:
        """y_hat (B, M, h, w), integers as floats -> x_hat (B, 3, 16 h, 16 w), not clamped."""
        inv_gain = each(rows_at(self.inv_gain, q).to(y_hat.dtype).exp(), len(y_hat))
        return self._run(self.g_s, y_hat * inv_gain[..., None, None], q=q)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """y (B, M, h, w), as `analysis` gives it -> z (B, N, ceil(h/4), ceil(w/4)), not rounded."""
        raise UsageError(f"{self.architecture} has no hyperprior")

    @abc.abstractmethod
    def _prior(self, y: Tensor, y_seen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Likelihoods of y_seen, and of z_hat or None. y: before rounding; y_seen: rounded, or with noise in training."""

    def quantile_loss(self) -> Tensor:
        """The auxiliary loss of the factorised prior, for an optimiser of its own over `quantiles`; 0 where a model has none."""
        bottleneck = getattr(self, "entropy_bottleneck", None)
        return self.gain.new_zeros(()) if bottleneck is None else bottleneck.quantile_loss()

    def forward(self, x: Tensor, q: Rows) -> Coded:
        """x (B, 3, H, W) in [0, 1], H and W multiples of 16; q (k,) as `analysis` takes it."""
        y = self.analysis(x, q)
        y_hat = rounded(y)
        p_y, p_z = self._prior(y, y + torch.rand_like(y) - 0.5 if self.training else y_hat)
        x_hat = self.synthesis(y_hat, q)
        y_bits = -p_y.log2().sum((1, 2, 3))
        z_bits = torch.zeros_like(y_bits) if p_z is None else -p_z.log2().sum((1, 2, 3))
        return Coded(x_hat, y_bits, z_bits, (y_bits + z_bits) / (x.shape[2] * x.shape[3]))


class FactorizedPrior(CompressionModel):
    """Each channel of y_hat has one distribution, wherever it stands.

    x -> g_a -> xG -> Q -> y_hat -> xG' -> g_s -> x_hat
                           |
                           EB
    """

    architecture = "bmshj2018-factorized"

    def __init__(self, N: int, M: int, rows: int = 8) -> None:
        super().__init__(N, M, rows)
        self.entropy_bottleneck = EntropyBottleneck(M)

    def _prior(self, y: Tensor, y_seen: Tensor) -> tuple[Tensor, None]:
        return self.entropy_bottleneck.likelihood(y_seen), None


class _Hyperprior(CompressionModel):
    """What the three models with hyper-latents share: h_a, EB and the crop of h_s's output to y's size."""

    h_a: nn.Sequential
    h_s: nn.Sequential

    def __init__(self, N: int, M: int, rows: int) -> None:
        super().__init__(N, M, rows)
        self.entropy_bottleneck = EntropyBottleneck(N)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        return self._run(self.h_a, y)

    def hyper_synthesis(self, z_hat: Tensor, h: int, w: int) -> Tensor:
        """z_hat (B, N, ceil(h/4), ceil(w/4)) -> what the hyperprior says of each latent, (B, channels, h, w)."""
        return self._run(self.h_s, z_hat)[:, :, :h, :w]

    @abc.abstractmethod
    def distribution(self, y_hat: Tensor, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """(scale, mean), each (B, M, h, w), mean None for 0; scale as the net gives it, before its lower bound.

        Position (r, c) depends on z_hat and on causal positions of y_hat alone.
        """

    def _prior(self, y: Tensor, y_seen: Tensor) -> tuple[Tensor, Tensor]:
        z_hat, p_z = self.entropy_bottleneck(self.hyper_analysis(y))
        scale, mean = self.distribution(y_seen, z_hat)
        return gaussian_likelihood(y_seen, scale, mean), p_z


class ScaleHyperprior(_Hyperprior):
    """Hyper-latents give each latent's scale; its mean is 0.

    x -> g_a -> xG -> y --> Q ---> y_hat -> xG' -> g_s -> x_hat
                      |            |
                     |.|           GC
                      |            | scale
                      h_a -> Q --> h_s
                             |
                             EB
    """

    architecture = "bmshj2018-hyperprior"

    def __init__(self, N: int, M: int, rows: int = 8) -> None:
        super().__init__(N, M, rows)
        self.h_a = nn.Sequential(conv(M, N, 3, 1), relu(), conv(N, N), relu(), conv(N, N))
        self.h_s = nn.Sequential(deconv(N, N), relu(), deconv(N, N), relu(), conv(N, M, 3, 1), relu())

    def hyper_analysis(self, y: Tensor) -> Tensor:
        return self._run(self.h_a, y.abs())

    def hyper_synthesis(self, z_hat: Tensor, h: int, w: int) -> Tensor:
        # The ReLU at the end has no weights: the layer before it is the net's last and runs in float32.
        layers = cast(nn.Sequential, self.h_s[:-1])
        return cast(Tensor, self.h_s[-1](self._run(layers, z_hat)))[:, :, :h, :w]

    def distribution(self, y_hat: Tensor, z_hat: Tensor) -> tuple[Tensor, None]:
        return self.hyper_synthesis(z_hat, y_hat.shape[2], y_hat.shape[3]), None


class MeanScaleHyperprior(_Hyperprior):
    """Hyper-latents give each latent's scale and mean.

    x -> g_a -> xG -> y --> Q ---> y_hat -> xG' -> g_s -> x_hat
                      |            |
                      |            GC
                      |            | scale, mean
                      h_a -> Q --> h_s
                             |
                             EB
    """

    architecture = "mbt2018-mean"

    def __init__(self, N: int, M: int, rows: int = 8) -> None:
        super().__init__(N, M, rows)
        self.h_a = nn.Sequential(conv(M, N, 3, 1), leaky(), conv(N, N), leaky(), conv(N, N))
        self.h_s = nn.Sequential(deconv(N, M), leaky(), deconv(M, M * 3 // 2), leaky(), conv(M * 3 // 2, M * 2, 3, 1))

    def distribution(self, y_hat: Tensor, z_hat: Tensor) -> tuple[Tensor, Tensor]:
        scale, mean = self.hyper_synthesis(z_hat, y_hat.shape[2], y_hat.shape[3]).chunk(2, 1)
        return scale, mean


def entropy_parameters(channels: int, M: int) -> nn.Sequential:
    """Three 1x1 layers to 2 M channels, M scales first and M means after them."""
    widths = (channels, M * 10 // 3, M * 8 // 3, M * 2)
    first, second, third = (nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(widths))
    return nn.Sequential(first, leaky(), second, leaky(), third)


class ContextPrior(CompressionModel):
    """Scale and mean of each latent out of its causal 5x5 neighbourhood alone, without hyper-latents.

    x -> g_a -> xG -> Q -> y_hat -> xG' -> g_s -> x_hat
                           |   |
                           GC  C
           scale, mean     |   |
                           EP <-
    """

    architecture = "mbt2018-context"

    def __init__(self, N: int, M: int, rows: int = 8) -> None:
        super().__init__(N, M, rows)
        self.context_prediction = MaskedConv2d(M, 2 * M)
        self.entropy_parameters = entropy_parameters(2 * M, M)

    def distribution(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, mean), each (B, M, h, w); position (r, c) depends on causal positions of y_hat alone."""
        with torch.autocast(y_hat.device.type, torch.bfloat16, enabled=self.bf16):
            context = self.context_prediction(y_hat)
        scale, mean = self._run(self.entropy_parameters, context).chunk(2, 1)
        return scale, mean

    def _prior(self, y: Tensor, y_seen: Tensor) -> tuple[Tensor, None]:
        return gaussian_likelihood(y_seen, *self.distribution(y_seen)), None


class JointAutoregressiveHierarchicalPriors(_Hyperprior):
    """Scale and mean of each latent out of the hyper-latents and its causal 5x5 neighbourhood together.

        x -> g_a -> xG -> y --> Q -------> y_hat -> xG' -> g_s -> x_hat
                          |                |   |
                          |                GC  C
                          |    scale, mean |   |
                          |                EP <-
                          |                |
                          h_a -> Q -> h_s -+
                                 |
                                 EB

    EP's input is h_s's output first and the context second.
    """

    architecture = "mbt2018"

    def __init__(self, N: int, M: int, rows: int = 8) -> None:
        super().__init__(N, M, rows)
        self.h_a = nn.Sequential(conv(M, N, 3, 1), leaky(), conv(N, N), leaky(), conv(N, N))
        self.h_s = nn.Sequential(deconv(N, M), leaky(), deconv(M, M * 3 // 2), leaky(), conv(M * 3 // 2, M * 2, 3, 1))
        self.context_prediction = MaskedConv2d(M, 2 * M)
        self.entropy_parameters = entropy_parameters(4 * M, M)

    def hyper_synthesis(self, z_hat: Tensor, h: int, w: int) -> Tensor:
        return self._run(self.h_s, z_hat, last_in_float=False)[:, :, :h, :w]  # an inner layer here: EP comes after it

    def distribution(self, y_hat: Tensor, z_hat: Tensor) -> tuple[Tensor, Tensor]:
        hyper = self.hyper_synthesis(z_hat, y_hat.shape[2], y_hat.shape[3])
        with torch.autocast(y_hat.device.type, torch.bfloat16, enabled=self.bf16):
            context = self.context_prediction(y_hat)
        scale, mean = self._run(self.entropy_parameters, torch.cat((hyper, context), 1)).chunk(2, 1)
        return scale, mean
