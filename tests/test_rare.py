"""Rare events: probabilities that are known are found, in intervals that cover them, in the calls that are said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.rare import Problem, estimate
from gensim.rare.mixture import pooled, safe
from gensim.rare.problems import bent, corners, halves
from gensim.rare.result import weighed


@pytest.mark.parametrize(
    "known",
    [halves(6, (2.0, 2.2, 2.5)), bent(6, (1.8, 2.0, 2.2)), corners(6, (1.0, 1.1, 1.2))],
    ids=["halves", "bent", "corners"],
)
def test_answers_that_are_known_are_what_plain_draws_say(known) -> None:  # type: ignore[no-untyped-def]
    x = np.random.default_rng(0).standard_normal((400_000, known.dims))
    failed = known.severity(x) <= 0
    error = np.sqrt(known.p * (1 - known.p) / len(x))
    assert failed.mean() == pytest.approx(known.p, abs=4 * error)
    region = known.region(x)
    assert np.array_equal(region >= 0, failed) and set(region[failed]) == set(range(known.regions))


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_weights_are_the_reference_law_over_the_proposal_and_are_bounded(k: int, dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = safe(rng.normal(0, 2, (k, dims)), rng.random(k))
    x = mixture.sample(200, rng)
    density = lambda mean: np.exp(-((x - mean) ** 2).sum(1) / 2)  # noqa: E731
    q = sum(share * density(mean) for share, mean in zip(mixture.shares, mixture.means))
    np.testing.assert_allclose(np.exp(mixture.log_weight(x)), density(0) / q, rtol=1e-6)
    assert np.exp(mixture.log_weight(x)).max() <= 1 / 0.1 + 1e-9
    assert mixture.shares.sum() == pytest.approx(1) and mixture.shares[:-1].min() > 0
    many = mixture.sample(40_000, rng)
    w = np.exp(mixture.log_weight(many))
    assert w.mean() == pytest.approx(1, abs=5 * w.std() / 200)
    both, weight = pooled([(mixture, x), (safe(rng.normal(0, 2, (1, dims)), np.ones(1)), x[:0])])
    assert len(both) == len(weight) == 200 and (weight > 0).all()


def test_estimates_are_close_and_their_intervals_cover() -> None:
    known = halves(12, (4.2, 4.3, 4.5))
    found = [estimate(known.made(), np.random.default_rng(seed), 8000) for seed in range(40)]
    p = np.array([one.p for one in found])
    assert np.sqrt(((p / known.p - 1) ** 2).mean()) < 0.15
    assert np.mean([one.low <= known.p <= one.high for one in found]) >= 0.85
    assert np.mean([set(known.region(one.failures)) >= {0, 1, 2} for one in found]) > 0.9
    one = found[0]
    assert one.trusted and one.likeliest is not None and known.severity(one.likeliest[None])[0] <= 0
    assert np.linalg.norm(one.likeliest) == pytest.approx(4.2, abs=1.2)


@given(st.integers(2000, 6000), st.floats(2, 6), st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_every_call_is_counted_and_none_is_over_the_budget(calls: int, limit: float, seed: int) -> None:
    known, asked = halves(5, (limit, limit + 0.1)), []

    def severity(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return known.severity(x)

    problem = Problem(5, severity)
    found = estimate(problem, np.random.default_rng(seed), calls)
    assert found.calls == problem.calls == sum(asked) <= calls


def test_equal_seeds_are_equal_estimates() -> None:
    known = bent(8, (3.0, 3.2))
    a, b = (estimate(known.made(), np.random.default_rng(3), 3000).told() for _ in range(2))
    assert a == b


def test_what_cannot_be_estimated_is_said() -> None:
    rng = np.random.default_rng(0)
    never = estimate(Problem(4, lambda x: np.full(len(x), 2.0)), rng, 2000)
    assert never.p == 0 and never.high == 1 and not never.trusted and "no failure" in never.doubts[0]
    always = estimate(Problem(4, lambda x: np.full(len(x), -1.0)), rng, 2000)
    assert always.low <= 1 <= always.high * 1.05
    with pytest.raises(ValueError, match="calls=100: give at least 2000"):
        estimate(halves().made(), rng, 100)
    with pytest.raises(ValueError, match="not finite"):
        estimate(Problem(4, lambda x: np.where(x[:, 0] > 0, np.nan, 1.0)), rng, 2000)
    with pytest.raises(ValueError, match="one number a row"):
        estimate(Problem(4, lambda x: x), rng, 2000)
    few = weighed(np.zeros(100), np.arange(100) < 3, np.ones((100, 2)), 100)
    assert not few.trusted and "effective" in few.doubts[0]
    assert few.p == pytest.approx(0.03) and few.low < 0.03 < few.high
