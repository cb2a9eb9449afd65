"""COPOD and ECOD over a detector's statistics: parameter-free combinations of tails, as baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Head:
    """Sums of minus the logarithms of tail shares, on the side that each statistic is skewed to or on both.

    ECOD: Unsupervised Outlier Detection Using Empirical Cumulative Distribution Functions (Li et al., 2022),
    arXiv:2201.00382; COPOD: Copula-Based Outlier Detection (Li et al., 2020), arXiv:2009.09463. pyod has both, but
    ranks what it is asked about among itself, too; here the reference is fixed.

    Arguments:
        table: sorted statistics of usual frames (n, f).
        right: which are skewed to the right, bool (f,).
        kind: "copod" or "ecod".
    """

    table: np.ndarray
    right: np.ndarray
    kind: Literal["copod", "ecod"] = "ecod"

    @classmethod
    def fit(cls, values: np.ndarray, kind: Literal["copod", "ecod"] = "ecod") -> Head:
        """From statistics (n, f) of usual frames; ValueError for NaN."""
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError(f"statistics of shape {values.shape}: give finite (n, f)")
        centre = values - values.mean(0)
        return cls(np.sort(values, 0), (centre**3).mean(0) >= 0, kind)

    def score(self, values: np.ndarray) -> np.ndarray:
        """Scores (n,) of statistics (n, f); higher is more unusual."""
        left, right = (self._tail(np.asarray(values, np.float64), sign) for sign in (1, -1))
        skewed = np.where(self.right, right, left)
        if self.kind == "copod":
            return np.maximum(skewed, (left + right) / 2).sum(1)
        return np.maximum(np.maximum(left, right), skewed).sum(1)

    def _tail(self, values: np.ndarray, sign: int) -> np.ndarray:
        """Minus the logarithm of the share of usual values at least as far on one side, (n, f)."""
        n, found = len(self.table), np.empty(values.shape)
        for i, column in enumerate(self.table.T):
            if sign > 0:
                found[:, i] = np.searchsorted(column, values[:, i], side="right")
            else:
                found[:, i] = n - np.searchsorted(column, values[:, i], side="left")
        return -np.log((found + 1) / (n + 1))
