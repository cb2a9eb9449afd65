"""What lies where: the frame at low resolution."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from gensim.ood.gauss import Gauss

SIDE = 16
RANK = 48


class Layout:
    """Distance of a small copy of the frame (see `small`) from usual ones, inside and outside principal directions."""

    group = "layout"
    names = ("layout inside", "layout outside")

    def __init__(self, gauss: Gauss) -> None:
        self.gauss = gauss

    @classmethod
    def fit(cls, x: Tensor) -> Layout:
        """From small copies (n, d) of frames."""
        return cls(Gauss.fit(x, RANK))

    def read(self, x: Tensor) -> Tensor:
        """(n, 2) of small copies (n, d)."""
        return self.gauss.read(x)

    def place(self, x: Tensor, rank: int) -> Tensor:
        """The first coordinates (n, rank) of small copies (n, d), in spreads of the first; 0 where there are fewer."""
        at = self.gauss.place(x)[:, :rank] / self.gauss.spread[0]
        return F.pad(at, (0, rank - at.shape[1]))

    def standard(self, x: Tensor) -> Tensor:
        """Small copies (n, d), each number less its mean and in deviations of its own."""
        return (x - self.gauss.mean) / self.gauss.scale

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return self.gauss.tensors(self.group)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Layout:
        """The reverse of `tensors`."""
        return cls(Gauss.of(tensors, cls.group))


def small(x: Tensor) -> Tensor:
    """Frames (n, 3, h, w) in 0..1 averaged to (n, 3 * 16 * 16)."""
    return F.avg_pool2d(x, x.shape[-1] // SIDE).flatten(1) if x.shape[-1] > SIDE else torch.flatten(x, 1)
