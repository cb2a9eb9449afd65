"""An invertible flow for frames over several scales: exact densities of dequantised frames, and samples in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.bits import bits_per_dim, check_frames

MARGIN = 0.05  # of the logit's domain that is left free at either end
CAP = 2.0  # of a coupling's log-scale
CHUNK = 16  # frames that are drawn at once


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of an ImageFlow."""

    size: int = 64
    """Side of the square frame in pixels, a multiple of 2 ** levels."""
    levels: int = 3
    """Scales; each halves the sides, and all but the last let half of the channels go."""
    steps: int = 6
    """Steps of normalising, mixing and coupling at each scale."""
    width: int = 48
    """Channels within a coupling."""

    def __post_init__(self) -> None:
        if min(self.size, self.levels, self.steps, self.width) < 1 or self.size % 2**self.levels:
            raise ValueError(f"{self}: give sizes of at least 1, and a side that is a multiple of 2 ** levels")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Channels and side at each scale."""
        return [(12 * 2**i, self.size >> (i + 1)) for i in range(self.levels)]


class Norm(nn.Module):
    """A shift and a scale for each channel, set so that the first batch leaves with mean 0 and deviation 1.

    Reference: Glow (Kingma and Dhariwal, 2018), arXiv:1807.03039.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (n, c, h, w) to the same shape and the log-determinants (n,)."""
        grown = self.log_scale.sum() * x.shape[2] * x.shape[3]
        return (x + self.shift) * self.log_scale.exp(), grown.expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        """The reverse of `forward`."""
        return y * (-self.log_scale).exp() - self.shift

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Sets shift and scale by a batch (n, c, h, w)."""
        spread, mean = torch.std_mean(x, (0, 2, 3), keepdim=True, correction=0)
        self.shift.copy_(-mean)
        self.log_scale.copy_(-spread.clamp_min(1e-3).log())


class Mixing(nn.Module):
    """A 1 x 1 convolution that is kept as the factors of its matrix, so that its determinant is at hand.

    Reference: Glow (Kingma and Dhariwal, 2018), arXiv:1807.03039.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        turn = torch.linalg.qr(torch.randn(channels, channels)).Q
        order, lower, upper = torch.linalg.lu(turn)
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
        self.log_scale = nn.Parameter(upper.diagonal().abs().log())
        self.register_buffer("order", order)
        self.register_buffer("sign", upper.diagonal().sign())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (n, c, h, w) to the same shape and the log-determinants (n,)."""
        lower, upper = self._factors()
        grown = self.log_scale.sum() * x.shape[2] * x.shape[3]
        return _mixed(x, self.order, lower, upper), grown.expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        """The reverse of `forward`."""
        lower, upper = (factor.double() for factor in self._factors())
        x = torch.linalg.solve_triangular(lower, self.order.double().T, upper=False, unitriangular=True)
        return _mixed(y, torch.linalg.solve_triangular(upper, x, upper=True).to(y.dtype))

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(len(self.sign), device=self.sign.device)
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())


