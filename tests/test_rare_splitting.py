"""Splitting: unbiased on a chain whose answer is known, also where the policy remembers; intervals that cover it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from gensim.core.seeds import uniform
from gensim.rare.splitting import Splitting, split

STEPS, GOAL, UP = 16, 9, 0.36  # of a walk that is to climb so high; the chance to climb a step
TIRED = 0.8  # of that chance, for as many steps as were climbed without a fall


@dataclass
class Walk:
    """Walks that climb or fall by a step; who climbs remembers it, and climbs less readily."""

    at: np.ndarray
    climbed: np.ndarray
    step: np.ndarray
    key: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray

    @property
    def severity(self) -> np.ndarray:
        return GOAL - self.at.astype(float)

    @property
    def done(self) -> np.ndarray:
        return self.step >= STEPS

    def __len__(self) -> int:
        return len(self.at)

    def rows(self, index: np.ndarray) -> Walk:
        return Walk(*(getattr(self, f.name)[index] for f in fields(Walk)))


@dataclass
class Flat(Walk):
    """A walk of which the severity says nothing."""

    said: float = 3.0

    @property
    def severity(self) -> np.ndarray:
        return np.full(len(self), self.said)

    def rows(self, index: np.ndarray) -> Flat:
        return Flat(**vars(super().rows(index)), said=self.said)


@dataclass
class Walks:
    """Begins and goes on with walks, under their own chance to climb or under another one."""

    tilt: float = 1.0
    steps: int = 0

    def begin(self, keys: np.ndarray) -> Walk:
        n = len(keys)
        whole, real = (np.zeros(n, int) for _ in range(2)), (np.zeros(n) for _ in range(2))
        at, climbed = whole
        return Walk(at, climbed, np.zeros(n, int), keys, *real)

    def advance(self, walk: Walk) -> Walk:
        assert not walk.done.any() and (walk.severity > 0).all()
        self.steps += len(walk)
        p = UP * TIRED ** np.minimum(walk.climbed, 3)
        q = np.minimum(p * self.tilt, 0.9)
        up = uniform(walk.key, 0, walk.step, 1)[:, 0] < q
        return Walk(
            walk.at + np.where(up, 1, -1),
            np.where(up, walk.climbed + 1, 0),
            walk.step + 1,
            walk.key,
            walk.log_p + np.log(np.where(up, p, 1 - p)),
            walk.log_q + np.log(np.where(up, q, 1 - q)),
        )

    def branch(self, moments: Walk, keys: np.ndarray) -> Walk:
        return replace(moments, key=keys)

    def join(self, some: Sequence[Walk]) -> Walk:
        return Walk(*(np.concatenate([getattr(one, f.name) for one in some]) for f in fields(Walk)))


@dataclass
class Flats(Walks):
    """Walks of which the severity says nothing."""

    said: float = 3.0

    def begin(self, keys: np.ndarray) -> Walk:
        return Flat(**vars(super().begin(keys)), said=self.said)

    def advance(self, walk: Walk) -> Walk:
        return Flat(**vars(super().advance(walk)), said=self.said)

    def join(self, some: Sequence[Walk]) -> Walk:
        return Flat(**vars(super().join(some)), said=self.said)


class Forgetful(Walks):
    """The same, but a branch's policy has forgotten what was before."""

    def branch(self, moments: Walk, keys: np.ndarray) -> Walk:
        return replace(moments, key=keys, climbed=np.zeros(len(moments), int))


def exactly() -> float:
    """The probability of the event, by summing over all ways."""
    law, won = {(0, 0): 1.0}, 0.0
    for _ in range(STEPS):
        after: dict[tuple[int, int], float] = {}
        for (at, climbed), mass in law.items():
            p = UP * TIRED**climbed
            if at + 1 >= GOAL:
                won += mass * p
            else:
                after[at + 1, min(climbed + 1, 3)] = after.get((at + 1, min(climbed + 1, 3)), 0.0) + mass * p
            after[at - 1, 0] = after.get((at - 1, 0), 0.0) + mass * (1 - p)
        law = after
    return won


@pytest.mark.parametrize("tilt", [1.0, 1.3])
def test_splitting_is_unbiased_and_its_intervals_cover(tilt: float) -> None:
    p = exactly()
    assert 1e-6 < p < 1e-4
    found = [split(Walks(tilt), seed, Splitting(many=100, replicates=6)) for seed in range(60)]
    each = np.array([one.p for one in found])
    assert abs(each.mean() - p) < 3.5 * each.std(ddof=1) / np.sqrt(len(each)) < 0.5 * p
    assert np.mean([one.low <= p <= one.high for one in found]) > 0.8


def test_a_policy_that_forgets_at_branches_is_seen() -> None:
    """Were the policy's memory left out of a branch, the estimate would be wrong: far off, and sure of itself."""
    p = exactly()
    found = np.array([split(Forgetful(), seed, Splitting(many=100, replicates=6)).p for seed in range(20)])
    assert found.mean() - p > 4 * found.std(ddof=1) / np.sqrt(len(found))


def test_steps_are_counted_and_fewer_than_plain_draws_need() -> None:
    walks = Walks()
    found = split(walks, 0, Splitting(many=400, replicates=8))
    assert found.calls == walks.steps
    plain = STEPS * (1 - found.p) / found.p * found.effective
    assert found.trusted and found.calls < plain / 30
    assert all(one.severity[0] <= 0 for one in found.failures)
    assert found.likeliest.log_p[0] == max(one.log_p[0] for one in found.failures)


def test_equal_seeds_are_equal_and_grain_keeps_the_answer() -> None:
    a, b = (split(Walks(), 3, Splitting(many=60, replicates=4)).told() for _ in range(2))
    assert a == b
    coarse = [split(Walks(), seed, Splitting(many=100, replicates=6, grain=2.0)).p for seed in range(40)]
    assert abs(np.mean(coarse) - exactly()) < 3.5 * np.std(coarse, ddof=1) / np.sqrt(len(coarse))


def test_what_cannot_be_split_is_said() -> None:
    with pytest.raises(ValueError, match=r"least severity is 3\.0 in all"):
        split(Flats(), 0, Splitting(many=10, replicates=2))
    with pytest.raises(ValueError, match="severity is not finite"):
        split(Flats(said=float("nan")), 0, Splitting(many=10, replicates=2))

    class Stuck(Walks):
        """Nobody climbs higher than to 3."""

        def advance(self, walk: Walk) -> Walk:
            after = super().advance(walk)
            return replace(after, at=np.minimum(after.at, 3))

    stuck = split(Stuck(), 0, Splitting(many=20, replicates=2))
    assert stuck.p == 0 and stuck.high == 1 and "all came to 6 and nobody closer" in " ".join(stuck.doubts)
    short = split(Walks(), 0, Splitting(many=20, replicates=2, most=1))
    assert not short.trusted and "levels ran out" in " ".join(short.doubts)
    for wrong in ({"many": 1}, {"share": 0.0}, {"replicates": 1}, {"grain": -1.0}):
        with pytest.raises(ValueError, match="give"):
            Splitting(**wrong)  # type: ignore[arg-type]
