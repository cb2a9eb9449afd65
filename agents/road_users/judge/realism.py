"""How like two sets of pictures are, by features of them."""

from __future__ import annotations

import torch
from torch import Tensor


def precision_recall(real: Tensor, drawn: Tensor, nearest: int = 3) -> tuple[float, float]:
    """Share of what is drawn (m, d) that lies among the real (n, d), and of the real that lies among what is drawn.

    One set's pictures are each the middle of a ball that reaches to the `nearest`-th of its own; who is in any ball is
    among them.

    Reference: Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al., 2019),
    arXiv:1904.06991.

    Raises:
        ValueError: if a set has no more than `nearest` members.
    """
    if min(len(real), len(drawn)) <= nearest:
        raise ValueError(f"{len(real)} and {len(drawn)} pictures: give more than nearest={nearest} of each")
    return _among(drawn, real, nearest), _among(real, drawn, nearest)


def _among(some: Tensor, middles: Tensor, nearest: int) -> float:
    radius = torch.cat([torch.cdist(part, middles).kthvalue(nearest + 1, 1).values for part in middles.split(512)])
    inside = [(torch.cdist(part, middles) <= radius).any(1) for part in some.split(512)]
    return float(torch.cat(inside).float().mean())


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between the normal laws of two sets (n, d) and (m, d).

    Reference: GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017),
    arXiv:1706.08500.
    """
    a, b = a.double(), b.double()
    one, two = (torch.atleast_2d(x.T.cov()) for x in (a, b))
    root = _root(one)
    between = torch.linalg.eigvalsh(root @ two @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + one.trace() + two.trace() - 2 * between)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


class Whitened:
    """Features as seen along the main directions of real ones, each in its own spread.

    Arguments:
        real: features (n, f) that say which directions.
        kept: how many.
    """

    def __init__(self, real: Tensor, kept: int = 64) -> None:
        self.mean, self.spread = real.mean(0), real.std(0).clamp_min(1e-6)
        _, _, v = torch.linalg.svd(((real - self.mean) / self.spread).double(), full_matrices=False)
        self.axes = v[:kept].T.float()  # (f, kept)

    def __call__(self, features: Tensor) -> Tensor:
        """Features (n, kept) of features (n, f)."""
        return ((features - self.mean) / self.spread) @ self.axes
