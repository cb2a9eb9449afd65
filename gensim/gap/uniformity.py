"""Is trust what it says, a p-value: on new real data uniform, at every horizon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gensim.gap.readings import Readings
from gensim.world.quality import mean_figure
from gensim.world.trust import EDGES

GRID = 256  # levels at which two laws are compared
DRAWS = 1000  # shuffles of whole episodes
ENDLESS = 1 << 30


def uniformity(read: Readings, known: Readings | None = None, seed: int = 0) -> dict[str, Any]:
    """By horizon: the Kolmogorov-Smirnov distance of trust from uniform, and whether new episodes differ from `known`.

    `known` are readings of the episodes that trust was calibrated on. `p` is of a test that shuffles whole episodes
    between these and the new ones; it is null without `known`, for trust is uniform on those by construction. Means
    and shares have intervals over episodes.
    """
    found = []
    for low, high in zip(EDGES, (*EDGES[1:], ENDLESS)):
        part = read.where((read.age >= low) & (read.age < high))
        rest = known and known.where((known.age >= low) & (known.age < high))
        if len(part):
            last = high - 1 if high < ENDLESS else int(part.age.max())
            found.append({"from": low, "to": last, **_bucket(part, rest, seed)})
    counts = {"episodes": len(np.unique(read.episode)), "known": len(np.unique(known.episode)) if known else 0}
    return {**counts, "horizons": found}


def distance(values: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of values (n,) in 0..1 from uniform."""
    x, steps = np.sort(np.asarray(values, np.float64)), np.arange(len(values) + 1) / len(values)
    return float(max((steps[1:] - x).max(), (x - steps[:-1]).max()))


def shuffled(values: np.ndarray, episode: np.ndarray, new: np.ndarray, seed: int = 0) -> float:
    """The p-value of the distance between values (n,) of new episodes and of others, as new (n,) bool tells.

    The two-sample Kolmogorov-Smirnov distance, on a grid of quantiles, against that after whole episodes have been
    shuffled between the two: values of one episode may hang together, as long as episodes do not.

    Reference: Significance Tests Which May be Applied to Samples from Any Populations (Pitman, 1937),
    doi:10.2307/2984124.
    """
    levels = np.unique(np.quantile(values, np.linspace(0, 1, GRID), method="inverted_cdf"))
    first, owner = np.unique(episode, return_index=True, return_inverse=True)[1:]
    below = np.zeros((len(first), len(levels)))
    np.add.at(below, (owner, np.searchsorted(levels, values)), 1)
    below = below.cumsum(1)  # (episodes, levels): values up to each level
    draws = np.random.default_rng(seed).permuted(np.tile(new[first], (DRAWS, 1)), axis=1)
    side = np.concatenate([new[None, first], draws]).astype(float)  # (1 + draws, episodes)
    laws = [(one @ below) / (one @ below[:, -1:]) for one in (side, 1 - side)]
    far = abs(laws[0] - laws[1]).max(1)
    return float((far >= far[0] - 1e-12).mean())


def _bucket(read: Readings, known: Readings | None, seed: int) -> dict[str, Any]:
    each = {"mean": read.trust.astype(np.float64), "below_5": (read.trust < 0.05).astype(float)}
    figures = {name: _average(values, read.episode, seed) for name, values in each.items()}
    p = _differ(read, known, seed) if known else None
    return {"steps": len(read), "ks": round(distance(read.trust), 4), "p": p, **figures}


def _differ(read: Readings, known: Readings, seed: int) -> float:
    """Of disagreements as they are: trust has ranked them among the known ones, which would favour these."""
    both = Readings.cat([read, replace(known, episode=-1 - known.episode)])
    return round(shuffled(both.unusual, both.episode, both.episode >= 0, seed), 4)


def _average(values: np.ndarray, group: np.ndarray, seed: int) -> dict[str, Any]:
    one = mean_figure(values[:, None, None], group, seed)
    return {name: numbers[0] for name, numbers in one.items()}
