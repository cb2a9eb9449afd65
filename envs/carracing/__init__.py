"""CarRacing: a top view of a racing car, driven by steering wheel and one pedal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.envs.spec import ActionSpec, WorldSpec


def to_real(act: np.ndarray) -> np.ndarray:
    """(steer, pedal) in -1..1 as CarRacing's (steer, gas, brake): pedal > 0 is gas, < 0 is brake."""
    steer, pedal = np.clip(np.asarray(act, np.float64), -1.0, 1.0)
    return np.array([steer, max(pedal, 0.0), max(-pedal, 0.0)])


def simulator(**kwargs: Any) -> tuple[gym.Env, Callable[[Any], np.ndarray]]:
    """CarRacing-v3, drawn only where it is looked at."""
    from gensim.envs.carracing.quick import make

    return make(**kwargs)


SPEC = WorldSpec(
    name="CarRacing",
    real_id="CarRacing-v3",
    size=64,
    skip=4,
    fps=12.5,
    action=ActionSpec("box", 2),
    simulator=simulator,
    to_real=to_real,
    reward_threshold=900.0,
    emphasis=(0.875, 1.0, 0.0, 1.0, 16.0),  # the instruments: speed is a bar of two pixels
    max_steps=250,
    horizon=250,
    keys={
        "a": (-1.0, 0.0),
        "d": (1.0, 0.0),
        "w": (0.0, 1.0),
        "s": (0.0, -0.8),
        "aw": (-1.0, 1.0),
        "dw": (1.0, 1.0),
        "as": (-1.0, -0.8),
        "ds": (1.0, -0.8),
    },
)
