"""What choices would behave like, and how near that is to failure, guessed from those that were looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 8  # equal parts of its law that each choice is told apart by
RIDGE = 10.0
LARGE = 4000  # unknowns beyond which so many of the last that were looked at are learned from
FRESH = 1000  # that are looked at between two fits
NEAREST, SOFT = 4, 0.05  # by whose severities one is guessed; standard deviations that make two as near


class Surrogate:
    """Guesses of behaviours, as sums of what each choice adds, and of severities, as those of like behaviours.

    Reference: Data-efficient design exploration through surrogate-assisted illumination (Gaier et al., 2018),
    arXiv:1806.05865.
    """

    def __init__(self) -> None:
        self.levels: list[NDArray[Any]] = []
        self.behaviours: list[NDArray[Any]] = []
        self.severities: list[NDArray[Any]] = []
        self.seen = self.fitted = 0
        self.adds: NDArray[Any] | None = None  # (dims, LEVELS, m)

    def tell(self, x: np.ndarray, behaviours: np.ndarray, severities: np.ndarray) -> None:
        """Takes choices (n, dims), their behaviours (n, m) in standard deviations, and severities (n,)."""
        self.levels.append(_levels(x))
        self.behaviours.append(behaviours)
        self.severities.append(severities)
        self.seen += len(x)
        if self.adds is None or self.seen - self.fitted >= FRESH:
            self.adds, self.fitted = self._fit(), self.seen
        self._near: Any = None

    def change(self, x: np.ndarray, y: np.ndarray) -> NDArray[Any]:
        """How behaviours (n, m) would change if choices x (n, dims) became y."""
        assert self.adds is not None
        dims = np.arange(x.shape[1])
        return np.asarray((self.adds[dims, _levels(y)] - self.adds[dims, _levels(x)]).sum(1))

    def severity(self, behaviours: np.ndarray) -> NDArray[Any]:
        """Guesses (n,) at behaviours (n, m)."""
        from scipy.spatial import cKDTree

        if self._near is None:
            self._near = cKDTree(np.concatenate(self.behaviours)), np.concatenate(self.severities)
        tree, severities = self._near
        far, at = tree.query(behaviours, k=min(NEAREST, len(severities)))
        weight = 1 / (far.reshape(len(behaviours), -1) + SOFT)
        return np.asarray((severities[at.reshape(weight.shape)] * weight).sum(1) / weight.sum(1))

    def _fit(self) -> NDArray[Any]:
        """What each level of each choice adds, by ridge regression, in whichever form is the smaller."""
        dims = self.levels[0].shape[1]
        last = LARGE if dims * LEVELS > LARGE else self.seen
        k, y = np.concatenate(self.levels)[-last:], np.concatenate(self.behaviours)[-last:]
        n, y = len(k), y - y.mean(0)
        x = np.zeros((n, dims * LEVELS), np.float32)
        x[np.arange(n)[:, None], np.arange(dims) * LEVELS + k] = 1
        if n < x.shape[1]:
            found = x.T @ np.linalg.solve(x @ x.T + RIDGE * np.eye(n, dtype=np.float32), y)
        else:
            found = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1], dtype=np.float32), x.T @ y)
        return np.asarray(found.reshape(dims, LEVELS, -1))


def _levels(x: np.ndarray) -> NDArray[Any]:
    """Which of equal parts of the standard normal law choices (n, dims) lie in."""
    from scipy.special import ndtr

    return np.minimum((ndtr(x) * LEVELS).astype(np.uint8), LEVELS - 1)
