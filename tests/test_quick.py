"""CarRacing without waste against CarRacing itself: the same bytes, rewards and ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.envs.carracing.quick import QuickCarRacing, make


def lives(seed: int, steps: int, **kwargs: Any) -> None:
    """Both simulators through one episode of held actions, compared step by step, looked at now and then."""
    stock = gym.make("CarRacing-v3", **kwargs)
    quick, look = make(**kwargs)
    (seen, _), _ = stock.reset(seed=seed), quick.reset(seed=seed)
    assert np.array_equal(seen, look(None))
    rng, over = np.random.default_rng(seed), False
    for step in range(steps):
        if step % 8 == 0:
            act = np.array([rng.uniform(-1, 1), rng.uniform(0, 1), rng.choice([0.0, 0.0, 1.0])])
        seen, rew, term, trunc, info = stock.step(act)
        _, rew2, term2, trunc2, info2 = quick.step(act)
        assert (rew, term, trunc, info) == (rew2, term2, trunc2, info2)
        over = term or trunc
        if over or rng.random() < 0.3:
            assert np.array_equal(seen, look(None)), (seed, step)
        if over:
            break
    stock.close()
    quick.close()


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 999_999))
def test_frames_rewards_and_ends_are_the_stock_ones(seed: int) -> None:
    lives(seed, 120)


def test_ends_come_alike() -> None:
    lives(3, 60, max_episode_steps=40)
    lives(4, 60, domain_randomize=True)


def test_steps_draw_nothing() -> None:
    quick, look = make()
    quick.reset(seed=1)
    assert quick.step(np.zeros(3))[0] is None and isinstance(quick.unwrapped, QuickCarRacing)
    assert look(None).shape == (96, 96, 3) and quick.spec is not None and quick.spec.max_episode_steps == 1000
    quick.close()


def test_looking_changes_nothing() -> None:
    quick, look = make()
    quick.reset(seed=2)
    assert np.array_equal(look(None), look(None))
    first = [quick.step(np.array([0.1, 0.5, 0.0]))[1] for _ in range(30)]
    quick.reset(seed=2)
    second = []
    for _ in range(30):
        second.append(quick.step(np.array([0.1, 0.5, 0.0]))[1])
        look(None)
    assert first == second
    quick.close()
