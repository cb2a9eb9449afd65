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
SPREAD = 0.75  # of the spread of episodes' least severities: as much less is e times as near
SHARP = 1.4  # power of nearness by which a swarm goes
FURTHEST = 1e-3  # least scale of severities
CLOSER = 0.25  # share of episodes that are branched, to learn from what comes closer


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
    return lambda now: _near(dreams, now, features(dreams, now), foresight) ** SHARP


def _near(dreams: Dreams, now: Episodes, x: np.ndarray, foresight: Foresight) -> np.ndarray:
    """Nearness (n,) of moments with features x."""
    return foresight(x, dreams.horizon - now.rollout.elapsed, _counts(dreams, now))


def foresee(dreams: Dreams, seed: int, many: int = 200, ahead: int = 12, generations: int = 4) -> Foresight:
    """Learns what the latents foretell: of dreams, and of dreams that are branched where others seemed to come near.

    A quarter of the episodes decides how smooth the guess is.

    Reference: Ridge regression: biased estimation for nonorthogonal problems (Hoerl and Kennard, 1970),
    doi:10.1080/00401706.1970.10488634.

    Raises:
        ValueError: if there are fewer than 8 dreams, a step ahead or a generation, or the event never counts.
    """
    if many < 8 or ahead < 1 or generations < 1:
        raise ValueError(f"many={many}, ahead={ahead}, generations={generations}: give at least 8, 1 and 1")
    if dreams.event.since >= dreams.horizon:
        since = dreams.event.since
        raise ValueError(
            f"{dreams.event.name} counts from step {since} on: give a longer horizon than {dreams.horizon}"
        )
    rng, base = np.random.default_rng(seed), np.full(many, np.uint64(seed) ^ np.uint64(PILOT), np.uint64)
    heard = [_heard(dreams, dreams.begin(fold(base, np.arange(many))))]
    found = _fitted(dreams, heard, ahead)
    for generation in range(1, generations):
        start = _nearest(dreams, heard[-1], found, rng)
        keys = fold(base[: len(start)], generation * many + np.arange(len(start)))
        heard.append(_heard(dreams, dreams.branch(start, keys)))
        found = _fitted(dreams, heard, ahead)
    return found


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


def _fitted(dreams: Dreams, heard: list[_Heard], ahead: int) -> Foresight:
    """Weights of which a quarter of all episodes is foretold best, before the event counts and since."""
    scale = max(SPREAD * float(heard[0].far.min(0).std()), FURTHEST)
    pairs = [_pairs(dreams, one, ahead, scale) for one in heard]
    x, y, held, counts = (np.concatenate(part) for part in zip(*pairs))
    weights, share = _ridge(x[counts], y[counts, :-1], held[counts])
    early = np.zeros((len(weights), 1))
    if not counts.all():
        early, _ = _ridge(x[~counts], y[~counts, -1:], held[~counts])
    return Foresight(
        np.concatenate([weights, early], 1), _usual(pairs[0]), scale, sum(one.calls for one in heard), share
    )


def _usual(plain: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mean nearness (k + 1,) of plain dreams: the first columns where the event counts, the last one before."""
    _, y, _, counts = plain
    since = y[counts].mean(0) if counts.any() else np.ones(y.shape[1])
    early = y[~counts, -1:].mean(0) if not counts.all() else since[-1:]
    return np.maximum(np.concatenate([since[:-1], early]), FURTHEST)


def _ridge(x: np.ndarray, y: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (d, k) of features (m, d), by which those held out are foretold best, and the share that they explain."""
    mean, best = y[~held].mean(0), (np.inf, np.zeros((x.shape[1], y.shape[1])))
    inner, told = x[~held].T @ x[~held], x[~held].T @ (y[~held] - mean)
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


def _nearest(dreams: Dreams, heard: _Heard, found: Foresight, rng: np.random.Generator) -> Episodes:
    """As many moments as there are episodes: where the nearest of them first came as near as those all do."""
    near: np.ndarray = np.zeros(heard.far.shape)
    for t, (now, rows, x) in enumerate(zip(heard.moments, heard.rows, heard.features)):
        near[t, rows] = np.where(now.done, 0.0, _near(dreams, now, x, found))
    near[heard.far <= 0] = 0.0
    level = np.quantile(near.max(0), 1 - CLOSER)
    chosen = rng.choice(np.flatnonzero(near.max(0) >= level), near.shape[1])
    when = (near >= level).argmax(0)[chosen]
    order = np.argsort(when, kind="stable")
    chosen, when = chosen[order], when[order]
    parts = [heard.moments[t].rows(np.searchsorted(heard.rows[t], chosen[when == t])) for t in np.unique(when)]
    return dreams.join(parts)


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
    return np.concatenate([dreams.latent(now), now.severity[:, None], np.ones((len(now), 1))], 1)
