"""Values of a variable that lie on a small grid of scalars, so that neighbours mean nearly the same."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SHARP = 12.0  # of rounding: what lies right on a grid point is taken for a neighbour once in 160,000 times


class Levels(nn.Module):
    """Laws over grid points of scalars that are rounded with a little chance: p(k) ~ exp(-SHARP |x - k|^2).

    A mistake of one step changes a picture little, and a gradient goes through the rounding as if there were none.

    Reference: Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2023), arXiv:2309.15505.

    Arguments:
        classes: grid points; of two scalars where it is a product, else of one.
    """

    points: Tensor  # (classes, scalars) in steps, centred
    slopes: Tensor  # (scalars, classes), by which a function on the points has its mean slopes

    def __init__(self, classes: int) -> None:
        super().__init__()
        grid = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in sides(classes)), indexing="ij")
        points = torch.stack([axis.flatten() for axis in grid], -1)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("slopes", (points / points.square().sum(0)).T.contiguous(), persistent=False)

    @property
    def scalars(self) -> int:
        """How many scalars a variable has."""
        return self.points.shape[1]

    @property
    def unit(self) -> Tensor:
        """The grid points (classes, scalars) in -1..1."""
        return self.points / self.points.max(0).values

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-laws (..., classes) float32 of scalars (..., scalars), which are squashed into the grid."""
        x = x.float().tanh() * (self.points.max(0).values + 0.5)
        return -SHARP * ((x[..., None, :] - self.points) ** 2).sum(-1)

    def read(self, logits: Tensor) -> Tensor:
        """The scalars (..., scalars), in steps, that logits (..., classes) were made of; any constant may be added."""
        return (logits / (2 * SHARP) + self.points.square().sum(-1) / 2) @ self.slopes.T

    def straight(self, logits: Tensor, drawn: Tensor) -> Tensor:
        """Drawn one-hot values (..., classes) through which scalars' gradients go: as if nothing had been rounded."""
        x = self.read(logits)
        return drawn + (x - x.detach()) @ self.slopes


def begun(variables: int, classes: int, width: int) -> Tensor:
    """First vectors (variables * classes, width) of variables' values, in sum about 1 a number: neighbours alike."""
    unit = Levels(classes).unit  # (classes, scalars)
    return (unit @ torch.randn(variables, unit.shape[1], width)).flatten(0, 1) * variables**-0.5


def sides(classes: int) -> tuple[int, ...]:
    """Sides of the grid: two as near to each other as can be, or one for a prime."""
    low = next(n for n in range(math.isqrt(classes), 0, -1) if classes % n == 0)
    return (classes // low, low) if low > 1 else (classes,)
