"""Are judgements worth their numbers: expected rewards against what came, chances of an end against ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensim.gap.readings import Readings
from gensim.world.quality import figure

AGES = {
    "following": (0, 0),
    "1": (1, 1),
    "2 to 4": (2, 4),
    "5 to 15": (5, 15),
    "16 to 64": (16, 64),
    "65 to 160": (65, 160),
}
BINS = 10  # of predicted rewards, equally full
WINDOW = 16  # steps of a sum of rewards
EDGES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of probabilities of an end


def calibration(read: Readings, seed: int = 0) -> dict[str, Any]:
    """Of rewards and of ends, when following and when dreaming on, by imagined steps since a real frame."""
    parts = {name: read.where((read.age >= low) & (read.age <= high)) for name, (low, high) in AGES.items()}
    parts = {name: part for name, part in parts.items() if len(part)}
    return {
        "episodes": len(np.unique(read.episode)),
        "reward": {name: reward(part, seed) for name, part in parts.items()},
        "sums": {
            "window": WINDOW,
            "following": sums(read.where(read.start < 0), seed),
            "dreaming": sums(read.where(read.start >= 0), seed),
        },
        "termination": {name: termination(part, seed) for name, part in parts.items()},
    }


# -------------------------------------------------------------------- rewards


def reward(read: Readings, seed: int = 0) -> dict[str, Any]:
    """Bins of the expected reward with what really came, and the mean distance of the two: calibration error.

    The error is in the simulator's units; `spread` is the standard deviation of the rewards that came.
    """
    said, came = read.said.astype(np.float64), read.rew.astype(np.float64)
    edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)))
    which = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, max(len(edges) - 2, 0))
    parts = _binned(which, max(len(edges) - 1, 1), said, came)  # (m, bins, 3)
    return {
        "steps": len(said),
        "bins": _bins(parts),
        "error": figure(parts, _error, read.episode, seed),
        "bias": figure(parts, lambda p: (p[..., 1] - p[..., 2]).sum(-1) / p[..., 0].sum(-1), read.episode, seed),
        "spread": round(float(came.std()), 4),
    }


def sums(read: Readings, seed: int = 0) -> dict[str, Any]:
    """How expected and recorded rewards, summed over windows of `WINDOW` steps, go together."""
    order = np.lexsort((read.time, read.start, read.episode))
    read = read.where(order)
    chain = np.unique(np.stack([read.episode, read.start], 1), axis=0, return_inverse=True)[1].ravel()
    first = np.r_[True, chain[1:] != chain[:-1]] if len(chain) else np.zeros(0, bool)
    place = np.arange(len(chain)) - np.flatnonzero(first)[chain] if len(chain) else np.zeros(0, int)
    window = np.cumsum(place % WINDOW == 0) - 1  # (m,)
    full = np.bincount(window, minlength=1) == WINDOW if len(window) else np.zeros(0, bool)
    said, came = (np.bincount(window, x, minlength=1)[full] if len(window) else x for x in (read.said, read.rew))
    owner = read.episode[place % WINDOW == 0][full] if len(window) else read.episode
    if len(said) < 3:
        return {"windows": len(said), "correlation": {"value": None, "low": None, "high": None}}
    moments = np.stack([np.ones_like(said), said, came, said**2, came**2, said * came], -1).astype(np.float64)
    return {"windows": len(said), "correlation": figure(moments, _correlation, owner, seed)}


# -------------------------------------------------------------------- ends


def termination(read: Readings, seed: int = 0) -> dict[str, Any]:
    """Reliability of the probability of an end: bins, Brier score, recall and false alarms at one half.

    `skill` is one less the Brier score over that of always saying the share of ends: above 0 it knows something.
    """
    prob, term = read.prob.astype(np.float64), read.term.astype(np.float64)
    which = np.clip(np.searchsorted(EDGES, prob, side="right") - 1, 0, len(EDGES) - 2)
    said = prob > 0.5
    parts = np.stack([np.ones_like(prob), term, prob, (prob - term) ** 2, said * term, said * (1 - term)], -1)
    statistics = {
        "expected": lambda p: p[..., 2],
        "brier": lambda p: p[..., 3] / p[..., 0],
        "skill": lambda p: 1 - p[..., 3] / (p[..., 1] * (1 - p[..., 1] / p[..., 0])),
        "recall": lambda p: p[..., 4] / p[..., 1],
        "false_alarms": lambda p: p[..., 5] / (p[..., 0] - p[..., 1]),
    }
    found = {name: figure(parts, statistic, read.episode, seed) for name, statistic in statistics.items()}
    bins = _bins(_binned(which, len(EDGES) - 1, prob, term))
    return {"steps": len(prob), "terminations": int(term.sum()), **found, "edges": list(EDGES), "bins": bins}


# -------------------------------------------------------------------- bins


def _binned(which: np.ndarray, bins: int, said: np.ndarray, came: np.ndarray) -> np.ndarray:
    """Counts and sums of what was said and what came, (m, bins, 3), each row in its own bin."""
    parts = np.zeros((len(which), bins, 3))
    parts[np.arange(len(which)), which] = np.stack([np.ones(len(which)), said, came], -1)
    return parts


def _bins(parts: np.ndarray) -> list[dict[str, Any]]:
    """Of each bin that is not empty: steps, the mean of what was said and of what came."""
    whole = parts.sum(0)
    return [
        {"steps": int(n), "said": round(float(said / n), 5), "came": round(float(came / n), 5)}
        for n, said, came in whole
        if n
    ]


def _error(p: np.ndarray) -> np.ndarray:
    return abs(p[..., 1] - p[..., 2]).sum(-1) / p[..., 0].sum(-1)


def _correlation(p: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = (p[..., i] for i in range(6))
    return (n * xy - x * y) / np.sqrt((n * xx - x**2) * (n * yy - y**2))
