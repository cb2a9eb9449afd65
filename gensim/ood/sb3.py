"""A monitor around a stable-baselines3 vector environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from gensim.ood.detector import Detector
from gensim.ood.fallback import Fallback
from gensim.ood.vector import each
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
        self._fallback, self._drives = (
            Fallback(on_alarm, hold, venv.action_space, venv.num_envs),
            np.zeros(venv.num_envs, bool),
        )
        self._obs: Any = None

    def reset(self) -> Any:
        """Opens an episode in every row; verdicts on the first observations are in `reset_infos`."""
        obs = self.venv.reset()
        self.reset_infos = [dict(info) for info in self.venv.reset_infos]
        self._fallback.release()
        self._begin(each(obs, self.num_envs), np.arange(self.num_envs))
        self._obs = obs
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions; those of the fallback where it acts."""
        self._drives = self._fallback.turn()
        self._actions = self._fallback.mixed(actions, self._obs, self._drives)
        self.venv.step_async(self._actions)

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One step of every row, judged."""
        obs, rew, done, old = self.venv.step_wait()
        seen = each(obs, self.num_envs)
        last = [old[i]["terminal_observation"] if done[i] else row for i, row in enumerate(seen)]
        told = infos(*self._watch.step(self._frames(last), self._tell(self._actions)))
        new = [{**info, **row, "ood_fallback": bool(f)} for info, row, f in zip(old, told, self._drives)]
        for row, action in zip(new, self._actions if self._fallback.policy is not None else ()):
            row["ood_action"] = action
        self._fallback.answer([row["ood_alarm"] for row in told])
        if done.any():
            index = np.flatnonzero(done)
            self._fallback.release(index)
            for i in index:
                self.reset_infos[i] = dict(self.venv.reset_infos[i])
            self._begin([seen[i] for i in index], index)
        self._obs = obs
        return obs, rew, done, new

    def _begin(self, obs: list[Any], rows: np.ndarray) -> None:
        told = infos(*self._watch.begin(self._frames(obs), rows))
        self._fallback.answer([row["ood_alarm"] for row in told], rows)
        for i, row in zip(rows, told):
            self.reset_infos[i] |= {**row, "ood_fallback": False}

    def _frames(self, obs: list[Any]) -> np.ndarray:
        return np.stack([self._look(row) for row in obs])
