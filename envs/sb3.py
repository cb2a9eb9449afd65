"""Many dreams as a vector environment of stable-baselines3, which does not take gymnasium's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from gensim.envs.engine import Outcome
from gensim.envs.vector import DreamVectorEnv

Indices = int | Iterable[int] | None
Infos = list[dict[str, Any]]


class DreamVecEnv(VecEnv):
    """The rows of a `DreamVectorEnv` for stable-baselines3: reset in the step they end in, statistics kept.

    The info of each row holds what the single environment's does, and where an episode ended
    `terminal_observation`, `TimeLimit.truncated` and `episode` (return "r", decisions "l", seconds "t").

    Arguments:
        env: the rows, e.g. from gym.make_vec; it belongs to this adapter from here on.
        repeat: steps of the world for each decision: the action is held and rewards are summed, to the
            episode's end at most.
    """

    def __init__(self, env: DreamVectorEnv, repeat: int = 1) -> None:
        if not isinstance(env, DreamVectorEnv):
            raise ValueError(f'{env} is no bare dream: give gym.make_vec("gensim/...", num_envs=N)')
        if repeat < 1:
            raise ValueError(f"repeat={repeat}: give the steps of a decision, 1 or more")
        self.env, self.repeat = env, repeat
        self.dream = self.env.dream
        super().__init__(self.env.num_envs, self.env.single_observation_space, self.env.single_action_space)
        self.lengths = np.zeros(self.num_envs, np.int64)  # decisions of each episode
        self.opened = np.full(self.num_envs, time.perf_counter())

    def reset(self) -> np.ndarray:
        """Opens an episode in every row, with the seeds and options that were set, if any were."""
        same = all(options == self._options[0] for options in self._options)
        if not same:
            raise ValueError("options differ between rows: set one dict for all")
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        obs, _ = self.env.reset(seed=seeds, options=self._options[0])
        self._reset_seeds()
        self._reset_options()
        self.lengths[:], self.opened[:] = 0, time.perf_counter()
        self.reset_infos = self._infos(None)
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions (n,) or (n, k)."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Holds the actions for `repeat` steps; (obs, rewards float32, ends, one info a row)."""
        out = self._held(self.dream.controls.read(self.actions, self.num_envs))
        infos, done = self._infos(out), self.dream.now.done.copy()
        self.lengths += 1
        obs = self.dream.observe()
        if done.any():
            self._reopen(np.flatnonzero(done), obs, infos, out.trunc)
        return obs, out.rew.astype(np.float32), done, infos

    def close(self) -> None:
        """Closes the rows."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The frame of every row, uint8 (size, size, 3)."""
        return list(self.dream.frames())

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """The vector environment's attribute, once a row."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Sets an attribute of the vector environment, which all rows share."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the vector environment once, for all rows."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        """False: no row has a wrapper of its own."""
        return [False for _ in self._get_indices(indices)]

    def _held(self, act: np.ndarray) -> Outcome:
        """The outcome of `repeat` steps: sums of rewards and log-probabilities, the least trust."""
        total = self.dream.step(act)
        for _ in range(self.repeat - 1):
            if self.dream.now.done.all():
                break
            total = total.then(self.dream.step(act))
        return total

    def _reopen(self, index: np.ndarray, obs: np.ndarray, infos: Infos, trunc: np.ndarray) -> None:
        """Opens the next episodes of rows in place, after noting how the last ones ended."""
        returns, now = self.dream.now.returns, time.perf_counter()
        for i in index.tolist():
            seconds = round(now - self.opened[i], 6)
            infos[i]["terminal_observation"] = obs[i].copy()
            infos[i]["TimeLimit.truncated"] = bool(trunc[i])
            infos[i]["episode"] = {"r": float(returns[i]), "l": int(self.lengths[i]), "t": seconds}
        self.dream.again(index)
        obs[index] = self.dream.observe(index)
        self.lengths[index], self.opened[index] = 0, now

    def _infos(self, out: Outcome | None) -> Infos:
        info = self.dream.info(out)
        keys = list(info) + ([] if out is None else ["TimeLimit.truncated"])
        columns = [values.tolist() for values in info.values()] + [[False] * self.num_envs]
        return [dict(zip(keys, row)) for row in zip(*columns)]
