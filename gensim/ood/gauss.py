"""A normal law of a few directions: how far a vector lies inside them, and how far outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-12
FLOOR = 1e-4  # of the mean variance: what varies less is taken to vary so much


@dataclass(frozen=True)
class Gauss:
    """Principal directions of vectors, in units of each number's own spread.

    Probabilistic Principal Component Analysis (Tipping and Bishop, 1999), doi:10.1111/1467-9868.00196.

    Arguments:
        mean: (d,).
        scale: (d,), what each number is divided by.
        basis: (d, k), orthonormal.
        spread: (k,), standard deviations along the basis.
        rest: (), mean variance of the directions left out.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor
    spread: Tensor
    rest: Tensor

    @classmethod
    def fit(cls, rows: Tensor, rank: int, scaled: bool = True) -> Gauss:
        """From rows (n, d); `scaled` divides each number by its own deviation, shrunk to their mean.

        A quarter of the directions at least is left out: of none, what lies outside would be rounding errors.
        """
        x = rows.double()
        mean, deviation = x.mean(0), x.std(0, unbiased=False)
        scale = deviation + 0.1 * deviation.mean() + TINY if scaled else torch.ones_like(deviation)
        x = (x - mean) / scale
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        values = values + FLOOR * values.mean() + TINY
        k = max(min(rank, 3 * len(values) // 4, len(x) // 4), 1)
        rest = values[k:].mean() if k < len(values) else values[-1]
        basis = vectors[:, :k] * _sign(vectors[:, :k])
        return cls(*(t.float().contiguous() for t in (mean, scale, basis, values[:k].sqrt(), rest)))

    def place(self, rows: Tensor) -> Tensor:
        """Coordinates (..., k) of rows (..., d) along the basis, not divided by their spread."""
        return ((rows - self.mean) / self.scale) @ self.basis

    def read(self, rows: Tensor) -> Tensor:
        """Logarithms of the mean square inside and outside the basis, (..., 2)."""
        x = (rows - self.mean) / self.scale
        at = x @ self.basis  # (..., k)
        inside = (at / self.spread).square().mean(-1)
        left = (x.square().sum(-1) - at.square().sum(-1)).clamp_min(0)
        outside = left / (self.rest * max(len(self.mean) - len(self.spread), 1))
        return torch.stack([inside, outside], -1).add(1e-3).log()

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Its numbers by name."""
        return {f"{prefix}.{name}": value for name, value in vars(self).items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], prefix: str) -> Gauss:
        """The reverse of `tensors`; KeyError when something is missing."""
        return cls(*(tensors[f"{prefix}.{name}"] for name in ("mean", "scale", "basis", "spread", "rest")))


def _sign(vectors: Tensor) -> Tensor:
    """Signs (k,) that make each column's largest number positive, so that equal data give equal bases."""
    largest = vectors.abs().argmax(0)
    return torch.where(vectors.gather(0, largest[None])[0] < 0, -1.0, 1.0)
