"""How much a pixel's error weighs in a fit: more in a part of the frame, and more where its colour is rare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHADES = 8  # of each channel that are told apart
MOST = 30.0  # times the mean pixel's weight, where those above are cut; colours that hardly occur say nothing
CHUNK = 64  # frames counted at once
Part = tuple[float, float, float, float, float]
"""Top, bottom, left and right as shares of a frame's sides, and a factor."""


@dataclass(frozen=True)
class Weights:
    """Weights of pixels' errors.

    Arguments:
        part: (h, w), by place.
        colours: (SHADES ** 3,), by colour; None weighs all alike.
    """

    part: Tensor
    colours: Tensor | None = None

    @classmethod
    def of(cls, shape: tuple[int, int], part: Part | None = None, frames: Tensor | None = None) -> Weights | None:
        """From a part to emphasise and frames (..., h, w, 3) to count colours in; None for neither.

        Reference: Colorful Image Colorization (Zhang et al., 2016), arXiv:1603.08511, rebalances colours likewise.
        """
        if part is None and frames is None:
            return None
        return cls(by_place(part, shape), None if frames is None else by_rarity(frames))

    def __call__(self, frames: Tensor, settled: float = 1.0) -> Tensor:
        """Weights (m, h, w) of frames (m, h, w, 3) in 0..255, of which a share is settled and the rest still 1."""
        weight = self.part.to(frames.device).expand(frames.shape[:-1])
        if self.colours is not None:
            weight = weight * self.colours.to(frames.device)[shades(frames)]
        return 1 + (weight - 1) * settled


def by_place(part: Part | None, shape: tuple[int, int]) -> Tensor:
    """(h, w): the factor in a part of the frame, 1 elsewhere."""
    weight = torch.ones(shape)
    if part is not None:
        top, bottom, left, right = (round(share * shape[i > 1]) for i, share in enumerate(part[:4]))
        weight[top:bottom, left:right] = part[4]
    return weight


def by_rarity(frames: Tensor) -> Tensor:
    """(SHADES ** 3,): one over the root of each colour's share of frames (..., h, w, 3), 1 over the mean pixel."""
    parts = frames.flatten(0, -4).split(CHUNK)
    count = torch.stack([torch.bincount(shades(part).flatten(), minlength=SHADES**3) for part in parts]).sum(0).double()
    share = count / count.sum()
    root = torch.where(count > 0, share, 1 / count.sum()).rsqrt()
    weight = (root / (share * root).sum()).clamp_max(MOST)
    return (weight / (share * weight).sum()).float()


def shades(frames: Tensor) -> Tensor:
    """Which of the SHADES ** 3 colours each pixel of uint8 frames (..., 3) has, int64 (...)."""
    shade = (frames >> 5).long()
    return (shade[..., 0] * SHADES + shade[..., 1]) * SHADES + shade[..., 2]
