"""CarRacing: a top view of a racing car, driven by steering wheel and one pedal."""

from __future__ import annotations

import numpy as np

from gensim.envs.spec import ActionSpec, WorldSpec


def to_real(act: np.ndarray) -> np.ndarray:
    """(steer, pedal) in -1..1 as CarRacing's (steer, gas, brake): pedal > 0 is gas, < 0 is brake."""
    steer, pedal = np.clip(np.asarray(act, np.float64), -1.0, 1.0)
    return np.array([steer, max(pedal, 0.0), max(-pedal, 0.0)])


SPEC = WorldSpec(
    name="CarRacing",
    real_id="CarRacing-v3",
    size=64,
    skip=2,
    fps=25,
    action=ActionSpec("box", 2),
    to_real=to_real,
    reward_threshold=900.0,
    max_steps=500,
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
