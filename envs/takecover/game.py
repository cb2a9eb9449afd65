"""VizDoom's TakeCover as it is, but for three habits: black frames after death, no clock, and files left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from vizdoom.gymnasium_wrapper.gymnasium_env_defns import VizdoomScenarioEnv

from gensim.core.files import lock
from gensim.envs.takecover import LIMIT, SEEN

LITTER = Path("_vizdoom")  # what the game makes where it is started, and never uses


@contextmanager
def _turn() -> Iterator[None]:
    """Lets one process after another begin a game in this folder: two that make their litter at once end both."""
    if os.name == "nt":  # a folder cannot be opened there
        yield
        return
    folder = os.open(".", os.O_RDONLY)
    try:
        lock(folder)
        yield
    finally:
        os.close(folder)


class TakeCover(VizdoomScenarioEnv):
    """The stock environment, whose last frame is that of the last tic alive: the stock one shows black after death.

    Tics, scenario and rewards are the stock ones. A death terminates; the game's own clock, where one is asked for,
    truncates.
    """

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new game from a seed."""
        if self.game.is_running():
            obs, info = super().reset(**kwargs)
        else:
            with _turn():
                clean = not LITTER.exists()
                obs, info = super().reset(**kwargs)
                if clean:
                    with suppress(OSError):
                        LITTER.rmdir()
        self.alive = obs
        return obs, info

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One tic, with a reward of 1."""
        obs, rew, term, trunc, info = super().step(action)
        self.alive = self.alive if self.state is None else obs
        return self.alive, rew, term and not trunc, trunc, info


def make(**kwargs: Any) -> tuple[gym.Env, Callable[[Any], np.ndarray]]:
    """The simulator, cut after 2,100 tics, and how to look at it."""
    spec = deepcopy(gym.spec("VizdoomTakeCover-v1"))
    spec.entry_point = TakeCover  # type: ignore[assignment]
    spec.max_episode_steps = LIMIT
    settings = {"doom_config_path": os.devnull, "screen_format": "RGB24", **kwargs}
    return gym.make(spec, disable_env_checker=True, **settings), lambda obs: obs["screen"][SEEN]
