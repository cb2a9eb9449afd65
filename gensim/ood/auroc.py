"""How well a score tells unusual frames from usual ones: the area under the ROC curve, with whole episodes as units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

POINTS = 64  # of a curve


def auroc(
    inside: Sequence[np.ndarray], outside: Sequence[np.ndarray], paired: bool = False, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The share of couples of a usual and an unusual frame that are ranked rightly, ties counted half.

    Its 95 % interval is the bootstrap's over episodes, which are drawn whole; null where a side has only one.

    Arguments:
        inside: scores (t,) of each usual episode; higher is more unusual.
        outside: of each unusual one.
        paired: the unusual episodes are the usual ones, shifted: both are drawn together.
        draws: bootstrap samples.
        seed: of these.
    """
    if not inside or not outside or not all(len(one) for one in (*inside, *outside)):
        raise ValueError(
            f"{len(inside)} usual and {len(outside)} unusual episodes: give at least one, none of them empty"
        )
    if paired and len(inside) != len(outside):
        raise ValueError(f"{len(inside)} usual and {len(outside)} unusual episodes are no pairs")
    won = won_between(inside, outside)
    n, m = (np.array([len(one) for one in side], np.float64) for side in (inside, outside))
    value = float(won.sum() / (n.sum() * m.sum()))
    if min(len(n), len(m)) < 2:
        return {"value": value, "ci95": None}
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**58]))
    a = rng.multinomial(len(n), np.full(len(n), 1 / len(n)), draws).astype(np.float64)  # (draws, e)
    b = a if paired else rng.multinomial(len(m), np.full(len(m), 1 / len(m)), draws).astype(np.float64)
    drawn = ((a @ won) * b).sum(1) / ((a @ n) * (b @ m))
    return {"value": value, "ci95": [float(x) for x in np.quantile(drawn, [0.025, 0.975])]}


def won_between(inside: Sequence[np.ndarray], outside: Sequence[np.ndarray]) -> np.ndarray:
    """Couples ranked rightly between each usual and each unusual episode, float64 (e, f); a tie is a half."""
    scores, begin = np.concatenate(outside), np.cumsum([0, *(len(one) for one in outside)])[:-1]
    rows = []
    for one in inside:
        own = np.sort(one)
        below = np.searchsorted(own, scores, "left") + np.searchsorted(own, scores, "right")
        rows.append(np.add.reduceat(below / 2.0, begin))
    return np.stack(rows)


def curve(inside: np.ndarray, outside: np.ndarray) -> list[list[float]]:
    """The ROC curve as shares [false alarms, hits] at some 64 thresholds, from (0, 0) to (1, 1)."""
    levels = np.unique(np.concatenate([inside, outside]))[::-1]
    chosen = levels[np.unique(np.linspace(0, len(levels) - 1, POINTS).astype(int))]
    shares = [[float((side >= level).mean()) for side in (inside, outside)] for level in chosen]
    return [[0.0, 0.0], *([round(x, 5) for x in pair] for pair in shares)]
