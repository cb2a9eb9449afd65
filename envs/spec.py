"""What a world imitates: a frozen description in each world's folder, found by its simulator's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.episodes.actions import ActionSpec

IMITATIONS = {
    "CarRacing-v3": "gensim.envs.carracing",
    "vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1": "gensim.envs.takecover",
    "MetaDrive-v0": "gensim.envs.driving",
}


@dataclass(frozen=True)
class WorldSpec:
    """Which simulator a world imitates and how frames and actions pass between the two.

    Arguments:
        name: the world's name, as in gensim/NAME-v0.
        real_id: the simulator's Gymnasium id.
        size: the height of a frame in pixels.
        width: its width, None where it is square.
        skip: simulator frames for each step of the world.
        fps: steps of the world for each second of the simulator.
        action: the world's action space.
        max_steps: the length of a real episode, in steps of the world.
        horizon: the length of a dreamed episode, in steps, unless it is asked for otherwise.
        simulator: makes the simulator and says how to look at it, where that is faster than `gymnasium.make` and
            the same byte for byte.
        to_real: turns an action of the world into one of the simulator; None leaves it as it is.
        real_kwargs: what the simulator is made with.
        reward_threshold: the return at which the simulator counts as solved, if it has one.
        emphasis: a part of the frame whose errors weigh more in a fit; see `FitConfig`.
        rarity: whether errors weigh more where a colour is rare; see `FitConfig`.
        tally: whether its rewards and ends depend on an episode's steps and return so far; see `FitConfig`.
        calibrate: whether ends and the prior are calibrated on recorded episodes; see `FitConfig`.
        clock: whether what happens depends on how late in an episode it is; see `FitConfig`.
        mirror: what actions become in a mirror, where left and right are alike; see `FitConfig`.
        weather: imports the module of the weather that frames can be shown in, such as `gensim.envs.driving.weather`;
            None where there is none.
        keys: for play by hand: keys as Gymnasium's play takes them, and the action of each.
    """

    name: str
    real_id: str
    fps: float
    action: ActionSpec
    max_steps: int
    size: int = 64
    width: int | None = None
    skip: int = 1
    horizon: int = 500
    simulator: Callable[..., tuple[gym.Env, Callable[[Any], np.ndarray]]] | None = None
    to_real: Callable[[np.ndarray], Any] | None = None
    real_kwargs: Mapping[str, Any] = field(default_factory=dict)
    reward_threshold: float | None = None
    emphasis: tuple[float, float, float, float, float] | None = None
    rarity: bool = False
    tally: bool = True
    calibrate: bool = False
    clock: bool = False
    mirror: tuple[int, ...] | None = None
    weather: Callable[[], ModuleType] | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.size, self.width or self.size

    @property
    def fit(self) -> dict[str, Any]:
        """Settings of `FitConfig` that go with this simulator."""
        return {name: getattr(self, name) for name in ("emphasis", "rarity", "calibrate", "tally", "clock", "mirror")}


def spec_of(real_id: str) -> WorldSpec | None:
    """The spec of the world that imitates a simulator, or None where there is none."""
    module = IMITATIONS.get(real_id)
    return import_module(module).SPEC if module else None
