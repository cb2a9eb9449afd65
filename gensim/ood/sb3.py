"""A monitor around a stable-baselines3 vector environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from gensim.ood.detector import Detector
from gensim.ood.vector import _each, _mixed
from gensim.ood.watch import Policy, Watch, check_on_alarm, infos, looker, teller


class VecMonitor(VecEnvWrapper):
    """Says of every row of a `VecEnv` what `Monitor` says of a single environment.

    Where an episode ended, the row's info holds the verdict on its last observation, and `reset_infos` that on the
    first one of the next. Wrap before frames are stacked: observations are images, (h, w, 3) or (3, h, w).

    Arguments:
        venv: the rows.
        detector, false_alarm_every, hold, acts: `Monitor`'s.
        on_alarm: "flag", or a policy, a function from all rows' observations to all rows' actions.
    """

    def __init__(
        self,
        venv: VecEnv,
        detector: Detector,
        false_alarm_every: int = 10_000,
        on_alarm: str | Policy = "flag",
        hold: int | None = None,
        acts: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(venv)
        check_on_alarm(on_alarm, hold)
        if on_alarm == "truncate":
            raise ValueError(
                "rows of a VecEnv cannot be truncated from outside: wrap each environment in Monitor before"
            )
        self.detector, self.on_alarm, self.hold = detector, on_alarm, hold
        look = looker(venv.observation_space, detector.size)
        if look is None:
            raise ValueError(f"observations {venv.observation_space} are no images: watch before frames are stacked")
        self._look, self._tell = look, teller(venv.action_space, detector, acts)
        self._watch = Watch(detector, false_alarm_every, venv.num_envs)
        self._left = np.zeros(venv.num_envs, np.int64)
        self._obs: Any = None

    def reset(self) -> Any:
        """Opens an episode in every row; verdicts on the first observations are in `reset_infos`."""
        obs = self.venv.reset()
        self.reset_infos = [dict(info) for info in self.venv.reset_infos]
        self._left[:] = 0
        self._begin(_each(obs, self.num_envs), np.arange(self.num_envs))
        self._obs = obs
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions; those of the fallback where it acts."""
        self._fallback = self._left != 0
        if self._fallback.any() and callable(self.on_alarm):
            actions = _mixed(np.asarray(actions), np.asarray(self.on_alarm(self._obs)), self._fallback)
            self._left = self._left - (self._left > 0)
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One step of every row, judged."""
        obs, rew, done, old = self.venv.step_wait()
        seen = _each(obs, self.num_envs)
        last = [old[i]["terminal_observation"] if done[i] else row for i, row in enumerate(seen)]
        told = infos(*self._watch.step(self._frames(last), self._tell(self._actions)))
        new = [{**info, **row, "ood_fallback": bool(f)} for info, row, f in zip(old, told, self._fallback)]
        for i, row in enumerate(told):
            self._take_over(i, row)
        if done.any():
            index = np.flatnonzero(done)
            self._left[index] = 0
            self.reset_infos = [dict(info) for info in self.venv.reset_infos]
            self._begin([seen[i] for i in index], index)
        self._obs = obs
        return obs, rew, done, new

    def _begin(self, obs: list[Any], rows: np.ndarray) -> None:
        for i, row in zip(rows, infos(*self._watch.begin(self._frames(obs), rows))):
            self.reset_infos[i] |= {**row, "ood_fallback": False}
            self._take_over(int(i), row)

    def _take_over(self, i: int, row: dict[str, Any]) -> None:
        if row["ood_alarm"] and callable(self.on_alarm):
            self._left[i] = -1 if self.hold is None else self.hold

    def _frames(self, obs: list[Any]) -> np.ndarray:
        return np.stack([self._look(row) for row in obs])
