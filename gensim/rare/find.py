"""Which different failures are there? Quality-diversity search: niches of behaviour, and the nearest miss of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gensim.rare.surrogate import Surrogate

Draw = Callable[[int], np.ndarray]
Look = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Shown = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Finding:
    """How to search.

    Raises ValueError for numbers that make no search.
    """

    calls: int = 20_000
    """Evaluations of the event."""
    batch: int = 50
    """Of them at once."""
    first: int = 1000
    """Of them plainly drawn, by which behaviour is scaled."""
    cells: int = 1500
    """Niches of behaviour."""
    radius: float = 5.0
    """How far out niches lie, in standard deviations of plain behaviour."""
    apart: float = 0.9
    """Near misses so close to a failure that is known, in standard deviations, are of less interest."""
    changed: float = 0.06
    """Largest share of the choices that is drawn anew at once."""
    seed: int = 0
    """Of everything."""

    def __post_init__(self) -> None:
        if min(self.batch, self.first, self.cells) < 2 or self.calls < self.first + self.batch:
            raise ValueError(f"{self}: give at least 2 of each, and more calls than first and batch together")
        if not (self.radius > 0 and self.apart > 0 and 0 < self.changed <= 1):
            raise ValueError(f"{self}: give radius and apart above 0, and changed up to 1")


@dataclass
class Atlas:
    """What was found.

    failures (k, dims): choices; severities (k,); behaviours (k, m) as the measures are; calls; niches with a near miss.
    """

    failures: np.ndarray
    severities: np.ndarray
    behaviours: np.ndarray
    calls: int
    niches: int
    _scale: Any = field(default=1.0, repr=False)

    def different(self, apart: float = 0.3) -> np.ndarray:
        """Indices (d,) of failures none of which behaves like another: further apart in some measure, in deviations."""
        chosen: list[int] = []
        scaled = self.behaviours / self._scale
        for i in np.argsort(self.severities, kind="stable"):
            if not chosen or np.abs(scaled[chosen] - scaled[i]).max(1).min() > apart:
                chosen.append(int(i))
        return np.array(chosen, int)


TIRING, EAGER = 0.02, 0.03  # of severity: a try in vain costs as much; so much less is e times as often tried
KEEN = 4.0  # how much more often changes begin where they are worth more
BINS, ANYWHERE = 16, 0.2  # where changes begin; share of them that begin anywhere, whatever it was worth
SCREENED = 20  # changes of which the one with the best guess is looked at
CROSSED = 0.5  # share of changes that take a part of another near miss
MIX = 0.75  # share of tries that go where failure is near; the rest where few have been


def find(look: Look, draw: Draw, config: Finding | None = None, shown: Shown | None = None) -> Atlas:
    """Failures that differ in behaviour, of near misses in many niches whose choices are changed in part.

    Of many changes those are looked at that a guess of their behaviour speaks for. What is found says what can happen,
    not how probable it is.

    References: Quality Diversity: A New Frontier for Evolutionary Computation (Pugh et al., 2016),
    doi:10.3389/frobt.2016.00040; Discovering the Elite Hypervolume by Leveraging Interspecies Correlation (Vassiliades
    and Mouret, 2018), arXiv:1804.03906, for parts of another near miss; pyribs: A Bare-Bones Python Library for Quality
    Diversity Optimization (Tjanaka et al., 2023), arXiv:2303.00191.

    Arguments:
        look: of choices (n, dims), severities (n,), which are 0 or less at the event, and measures of behaviour (n, m).
        draw: so many choices (n, dims) of the reference law, whose parts are independent: standard normal numbers, or
            keys as whole numbers.
        shown: is told the calls, the failures that differ, and the least severity so far.

    Raises:
        ValueError: if severities or measures are not finite, or plain behaviour never differs.
        ModuleNotFoundError: without ribs, of the extra "rare".
    """
    return _Search(look, draw, config or Finding()).run(shown)


def _archive() -> Any:
    try:
        from ribs.archives import CVTArchive
    except ModuleNotFoundError as fault:
        raise ModuleNotFoundError("searches need ribs: pip install ribs, or 'gensim-worlds[rare]'") from fault
    return CVTArchive


class _Search:
    def __init__(self, look: Look, draw: Draw, config: Finding) -> None:
        self.look, self.draw, self.config, self.Archive = look, draw, config, _archive()
        self.rng = np.random.default_rng(config.seed)
        self.calls, self.least = 0, np.inf
        self.guess: Surrogate | None = None  # of keys, which say nothing by their size, nothing is guessed
        self.failed: list[tuple[np.ndarray, float, np.ndarray]] = []
        self.known = np.zeros((0, 1))  # where failures are that differ, scaled

    def run(self, shown: Shown | None) -> Atlas:
        c = self.config
        x = self.draw(c.first)
        severity, measures = self._looked(x)
        self.middle, self.scale = measures.mean(0), measures.std(0)
        if not (self.scale > 0).any():
            raise ValueError("the measures never differ in plain draws: give others")
        self.scale = np.where(self.scale > 0, self.scale, 1.0)
        self._open(x, measures.shape[1])
        self._tell(x, severity, measures)
        while self.calls + c.batch <= c.calls:
            x, begin = self._tried()
            gained = self._tell(x, *self._looked(x))
            np.add.at(self.gained, begin, gained)
            np.add.at(self.changed, begin, 1)
            if shown is not None:
                shown(self.calls, len(self.known), self.least)
        return self._said(x.shape[1], measures.shape[1])

    def _looked(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        severity, measures = (np.asarray(part, float) for part in self.look(x))
        self.calls += len(x)
        if severity.shape != (len(x),) or measures.ndim != 2 or len(measures) != len(x):
            given = f"severity {severity.shape} and measures {measures.shape} of {len(x)}"
            raise ValueError(f"{given}: give (n,) and (n, m)")
        if not (np.isfinite(severity).all() and np.isfinite(measures).all()):
            raise ValueError("a severity or a measure is not finite: return numbers for every row")
        self.least = min(self.least, float(severity.min()))
        return severity, measures

    def _open(self, x: np.ndarray, many: int) -> None:
        c = self.config
        self.guess = Surrogate() if x.dtype.kind == "f" else None
        ways = self.rng.standard_normal((c.cells, many))
        ways *= c.radius * self.rng.random((c.cells, 1)) ** (1 / many) / np.linalg.norm(ways, axis=1, keepdims=True)
        ends = [(-c.radius, c.radius)] * many
        self.archive = self.Archive(
            solution_dim=1, centroids=ways, ranges=ends, extra_fields={"choices": (x.shape[1:], x.dtype)}
        )
        self.tries, self.best = np.zeros(c.cells), np.full(c.cells, np.inf)
        self.gained, self.changed = np.ones(BINS), np.full(BINS, 2.0)  # by where changes begin
        self.known = np.zeros((0, many))

    def _tell(self, x: np.ndarray, severity: np.ndarray, measures: np.ndarray) -> np.ndarray:
        """Near misses go to their niches, failures to where they are kept; which (n,) were worth it."""
        where = (measures - self.middle) / self.scale
        if self.guess is not None:
            self.guess.tell(x, where, severity)
        for i in np.flatnonzero(severity <= 0):
            self.failed.append((x[i], float(severity[i]), measures[i]))
            if not len(self.known) or np.abs(self.known - where[i]).max(1).min() > 0.3:
                self.known = np.concatenate([self.known, where[i : i + 1]])
        near = np.flatnonzero(severity > 0)
        worth = severity <= 0
        if len(near):
            told = self.archive.add(np.zeros((len(near), 1)), -severity[near], where[near], choices=x[near])
            worth[near] = told["status"] > 0
        return worth

    def _tried(self) -> tuple[np.ndarray, np.ndarray]:
        """New choices (batch, dims): near misses, in part drawn anew; and the bins (batch,) that changes begin in."""
        c, held = self.config, self.archive.data()
        niche, severity = held["index"], -held["objective"]
        if not len(niche):  # all that was drawn failed
            return self.draw(c.batch), self.rng.integers(BINS, size=c.batch)
        fresh = severity < self.best[niche]
        self.tries[niche[fresh]] *= 0.3
        self.best[niche] = severity
        score = severity + TIRING * self.tries[niche] + self._known_near(held["measures"])
        eager, new = np.exp(-(score - score.min()) / EAGER), np.exp(-0.3 * self.tries[niche])
        law = MIX * eager / eager.sum() + (1 - MIX) * new / new.sum()
        parents = self.rng.choice(len(niche), c.batch, p=law)
        np.add.at(self.tries, niche[parents], 1)
        if self.guess is None:
            return self._changed(held["choices"][parents], held["choices"])
        parents = np.repeat(parents, SCREENED)
        x = held["choices"][parents]
        y, begin = self._changed(x, held["choices"])
        where = held["measures"][parents] + self.guess.change(x, y)
        score = (self.guess.severity(where) + self._known_near(where)).reshape(c.batch, SCREENED)
        best = score.argmin(1) + np.arange(c.batch) * SCREENED
        return y[best], begin[best]

    def _changed(self, x: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choices (n, dims), in part drawn anew or as of others (k, dims), and the bins (n,) that changes begin in."""
        n, dims = x.shape
        rate = (self.gained / self.changed) ** KEEN
        begin = np.asarray(self.rng.choice(BINS, n, p=(1 - ANYWHERE) * rate / rate.sum() + ANYWHERE / BINS))
        first = ((begin + self.rng.random(n)) / BINS * dims).astype(int)[:, None]
        anew = np.where(_windows(self.rng, first, dims, self.config.changed), self.draw(n), x)
        long = np.exp(self.rng.uniform(0, np.log(max(dims / 2, 1.0)), (n, 1))).round()
        crossed = np.where(_within(first, long, dims), others[self.rng.integers(len(others), size=n)], x)
        return np.where(self.rng.random((n, 1)) < CROSSED, crossed, anew), begin

    def _known_near(self, where: np.ndarray) -> np.ndarray:
        """How much less interest (n,) there is in behaviours (n, m) near to those of failures that are known."""
        if not len(self.known):
            return np.zeros(len(where))
        near = np.abs(where[:, None] - self.known[None]).max(-1).min(1)
        return np.exp(-((near / self.config.apart) ** 2))

    def _said(self, dims: int, many: int) -> Atlas:
        x, severity, measures = (
            (np.array(part) for part in zip(*self.failed))
            if self.failed
            else (np.zeros((0, dims)), np.zeros(0), np.zeros((0, many)))
        )
        niches = len(self.archive.data()["index"])
        return Atlas(x, severity, measures, self.calls, niches, _scale=self.scale)


def _windows(rng: np.random.Generator, first: np.ndarray, dims: int, most: float) -> np.ndarray:
    """Which choices bool (n, dims) are drawn anew: one to a share of them, in a window from first (n, 1) on."""
    n = len(first)
    many = np.exp(rng.uniform(0, np.log(max(most * dims, 1.0)), n)).round()[:, None]
    long = np.maximum(np.exp(rng.uniform(0, np.log(dims), (n, 1))).round(), many)
    inside = _within(first, long, dims)
    order = np.where(inside, rng.random((n, dims)), 2.0).argsort(1).argsort(1)
    return inside & (order < many)


def _within(first: np.ndarray, long: np.ndarray, dims: int) -> np.ndarray:
    """Which choices bool (n, dims) lie in windows from first (n, 1) on, so long (n, 1)."""
    return np.asarray((np.arange(dims) >= first) & (np.arange(dims) < first + long))
