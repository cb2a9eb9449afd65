"""Is trust what it says, a p-value: on new real data uniform, at every horizon."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensim.core.seeds import Stream, uniform
from gensim.gap.readings import Readings
from gensim.world.quality import mean_figure
from gensim.world.trust import EDGES

APART = 48  # steps between values of one episode; nearer ones repeat each other


def uniformity(read: Readings, seed: int = 0) -> dict[str, Any]:
    """By horizon: the Kolmogorov-Smirnov distance of trust from uniform on thinned values, and what it means.

    Of each episode one value in `APART` steps is drawn. `p` is that of the distance if the values were independent;
    `neighbours` is the correlation of one episode's consecutive values, which says how nearly they are. Means and
    shares are over all steps, with intervals over episodes.
    """
    found = []
    for low, high in zip(EDGES, (*EDGES[1:], 1 << 30)):
        part = read.where((read.age >= low) & (read.age < high))
        if len(part):
            found.append({"from": low, "to": high - 1 if high < 1 << 30 else None, **_bucket(part, seed)})
    return {"apart": APART, "episodes": len(np.unique(read.episode)), "horizons": found}


def thinned(read: Readings, seed: int = 0) -> Readings:
    """One step, drawn at random, of every `APART` steps of an episode, in order."""
    draw = uniform(np.array([seed], np.uint64), Stream.FIT, np.zeros(1, np.int64), len(read))[0]
    order = np.lexsort((draw, read.time // APART, read.episode))
    block = np.stack([read.episode, read.time // APART], 1)[order]
    first = np.r_[True, (block[1:] != block[:-1]).any(1)]
    return read.where(order[first])


def distance(values: np.ndarray) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance of values (n,) in 0..1 from uniform, and its p-value.

    Reference: Use of the Kolmogorov-Smirnov, Cramer-Von Mises and Related Statistics Without Extensive Tables
    (Stephens, 1970), doi:10.1111/j.2517-6161.1970.tb00821.x.
    """
    x, n = np.sort(np.asarray(values, np.float64)), len(values)
    steps = np.arange(n + 1) / n
    far = float(max((steps[1:] - x).max(), (x - steps[:-1]).max()))
    scaled = far * (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n))
    k = np.arange(1, 101)
    tail = 2 * ((-1.0) ** (k - 1) * np.exp(-2 * (k * scaled) ** 2)).sum() if scaled > 0.2 else 1.0
    return far, float(np.clip(tail, 0, 1))


def _bucket(read: Readings, seed: int) -> dict[str, Any]:
    few = thinned(read, seed)
    far, p = distance(few.trust)
    each = {"mean": read.trust.astype(np.float64), "below_5": (read.trust < 0.05).astype(float)}
    figures = {name: _average(values, read.episode, seed) for name, values in each.items()}
    close = _neighbours(few)
    return {
        "steps": len(read),
        "values": len(few),
        "ks": round(far, 4),
        "p": round(p, 4),
        "neighbours": close,
        **figures,
    }


def _average(values: np.ndarray, group: np.ndarray, seed: int) -> dict[str, Any]:
    one = mean_figure(values[:, None, None], group, seed)
    return {name: numbers[0] for name, numbers in one.items()}


def _neighbours(read: Readings) -> float | None:
    same = read.episode[1:] == read.episode[:-1]
    a, b = read.trust[:-1][same], read.trust[1:][same]
    if len(a) < 10 or a.std() == 0 or b.std() == 0:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 3)
