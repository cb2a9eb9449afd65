"""A monitor around a vector environment: the same verdicts, row by row, as around single ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from gensim.core.frames import resize
from gensim.ood.detector import Detector
from gensim.ood.fallback import Fallback
from gensim.ood.watch import Policy, Watch, as_arrays, check_on_alarm, infos, looker, teller

Rows = list[dict[str, Any]]


class VectorMonitor(VectorWrapper):
    """Says of every row of a vector environment what `Monitor` says of a single one.

    Arguments:
        env: observations that are images, or rgb_array rendering.
        detector, false_alarm_every, hold, acts: `Monitor`'s.
        on_alarm: "flag"; "truncate", where the environment resets no rows by itself (AutoresetMode.DISABLED); or a
            policy, a function from all rows' observations to all rows' actions, of which those of rows with an alarm
            are taken; `info["ood_action"]` has what was executed.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        detector: Detector,
        false_alarm_every: int = 10_000,
        on_alarm: str | Policy = "flag",
        hold: int | None = None,
        acts: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(env)
        check_on_alarm(on_alarm, hold)
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        if on_alarm == "truncate" and self.mode != AutoresetMode.DISABLED:
            raise ValueError(
                f"rows of a vector environment with autoreset {self.mode.value} cannot be truncated from outside: wrap "
                "each environment in Monitor before, or take autoreset_mode=AutoresetMode.DISABLED"
            )
        self.detector, self.on_alarm, self.hold = detector, on_alarm, hold
        self._watch = Watch(detector, false_alarm_every, env.num_envs)
        self._tell = teller(env.single_action_space, detector, acts)
        self._look = looker(env.single_observation_space, detector.size)
        if self._look is None and (env.render_mode != "rgb_array" or self.mode == AutoresetMode.SAME_STEP):
            raise ValueError(
                f"observations {env.single_observation_space} are no images: make the environments with "
                'render_mode="rgb_array" and without autoreset in the same step'
            )
        self._fallback, self._done = (
            Fallback(on_alarm, hold, env.single_action_space, env.num_envs),
            np.zeros(env.num_envs, bool),
        )
        self._late = np.zeros(env.num_envs, bool)  # rows whose first observation raised an alarm
        self._obs: Any = None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Opens an episode in every row, or in those of `options["reset_mask"]`."""
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs, self._done[mask] = obs, False
        self._fallback.release(mask)
        rows = np.flatnonzero(mask)
        told = self._began(obs, rows)
        blank = {key: "" if key == "ood_reason" else type(value)() for key, value in told[0].items()}
        whole = [dict(blank) for _ in range(self.num_envs)]
        for i, row in zip(rows, told):
            whole[i], self._late[i] = row, row["ood_alarm"]
        return obs, {**info, **_masked(whole, mask)}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of every row, judged; by the fallback's actions where it acts."""
        fallback = self._fallback.turn()
        actions = self._fallback.mixed(actions, self._obs, fallback)
        told = self._tell(actions)
        obs, rew, term, trunc, info = self.env.step(actions)
        if self._fallback.policy is not None:
            info = {**info, "ood_action": np.array(actions), "_ood_action": ~self._waiting()}
        done = np.asarray(term) | np.asarray(trunc)
        last = self._last(obs, info, done)
        first = self._waiting()
        self._fallback.release(first)
        rows = infos(*self._watch.step(self._frames(last), told, first))
        self._fallback.answer([row["ood_alarm"] for row in rows])
        for i, row in enumerate(rows):
            row["ood_fallback"] = bool(fallback[i] and not first[i])
        self._obs, self._done = obs, done
        if self.mode == AutoresetMode.SAME_STEP and done.any():
            return obs, rew, term, trunc, self._reopened(obs, info, rows, done)
        if self.on_alarm == "truncate":
            trunc = np.asarray(trunc) | [row["ood_alarm"] for row in rows] | self._late
            self._late[:] = False
        return obs, rew, term, trunc, {**info, **_masked(rows, np.ones(self.num_envs, bool))}

    def _waiting(self) -> np.ndarray:
        """Rows (n,) bool that a step resets, whatever their action."""
        return self._done if self.mode == AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)

    def _last(self, obs: Any, info: dict[str, Any], done: np.ndarray) -> Any:
        """What each row saw last of the episode that was stepped."""
        if self.mode != AutoresetMode.SAME_STEP or not done.any():
            return obs
        return [info["final_obs"][i] if done[i] else row for i, row in enumerate(each(obs, self.num_envs))]

    def _reopened(self, obs: Any, info: dict[str, Any], rows: Rows, done: np.ndarray) -> dict[str, Any]:
        """Info after rows began anew in the step they ended in; their last verdicts go into `final_info`."""
        final = {**info.get("final_info", {}), **_masked(rows, done)}
        index = np.flatnonzero(done)
        self._fallback.release(index)
        fresh = self._began([each(obs, self.num_envs)[i] for i in index], index, whole=False)
        for i, row in zip(index, fresh):
            rows[i] = row
        return {**info, **_masked(rows, np.ones(self.num_envs, bool)), "final_info": final, "_final_info": done.copy()}

    def _began(self, obs: Any, rows: np.ndarray, whole: bool = True) -> Rows:
        frames = self._frames(obs)
        told = infos(*self._watch.begin(frames[rows] if whole else frames, rows))
        self._fallback.answer([row["ood_alarm"] for row in told], rows)
        return [{**row, "ood_fallback": False} for row in told]

    def _frames(self, obs: Any) -> np.ndarray:
        if self._look is not None:
            rows = obs if isinstance(obs, list) else each(obs, self.num_envs)
            return np.stack([self._look(row) for row in rows])
        return np.stack([resize(np.ascontiguousarray(frame), self.detector.size) for frame in self.env.render() or ()])


def each(obs: Any, n: int) -> list[Any]:
    """A batch of observations as a list of them."""
    if isinstance(obs, dict):
        parts = {key: each(value, n) for key, value in obs.items()}
        return [{key: part[i] for key, part in parts.items()} for i in range(n)]
    return [obs[i] for i in range(n)]


def _masked(rows: Rows, mask: np.ndarray) -> dict[str, Any]:
    """Rows' infos as gymnasium's vector environments give them, with the mask as `_key`."""
    found: dict[str, Any] = {}
    for key, values in as_arrays(rows).items():
        blank = np.full(len(rows), "", object) if values.dtype == object else np.zeros((), values.dtype)
        found |= {key: np.where(mask, values, blank), f"_{key}": mask.copy()}
    return found
