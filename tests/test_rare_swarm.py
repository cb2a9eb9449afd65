"""Swarms: unbiased on a chain whose answer is known, whatever they go by; intervals that cover; far fewer steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_rare_splitting import GOAL, STEPS, Flats, Forgetful, Walk, Walks, exactly

from gensim.rare.swarm import Swarm, swarm


def near(walk: Walk) -> np.ndarray:
    """A fair guess."""
    return np.exp(-1.1 * (GOAL - walk.at) - 0.15 * walk.climbed)


def wrong(walk: Walk) -> np.ndarray:
    """A guess that favours some keys, and those who are about to tire."""
    return np.exp(-0.8 * (GOAL - walk.at)) * (1 + (walk.key % np.uint64(7)).astype(float)) * (1 + walk.climbed) + 1e-4


@pytest.mark.parametrize("tilt, by", [(1.0, near), (1.3, near), (1.0, wrong)])
def test_a_swarm_is_unbiased_whatever_it_goes_by(tilt: float, by) -> None:  # type: ignore[no-untyped-def]
    p = exactly()
    found = [swarm(Walks(tilt), by, seed, Swarm(200, 6)) for seed in range(60)]
    each = np.array([one.each.mean() for one in found])
    assert abs(each.mean() - p) < 3.5 * each.std(ddof=1) / np.sqrt(len(each)) < 0.7 * p
    if by is near:
        told = [one.estimate() for one in found]
        assert np.mean([one.low <= p <= one.high for one in told]) > 0.8


def test_a_policy_that_forgets_at_branches_is_seen() -> None:
    p = exactly()
    found = np.array([swarm(Forgetful(), near, seed, Swarm(200, 6)).each.mean() for seed in range(30)])
    assert found.mean() - p > 4 * found.std(ddof=1) / np.sqrt(len(found))


def test_steps_are_counted_and_no_more_than_episodes_take() -> None:
    walks = Walks()
    found = swarm(walks, near, 0, Swarm(400, 8))
    assert found.calls == walks.steps <= 400 * 8 * STEPS
    assert found.each.mean() == pytest.approx(sum(found.weights))
    assert all(one.severity[0] <= 0 for one in found.failures)
    assert found.likely == [float(one.log_p[0]) for one in found.failures]
    told, p = found.estimate(), exactly()
    assert told.trusted and told.calls < STEPS * (1 - p) / p * told.effective / 30  # than plain draws need


def test_equal_seeds_are_equal_swarms() -> None:
    a, b = (swarm(Walks(), near, 3, Swarm(60, 4)) for _ in range(2))
    assert a.each.tolist() == b.each.tolist() and a.weights == b.weights
    assert [one.key.tolist() for one in a.failures] == [one.key.tolist() for one in b.failures]


def test_what_a_swarm_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match=r"severity is 3\.0 in all episodes"):
        swarm(Flats(), near, 0, Swarm(10, 2))
    with pytest.raises(ValueError, match="severity is not finite"):
        swarm(Flats(said=float("nan")), near, 0, Swarm(10, 2))
    for guess in (0.0, float("nan")):
        with pytest.raises(ValueError, match="nearness is not finite and above 0"):
            swarm(Walks(), lambda walk, guess=guess: np.full(len(walk), guess), 0, Swarm(10, 2))
    with pytest.raises(ValueError, match="many=1"):
        Swarm(1)

    class Low(Walks):
        """Nobody climbs higher than to 3."""

        def advance(self, walk: Walk) -> Walk:
            after = super().advance(walk)
            return replace(after, at=np.minimum(after.at, 3))

    told = swarm(Low(), near, 0, Swarm(20, 2)).estimate()
    assert told.p == 0 and told.high == 1 and not told.trusted
