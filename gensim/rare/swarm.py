"""How probable is failure, where something foretells it? Episodes side by side, as many of each kind as they are worth.

Splitting by the nearest that episodes came waits until they have come near. Here all stand at one step, and each is
gone on with as often as its weight and what is foretold of it say: no step is taken twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gensim.core.seeds import fold
from gensim.rare.splitting import Shown, Simulator, Split

Near = Callable[[Any], np.ndarray]
BRANCHED = 1 << 63  # of a seed, from which the keys of branches are made
EVEN = 0.85  # share of a crowd that its priorities must be worth, or it is drawn anew


@dataclass(frozen=True)
class Swarm:
    """How many episodes.

    Raises ValueError for numbers that make no estimate.
    """

    many: int = 200
    """Episodes of a replicate, at every step."""
    replicates: int = 10
    """Independent estimates, of whose differences the interval is made."""

    def __post_init__(self) -> None:
        if self.many < 2 or self.replicates < 2:
            raise ValueError(f"many={self.many}, replicates={self.replicates}: give at least 2 of each")


def swarm(
    simulator: Simulator, near: Near, seed: int, config: Swarm | None = None, shown: Shown | None = None
) -> Split:
    """The probability that episodes come to an event, unbiased whatever `near` says, and exact as far as it is right.

    Where episodes of a replicate have become unlike in weight times nearness, as many are drawn anew in proportion to
    that, evenly, and weigh the less for it. Those that failed are set aside with their weights.

    References: Genealogical particle analysis of rare events (Del Moral and Garnier, 2005),
    doi:10.1214/105051605000000566; Weighted-ensemble Brownian dynamics simulations for protein association reactions
    (Huber and Kim, 1996), doi:10.1016/S0006-3495(96)79552-8.

    Arguments:
        near: of moments, a guess (n,) above 0 of how probable the event still is, but for a factor.
        shown: is told the step, the least severity so far, and the estimate so far (a lower bound of it).

    Raises:
        ValueError: if a severity or a guess is not finite, or the severity never changes.
    """
    return _Run(simulator, near, seed, config or Swarm()).run(shown)


class _Run:
    def __init__(self, simulator: Simulator, near: Near, seed: int, config: Swarm) -> None:
        self.simulator, self.near, self.config, self.seed = simulator, near, config, np.uint64(seed)
        self.rng = np.random.default_rng(seed)
        self.calls = self.branched = 0
        self.least, self.most = np.inf, -np.inf  # severities
        self.ends: list[Any] = []
        self.found: list[tuple[int, float, float]] = []  # of each failure its replicate, weight and log-probability

    def run(self, shown: Shown | None) -> Split:
        c = self.config
        total = c.many * c.replicates
        now = self.simulator.begin(fold(np.full(total, self.seed, np.uint64), np.arange(total)))
        weight, of, step = np.ones(total), np.repeat(np.arange(c.replicates), c.many), 0
        while len(now):
            going = self._set_aside(now, weight, of)
            now, weight, of = now.rows(going), weight[going], of[going]
            if not len(now):
                break
            now, weight, of = self._drawn(now, weight, of) if step else (now, weight, of)
            before = now.log_p - now.log_q
            now = self.simulator.advance(now)
            weight = weight * np.exp(now.log_p - now.log_q - before)
            self.calls, step = self.calls + len(now), step + 1
            if shown is not None:
                shown(step, float(self.least), float(self._each().mean()))
        return self._said()

    def _set_aside(self, now: Any, weight: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Keeps those that failed; which rows go on."""
        severity = np.asarray(now.severity, float)
        if not np.isfinite(severity).all():
            raise ValueError("a severity is not finite: return a number for every row")
        self.least, self.most = min(self.least, severity.min()), max(self.most, severity.max())
        for i in np.flatnonzero(severity <= 0):
            self.ends.append(now.rows(np.array([i])))
            self.found.append((int(of[i]), float(weight[i]), float(now.log_p[i])))
        return np.flatnonzero((severity > 0) & ~now.done)

    def _drawn(self, now: Any, weight: np.ndarray, of: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Replicates that have become uneven are drawn anew; of several copies the first keeps its future."""
        near = np.asarray(self.near(now), float)
        if not (np.isfinite(near) & (near > 0)).all():
            raise ValueError("nearness is not finite and above 0: return such a number for every row")
        rows, weights = [], []
        for i in range(self.config.replicates):
            at = np.flatnonzero(of == i)
            chosen, heavy = self._replicate(at, weight[at], near[at]) if len(at) else (at, weight[at])
            rows.append(chosen)
            weights.append(heavy)
        chosen, heavy = np.concatenate(rows), np.concatenate(weights)
        again = np.flatnonzero(np.concatenate([[False], chosen[1:] == chosen[:-1]]))
        first = np.setdiff1d(np.arange(len(chosen)), again)
        order = np.concatenate([first, again])
        parts = [now.rows(chosen[first])]
        if len(again):
            keys = fold(np.full(len(again), self.seed ^ np.uint64(BRANCHED)), self.branched + np.arange(len(again)))
            self.branched += len(again)
            parts.append(self.simulator.branch(now.rows(chosen[again]), keys))
        return self.simulator.join(parts), heavy[order], of[chosen[order]]

    def _replicate(self, at: np.ndarray, weight: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a replicate, sorted, and their weights: as they are, or drawn anew in proportion to weight x near.

        Reference: Monte Carlo filter and smoother for non-Gaussian nonlinear state space models (Kitagawa, 1996),
        doi:10.1080/10618600.1996.10474692; its systematic resampling.
        """
        priority, many = weight * near, self.config.many
        if priority.sum() ** 2 > EVEN * many * (priority**2).sum():
            return at, weight
        ends = priority.cumsum()
        chosen = np.searchsorted(ends / ends[-1], (np.arange(many) + self.rng.random()) / many).clip(0, len(at) - 1)
        return at[chosen], ends[-1] / many / near[chosen]

    def _each(self) -> np.ndarray:
        """Estimates (r,) of the replicates, of those that failed so far."""
        of = np.array([one[0] for one in self.found], int)
        return np.bincount(of, [one[1] for one in self.found], self.config.replicates) / self.config.many

    def _said(self) -> Split:
        if self.least == self.most and self.least > 0:
            raise ValueError(
                f"the severity is {self.least} in all episodes, at every step: it says nothing of who comes closer; "
                "give one that falls towards the event, or episodes that differ"
            )
        total = self.config.many * self.config.replicates
        weights, likely = [one[1] / total for one in self.found], [one[2] for one in self.found]
        return Split(self._each(), self.calls, self.ends, likely, weights)
