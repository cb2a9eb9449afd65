"""How probable is failure? Episodes that come closer to it are branched where they did, level after level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from gensim.core.seeds import fold
from gensim.rare.result import Estimate, replicated

M = TypeVar("M", bound="Moments")


class Moments(Protocol):
    """Moments of n episodes: everything that their futures depend on, as a value.

    severity (n,): how far the event is off, at this moment; it happens where that is 0 or less. done (n,): whether the
    episode is over. log_p, log_q (n,): nats, of the past under the reference law, and as it was drawn.
    """

    severity: np.ndarray
    done: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray

    def __len__(self) -> int: ...

    def rows(self: M, index: np.ndarray) -> M:
        """A copy of some rows."""
        ...


class Simulator(Protocol):
    """What begins episodes and goes on with them; neither changes what it is given."""

    def begin(self, keys: np.ndarray) -> Any:
        """First moments of episodes that depend on keys (n,) uint64."""
        ...

    def advance(self, moments: Any) -> Any:
        """The moments one step later, of episodes none of which is over."""
        ...

    def branch(self, moments: Any, keys: np.ndarray) -> Any:
        """The same pasts; futures of everything in them that depend on new keys (n,) uint64."""
        ...

    def join(self, some: Sequence[Any]) -> Any:
        """All rows of several moments, one after the other."""
        ...


@dataclass(frozen=True)
class Splitting:
    """How to split.

    Raises ValueError for numbers that make no estimate.
    """

    many: int = 200
    """Episodes of a replicate."""
    replicates: int = 10
    """Independent estimates, of whose differences the interval is made."""
    share: float = 0.3
    """Share of the episodes that are branched anew at a level."""
    grain: float = 0.0
    """Severities are told apart in steps of this much; 0 tells all apart, and keeps more moments."""
    most: int = 400
    """Levels after which it is given up."""

    def __post_init__(self) -> None:
        if self.many < 2 or self.replicates < 2:
            raise ValueError(f"many={self.many}, replicates={self.replicates}: give at least 2 of each")
        if not 0 < self.share < 1 or self.grain < 0 or self.most < 1:
            raise ValueError(f"share={self.share}, grain={self.grain}, most={self.most}: give 0 < share < 1, and > 0")


@dataclass
class Path:
    """One episode so far: the moments at which it came closer than before, and how it is over.

    Arguments:
        records: severities, each less than the one before, with the moments (1 row of a batch) they were reached at.
        end: its last moment, as a row of a batch.
    """

    records: list[tuple[float, Any, int]] = field(default_factory=list)
    end: tuple[Any, int] = (None, 0)

    @property
    def nearest(self) -> float:
        """The least severity."""
        return self.records[-1][0]

    @property
    def last(self) -> Any:
        """Its last moment."""
        batch, row = self.end
        return batch.rows(np.array([row]))

    @property
    def likely(self) -> float:
        """Its log-probability."""
        return float(self.end[0].log_p[self.end[1]])

    @property
    def weight(self) -> float:
        """Its probability under the reference law over that under which it was drawn."""
        return float(np.exp(self.likely - self.end[0].log_q[self.end[1]]))


Shown = Callable[[int, float, float], None]


def split(simulator: Simulator, seed: int, config: Splitting | None = None, shown: Shown | None = None) -> Estimate:
    """The probability that episodes come to an event, unbiased, by adaptive multilevel splitting.

    At each level the episodes that came least close are dropped; as many are branched from others, where those first
    came closer than the level. All replicates go on together, so that batches stay full.

    Reference: Unbiasedness of some generalized adaptive multilevel splitting algorithms (Brehier et al., 2016),
    arXiv:1505.02674.

    Arguments:
        shown: is told the level's number, the median level, and the estimate so far (an upper bound of it).

    Raises:
        ValueError: if the severity is not finite, or never changes.
    """
    return crowds(simulator, seed, config, shown).estimate()


@dataclass(frozen=True)
class Split:
    """What splitting found.

    Arguments:
        each: estimates (r,) of the replicates.
        calls: steps taken.
        failures: last moments of the episodes that failed, 1 row each; likely: their log-probabilities; weights: what
            each adds to the estimate, whose sum they are.
        doubts: what speaks against it.
    """

    each: np.ndarray
    calls: int
    failures: list[Any]
    likely: list[float]
    weights: list[float]
    doubts: tuple[str, ...] = ()

    def estimate(self) -> Estimate:
        """The mean, with its interval."""
        return replicated(self.each, self.calls, self.failures, self.likely, self.doubts)


def crowds(simulator: Simulator, seed: int, config: Splitting | None = None, shown: Shown | None = None) -> Split:
    """The same, replicate by replicate; see `split`."""
    return _Run(simulator, seed, config or Splitting()).run(shown)


class _Run:
    def __init__(self, simulator: Simulator, seed: int, config: Splitting) -> None:
        self.simulator, self.seed, self.config = simulator, np.uint64(seed), config
        self.rng = np.random.default_rng(seed)
        self.calls = self.branched = 0
        self.stuck: list[float] = []  # levels that nobody of a crowd came closer than

    def run(self, shown: Shown | None) -> Split:
        c = self.config
        keys = fold(np.full(c.replicates * c.many, self.seed, np.uint64), np.arange(c.replicates * c.many))
        moments = self.simulator.begin(keys)
        paths = [Path() for _ in keys]
        self._go_on(paths, moments)
        self._check(paths)
        crowds = [paths[i : i + c.many] for i in range(0, len(paths), c.many)]
        log_p, going = np.zeros(c.replicates), np.ones(c.replicates, bool)
        for generation in range(c.most):
            levels = self._levels(crowds, going)
            going &= levels > 0
            if not going.any():
                break
            self._next(crowds, levels, log_p, going)
            if shown is not None:
                shown(generation + 1, float(np.median(np.maximum(levels, 0))), float(np.exp(log_p).mean()))
        return self._said(crowds, log_p, going)

    def _levels(self, crowds: list[list[Path]], going: np.ndarray) -> np.ndarray:
        """The level (r,) at or above which each crowd's least close episodes are; 0 or less where the rest failed."""
        drop = max(1, int(self.config.share * self.config.many))
        found = np.zeros(len(crowds))
        for i in np.flatnonzero(going):
            found[i] = np.sort([path.nearest for path in crowds[i]])[-drop]
        return found

    def _next(self, crowds: list[list[Path]], levels: np.ndarray, log_p: np.ndarray, going: np.ndarray) -> None:
        """Drops and branches in all crowds, and goes on with the new episodes together."""
        fresh: list[Path] = []
        starts: list[tuple[Any, int]] = []
        for i in np.flatnonzero(going):
            kept = [path for path in crowds[i] if path.nearest < levels[i]]
            if not kept:  # nobody came closer than all others: this crowd says 0
                log_p[i], going[i] = -np.inf, False
                self.stuck.append(float(levels[i]))
                continue
            log_p[i] += np.log(len(kept) / len(crowds[i]))
            lost = len(crowds[i]) - len(kept)
            for parent in self.rng.integers(len(kept), size=lost):
                child, start = _branched(kept[parent], levels[i])
                fresh.append(child)
                starts.append(start)
            crowds[i] = kept + fresh[len(fresh) - lost :]
        if fresh:
            keys = fold(np.full(len(fresh), self.seed ^ np.uint64(1 << 63)), self.branched + np.arange(len(fresh)))
            self.branched += len(fresh)
            moments = self.simulator.join([batch.rows(np.array(rows)) for batch, rows in _grouped(starts)])
            order = np.argsort(np.concatenate(_places(starts)), kind="stable")
            self._go_on(fresh, self.simulator.branch(moments.rows(order), keys))

    def _go_on(self, paths: list[Path], moments: Any) -> None:
        """Plays episodes to their ends or to the event, and keeps the moments at which each came closer."""
        alive = np.arange(len(paths))
        nearest = np.array([path.nearest if path.records else np.inf for path in paths])
        while True:
            near = self._told_apart(moments.severity)
            closer = np.flatnonzero(near < nearest[alive])
            if len(closer):
                kept = moments.rows(closer)
                for row, i in enumerate(closer):
                    paths[alive[i]].records.append((float(near[i]), kept, row))
                nearest[alive[closer]] = near[closer]
            over = moments.done | (near <= 0)
            if over.any():
                ended = moments.rows(np.flatnonzero(over))
                for row, i in enumerate(np.flatnonzero(over)):
                    paths[alive[i]].end = (ended, row)
                alive = alive[~over]
                if not len(alive):
                    return
                moments = moments.rows(np.flatnonzero(~over))
            moments = self.simulator.advance(moments)
            self.calls += len(alive)

    def _told_apart(self, severity: np.ndarray) -> np.ndarray:
        found = np.asarray(severity, float)
        if not np.isfinite(found).all():
            raise ValueError("a severity is not finite: return a number for every row")
        return found if self.config.grain == 0 else np.ceil(found / self.config.grain) * self.config.grain

    def _check(self, paths: list[Path]) -> None:
        if len({path.nearest for path in paths}) == 1 and paths[0].nearest > 0:
            raise ValueError(
                f"the least severity is {paths[0].nearest} in all {len(paths)} episodes: it says nothing of who comes "
                "closer; give one that falls towards the event, or episodes that differ"
            )

    def _said(self, crowds: list[list[Path]], log_p: np.ndarray, going: np.ndarray) -> Split:
        c, factors = self.config, np.exp(log_p)
        failed = [[path for path in crowd if path.nearest <= 0] for crowd in crowds]
        added = [[factor * path.weight / c.many for path in some] for factor, some in zip(factors, failed)]
        doubts: tuple[str, ...] = ("levels ran out before the event was reached",) if going.any() else ()
        if self.stuck:
            many, level = len(self.stuck), min(self.stuck)
            doubts += (f"in {many} of {c.replicates} replicates all came to {level:g} and nobody closer",)
        found = [path for some in failed for path in some]
        weights = [weight / c.replicates for some in added for weight in some]
        ends, likely = [path.last for path in found], [path.likely for path in found]
        return Split(np.array([sum(some) for some in added]), self.calls, ends, likely, weights, doubts)


def _branched(parent: Path, level: float) -> tuple[Path, tuple[Any, int]]:
    """An episode that has a parent's past until it first came closer than a level, and the moment it goes on from."""
    at = next(i for i, (near, _, _) in enumerate(parent.records) if near < level)
    _, batch, row = parent.records[at]
    return Path(parent.records[: at + 1]), (batch, row)


def _grouped(starts: list[tuple[Any, int]]) -> list[tuple[Any, list[int]]]:
    """Rows of each batch of moments, batches in order of their first row."""
    found: dict[int, tuple[Any, list[int]]] = {}
    for batch, row in starts:
        found.setdefault(id(batch), (batch, []))[1].append(row)
    return list(found.values())


def _places(starts: list[tuple[Any, int]]) -> list[np.ndarray]:
    """Places in `starts` of the rows that `_grouped` gives, in its order."""
    found: dict[int, list[int]] = {}
    for i, (batch, _) in enumerate(starts):
        found.setdefault(id(batch), []).append(i)
    return [np.array(some) for some in found.values()]
