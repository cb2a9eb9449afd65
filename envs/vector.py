"""Many dreams as one Gymnasium vector environment: one forward pass for all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from gensim.core.frames import mosaic
from gensim.envs.engine import Dream, DreamConfig, Outcome
from gensim.envs.rollout import Rollout
from gensim.envs.single import checked_mode, entropy_of
from gensim.envs.window import Window

Stepped = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class DreamVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` dreams; row i of `reset(seed=s)` is the single environment of seed s + i, byte for byte.

    Arguments:
        num_envs: rows.
        autoreset_mode: a gymnasium `AutoresetMode` or its value, "NextStep", "SameStep" or "Disabled".
        world, observation, horizon, temperature, dropout, trust_floor, start_mix, labels, weather, render_mode: those
            of `DreamEnv`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  as gymnasium has it
        "render_modes": ["rgb_array", "human"],
        "render_fps": 25,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    _window: Window | None = None  # an environment that was never made is closed, too

    def __init__(
        self,
        num_envs: int = 1,
        world: str | None = None,
        observation: str = "frames",
        horizon: int | None = None,
        temperature: float = 1.0,
        dropout: bool = False,
        trust_floor: float = DreamConfig.trust_floor,
        start_mix: float = 0.0,
        labels: bool = False,
        weather: Mapping[str, float] | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        config = DreamConfig(world, observation, horizon, temperature, dropout, trust_floor, start_mix, labels, weather)
        self.dream, self.num_envs = Dream(config, num_envs), num_envs
        self.single_observation_space = self.dream.observation_space
        self.single_action_space = self.dream.controls.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = self.metadata | {"render_fps": self.dream.render_fps, "autoreset_mode": self.autoreset_mode}
        self.render_mode = checked_mode(render_mode)

    @classmethod
    def of(cls, config: DreamConfig, rollout: Rollout, render_mode: str | None = None) -> DreamVectorEnv:
        """A vector environment of the rows of a rollout, ready to be stepped."""
        env = cls(num_envs=len(rollout), render_mode=render_mode, **asdict(config))
        env.dream.restore(rollout)
        return env

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Opens an episode in every row, or in those of `options["reset_mask"]` (n,) bool."""
        options = dict(options or {})
        mask = checked_mask(options.pop("reset_mask"), self.num_envs) if "reset_mask" in options else None
        super().reset(seed=int(seed) if isinstance(seed, (int, np.integer)) else None)
        self.dream.reset(seed, entropy_of(self) if self.dream.rollout is None else 0, options, mask)
        self._show()
        return self.dream.observe(), masked(self.dream.info(), mask)

    def step(self, actions: np.ndarray) -> Stepped:
        """One step of every row; ended ones are opened anew instead, or refused if that is disabled."""
        ended = self.dream.now.done
        if self.autoreset_mode == AutoresetMode.DISABLED and ended.any():
            rows = np.flatnonzero(ended).tolist()
            raise ResetNeeded(f'rows {rows} have ended: call reset(options={{"reset_mask": ...}}) first')
        out = self.dream.step(self.dream.controls.read(actions, self.num_envs, ended))
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            obs, info = self._reopened(out)
        else:
            if ended.any():
                self.dream.again(np.flatnonzero(ended))
            obs, info = self.dream.observe(), masked(self.dream.info(out))
        self._show()
        return obs, out.rew, out.term, out.trunc, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The frames uint8 (h, w, 3) of all rows, or None where they are shown in a window."""
        if self.render_mode == "rgb_array":
            return tuple(self.dream.frames())
        if self.render_mode == "human":
            self._window = self._window or Window("gensim", self.dream.fps)
            self._window.show(mosaic(self.dream.frames(), int(np.ceil(self.num_envs**0.5))))
        return None

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the window."""
        if self._window:
            self._window.close()

    def snapshot(self) -> Rollout:
        """This moment of all rows; `rows(index)` of it are those of single environments."""
        return self.dream.snapshot()

    def restore(self, snapshot: Rollout) -> tuple[np.ndarray, dict[str, Any]]:
        """Takes up a moment, bit for bit, and returns what `reset` would."""
        self.dream.restore(snapshot)
        return self.dream.observe(), masked(self.dream.info())

    def branch(self, n: int) -> DreamVectorEnv:
        """n different futures of each row, side by side, ready to be stepped (n num_envs rows)."""
        return DreamVectorEnv.of(self.dream.config, self.dream.now.branch(n), self.render_mode)

    def _reopened(self, out: Outcome) -> tuple[np.ndarray, dict[str, Any]]:
        """Observations and info after rows that ended were opened anew, their last ones kept."""
        obs, done = self.dream.observe(), self.dream.now.done
        if not done.any():
            return obs, masked(self.dream.info(out))
        index, final = np.flatnonzero(done), masked(self.dream.info(out), done)
        last = np.full(self.num_envs, None, object)
        for i in index:  # an array of arrays, as gymnasium has it, cannot be filled at once
            last[i] = obs[i].copy()
        self.dream.again(index)
        obs[index] = self.dream.observe(index)
        info = masked(self._fresh(self.dream.info(out), done))
        info |= {"final_obs": last, "_final_obs": done.copy(), "final_info": final, "_final_info": done}
        return obs, info

    def _fresh(self, info: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        return {key: np.where(_wide(rows, first), first, info[key]) for key, first in self.dream.info().items()}

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()


def masked(info: dict[str, np.ndarray], mask: np.ndarray | None = None) -> dict[str, Any]:
    """Info as gymnasium's vector environments give it: zeros outside the mask, and the mask as `_key`."""
    if mask is None:
        return {name: x for key in info for name, x in ((key, info[key]), (f"_{key}", _all(info[key])))}
    rows = {key: np.where(_wide(mask, value), value, np.zeros((), value.dtype)) for key, value in info.items()}
    return {name: x for key in rows for name, x in ((key, rows[key]), (f"_{key}", mask.copy()))}


def checked_mask(mask: Any, rows: int) -> np.ndarray:
    """A reset mask; ValueError unless it is bool (n,) and chooses some row."""
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (rows,) or not mask.any():
        raise ValueError(f"reset_mask={mask!r}: give a bool array of shape {(rows,)} with at least one True")
    return mask


def _wide(mask: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A mask (n,) with as many axes as a value (n, ...)."""
    return mask.reshape(-1, *[1] * (value.ndim - 1))


def _all(value: np.ndarray) -> np.ndarray:
    return np.ones(len(value), bool)
