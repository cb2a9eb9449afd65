"""How near an event will come, as the world's latents foretell it: what a swarm of dreams had better go by.

A severity says how near an event is. Where failures come suddenly, those who are about to fail look like all others
until it is too late to branch them, though their latents differ. A swarm stays unbiased whatever it goes by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gensim.core.seeds import fold
from gensim.rare.dreams import Dreams, Episodes

RIDGES = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)
PILOT = 1 << 62  # of a seed, from which the keys of what it is learned of are made
SPREAD = 1.0  # of the spread of episodes' least severities: as much less is e times as near
SHARP = 1.4  # power of nearness by which a swarm goes
LEAST = 1e-3  # scale of severities, and usual nearness


@dataclass(frozen=True)
class Foresight:
    """A guess of the least severity that is still to come, by nearness: the mean of exp(-severity / scale) is linear.

    Arguments:
        weights: float (latents + 2, k + 1), of the latents, the severity and one: of the next step, the next two, up to
            k; and, before the event counts, of the whole episode.
        usual: float (k + 1,), the mean nearness of plain dreams, than which no guess is less.
        scale: of severities.
        calls: steps that it was learned of.
        share: of the variance of nearness, in episodes that it has not seen, what it explains.
    """

    weights: np.ndarray
    usual: np.ndarray
    scale: float
    calls: int
    share: float

    def __call__(self, features: np.ndarray, left: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Nearness (n,) of features (n, d + 2) where so many steps are left (n,), and the event counts or not (n,)."""
        most = self.weights.shape[1] - 1
        column = np.where(counts, np.clip(left, 1, most) - 1, most)
        near = np.take_along_axis(features @ self.weights, column[:, None], 1)[:, 0]
        return np.clip(near, np.minimum(self.usual[column], 1.0), 1.0)


def foretold(dreams: Dreams, foresight: Foresight) -> Callable[[Episodes], np.ndarray]:
    """What a swarm goes by; see `gensim.rare.swarm`."""

    def near(now: Episodes) -> np.ndarray:
        left = dreams.horizon - now.rollout.elapsed
        return foresight(features(dreams, now), left, _counts(dreams, now)) ** SHARP

    return near


def foresee(dreams: Dreams, seed: int, many: int = 1000, ahead: int = 8) -> Foresight:
    """Learns of plain dreams what the latents foretell; a quarter of them decides how smooth the guess is.

    Reference: Ridge regression: biased estimation for nonorthogonal problems (Hoerl and Kennard, 1970),
    doi:10.1080/00401706.1970.10488634.

    Raises:
        ValueError: if there are fewer than 8 dreams or a step ahead, or the event never counts.
    """
    if many < 8 or ahead < 1:
        raise ValueError(f"many={many}, ahead={ahead}: give at least 8 and 1")
    if dreams.event.since >= dreams.horizon:
        since = dreams.event.since
        raise ValueError(
            f"{dreams.event.name} counts from step {since} on: give a longer horizon than {dreams.horizon}"
        )
    heard = _heard(dreams, dreams.begin(fold(np.full(many, np.uint64(seed) ^ np.uint64(PILOT)), np.arange(many))))
    if np.isnan(heard.far).any():
        raise ValueError("a severity is not finite: return a number for every row")
    scale = max(SPREAD * float(heard.far.min(0).std()), LEAST)
    x, y, held, counts = _pairs(dreams, heard, ahead, scale)
    weights, share = _ridge(x[counts], y[counts, :-1], held[counts])
    early, _ = _ridge(x[~counts], y[~counts, -1:], held[~counts])
    return Foresight(np.concatenate([weights, early], 1), _usual(y, counts), scale, heard.calls, share)


@dataclass(frozen=True)
class _Heard:
    """Episodes (n) side by side: moments, who each row is, features; and severities (t, n), inf beyond ends."""

    moments: list[Episodes]
    rows: list[np.ndarray]
    features: list[np.ndarray]
    far: np.ndarray

    @property
    def calls(self) -> int:
        return sum(len(some) for some in self.rows[1:])


