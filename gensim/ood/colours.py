"""Which colours a frame has, wherever they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gensim.ood.gauss import Gauss

SHADES = 6  # of each channel that are told apart
RANK = 24


class Colours:
    """Shares of colours, brightness, contrast and saturation.

    Distances between shares are those of their roots (Hellinger).
    """

    group = "colours"
    names = ("colours inside", "colours outside", "brightness", "contrast", "saturation", "tint")

    def __init__(self, gauss: Gauss) -> None:
        self.gauss = gauss

    @classmethod
    def fit(cls, x: Tensor) -> Colours:
        """From frames (n, 3, h, w) in 0..1."""
        return cls(Gauss.fit(shares(x), RANK, scaled=False))

    def read(self, x: Tensor) -> Tensor:
        """(n, 6) of frames (n, 3, h, w) in 0..1."""
        mean = x.mean((2, 3))  # (n, 3)
        deviation = (x.square().mean((2, 3)) - mean.square()).clamp_min(0).sqrt()
        range_ = (x.amax(1) - x.amin(1)).mean((1, 2))
        tint = mean[:, 0] - mean[:, 2]
        plain = torch.stack([mean.mean(1), deviation.mean(1), range_, tint], -1)
        return torch.cat([self.gauss.read(shares(x)), plain], -1)

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return self.gauss.tensors(self.group)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Colours:
        """The reverse of `tensors`."""
        return cls(Gauss.of(tensors, cls.group))


def shares(x: Tensor) -> Tensor:
    """Roots of the shares (n, SHADES ** 3) of each colour in frames (n, 3, h, w) in 0..1."""
    shade = (x * (SHADES - 1e-3)).long()
    index = (shade[:, 0] * SHADES + shade[:, 1]) * SHADES + shade[:, 2]  # (n, h, w)
    return (counted(index.flatten(1), SHADES**3) / index[0].numel()).sqrt()


def counted(index: Tensor, bins: int) -> Tensor:
    """How often each index 0..bins-1 occurs in each row of (n, m), float32 (n, bins)."""
    n = len(index)
    offset = torch.arange(n)[:, None] * bins
    return torch.bincount((index + offset).flatten(), minlength=n * bins).view(n, bins).float()
