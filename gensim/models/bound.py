"""A variational autoencoder of frames, whose bounds on their log-probability compare with exact ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.models.bits import bits_per_dim, check_frames
from gensim.models.logistic import Colours, numbers

SPREAD = 6.0  # the posterior's log-deviation lies within plus and minus this


@dataclass(frozen=True)
class BoundConfig:
    """Sizes of a FrameVAE."""

    size: int = 64
    """Side of the square frame in pixels, a multiple of 2 ** halvings."""
    width: int = 24
    """Channels at full size; they double with each halving up to eight times as many."""
    halvings: int = 4
    """Halvings of the frame's sides on the way to the latent."""
    latent: int = 128
    """Numbers in the latent."""
    mixtures: int = 4
    """Logistic components of a pixel's colour."""
    shades: int = 256
    """Values of a channel; fewer than 256 for small image spaces."""

    def __post_init__(self) -> None:
        if min(self.size, self.width, self.halvings, self.latent, self.mixtures) < 1 or self.size % 2**self.halvings:
            raise ValueError(f"{self}: give sizes of at least 1, and a side that is a multiple of 2 ** halvings")
        if not 2 <= self.shades <= 256:
            raise ValueError(f"shades={self.shades}: give 2..256")

    @property
    def widths(self) -> list[int]:
        """Channels at full size and after each halving."""
        return [self.width * min(2**i, 8) for i in range(self.halvings + 1)]


class FrameVAE(nn.Module):
    """p(frame) = E over z of p(frame | z), z standard normal; colours given z are discretised, so that bits compare.

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114; Importance Weighted
    Autoencoders (Burda et al., 2015), arXiv:1509.00519.
    """

    def __init__(self, config: BoundConfig) -> None:
        super().__init__()
        self.config, widths = config, config.widths
        self.side, flat = config.size >> config.halvings, widths[-1] * (config.size >> config.halvings) ** 2
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in zip([3, *widths[1:]], widths[1:]))
        self.posterior = nn.Linear(flat, 2 * config.latent)
        self.inp = nn.Linear(config.latent, flat)
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in zip(widths[:0:-1], widths[-2::-1]))
        self.place = nn.Parameter(torch.zeros(1, widths[0], config.size, config.size))
        self.out = nn.Linear(widths[0], 3 + numbers(config.mixtures, 0))
        self._spread()

    def log_prob(self, frames: Tensor, samples: int = 16, seed: int = 0) -> Tensor:
        """Importance-weighted bounds (n,) in nats of frames (n, h, w, 3) uint8, tighter with more samples.

        On average over seeds it lies below the log-probability. All frames get the same noise, so that the figure of
        one does not depend on its neighbours.
        """
        weights = self.log_weights(frames, self._noise(samples, seed).to(frames.device))
        return weights.logsumexp(0) - math.log(samples)

    def elbo(self, frames: Tensor, samples: int = 1, seed: int = 0) -> Tensor:
        """Evidence lower bounds (n,) in nats: the mean of p(frame | z) less the divergence of q from the prior."""
        noise = self._noise(samples, seed).to(frames.device)
        mean, log_std = self.encode(frames)
        told = torch.stack([self.law(mean + log_std.exp() * eps).log_prob(frames).sum((1, 2)) for eps in noise])
        return told.mean(0) - divergence(mean, log_std)

    def log_weights(self, frames: Tensor, noise: Tensor) -> Tensor:
        """Log of p(frame, z) / q(z | frame) in nats, (k, n), at the z of noise (k, latent) or (k, n, latent)."""
        check_frames(frames, self.config.size, self.config.shades)
        mean, log_std = self.encode(frames)
        return torch.stack([self._log_weight(frames, mean, log_std, eps) for eps in noise])

    def loss(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean bits per dimension () of frames by the evidence lower bound, one sample a frame."""
        mean, log_std = self.encode(frames)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        told = self.law(mean + log_std.exp() * noise).log_prob(frames).sum((1, 2))
        return bits_per_dim(told - divergence(mean, log_std), frames).mean()

    def prepare(self, frames: Tensor, generator: torch.Generator | None = None) -> None:
        """Nothing is set by the first batch."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Frames (n, h, w, 3) uint8, their colours drawn too."""
        c, device = self.config, self.place.device
        z = torch.randn(n, c.latent, generator=generator, device=generator.device).to(device)
        uniform = torch.rand(n, c.size, c.size, 4, generator=generator, device=generator.device, dtype=torch.float64)
        return self.law(z).draw(uniform.to(device))

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-deviations (n, latent) of q(z | frame), float32."""
        check_frames(frames, self.config.size, self.config.shades)
        x = frames.movedim(-1, 1).float() * (2 / (self.config.shades - 1)) - 1  # (n, 3, h, w)
        for conv in self.down:
            x = F.silu(conv(x))  # (n, widths[i], h / 2, w / 2)
        mean, raw = self.posterior(x.flatten(1)).float().chunk(2, -1)
        return mean, SPREAD * torch.tanh(raw / SPREAD)

    def law(self, z: Tensor) -> Colours:
        """The law (n, h, w) of every pixel's colour given latents (n, latent)."""
        x = F.silu(self.inp(z)).unflatten(-1, (-1, self.side, self.side))  # (n, widths[-1], side, side)
        for i, conv in enumerate(self.up):
            x = conv(x)  # (n, widths[-2 - i], 2 side, 2 side)
            x = F.silu(x if i < len(self.up) - 1 else x + self.place.to(x.dtype))
        with torch.autocast(x.device.type, enabled=False):
            told = self.out(x.float().movedim(1, -1))  # (n, h, w, 3 + numbers)
            middle = (self.config.shades - 1) / 2
            anchor = (middle + middle * told[..., None, :3]).clamp(0, 2 * middle)  # (n, h, w, 1, 3)
            return Colours.of(told[..., 3:], anchor, anchor[..., :0, :], self.config.shades)

    def _log_weight(self, frames: Tensor, mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
        z = mean + log_std.exp() * noise  # (n, latent)
        ratio = 0.5 * (noise**2 - z**2) + log_std  # log of N(z; 0, 1) / q(z)
        return self.law(z).log_prob(frames).sum((1, 2)) + ratio.sum(-1)

    def _noise(self, samples: int, seed: int) -> Tensor:
        if samples < 1:
            raise ValueError(f"samples={samples}: give at least 1")
        return torch.randn(samples, self.config.latent, generator=torch.Generator().manual_seed(seed))

    def _spread(self) -> None:
        """Components begin near one mean, with scales from broad to narrow."""
        k = self.config.mixtures
        with torch.no_grad():
            self.out.weight[3:] *= 0.1
            self.out.bias[3:].zero_()
            self.out.bias[3 + 4 * k : 3 + 7 * k] = torch.linspace(3.5, 1.0, k).repeat_interleave(3)


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """The divergence (n,) in nats of normals with these means and log-deviations (n, d) from the standard normal."""
    return 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)