def _heard(dreams: Dreams, now: Episodes) -> _Heard:
    """Plays moments to the ends of their episodes, or to the event."""
    n, alive = len(now), np.arange(len(now))
    moments, rows, far = [now], [alive], [now.severity]
    while len(going := np.flatnonzero(~now.done & (now.severity > 0))):
        now, alive = dreams.advance(now.rows(going)), alive[going]
        moments.append(now)
        rows.append(alive)
        far.append(np.full(n, np.inf))
        far[-1][alive] = now.severity
    return _Heard(moments, rows, [features(dreams, one) for one in moments], np.stack(far))


def _usual(near: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean nearness (k + 1,): the first columns where the event counts, the last one before."""
    since, early = (near[some].mean(0) if some.any() else np.ones(near.shape[1]) for some in (counts, ~counts))
    return np.maximum(np.concatenate([since[:-1], early[-1:]]), LEAST)


def _ridge(x: np.ndarray, y: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (d, k) of features (m, d), by which those held out are foretold best, and the share that they explain."""
    if held.all() or not held.any():  # too few to learn from
        return np.zeros((x.shape[1], y.shape[1])), 0.0
    mean, best = y[~held].mean(0), (np.inf, np.zeros((x.shape[1], y.shape[1])))
    learn = x[~held]
    inner, told = (learn.T @ learn).astype(float), learn.T @ (y[~held] - mean)
    for ridge in RIDGES:
        weights = np.linalg.solve(inner + ridge * np.eye(len(inner)), told)
        weights[-1] += mean
        best = min(best, (float(((x[held] @ weights - y[held]) ** 2).mean()), weights), key=lambda one: one[0])
    return best[1], 1 - best[0] / max(float(y[held].var(0).mean()), 1e-12)


def _pairs(dreams: Dreams, heard: _Heard, ahead: int, scale: float) -> tuple[np.ndarray, ...]:
    """Features (m, d + 2) of moments, nearness (m, k + 1), which are held out, and where the event counts (m,)."""
    near = np.exp(-_least(heard.far, ahead) / scale)  # (t, n, k)
    whole = np.exp(-np.minimum.accumulate(heard.far[::-1])[::-1] / scale)  # (t, n)
    near = np.concatenate([near, whole[..., None]], -1)
    some = [~now.done & (now.severity > 0) for now in heard.moments]
    x = np.concatenate([one[use] for one, use in zip(heard.features, some)])
    y = np.concatenate([near[t, rows[use]] for t, (rows, use) in enumerate(zip(heard.rows, some))])
    held = np.concatenate([rows[use] % 4 == 0 for rows, use in zip(heard.rows, some)])
    return x, y, held, np.concatenate([_counts(dreams, now)[use] for now, use in zip(heard.moments, some)])


def _least(far: np.ndarray, ahead: int) -> np.ndarray:
    """The least of the next 1 to k of severities (t, n), inf where there are none: (t, n, k)."""
    padded = np.concatenate([far, np.full((ahead, far.shape[1]), np.inf)])
    after = np.stack([padded[1 + k : len(far) + 1 + k] for k in range(ahead)], -1)  # (t, n, k)
    return np.minimum.accumulate(after, -1)


def _counts(dreams: Dreams, now: Episodes) -> np.ndarray:
    """Whether the event counts already at moments (n,)."""
    return np.asarray(now.rollout.elapsed) >= dreams.event.since


def features(dreams: Dreams, now: Episodes) -> np.ndarray:
    """What a guess is made of: latents, the severity and one (n, d + 2)."""
    own = np.stack([now.severity, np.ones(len(now))], 1)
    return np.concatenate([dreams.latent(now), own], 1, dtype=np.float32)  # half the memory
