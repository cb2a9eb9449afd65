"""Where are failures? Splitting in niches, so that no way to fail crowds out another."""

from __future__ import annotations

import numpy as np

from gensim.rare.problem import Problem


def explore(
    problem: Problem, rng: np.random.Generator, many: int, niches: int = 32, share: float = 0.1, most: int = 9
) -> tuple[np.ndarray, np.ndarray]:
    """The last choices (k, dims) and their severities (k,), generation after generation of `many` of them.

    Each generation falls into niches, by direction; of each those go on that are nearest to failure, and are moved
    about without falling behind the last of them. A niche's level is its own: it sinks as fast there as it can. What is
    found says where to look, not how probable it is.

    References: Estimation of small failure probabilities in high dimensions by subset simulation (Au and Beck, 2001),
    doi:10.1016/S0266-8920(01)00019-4. Illuminating search spaces by mapping elites (Mouret and Clune, 2015),
    arXiv:1504.04909.
    """
    x = rng.standard_normal((many, problem.dims))
    far, step = problem(x), 0.6
    for _ in range(most):
        if (far <= 0).mean() > 0.9:
            break
        niche = _niches(x, far, rng, niches)
        seeds, level = _nearest(far, niche, share)
        x, far, step = _moved(problem, rng, x[seeds], far[seeds], level, many, step)
    return x, far


def _niches(x: np.ndarray, far: np.ndarray, rng: np.random.Generator, many: int) -> np.ndarray:
    """Which niche each choice (n, dims) is in (n,): that of the leader whose direction is the nearest.

    Leaders are taken one after the other, each the nearest to failure of a few that lie far from those before.
    """
    way = x / np.linalg.norm(x, axis=1, keepdims=True)
    best = int(np.argmin(far))
    alike = way @ way[best]
    all_alike = [alike]
    nearest = alike.copy()
    for _ in range(many - 1):
        apart = np.argsort(nearest)[: max(len(x) // 10, 1)]
        leader = int(apart[np.argmin(far[apart])])
        all_alike.append(way @ way[leader])
        nearest = np.maximum(nearest, all_alike[-1])
    return np.stack(all_alike).argmax(0)


def _nearest(far: np.ndarray, niche: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Who goes on (k,), and the level (k,) that each may not fall behind."""
    found, levels = [], []
    for one in np.unique(niche):
        own = np.flatnonzero(niche == one)
        own = own[np.argsort(far[own])][: max(int(np.ceil(share * len(own))), min(4, len(own)))]
        found.append(own)
        levels.append(np.full(len(own), max(float(far[own[-1]]), 0.0)))
    return np.concatenate(found), np.concatenate(levels)


def _moved(
    problem: Problem,
    rng: np.random.Generator,
    x: np.ndarray,
    far: np.ndarray,
    level: np.ndarray,
    many: int,
    step: float,
) -> tuple[np.ndarray, np.ndarray, float]:
    """About `many` choices, by chains that begin at some and stay at or under their levels; and the next step's size.

    Reference: MCMC algorithms for subset simulation (Papaioannou et al., 2015), doi:10.1016/j.probengmech.2015.06.006.
    """
    found = []
    for _ in range(max(many // len(x), 1)):
        tried = np.sqrt(1 - step**2) * x + step * rng.standard_normal(x.shape)
        there = problem(tried)
        passes = there <= level
        x, far = np.where(passes[:, None], tried, x), np.where(passes, there, far)
        step = float(np.clip(step * np.exp(passes.mean() - 0.44), 0.05, 0.95))
        found.append((x, far))
    xs, fars = (np.concatenate(part) for part in zip(*found))
    return xs, fars, step
