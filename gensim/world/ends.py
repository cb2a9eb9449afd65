"""How sure a world is of an end: as sure as episodes that it did not learn from bear out.

Ends are few and met again and again in a fit, so the head that tells of them gets too sure of itself: on new episodes
it gives less probability to what happens than it claims. A slope and a shift of its log-odds, found on held-out
episodes and folded into its weights, mend that.

Reference: Probabilistic Outputs for Support Vector Machines (Platt, 1999); On Calibration of Modern Neural Networks
(Guo et al., 2017), arXiv:1706.04599.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gensim.episodes import Episode
from gensim.world.furnish import ROWS, action_rows, conditions
from gensim.world.world import World

SURE = 0.35  # how far from 1 the slope, and from 0 the shift, is taken to lie before anything was seen


def assured(world: World, episodes: list[Episode]) -> tuple[World, tuple[float, float]]:
    """The world with its log-odds of an end calibrated on episodes that it did not see, and their slope and shift.

    1 and 0, and the world as it is, where none of the episodes ended by itself.
    """
    if not any(episode.term[-1] for episode in episodes):
        return world, (1.0, 0.0)
    parts = [told(world, episodes[i : i + ROWS]) for i in range(0, len(episodes), ROWS)]
    slope, shift = platt(np.concatenate([odds for odds, _ in parts]), np.concatenate([ends for _, ends in parts]))
    return rescaled(world, slope, shift), (slope, shift)


def told(world: World, episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
    """The world's log-odds of an end (n,) at all steps of real episodes, and whether they ended there (n,)."""
    lengths = np.array([len(e.act) for e in episodes])
    acts, frames = [action_rows(world, e) for e in episodes], [e.frames() for e in episodes]
    keys = np.arange(len(episodes), dtype=np.uint64)
    state = world.first(np.stack([f[0] for f in frames]), keys, cond=conditions(world, episodes))
    probs, ends = [], []
    for t in range(int(lengths.max())):
        live = np.flatnonzero(lengths > t)
        at = np.minimum(t, lengths - 1).tolist()
        act = np.stack([rows[i] for rows, i in zip(acts, at)])
        seen = np.stack([rows[i + 1] for rows, i in zip(frames, at)])
        rew = np.array([episode.rew[i] for episode, i in zip(episodes, at)])
        state, step = world.observe(state, act, seen, rew)
        probs.append(step.term_prob[live])
        ends.append(np.array([episodes[i].term[t] for i in live.tolist()]))
    p = np.concatenate(probs).astype(np.float64).clip(1e-12, 1 - 1e-7)
    return np.log(p) - np.log1p(-p), np.concatenate(ends)


def platt(odds: np.ndarray, ends: np.ndarray) -> tuple[float, float]:
    """Slope and shift of log-odds (n,) under which ends (n,) bool are most probable, given how `SURE` one was."""
    x, y = torch.from_numpy(odds), torch.from_numpy(ends).double()
    both = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    first = both.detach().clone()
    solver = torch.optim.LBFGS([both], max_iter=200, line_search_fn="strong_wolfe")

    def surprise() -> Tensor:
        solver.zero_grad()
        nats = F.binary_cross_entropy_with_logits(both[0] * x + both[1], y, reduction="sum")
        nats = nats + ((both - first) ** 2).sum() / (2 * SURE**2)
        nats.backward()
        return nats

    solver.step(surprise)
    slope, shift = both.detach().tolist()
    return slope, shift


def rescaled(world: World, slope: float, shift: float) -> World:
    """The world with its log-odds of an end times a slope, plus a shift, and neither starts nor trust."""
    weights, offset = dict(world.weights()), math.log(world.net.termination.weight)
    out = "termination.out."
    weights[f"{out}bias"] = slope * (weights[f"{out}bias"] - offset) + shift + offset
    weights[f"{out}weight"] = slope * weights[f"{out}weight"]
    return World.from_weights(world.config, weights, world.spec)
