"""Events whose probability is known, in several separate regions: what estimators are tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np

from gensim.rare.problem import Problem


@dataclass(frozen=True)
class Known:
    """A problem of which the answer is known: `made()` is one that has counted no calls yet.

    Arguments:
        dims: how many choices.
        regions: how many ways to fail there are, and which of them choices (n, dims) are in (n,), -1 for none.
        p: probability.
    """

    dims: int
    regions: int
    p: float
    severity: Callable[[np.ndarray], np.ndarray]
    region: Callable[[np.ndarray], np.ndarray]

    def made(self) -> Problem:
        """The problem."""
        return Problem(self.dims, self.severity)


def halves(dims: int = 30, limits: tuple[float, ...] = (4.95, 5.0, 5.1, 5.2), seed: int = 0) -> Known:
    """Half-spaces at right angles to each other: choices beyond a limit along some direction."""
    ways = _directions(dims, len(limits), seed)
    each = np.array([_tail(limit) for limit in limits])
    return _union(dims, lambda x: np.array(limits) - x @ ways.T, each)


def bent(
    dims: int = 20, limits: tuple[float, ...] = (4.4, 4.5, 4.5, 4.6, 4.7), bend: float = 0.3, seed: int = 1
) -> Known:
    """Regions with a bent edge: the limit rises with the square of what is drawn along another direction."""
    ways = _directions(dims, 2 * len(limits), seed)
    ahead, across = ways[: len(limits)], ways[len(limits) :]
    t = np.linspace(-9, 9, 4001)
    law = np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)
    each = np.array([np.trapezoid(np.array([_tail(limit + bend * s * s) for s in t]) * law, t) for limit in limits])
    return _union(dims, lambda x: np.array(limits) + bend * (x @ across.T) ** 2 - x @ ahead.T, each)


def corners(dims: int = 40, limits: tuple[float, ...] = (3.3, 3.4, 3.5), seed: int = 2) -> Known:
    """Corners: two directions at once beyond a limit each, on three pairs of directions."""
    ways = _directions(dims, 2 * len(limits), seed)
    one, two = ways[: len(limits)], ways[len(limits) :]
    each = np.array([_tail(limit) ** 2 for limit in limits])
    return _union(dims, lambda x: np.maximum(np.array(limits) - x @ one.T, np.array(limits) - x @ two.T), each)


def _union(dims: int, gaps: Callable[[np.ndarray], np.ndarray], each: np.ndarray) -> Known:
    """Independent regions: severities (n, k) of each, and their probabilities (k,)."""

    def region(x: np.ndarray) -> np.ndarray:
        own = gaps(x)
        return np.where(own.min(1) <= 0, own.argmin(1), -1)

    p = float(-np.expm1(np.log1p(-each).sum()))
    return Known(dims, len(each), p, lambda x: gaps(x).min(1), region)


def _directions(dims: int, many: int, seed: int) -> np.ndarray:
    """Unit vectors (many, dims) at right angles to each other."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dims, many)))[0].T


def _tail(limit: float) -> float:
    """Probability that a standard normal number is beyond a limit."""
    return erfc(limit / sqrt(2)) / 2


KNOWN: dict[str, Callable[[], Known]] = {"halves": halves, "bent": bent, "corners": corners}
