"""A proposal: normal laws about the ways to fail, and a part of the reference law, so that weights stay bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHAIN = 10.0  # neighbours in a chain that count as one draw


@dataclass(frozen=True)
class Mixture:
    """Normal laws of unit spread about means (k, dims), with shares (k,); one mean is the origin.

    Since no part is narrower than the reference law, and one part is the reference law itself, no weight exceeds one
    over that part's share.

    Reference: Safe and effective importance sampling (Owen and Zhou, 2000), doi:10.1080/01621459.2000.10473909.
    """

    means: np.ndarray
    shares: np.ndarray

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Choices (n, dims)."""
        return self.means[rng.choice(len(self.shares), n, p=self.shares)] + rng.standard_normal(
            (n, self.means.shape[1])
        )

    def log_weight(self, x: np.ndarray) -> np.ndarray:
        """Log-probability of choices (n, dims) under the reference law, less that under this one (n,)."""
        parts = self._parts(x)
        top = parts.max(1, keepdims=True)
        return -(top[:, 0] + np.log(np.exp(parts - top).sum(1)))

    def _parts(self, x: np.ndarray) -> np.ndarray:
        """Log of each part's share times its density over the reference law's (n, k)."""
        return x @ self.means.T - (self.means**2).sum(1) / 2 + np.log(self.shares)


def begun(
    x: np.ndarray, far: np.ndarray, joined: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator, most: int
) -> Mixture:
    """A mixture with one part for each way to fail, of choices (n, dims) that chains have found, severities (n,).

    Parts begin far from each other, among the failures; those between which there is failure all the way are one way.

    Arguments:
        joined: of choices (m, dims) to bool (m,), whether they fail.
        most: parts at first.
    """
    x, far = x[far <= 0], far[far <= 0]
    seeds = _apart(x, rng, most)
    belongs = ((x[:, None] - seeds[None]) ** 2).sum(-1).argmin(1)  # (n,)
    means = np.stack([x[belongs == i].mean(0) for i in range(len(seeds))])
    pairs = np.array([(i, j) for i in range(len(means)) for j in range(i)], int).reshape(-1, 2)
    between = joined((means[pairs[:, 0]] + means[pairs[:, 1]]) / 2)
    way = np.arange(len(means))
    for i, j in pairs[between]:
        way[way == way[i]] = way[j]
    own = way[belongs]
    found = [own == one for one in np.unique(own)]
    middles = [_middle(x[some], far[some], np.full(some.sum(), 1.0), CHAIN) for some in found]
    return safe(np.stack(middles), np.array([some.mean() for some in found]))


def pooled(tried: list[tuple[Mixture, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Choices (n, dims) drawn from several mixtures, as many from each, and their weights (n,) among all.

    Reference: Optimally combining sampling techniques for Monte Carlo rendering (Veach and Guibas, 1995),
    doi:10.1145/218380.218498.
    """
    x = np.concatenate([some for _, some in tried])
    density = np.mean([np.exp(-mixture.log_weight(x)) for mixture, _ in tried], axis=0)  # over the reference law's
    return x, 1 / density


def closer(mixture: Mixture, x: np.ndarray, far: np.ndarray, w: np.ndarray) -> Mixture:
    """The mixture brought closer to the failures among weighted choices (n, dims), severities (n,), weights (n,).

    Reference: The cross-entropy method for combinatorial optimization, rare event estimation and stochastic processes
    (Rubinstein and Kroese, 2004), doi:10.1007/978-1-4757-4321-0.
    """
    belongs = mixture._parts(x)[:, :-1].argmax(1)
    means, shares = mixture.means[:-1].copy(), np.zeros(len(mixture.shares) - 1)
    for i in range(len(means)):
        own = belongs == i
        if (far[own] <= 0).sum() >= 5:
            means[i] = _middle(x[own], far[own], w[own])
            shares[i] = w[own & (far <= 0)].sum()
    return safe(means, shares)


def _middle(x: np.ndarray, far: np.ndarray, w: np.ndarray, chain: float = 1.0) -> np.ndarray:
    """The mean (dims,) of weighted failures among choices (n, dims), cleaned of what chance makes of it.

    A severity says more than who fails: the way in which it falls is kept, and across it only what is more than the
    chance of so few draws, `chain` of which count as one (James and Stein, 1961).
    """
    failed = far <= 0
    even = evened(w[failed])
    mean, dims = even @ x[failed], x.shape[1]
    if len(x) < 2 * dims:
        return mean
    centred = x - x.mean(0)
    fall = -np.linalg.solve(centred.T @ centred + np.eye(dims), centred.T @ (far - far.mean()))
    fall /= np.linalg.norm(fall) + 1e-12
    along = (mean @ fall) * fall
    across = mean - along
    chance = (dims - 1) * (even**2).sum() * chain
    return along + max(0.0, 1 - chance / ((across**2).sum() + 1e-12)) * across


def evened(w: np.ndarray, least: float = 0.2) -> np.ndarray:
    """Weights (n,) that sum to one, made as even as it takes for a share of them to count."""
    for power in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.08, 0.0):
        even = (w / w.max()) ** power
        if even.sum() ** 2 / (even**2).sum() >= least * len(w):
            break
    return even / even.sum()


def safe(means: np.ndarray, shares: np.ndarray, part: float = 0.1, least: float = 0.05) -> Mixture:
    """Means (k, dims) with shares (k,), none of them forgotten, and a part of the reference law."""
    shares = np.maximum(shares / shares.sum(), least) if shares.sum() > 0 else np.ones(len(means))
    origin = np.zeros((1, means.shape[1]))
    return Mixture(np.concatenate([means, origin]), np.append(shares / shares.sum() * (1 - part), part))


def _apart(x: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Failures (k, dims) that lie far from each other: each drawn by how far off the others it is."""
    found = [x[rng.integers(len(x))]]
    for _ in range(min(most, len(x)) - 1):
        near = np.min([((x - one) ** 2).sum(1) for one in found], axis=0)
        if not near.sum() > 0:
            break
        found.append(x[rng.choice(len(x), p=near / near.sum())])
    return np.stack(found)
