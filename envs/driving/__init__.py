"""Driving: MetaDrive's street through the windscreen, with traffic, people, weather, and labels of every pixel.

MetaDrive (Li et al., 2022, arXiv:2109.12674) gives maps, traffic, physics, meshes and textures; people, weather and the
camera are gensim's. The world learns clear weather; weather is applied to frames by their labels and distances, dreamed
and real ones alike.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.envs.spec import ActionSpec, WorldSpec

HEIGHT, WIDTH, FPS = 64, 96, 10
CONDITIONS = {"traffic": (0.0, 0.4), "people": (0, 24)}  # of recorded episodes, and of dreams


def simulator(**kwargs: Any) -> tuple[gym.Env, Callable[[Any], np.ndarray]]:
    """MetaDrive, in the environment of its own that `scripts/setup_metadrive` makes."""
    from gensim.envs.driving.simulator import MetaDrive

    return MetaDrive(**kwargs), lambda obs: obs


def weather() -> ModuleType:
    """Fog, rain, night and a low sun."""
    return import_module("gensim.envs.driving.weather")


SPEC = WorldSpec(
    name="Driving",
    real_id="MetaDrive-v0",
    size=HEIGHT,
    width=WIDTH,
    fps=FPS,
    action=ActionSpec("box", 2),
    simulator=simulator,
    weather=weather,
    max_steps=400,
    horizon=400,
    keys={
        "a": (-0.5, 0.2),
        "d": (0.5, 0.2),
        "w": (0.0, 0.8),
        "s": (0.0, -0.8),
        "aw": (-0.3, 0.8),
        "dw": (0.3, 0.8),
        "as": (-0.3, -0.8),
        "ds": (0.3, -0.8),
    },
)
