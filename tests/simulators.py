"""Small simulators whose frames say when they were made and whose rewards say what was done."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counting(gym.Env[np.ndarray, Any]):
    """Frame (30, 40, 3) filled with (step, seed, 7); the reward is 1000 * step + the first action.

    An episode with seed s terminates at simulator step `length` + s % 5; `clock` truncates it before.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    total = 0  # simulator steps of all instances in this process

    def __init__(
        self, render_mode: str | None = None, length: int = 9, clock: int = 10_000, pause: float = 0.0
    ) -> None:
        self.render_mode, self.length, self.clock, self.pause = render_mode, length, clock, pause
        self.observation_space: spaces.Space = spaces.Box(0, 255, (30, 40, 3), np.uint8)
        self.action_space: spaces.Space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
        self.over = True

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seed, self.now, self.over = seed or 0, 0, False
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert not self.over and self.action_space.contains(action), (self.over, action)
        time.sleep(self.pause)
        self.now += 1
        Counting.total += 1
        term = self.now == self.length + self.seed % 5
        self.over = term or self.now == self.clock
        return self._obs(), 1000.0 * self.now + self._said(action), term, self.over and not term, {}

    def render(self) -> np.ndarray:
        return np.broadcast_to(np.array([self.now, self.seed % 256, 7], np.uint8), (30, 40, 3)).copy()

    def _obs(self) -> Any:
        return self.render()

    def _said(self, action: Any) -> float:
        return float(action[0])


class Choosing(Counting):
    """Counting seen only through `render`, with choices 3, 4, 5 and 6."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(4, start=3)

    def _obs(self) -> Any:
        return np.zeros(2, np.float32)

    def _said(self, action: Any) -> float:
        return float(action)


class Grey(Counting):
    """Counting as one grey image in a dictionary, beside something else."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        screen = spaces.Box(0, 255, (30, 40), np.uint8)
        self.observation_space = spaces.Dict({"screen": screen, "health": spaces.Box(0, 1, (1,), np.float32)})

    def _obs(self) -> Any:
        return {"screen": self.render()[..., 0], "health": np.ones(1, np.float32)}


class Blind(gym.Env[np.ndarray, Any]):
    """Nothing to see."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)


for name in ("Counting", "Choosing", "Grey", "Blind"):
    if f"test/{name}-v0" not in gym.registry:
        gym.register(f"test/{name}-v0", f"{__name__}:{name}")

COUNTING, CHOOSING = "simulators:test/Counting-v0", "simulators:test/Choosing-v0"
