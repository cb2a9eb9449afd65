"""What is said of a probability: how large, how sure, at what cost, and whether to believe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gensim.core.intervals import student_t95

Z = 1.959964  # of a two-sided interval of 95 %
FEW, HEAVY = 50.0, 0.2  # effective samples under which, and largest weight's share over which, nothing is believed


@dataclass(frozen=True)
class Estimate:
    """The probability of an event.

    Arguments:
        p: the estimate; low and high: its 95 % interval.
        effective: how many equal samples its weights are worth.
        largest: share 0..1 of the largest weight.
        calls: evaluations of the event, those that trained proposals included; of episodes, their steps.
        failures: those seen: choices (k, dims), or last moments of episodes.
        likeliest: the most likely of them, None if there is none.
        doubts: why it is not to be believed; empty where nothing speaks against it.
    """

    p: float
    low: float
    high: float
    effective: float
    largest: float
    calls: int
    failures: Any
    likeliest: Any
    doubts: tuple[str, ...] = field(default=())

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.doubts

    def told(self) -> dict[str, Any]:
        """The same as JSON has it, without the failures themselves."""
        numbers = {name: getattr(self, name) for name in ("p", "low", "high", "effective", "largest", "calls")}
        return numbers | {"failures": len(self.failures), "doubts": list(self.doubts), "trusted": self.trusted}


def nothing(dims: int, calls: int, why: str) -> Estimate:
    """What is said where no failure was seen: a proposal that finds none says nothing of how rare they are."""
    return Estimate(0.0, 0.0, 1.0, 0.0, 0.0, calls, np.zeros((0, dims)), None, (why,))


def replicated(
    each: np.ndarray, calls: int, failures: list[Any], likely: list[float], doubts: tuple[str, ...]
) -> Estimate:
    """The mean of independent, unbiased estimates (r,), with Student's interval of its logarithm.

    Its effective samples are the failures that plain draws would need to be as exact.

    Arguments:
        likely: log-probability of each failure.
    """
    p = float(each.mean())
    if not p > 0:
        why = ("no failure was found", *doubts)
        return Estimate(0.0, 0.0, 1.0, 0.0, 0.0, calls, failures, None, why)
    error = float(each.std(ddof=1) / np.sqrt(len(each)) / p)
    effective, largest = 1 / max(error**2, 1e-12), float(each.max() / each.sum())
    spread = student_t95(len(each)) * np.sqrt(np.log1p(error**2))
    low, high = (min(float(p * np.exp(sign * spread)), 1.0) for sign in (-1, 1))
    found = (*doubts, *_doubts(effective, largest if len(each) >= 2 / HEAVY else 0.0))
    return Estimate(p, low, high, effective, largest, calls, failures, failures[int(np.argmax(likely))], found)


def weighed(log_w: np.ndarray, failed: np.ndarray, choices: np.ndarray, calls: int) -> Estimate:
    """The estimate of independent draws: log-weights (n,), whether each failed (n,), and choices (n, dims).

    The interval takes the skewness of the weights into account.
    """
    w: np.ndarray = np.where(failed, np.exp(log_w), 0.0)
    p = float(w.mean())
    if not p > 0:
        return nothing(choices.shape[1], calls, "no failure was drawn")
    low, high = skewed(w)
    effective, largest = float(w.sum() ** 2 / (w**2).sum()), float(w.max() / w.sum())
    some = choices[failed]
    likeliest = some[np.argmin((some**2).sum(1))]
    return Estimate(p, low, high, effective, largest, calls, some, likeliest, _doubts(effective, largest))


def skewed(w: np.ndarray) -> tuple[float, float]:
    """An interval of 95 % of the mean of independent numbers (n,) above zero, which are skewed as weights are.

    Reference: On the removal of skewness by transformation (Hall, 1992), doi:10.1111/j.2517-6161.1992.tb01875.x.
    """
    n, mean, spread = len(w), float(w.mean()), float(w.std(ddof=1))
    if not spread > 0:
        return mean, mean
    skew = float((((w - mean) / spread) ** 3).mean()) / np.sqrt(n)
    ends = [(3 / skew) * (np.cbrt(1 + skew * (z - skew / 6)) - 1) for z in (Z, -Z)] if abs(skew) > 1e-9 else [Z, -Z]
    low, high = (mean - end * spread / np.sqrt(n) for end in ends)
    return max(float(low), 0.0), float(high)


def _doubts(effective: float, largest: float) -> tuple[str, ...]:
    found = []
    if effective < FEW:
        found.append(f"only {effective:.0f} effective samples")
    if largest > HEAVY:
        found.append(f"one weight makes {largest:.0%} of the estimate")
    return tuple(found)
