"""A flow as a proposal: weights that are exact and bounded, estimates that stay unbiased, few failures left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("zuko")

from gensim.rare import Problem, estimate
from gensim.rare.flow import FEW, Flowed, flowed
from gensim.rare.mixture import safe
from gensim.rare.problems import bent


def ring(dims: int, radius: float) -> tuple[Problem, float]:
    """Failure all around: two choices together far out. No few normal laws cover it."""
    return Problem(dims, lambda x: radius - np.hypot(x[:, 0], x[:, 1])), float(np.exp(-(radius**2) / 2))


def learned(seed: int = 0) -> Flowed:
    """A flow of a ring's failures."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((900, 3))
    x[:, :2] *= (3 + rng.exponential(0.3, 900) / np.linalg.norm(x[:, :2], axis=1))[:, None]
    found = flowed(safe(np.array([[3.0, 0, 0], [-3.0, 0, 0]]), np.ones(2)), x, np.ones(900), rng)
    assert isinstance(found, Flowed)
    return found


def test_weights_are_the_reference_law_over_the_proposal_and_are_bounded() -> None:
    found, rng = learned(), np.random.default_rng(1)
    x = found.sample(20_000, rng)
    w = np.exp(found.log_weight(x))
    assert x.shape == (20_000, 3) and w.max() <= 1 / (0.1 * (1 - found.share)) + 1e-9
    assert w.mean() == pytest.approx(1, abs=5 * w.std() / np.sqrt(len(w)))
    with torch.no_grad():
        flow = found.flow.log_prob(torch.from_numpy(x[:50]).float()).double().exp().numpy()
    usual = np.exp(-(x[:50] ** 2).sum(1) / 2) / (2 * np.pi) ** 1.5
    mixed = found.share * flow + (1 - found.share) * usual / np.exp(found.mixture.log_weight(x[:50]))
    np.testing.assert_allclose(w[:50], usual / mixed, rtol=1e-6)


def test_estimates_with_a_flow_are_close_and_better_all_around() -> None:
    known = bent(6, (3.6, 3.7, 3.9))
    p = np.array([estimate(known.made(), np.random.default_rng(seed), 6000, flow=True).p for seed in range(8)])
    assert abs(p.mean() / known.p - 1) < 4 * p.std(ddof=1) / np.sqrt(8) / known.p + 0.02
    errors = []
    for flow in (True, False):
        made = [ring(4, 4.8) for _ in range(8)]
        found = [estimate(one, np.random.default_rng(i), 6000, flow=flow) for i, (one, _) in enumerate(made)]
        assert all(one.calls == problem.calls <= 6000 for one, (problem, _) in zip(found, made))
        errors.append(np.mean([np.log(one.p / truth) ** 2 for one, (_, truth) in zip(found, made)]))
    assert errors[0] < errors[1]


def test_equal_seeds_are_equal_and_few_failures_are_left_to_the_mixture() -> None:
    a, b = (estimate(ring(3, 4.0)[0], np.random.default_rng(5), 4000, flow=True).told() for _ in range(2))
    assert a == b
    mixture = safe(np.zeros((1, 3)), np.ones(1))
    few = np.ones((FEW - 1, 3))
    assert flowed(mixture, few, np.ones(len(few)), np.random.default_rng(0)) is mixture
