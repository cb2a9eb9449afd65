"""Many statistics as one score: each as its rank among usual frames, then together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

LEVELS = 129  # quantiles that are kept of each statistic
EDGE = 0.01  # share of either tail that a straight line stands for
STEEPEST = 0.2  # of the way from the median to the highest quantile, at the least, is one deviation beyond it
SHRINK = 0.2  # how far correlations are drawn to none
CHUNK = 256  # rows at once
FOLDS = 5  # parts of the episodes that are judged by the others
FARTHEST = 1e4  # deviations at which a score is cut


@dataclass(frozen=True)
class Scale:
    """Statistics as normal scores by the quantiles of usual frames; beyond those, along straight lines.

    Arguments:
        table: quantiles of f statistics, each row sorted (f, LEVELS).
        slope: normal scores a unit below the lowest and above the highest quantile (f, 2).
        side: where each statistic is unusual: 1 high alone, -1 low alone, 0 both, int64 (f,).
    """

    table: np.ndarray
    slope: np.ndarray
    side: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, side: Sequence[int] | None = None, grain: Sequence[float] | None = None) -> Scale:
        """From statistics (n, f) of usual frames; NaN is what was not known. All have both sides by default.

        grain (f,): the least that one deviation beyond the quantiles is taken for; what never varied would have none.
        """
        columns = [_known(column) for column in values.T.astype(np.float64)]
        table = np.stack([np.quantile(column, _probabilities()) for column in columns])
        least = [0.0] * len(table) if grain is None else grain
        slope = np.stack([[_steepness(-column, g), _steepness(column, g)] for column, g in zip(columns, least)])
        return cls(table, slope, np.array([0] * len(table) if side is None else side))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Normal scores (n, f) float64 of statistics (n, f), 0 for what is NaN or on a side that says nothing."""
        values = np.asarray(values, np.float64)
        inside = np.clip(values, self.table[:, 0], self.table[:, -1])
        scores = np.concatenate([self._between(part) for part in np.split(inside, range(CHUNK, len(inside), CHUNK))])
        over, under = values - self.table[:, -1], self.table[:, 0] - values
        scores = scores + np.maximum(over, 0) * self.slope[:, 1] - np.maximum(under, 0) * self.slope[:, 0]
        scores = np.clip(np.nan_to_num(scores, nan=0.0), -FARTHEST, FARTHEST)
        return np.where(self.side * scores < 0, 0.0, scores)

    def _between(self, values: np.ndarray) -> np.ndarray:
        """Normal scores (n, f) of values (n, f) within the quantiles; where several are equal, the middle one's."""
        targets, column = _targets(), np.arange(len(self.table))
        found = np.zeros_like(values)
        for below in (self.table <= values[..., None], self.table < values[..., None]):  # (n, f, LEVELS)
            count = below.sum(-1)  # (n, f)
            at = np.clip(count - 1, 0, LEVELS - 2)
            low, high = self.table[column, at], self.table[column, at + 1]
            share = np.where(high > low, (values - low) / np.maximum(high - low, 1e-300), count == LEVELS)
            found += targets[at] + np.clip(share, 0, 1) * (targets[at + 1] - targets[at])
        return 0.5 * found


@dataclass(frozen=True)
class Tail:
    """Minus the natural logarithm of the share of usual frames with so high a value; an exponential law at the end.

    Arguments:
        table: values, rising.
        level: minus the logarithm of the share above each, rising.
        rate: nats a unit beyond the last.
    """

    table: np.ndarray
    level: np.ndarray
    rate: float

    @classmethod
    def fit(cls, values: np.ndarray) -> Tail:
        """From values (n,) of usual frames."""
        x = np.sort(np.asarray(values, np.float64))
        share = np.geomspace(1.0, min(max(EDGE, 20 / len(x)), 1.0), 64)
        share = share[share >= EDGE] if (share >= EDGE).sum() > 1 else share
        table = np.maximum.accumulate(np.quantile(x, 1 - share))
        excess = x[x >= table[-1]] - table[-1]
        spread = max(float(excess.mean()), 0.02 * float(x[-1] - x[0]), 1e-9 * abs(float(x[-1])), 1e-9)
        return cls(table, -np.log(share), 1 / spread)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Nats (n,) >= 0 of values (n,)."""
        values = np.asarray(values, np.float64)
        inside = np.interp(values, self.table, self.level)
        return inside + np.maximum(values - self.table[-1], 0) * self.rate


@dataclass(frozen=True)
class Blend:
    """Normal scores of some statistics as nats of unusualness: what sticks out most, and what does not go together.

    Density of States Estimation for Out-of-Distribution Detection (Morningstar et al., 2020), arXiv:2006.09273, ranks
    statistics likewise. The nats of both ways are averaged as 1 / p, so that the stronger one leads.

    Arguments:
        root: a square root of the inverse of the scores' shrunk correlations (f, f).
        most, joint: laws of the power mean and of the distance among usual frames.
    """

    root: np.ndarray
    most: Tail
    joint: Tail

    @classmethod
    def fit(cls, scores: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]] = ()) -> Blend:
        """From normal scores (n, f) of usual frames.

        others: both ways' values, of frames that the correlations of these values were not made from; without them
        those of `scores` are taken, which many correlations and few frames make too small.
        """
        root = _root(scores)
        most, joint = (np.concatenate(part) for part in zip(*(others or [_ways(scores, root)])))
        return cls(root, Tail.fit(most), Tail.fit(joint))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Nats (n,) of normal scores (n, f)."""
        most, joint = _ways(scores, self.root)
        return mean_nats([self.most(most), self.joint(joint)])


