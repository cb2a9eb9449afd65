"""Any simulator as gensim sees it: square uint8 frames, actions in -1..1 or choices, every frame counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gensim.core.frames import resize, shape_of
from gensim.envs.spec import spec_of
from gensim.episodes.actions import ActionSpec, to_simulator
from gensim.episodes.looks import image_of

DEFAULT_FPS, DEFAULT_SIDE = 30, 64
INSTALL = {"vizdoom": 'pip install --no-deps "vizdoom>=1.3" (alone: the pygame-ce it asks for overwrites pygame)'}


class RealEnv(gym.Env[np.ndarray, Any]):
    """A Gymnasium simulator behind frames uint8 (h, w, 3) and actions in -1..1 or 0..n-1.

    Arguments:
        env: the simulator.
        look: takes a frame (h, w, 3) from the simulator's last observation.
        to_real: turns an action into one of the simulator.
        spec_dict: env_id, env_kwargs, size, skip, fps and action: what a data set of it is described by.
    """

    def __init__(
        self,
        env: gym.Env,
        look: Callable[[Any], np.ndarray],
        to_real: Callable[[Any], Any],
        spec_dict: dict[str, Any],
    ) -> None:
        self.env, self.look, self.to_real, self.spec_dict = env, look, to_real, spec_dict
        self.shape, self.skip = shape_of(spec_dict), int(spec_dict["skip"])
        self.observation_space = spaces.Box(0, 255, (*self.shape, 3), np.uint8)
        self.action_space = ActionSpec.from_dict(spec_dict["action"]).space
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": spec_dict["fps"]}
        self.render_mode = "rgb_array"
        self.real_frames = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The first frame of a new episode; the simulator is seeded with `seed`."""
        super().reset(seed=seed)
        obs, info = self.env.reset(seed=seed, options=options)
        self.frame = self._frame(obs)
        return self.frame.copy(), {**info, "real_frames": 0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Holds an action for `skip` simulator frames, or to the episode's end; rewards are summed."""
        act, total, taken = self.to_real(action), 0.0, 0
        term = trunc = False
        while taken < self.skip and not (term or trunc):
            obs, rew, term, trunc, info = self.env.step(act)
            total, taken = total + float(rew), taken + 1
        self.real_frames += taken
        self.frame = self._frame(obs)
        return self.frame.copy(), total, bool(term), bool(trunc), {**info, "real_frames": taken}

    def render(self) -> np.ndarray:
        """The last frame, uint8 (h, w, 3)."""
        return self.frame.copy()

    def close(self) -> None:
        """Closes the simulator."""
        self.env.close()

    def _frame(self, obs: Any) -> np.ndarray:
        return resize(np.ascontiguousarray(self.look(obs)), self.shape)


def make_real(
    env_id: str,
    size: int | tuple[int, int] | None = None,
    skip: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> RealEnv:
    """Makes a simulator by its Gymnasium id, with size, actions, skip and arguments of the world that imitates it.

    Arguments:
        env_id: any id with image observations or rgb_array rendering ("module:Name-v0" imports first).
        size: height and width of a frame in pixels, or a square's side; None takes the imitating world's, or 64.
        skip: simulator frames a step; None takes the imitating world's, or 1.
        kwargs: arguments of the simulator, over those of the imitating world.
    """
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame's simulators draw without a screen, too
    world = spec_of(env_id)
    size = size if size is not None else world.shape if world else DEFAULT_SIDE
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1 or (skip is not None and skip < 1):
        raise ValueError(f"size and skip are at least 1, not {size} and {skip}")
    skip = skip or (world.skip if world else 1)
    arguments = {**(world.real_kwargs if world else {}), **(kwargs or {})}
    make = world.simulator if world and world.simulator else partial(_make_seen, env_id)
    try:
        env, look = make(**arguments)
    except ModuleNotFoundError as absent:
        raise ValueError(_lacking(env_id, absent)) from absent
    except gym.error.Error as fault:
        raise ValueError(f"no simulator {env_id}: {fault}") from fault
    if env.spec is not None and env.spec.id != env_id.rpartition(":")[2]:
        env.close()
        raise ValueError(f"{env_id} is {env.spec.id} today and may be another tomorrow: give that id")
    to_real = world.to_real if world and world.to_real else to_simulator(env.action_space)
    action = world.action if world else ActionSpec.of(env.action_space)
    shape = {"size": height} if height == width else {"size": height, "width": width}
    spec = {"env_id": env_id, "env_kwargs": arguments, **shape, "skip": skip}
    fps = env.metadata.get("render_fps", DEFAULT_FPS * skip) / skip
    return RealEnv(env, look, to_real, {**spec, "fps": fps, "action": action.to_dict()})


def _lacking(env_id: str, absent: ModuleNotFoundError) -> str:
    """Which module a simulator lacks, and how to get it; gymnasium's own errors do not name it."""
    module = (absent.name or env_id.partition(":")[0]).partition(".")[0]
    advice = INSTALL.get(module, "install it, or run where it lies")
    return f"{env_id} needs the module {module}, which is not there: {advice}"


def _make_seen(env_id: str, **arguments: Any) -> tuple[gym.Env, Callable[[Any], np.ndarray]]:
    """The simulator and how to look at it: its image observation where it has one, else its rendering."""
    env = gym.make(env_id, disable_env_checker=True, **arguments)
    look = image_of(env.observation_space)
    if look is not None:
        return env, look
    modes = env.metadata.get("render_modes", [])
    env.close()
    if "rgb_array" not in modes:
        raise ValueError(
            f"{env_id} has neither image observations, uint8 (h, w, 3), nor rgb_array rendering: only {modes}"
        )
    env = gym.make(env_id, disable_env_checker=True, **{**arguments, "render_mode": "rgb_array"})
    return env, lambda obs: np.asarray(env.render(), np.uint8)
