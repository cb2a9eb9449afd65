"""A monitor around one environment: every observation judged, alarms answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.core.frames import resize
from gensim.ood.detector import Detector
from gensim.ood.fallback import Fallback
from gensim.ood.watch import Policy, Watch, check_on_alarm, infos, looker, teller


class Monitor(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Says of every observation of an environment, real or dreamed, whether it can be trusted.

    ## Info
    Always: `ood_score` (nats, higher is more unusual), `ood_p` in (0, 1] (the share of usual frames at least as
    unusual), `ood_e` >= 0 (what a bettor of 1 against "all is as usual" has now since the episode began; about 1 or
    less on average while all is, as far as the calibration's episodes tell), `ood_alarm` (an alarm is raised with this
    observation), `ood_reason` (why, in words; "" without an alarm) and `ood_fallback` (the action that led here was the
    fallback's). After a step with a fallback policy also `ood_action`, the action that was executed: learn from it, not
    from what the agent wanted.

    ## Alarms
    One in `false_alarm_every` frames is false on usual ones, on average, however much frames resemble their neighbours:
    it is set on whole episodes. `reset()` and an alarm begin the evidence anew; in the 50 frames after an alarm none is
    raised.

    ## Arguments
    env: observations that are images, or rgb_array rendering; resized to what the detector was fitted to.
    detector: one that is calibrated for such frames: dreamed ones have their own.
    false_alarm_every: usual frames between two false alarms, 100 or more.
    on_alarm: "flag" says so in info; "truncate" ends the episode, with its first step where the first observation
    raised the alarm; a policy (a function from an observation to an
    action) acts instead from the next step on.
    hold: steps for which the policy acts; None until the next reset.
    acts: turns an action of the environment into one of the detector, where they differ.

    Raises ValueError where frames, actions or arguments do not fit, or where the calibration supports no such rate.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        detector: Detector,
        false_alarm_every: int = 10_000,
        on_alarm: str | Policy = "flag",
        hold: int | None = None,
        acts: Callable[[Any], Any] | None = None,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, detector=detector, false_alarm_every=false_alarm_every, on_alarm=on_alarm, hold=hold, acts=acts
        )
        gym.Wrapper.__init__(self, env)
        check_on_alarm(on_alarm, hold)
        self.detector, self.on_alarm, self.hold = detector, on_alarm, hold
        self._fallback, self._obs, self._late = Fallback(on_alarm, hold, env.action_space), None, False
        self._watch = Watch(detector, false_alarm_every)
        self._tell = teller(env.action_space, detector, acts)
        self._look = looker(env.observation_space, detector.size) or self._rendered
        if self._look == self._rendered and env.render_mode != "rgb_array":
            raise ValueError(
                f"observations {env.observation_space} are no images and render_mode is {env.render_mode!r}: make the "
                'environment with render_mode="rgb_array"'
            )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Opens an episode; the fallback gives the wheel back, and evidence begins anew."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._fallback.release()
        found = self._judged(obs, None, True)
        self._late = found["ood_alarm"]
        return obs, {**info, **found, "ood_fallback": False}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step of the environment, judged; by the fallback's action where it acts."""
        (fallback,) = self._fallback.turn()
        if fallback and self._fallback.policy is not None:
            action = self._fallback.policy(self._obs)
        told = self._tell(np.asarray(action)[None])
        obs, rew, term, trunc, info = self.env.step(action)
        found = self._judged(obs, told, False)
        if self._fallback.policy is not None:
            found["ood_action"] = action
        if self.on_alarm == "truncate" and (found["ood_alarm"] or self._late):
            trunc = True
        self._late = False
        return obs, rew, term, trunc, {**info, **found, "ood_fallback": bool(fallback)}

    def _judged(self, obs: Any, told: np.ndarray | None, first: bool) -> dict[str, Any]:
        verdict, why = self._watch.step(self._look(obs)[None], told, np.array([first]))
        self._obs = obs
        self._fallback.answer(verdict.alarm)
        return infos(verdict, why)[0]

    def _rendered(self, obs: Any) -> np.ndarray:
        return resize(np.ascontiguousarray(self.env.render()), self.detector.size)