def crossed(
    episodes: Sequence[np.ndarray], side: Sequence[int], grain: Sequence[float] | None = None
) -> tuple[Scale, Blend]:
    """Scale and blend of statistics (t, f) of usual episodes; each episode is judged by the others for its tails.

    Frames of an episode are much alike: what is fitted to few episodes finds those usual, and no new one.
    """
    others = []
    for fold in (range(i, len(episodes), FOLDS) for i in range(min(FOLDS, len(episodes)))):
        rest = np.concatenate([one for i, one in enumerate(episodes) if i not in fold])
        if len(_whole(rest)):
            scale, new = Scale.fit(rest, side, grain), np.concatenate([episodes[i] for i in fold])
            others.append(_ways(scale(_whole(new)), _root(scale(_whole(rest)))))
    scale = Scale.fit(np.concatenate(episodes), side, grain)
    return scale, Blend.fit(scale(_whole(np.concatenate(episodes))), others)


def mean_nats(nats: Sequence[np.ndarray]) -> np.ndarray:
    """The logarithm of the mean of exp(nats): e-values' mean, in which the largest leads."""
    stacked = np.stack(nats)
    top = stacked.max(0)
    total = np.exp(stacked[0] - top)
    for row in stacked[1:]:
        total = total + np.exp(row - top)
    return top + np.log(total / len(stacked))


def to_tensors(part: Scale | Tail | Blend, prefix: str) -> dict[str, Tensor]:
    """The numbers of a part by name, float64."""
    found: dict[str, Tensor] = {}
    for name, value in vars(part).items():
        key = f"{prefix}.{name}"
        found |= to_tensors(value, key) if isinstance(value, Tail) else {key: torch.as_tensor(np.asarray(value))}
    return found


def scale_of(tensors: Mapping[str, Tensor], prefix: str) -> Scale:
    """The reverse of `to_tensors` for a `Scale`."""
    return Scale(*(tensors[f"{prefix}.{name}"].numpy() for name in ("table", "slope", "side")))


def tail_of(tensors: Mapping[str, Tensor], prefix: str) -> Tail:
    """The reverse of `to_tensors` for a `Tail`."""
    table, level = (tensors[f"{prefix}.{name}"].numpy() for name in ("table", "level"))
    return Tail(table, level, float(tensors[f"{prefix}.rate"]))


def blend_of(tensors: Mapping[str, Tensor], prefix: str) -> Blend:
    """The reverse of `to_tensors` for a `Blend`."""
    tails = (tail_of(tensors, f"{prefix}.{name}") for name in ("most", "joint"))
    return Blend(tensors[f"{prefix}.root"].numpy(), *tails)


def _root(scores: np.ndarray) -> np.ndarray:
    """A square root (f, f) of the inverse of shrunk correlations of normal scores (n, f)."""
    cut = np.clip(scores, -6, 6)
    about = cut.T @ cut / len(cut)
    about = (1 - SHRINK) * about + SHRINK * np.diag(np.diag(about)) + 0.05 * np.eye(len(about))
    values, vectors = np.linalg.eigh(about)
    return np.ascontiguousarray((vectors / np.sqrt(values)).T)


def _whole(values: np.ndarray) -> np.ndarray:
    """The rows of values (n, f) in which all is known."""
    return values[~np.isnan(values).any(1)]


def _ways(scores: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The root of normal scores' mean fourth power, and their length where correlations are taken out, (n,) each."""
    square = scores * scores
    most = np.sqrt(np.sqrt((square * square).mean(-1)))
    turned = np.stack([(scores * row).sum(-1) for row in root], -1)  # no BLAS: a row must not feel its neighbours
    return most, np.sqrt((turned * turned).mean(-1))


def _known(column: np.ndarray) -> np.ndarray:
    known = column[np.isfinite(column)]
    return known if len(known) else np.zeros(1)


def _probabilities() -> np.ndarray:
    """Shares below each quantile that is kept, from EDGE to 1 - EDGE."""
    return np.linspace(EDGE, 1 - EDGE, LEVELS)


@lru_cache(maxsize=1)
def _targets() -> np.ndarray:
    return np.array([NormalDist().inv_cdf(p) for p in _probabilities()])


def _steepness(column: np.ndarray, grain: float) -> float:
    """Normal scores a unit above the highest quantile: as steep as from the 90th to it, and no more than is known."""
    low, high, middle = np.quantile(column, [0.9, 1 - EDGE, 0.5])
    span = NormalDist().inv_cdf(1 - EDGE) - NormalDist().inv_cdf(0.9)
    spread = max((high - low) / span, float(np.mean(np.maximum(column - high, 0))) / EDGE / 2)
    return float(1 / max(spread, grain, STEEPEST * (high - middle), 1e-4 * abs(middle), 1e-6))
