"""What a small VAE says on the way to its likelihood: how well it draws a frame, and where it keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.ood.gauss import Gauss
from gensim.ood.patches import cut
from gensim.ood.training import seeded, train

LATENT = 32
PATCH = 8
WIDE, TOLD, HIDDEN = 96, 24, 256  # numbers of a patch at first, that go on from it, and of all patches together
CENTRES = 128
ROUNDS = 12  # in which centres settle
BATCH = 64
RATE = 1e-3
QUIETEST = -9.0  # log-variance below which no pixel is held to be sure


class Vae(nn.Module):
    """Frames through `LATENT` numbers and back; each pixel has a variance of its own, which all frames share.

    Patches are read one by one and together by dense layers: at a frame at a time these cost far less than
    convolutions.
    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.side = size // PATCH
        wide, places = 3 * PATCH * PATCH, self.side**2
        self.read = nn.Linear(wide, WIDE)
        self.keep = nn.Linear(WIDE, TOLD)
        self.join = nn.Linear(places * TOLD, HIDDEN)
        self.mark = nn.Linear(HIDDEN, 2 * LATENT)
        self.open = nn.Linear(LATENT, HIDDEN)
        self.part = nn.Linear(HIDDEN, places * TOLD)
        self.grow = nn.Linear(TOLD, WIDE)
        self.draw = nn.Linear(WIDE, wide)
        self.plain = nn.Parameter(torch.zeros(places, wide))
        self.noise = nn.Parameter(torch.full((places, wide), -4.0))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances (n, LATENT) of patches (n, p, d) in 0..1."""
        x = F.silu(self.read(x * 2 - 1))  # (n, p, WIDE)
        x = F.silu(self.keep(x)).flatten(1)  # (n, p * TOLD)
        mean, spread = self.mark(F.silu(self.join(x))).chunk(2, -1)
        return mean, spread.clamp(-12, 6)

    def decode(self, z: Tensor) -> Tensor:
        """Patches (n, p, d), about 0..1, of latents (n, LATENT)."""
        x = F.silu(self.part(F.silu(self.open(z)))).unflatten(-1, (-1, TOLD))  # (n, p, TOLD)
        return self.draw(F.silu(self.grow(x))) * 0.5 + 0.5 + self.plain  # (n, p, d)

    def surprise(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Nats (n, p, d) of each number under the drawing, but for a constant."""
        noise = self.noise.clamp_min(QUIETEST)
        return 0.5 * ((x - drawn).square() * (-noise).exp() + noise)

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """Minus the evidence lower bound in nats a number, but for a constant."""
        mean, spread = self.encode(x)
        z = mean + noise * (spread / 2).exp()
        return self.surprise(x, self.decode(z)).mean() + divergence(mean, spread).mean() / x[0].numel()


def divergence(mean: Tensor, spread: Tensor) -> Tensor:
    """Nats (n,) between normal laws of these means and log-variances and the standard one."""
    return 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(-1)


