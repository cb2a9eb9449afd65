"""What an action changes: two futures under opposite actions, against two under the same one."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from gensim.episodes.actions import ActionSpec
from gensim.gap.features import beliefs, variation
from gensim.world.heldout import Heldout
from gensim.world.quality import filtered, mean_figure
from gensim.world.state import State
from gensim.world.world import World

STEPS = (1, 5, 10, 20)
PAIRS = 10  # of choices, at most


def opposites(action: ActionSpec) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of actions (k,) as a world reads them, by name: -1 against 1 in each dimension, or choices."""
    if action.type == "box":
        ways = np.eye(action.size, dtype=np.float32)
        return {f"dimension {i}: -1 against 1": (-way, way) for i, way in enumerate(ways)}
    pairs = [*combinations(range(action.size), 2)]
    chosen: Any = np.unique(np.linspace(0, len(pairs) - 1, min(PAIRS, len(pairs))).round().astype(int)) if pairs else []
    one_hot = action.encode(np.arange(action.size))
    return {f"choice {i} against {j}": (one_hot[i], one_hot[j]) for i, j in (pairs[k] for k in chosen)}


def effects(world: World, heldout: Heldout, samples: int = 2, seed: int = 0) -> dict[str, Any]:
    """By pair of actions and number of steps: how far futures lie apart under different and under equal actions.

    From each held-out start every action is held for the steps, `samples` >= 2 times with chances of their own.
    `latent` is the distance of the encoder's beliefs in 0..1, `pixels` the root mean square in 0..255, and `differ` the
    share of starts in which different actions lead further apart than equal ones do: no effect would give one half.
    ValueError for fewer samples.
    """
    if samples < 2:
        raise ValueError(f"samples={samples}: give at least 2, for equal actions to be told apart from chance")
    state, group = filtered(world, heldout, seed=seed), np.unique(heldout.episode, return_inverse=True)[1]
    action = ActionSpec.from_dict(world.spec["action"])
    found = {}
    for name, pair in opposites(action).items():
        seen = [_held(world, state.branch(2 * samples), act, samples, side) for side, act in enumerate(pair)]
        found[name] = {kind: _apart(seen[0][kind], seen[1][kind], group, seed) for kind in ("latent", "pixels")}
    return {"steps": list(STEPS), "starts": len(heldout), "samples": samples, "pairs": found}


def _held(world: World, state: State, act: np.ndarray, samples: int, side: int) -> dict[str, np.ndarray]:
    """What is believed (n, samples, q, groups, classes) and seen (n, samples, q, d) while an action is held.

    Each side takes branches of its own, so that no two futures share their chances.
    """
    rows = np.arange(len(state)).reshape(-1, 2 * samples)[:, side * samples : (side + 1) * samples].ravel()
    state, told = state.rows(rows), []
    for t in range(1, max(STEPS) + 1):
        state, _ = world.imagine(state, np.tile(act, (len(state), 1)))
        told += [world.decode(state)] if t in STEPS else []
    frames = np.stack(told, 1)  # (n samples, q, h, w, 3)
    law = beliefs(world, frames.reshape(-1, *frames.shape[2:])).reshape(*frames.shape[:2], -1, world.config.classes)
    pixels = frames.reshape(*frames.shape[:2], -1)
    return {name: x.reshape(-1, samples, *x.shape[1:]) for name, x in (("latent", law), ("pixels", pixels))}


def _apart(a: np.ndarray, b: np.ndarray, group: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean distances (q,) between futures a and b (n, samples, q, ...) of two actions, and within each of them.

    `differ` compares as many pairs of either kind, of each two samples (a1, b1), (a2, b2) with (a1, a2), (b1, b2):
    without an effect a2 and b1 could change places, so that either sum is the greater one in half of all starts.
    """
    far = variation if a.ndim == 5 else _rms
    m, twos = range(a.shape[1]), range(0, a.shape[1] - 1, 2)
    different = np.mean([far(a[:, i], b[:, j]) for i in m for j in m], 0)  # (n, q)
    same = np.mean([far(x[:, i], x[:, j]) for x in (a, b) for i, j in combinations(m, 2)], 0)
    across = sum(far(a[:, i], b[:, i]) + far(a[:, i + 1], b[:, i + 1]) for i in twos)
    within = sum(far(a[:, i], a[:, i + 1]) + far(b[:, i], b[:, i + 1]) for i in twos)
    differ = (across > within) + 0.5 * (across == within)
    parts = {"different": different, "same": same, "differ": differ}
    return {name: mean_figure(part[:, None], group, seed) for name, part in parts.items()}


def _rms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a.astype(np.float32) - b) ** 2).mean(-1, dtype=np.float64))
