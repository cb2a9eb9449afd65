"""A small simulator to detect things in: a puck that is pushed about on ice."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gensim.ood import DetectorConfig, fit

SIZE = 32
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64) + 0.5


class Rink(gym.Env[np.ndarray, np.ndarray]):
    """A puck on ice; actions (2,) in -1..1 push it. It comes back from the boards. Frames uint8 (32, 32, 3).

    Arguments:
        friction: share of the speed that is lost a step.
        power: speed that a push adds, pixels a step.
        delay: steps by which pushes come late.
        length: steps of an episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        render_mode: str | None = None,
        friction: float = 0.1,
        power: float = 0.4,
        delay: int = 0,
        length: int = 100,
    ) -> None:
        self.render_mode, self.length = render_mode, length
        self.friction, self.power, self.delay = friction, power, delay
        self.observation_space: spaces.Space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space: spaces.Space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.speed = self.np_random.uniform(8, 24, 2), self.np_random.uniform(-1, 1, 2)
        self.ice, self.now = float(self.np_random.choice([190, 205, 220])), 0
        self.coming = [np.zeros(2)] * self.delay
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.coming = [*self.coming, np.asarray(action, np.float64)]
        push, self.coming = self.coming[0], self.coming[1:]
        self.speed = (1 - self.friction) * self.speed + self.power * push
        self.at = self.at + self.speed
        out = (self.at < 5) | (self.at > 27)
        self.speed = np.where(out, -self.speed, self.speed)
        self.at, self.now = np.clip(self.at, 5, 27), self.now + 1
        return self._obs(), 0.0, False, self.now >= self.length, {}

    def render(self) -> np.ndarray:
        return self._obs()

    def _obs(self) -> np.ndarray:
        far = np.hypot(_Y - self.at[0], _X - self.at[1])
        puck = np.clip(4.5 - far, 0, 1)[..., None]
        ice = np.broadcast_to([self.ice, self.ice + 20, self.ice + 30], (SIZE, SIZE, 3)).copy()
        ice[SIZE // 2] = [200, 40, 40]
        return (ice * (1 - puck) + np.array([30, 30, 60]) * puck).astype(np.uint8)


if "test/Rink-v0" not in gym.registry:
    gym.register("test/Rink-v0", f"{__name__}:Rink")


def pushes(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Actions (steps, 2), each held for some steps."""
    return np.repeat(rng.uniform(-1, 1, (steps // 4 + 1, 2)), 4, axis=0)[:steps].astype(np.float32)


def film(seed: int, steps: int = 100, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
    """One episode: frames (steps + 1, 32, 32, 3) and actions (steps, 2)."""
    env = Rink(length=steps, **kwargs)
    acts = pushes(np.random.default_rng(seed), steps)
    frames = [env.reset(seed=seed)[0], *(env.step(act)[0] for act in acts)]
    return np.stack(frames), acts


def films(seeds: range, steps: int = 100, **kwargs: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """One episode for each seed."""
    return [film(seed, steps, **kwargs) for seed in seeds]


@lru_cache(maxsize=1)
def fitted() -> Path:
    """The folder of a detector of the rink's frames, fitted once a process in some seconds."""
    folder = Path(tempfile.mkdtemp(prefix="rink-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fit(films(range(48), 64), folder, DetectorConfig(steps=150, ahead=300, shape=0.3, calibration=0.3))
    return folder