class Bottleneck:
    """Statistics along a VAE's path to its likelihood, and distances among its latents.

    Rethinking Test-time Likelihood: The Likelihood Path Principle and Its Application to OOD Detection (Huang et al.,
    2024), arXiv:2401.04933, has the path; the VAE's own likelihood is "bound".

    Arguments:
        vae: the network, in eval mode.
        table: mean and deviation of the log-error by cell (2, p).
        gauss: the law of the latents' means.
        centres: places among them (CENTRES, k).
    """

    group = "drawing"
    names = (
        "drawing error",
        "bound",
        "rate",
        "cells drawn",
        "worst cell drawn",
        "latent norm",
        "latent spread",
        "latents inside",
        "latents outside",
        "nearest latent",
    )

    def __init__(self, vae: Vae, table: Tensor, gauss: Gauss, centres: Tensor) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.table, self.gauss, self.centres = table, gauss, centres

    @classmethod
    def fit(cls, x: Tensor, steps: int, seed: int, work: Path, quiet: bool = True) -> Bottleneck:
        """From uint8 frames (n, h, w, 3); training that was stopped goes on from `work`."""
        vae = seeded(lambda: Vae(x.shape[1]), seed)
        assert isinstance(vae, Vae)

        def loss(rng: np.random.Generator) -> Tensor:
            rows = torch.from_numpy(rng.integers(len(x), size=min(BATCH, len(x))))
            noise = torch.from_numpy(rng.standard_normal((len(rows), LATENT), np.float32))
            return vae.loss(cut(unit(x[rows])), noise)

        train(vae, loss, steps, RATE, seed, work / "vae.safetensors", quiet)
        vae.eval()
        with torch.no_grad():
            parts = [_through(vae, cut(unit(part))) for part in x.split(128)]
        means, errors = torch.cat([p[0] for p in parts]), torch.cat([_cells(p[3]) for p in parts])
        gauss = Gauss.fit(means, LATENT * 3 // 4)
        deviation = errors.std(0, unbiased=False)
        table = torch.stack([errors.mean(0), deviation + 0.1 * deviation.mean() + 1e-3])
        return cls(vae, table, gauss, _settled(_white(gauss, means), seed))

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 10) of patches (n, p, d) in 0..1, and their latents' means (n, LATENT)."""
        mean, spread, nats, error = _through(self.vae, x)
        rate = divergence(mean, spread)
        cells = (_cells(error) - self.table[0]) / self.table[1]
        near = (_white(self.gauss, mean)[:, None] - self.centres).square().mean(-1).amin(1)
        plain = [
            error.mean((1, 2)).add(1e-6).log(),
            nats.sum((1, 2)) + rate,
            rate.add(1e-3).log(),
            cells.mean(1),
            cells.amax(1),
            mean.square().sum(1).add(1e-3).log(),
            spread.mean(1),
        ]
        whole = torch.cat([torch.stack(plain, -1), self.gauss.read(mean), near.add(1e-3).log()[:, None]], -1)
        return whole, mean

    def heat(self, x: Tensor) -> Tensor:
        """Standard scores of the error by cell, (n, p)."""
        return (_cells(_through(self.vae, x)[3]) - self.table[0]) / self.table[1]

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        net = {f"vae.{name}": value for name, value in self.vae.state_dict().items()}
        return net | self.gauss.tensors("latents") | {"vae.table": self.table, "vae.centres": self.centres}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], size: int) -> Bottleneck:
        """The reverse of `tensors`; KeyError or RuntimeError when they do not fit."""
        vae = seeded(lambda: Vae(size), 0)
        assert isinstance(vae, Vae)
        vae.load_state_dict({name: tensors[f"vae.{name}"] for name in vae.state_dict()})
        return cls(vae, tensors["vae.table"], Gauss.of(tensors, "latents"), tensors["vae.centres"])


def unit(frames: Tensor) -> Tensor:
    """uint8 frames (n, h, w, 3) as float32 (n, 3, h, w) in 0..1."""
    return frames.permute(0, 3, 1, 2).float().div(255.0).contiguous()


def _through(vae: Vae, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents' means and log-variances, nats of each number, squared errors."""
    mean, spread = vae.encode(x)
    drawn = vae.decode(mean)
    return mean, spread, vae.surprise(x, drawn), (x - drawn).square()


def _cells(error: Tensor) -> Tensor:
    """Log-means (n, p) of squared errors (n, p, d)."""
    return error.mean(-1).add(1e-6).log()


def _white(gauss: Gauss, means: Tensor) -> Tensor:
    return gauss.place(means) / gauss.spread


def _settled(rows: Tensor, seed: int) -> Tensor:
    """Centres (CENTRES, k) of rows (n, k): Lloyd's, from rows drawn under a seed."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**61]))
    centres = rows[torch.from_numpy(rng.permutation(len(rows))[:CENTRES].copy())].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(rows, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        count = torch.zeros(len(centres)).index_add_(0, nearest, torch.ones(len(rows)))
        total = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], centres)
    return centres
