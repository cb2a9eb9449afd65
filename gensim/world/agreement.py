"""Does a dream show what the simulator showed: answers of yes and no that are read off frames, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gensim.world.quality import figure

KINDS = {"accuracy": "agreement", "balanced": "balanced accuracy", "kappa": "Cohen's kappa"}


def each(reading: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
    """A reading (n, m, q) of frames (n, m, q, h, w, 3)."""
    return reading(frames.reshape(-1, *frames.shape[3:])).reshape(frames.shape[:3])


def agreement(
    said: np.ndarray, true: np.ndarray, group: np.ndarray, seed: int = 0, there: np.ndarray | None = None
) -> dict[str, Any]:
    """Accuracy, balanced accuracy and Cohen's kappa, by horizon, of answers (n, m, q) to truths (n, 1, q), bool.

    Only the answers that are there (n, m, q) count.
    """
    kinds = np.stack((said & true, said & ~true, ~said & true, ~said & ~true), -1)
    counts = (kinds if there is None else kinds & there[..., None]).sum(1).astype(float)  # (n, q, 4)
    statistics = {"accuracy": _accuracy, "balanced": _balanced, "kappa": _kappa}
    return {name: figure(counts, statistic, group, seed) for name, statistic in statistics.items()}


def _accuracy(counts: np.ndarray) -> np.ndarray:
    return (counts[..., 0] + counts[..., 3]) / counts.sum(-1)


def _balanced(counts: np.ndarray) -> np.ndarray:
    hit, false, missed, right = (counts[..., i] for i in range(4))
    return (hit / (hit + missed) + right / (right + false)) / 2


def _kappa(counts: np.ndarray) -> np.ndarray:
    hit, false, missed, right = (counts[..., i] / counts.sum(-1) for i in range(4))
    chance = (hit + false) * (hit + missed) + (right + false) * (right + missed)
    return (hit + right - chance) / (1 - chance)
