"""Does the dream rank policies as the simulator does: rank and linear correlation of mean returns, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gensim.gap.policies import Player
from gensim.gap.rollouts import Dreams, Real

DRAWS = 2000  # bootstrap samples


@dataclass(frozen=True)
class Measured:
    """A player and what it got, really and in dreams."""

    player: Player
    real: Real
    dreams: Dreams

    @property
    def real_mean(self) -> float:
        """Mean real return."""
        return float(np.mean(self.real.returns))

    @property
    def dream_mean(self) -> float:
        """Mean dreamed return."""
        return float(self.dreams.returns.mean())


def ranking(measured: Sequence[Measured], seed: int = 0) -> dict[str, Any]:
    """Correlations over all, over the better half by real return, and over those not made to exploit.

    The bootstrap draws policies, the real seeds and the dreams, each of the two alike for all policies.
    """
    honest = [one for one in measured if one.player.kind != "exploiter"]
    groups = {"all": measured, "better_half": better_half(measured), "not_exploiters": honest}
    return {name: _figures(group, seed) for name, group in groups.items() if len(group) > 2}


def better_half(measured: Sequence[Measured]) -> list[Measured]:
    """The half, rounded up, with the higher real means."""
    order = sorted(measured, key=lambda one: one.real_mean, reverse=True)
    return order[: (len(order) + 1) // 2]


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation (...) of the ranks of values (..., n); NaN where one side does not vary."""
    return pearson(ranks(a), ranks(b))


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Linear correlation (...) of values (..., n); NaN where one side does not vary."""
    x, y = (np.asarray(side, np.float64) - np.mean(side, -1, keepdims=True) for side in (a, b))
    size = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 0, (x * y).sum(-1) / size, np.nan)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (..., n) from 1; equal values share the mean of theirs."""
    mine, its = np.asarray(values)[..., :, None], np.asarray(values)[..., None, :]
    return (its < mine).sum(-1) + ((its == mine).sum(-1) + 1) / 2


def interval(draws: Sequence[float] | np.ndarray) -> tuple[float | None, float | None]:
    """The middle 95 % of bootstrap draws; None where fewer than half exist."""
    there = np.array([draw for draw in draws if np.isfinite(draw)])
    if len(there) < max(2, len(draws) / 2):
        return None, None
    low, high = np.quantile(there, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def _figures(measured: Sequence[Measured], seed: int) -> dict[str, Any]:
    real = np.array([one.real.returns for one in measured])  # (players, episodes)
    dreamed = np.array([one.dreams.returns for one in measured])  # (players, dreams)
    drawn = _draws(real, dreamed, np.random.default_rng(seed))
    found: dict[str, Any] = {"policies": len(measured)}
    for name, coefficient in (("spearman", spearman), ("pearson", pearson)):
        low, high = interval(coefficient(*drawn))
        value = float(coefficient(real.mean(1), dreamed.mean(1)))
        found[name] = {"value": round(value, 4) if np.isfinite(value) else None, "low": low, "high": high}
    return found


def _draws(real: np.ndarray, dreamed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Means (draws, players) of drawn policies over drawn episodes and drawn dreams."""
    who = rng.integers(len(real), size=(DRAWS, len(real)))
    sides = []
    for side in (real, dreamed):  # (players, episodes)
        n = side.shape[1]
        share = rng.multinomial(n, np.full(n, 1 / n), DRAWS) / n  # (draws, episodes)
        sides.append(np.take_along_axis(share @ side.T, who, 1))
    return sides[0], sides[1]