class Coupling(nn.Module):
    """One half of the channels says how the other half is scaled and shifted; at first not at all.

    Reference: Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        half = channels // 2
        self.net = nn.Sequential(
            nn.Conv2d(half, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(),
            nn.Conv2d(width, 2 * half, 3, 1, 1),
        )  # fmt: skip
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (n, c, h, w) to the same shape and the log-determinants (n,)."""
        told, moved = x.chunk(2, 1)
        log_scale, shift = self._law(told)
        return torch.cat([told, (moved + shift) * log_scale.exp()], 1), log_scale.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """The reverse of `forward`."""
        told, moved = y.chunk(2, 1)
        log_scale, shift = self._law(told)
        return torch.cat([told, moved * (-log_scale).exp() - shift], 1)

    def _law(self, told: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(told).to(told.dtype).chunk(2, 1)
        return CAP * torch.tanh(raw / CAP), shift


class Split(nn.Module):
    """Lets half of the channels go, as standard normal as the other half can say; the last scale lets all go."""

    def __init__(self, channels: int, side: int, last: bool) -> None:
        super().__init__()
        self.last = last
        kept = 0 if last else channels // 2
        self.place = nn.Parameter(torch.zeros(1, 2 * (channels - kept), side, side))
        self.net = None if last else nn.Conv2d(kept, 2 * kept, 3, 1, 1)
        if self.net is not None:
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Maps (n, c, h, w) to what is kept, what goes, whitened (n, d), and the log-determinants (n,)."""
        kept, gone = (None, x) if self.last else x.chunk(2, 1)
        mean, log_scale = self._law(kept, len(x))
        return kept, ((gone - mean) * (-log_scale).exp()).flatten(1), -log_scale.flatten(1).sum(1)

    def inverse(self, kept: Tensor | None, z: Tensor) -> Tensor:
        """The reverse of `forward`."""
        mean, log_scale = self._law(kept, len(z))
        gone = z.view_as(mean) * log_scale.exp() + mean
        return gone if kept is None else torch.cat([kept, gone], 1)

    def _law(self, kept: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        told = self.place if self.net is None else self.place + self.net(kept).to(self.place.dtype)
        mean, raw = told.expand(n, -1, -1, -1).chunk(2, 1)
        return mean, 3 * torch.tanh(raw / 3)


class ImageFlow(nn.Module):
    """A bijection between frames with noise below one shade and standard normal numbers, over several scales.

    A frame is dequantised with uniform noise, taken to the logit, and at every scale squeezed, mixed, coupled and
    halved. The log-probability of a frame is bounded from below by the mean over the noise of what `log_prob` says.

    Reference: Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803; Glow: Generative Flow with
    Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.steps = nn.ModuleList(
            nn.ModuleList(_step(channels, config.width) for _ in range(config.steps)) for channels, _ in config.shapes
        )
        self.splits = nn.ModuleList(
            Split(channels, side, i == config.levels - 1) for i, (channels, side) in enumerate(config.shapes)
        )

    def log_prob(self, frames: Tensor, seed: int = 0) -> Tensor:
        """Log-probabilities (n,) of frames (n, h, w, 3) uint8 in nats, a bound on average over seeds of the noise.

        All frames get the same noise, so that the figure of one does not depend on its neighbours.
        """
        shape = (1, self.config.size, self.config.size, 3)
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        return self.log_prob_of(frames, noise.to(frames.device))

    def log_prob_of(self, frames: Tensor, noise: Tensor) -> Tensor:
        """The same under given noise (n or 1, h, w, 3) in 0..1; ValueError for frames of another size."""
        check_frames(frames, self.config.size)
        dequantised = (frames.float() + noise) / 256
        with torch.autocast(frames.device.type, enabled=False):
            x, first = _logit(dequantised.movedim(-1, 1))  # (n, 3, h, w)
        z, grown = self(x)
        normal = -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
        return normal + grown + first - z.shape[1] * math.log(256)

    def loss(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean bits per dimension () of frames under noise of their own."""
        noise = torch.rand(frames.shape, generator=generator, device=frames.device)
        return bits_per_dim(self.log_prob_of(frames, noise), frames).mean()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Frames (n, h, w, 3) uint8."""
        z = torch.randn(n, 3 * self.config.size**2, generator=generator, device=generator.device)
        z = z.to(next(self.parameters()).device)
        shares = [(torch.sigmoid(self.inverse(part)) - MARGIN) / (1 - 2 * MARGIN) for part in z.split(CHUNK)]
        return (torch.cat(shares) * 256).floor().clamp(0, 255).byte().movedim(1, -1).contiguous()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps logits (n, 3, h, w) to standard normal numbers (n, 3 h w) and the log-determinants (n,)."""
        gone: list[Tensor] = []
        grown = x.new_zeros(len(x))
        for layers, split in self._scales():
            x = F.pixel_unshuffle(x, 2)  # (n, 4 c, h / 2, w / 2)
            for layer in layers:
                x, more = layer(x)
                grown = grown + more
            x, z, more = split(x)
            gone.append(z)
            grown = grown + more
        return torch.cat(gone, 1), grown

    def inverse(self, z: Tensor) -> Tensor:
        """The reverse of `forward`: logits (n, 3, h, w) from numbers (n, 3 h w)."""
        scales = self._scales()
        x: Any = None
        parts = z.split([split.place[0].numel() // 2 for _, split in scales], 1)
        for (layers, split), part in zip(scales[::-1], parts[::-1]):
            x = split.inverse(x, part)
            for layer in layers[::-1]:
                x = layer.inverse(x)
            x = F.pixel_shuffle(x, 2)  # (n, c / 4, 2 h, 2 w)
        return x

    @torch.no_grad()
    def prepare(self, frames: Tensor, generator: torch.Generator | None = None) -> None:
        """Sets every normalisation by a first batch of frames (n, h, w, 3)."""
        noise = torch.rand(frames.shape, generator=generator, device=frames.device)
        x, _ = _logit(((frames.float() + noise) / 256).movedim(-1, 1))
        for layers, split in self._scales():
            x = F.pixel_unshuffle(x, 2)
            for layer in layers:
                if isinstance(layer, Norm):
                    layer.settle(x)
                x, _ = layer(x)
            x, _, _ = split(x)

    def _scales(self) -> list[tuple[list[Any], Any]]:
        """The layers of each scale in order, and its split."""
        scales: Any = zip(self.steps, self.splits)
        return [([layer for step in steps for layer in step], split) for steps, split in scales]


def _step(channels: int, width: int) -> nn.ModuleList:
    return nn.ModuleList([Norm(channels), Mixing(channels), Coupling(channels, width)])


def _mixed(x: Tensor, *factors: Tensor) -> Tensor:
    """Channels of x (n, c, h, w) through a product of matrices (c, c), never in bfloat16: that cannot be undone."""
    with torch.autocast(x.device.type, enabled=False):
        matrix = reduce(torch.matmul, factors)
        return F.conv2d(x, matrix[:, :, None, None])


def _logit(share: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (n, ...) in 0..1 to the real line, and the log-determinants (n,)."""
    p = MARGIN + (1 - 2 * MARGIN) * share
    slope = math.log(1 - 2 * MARGIN) - p.log() - (-p).log1p()
    return p.logit(), slope.flatten(1).sum(1)
