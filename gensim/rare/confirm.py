"""Is a failure the world model's own? The same start in the simulator itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gensim.envs.engine import load_world
from gensim.envs.events import Seen
from gensim.envs.real import RealEnv, make_real
from gensim.envs.registry import folder_of
from gensim.rare.cases import Case, replay
from gensim.rare.dreams import Dreams


@dataclass(frozen=True)
class Confirmed:
    """What the simulator did from the start of a case, severities (t,) at its moments.

    acted: under the case's actions, whatever came; played: under the agent, which saw what came, if there was one.
    """

    acted: np.ndarray
    played: np.ndarray | None

    @property
    def by_actions(self) -> bool:
        """Whether the event happened under the case's actions."""
        return bool((self.acted <= 0).any())

    @property
    def by_agent(self) -> bool | None:
        """Whether it happened under the agent."""
        return None if self.played is None else bool((self.played <= 0).any())


def confirm(dreams: Dreams, case: Case, pilot: Any = None) -> Confirmed:
    """Tries a case in its world's simulator: from the same start, for as many steps.

    Arguments:
        pilot: a `gensim.agents.filter.Pilot` of the agent, to see what it does there by itself.

    Raises:
        ValueError: if the start is of no simulator, or the event looks at labels, which simulators do not tell.
    """
    told = replay(dreams, case)
    if told.start["seed"] is None:
        raise ValueError(f"{case.event}: its start was recorded without a simulator's seed, so none can be tried")
    if dreams.event.labels:
        raise ValueError(f"{case.event} looks at labels, which no simulator tells here: confirm events of frames")
    spec = load_world(folder_of(dreams.config.world)).spec
    env = make_real(spec["env_id"], tuple(told.frames.shape[1:3]), spec["skip"], spec.get("env_kwargs") or {})
    try:
        acts = iter(told.acts.argmax(1) if env.spec_dict["action"]["type"] == "discrete" else told.acts)
        acted = _severities(dreams, env, told.start, case.steps, lambda _: next(acts))
        if pilot is None:
            return Confirmed(acted, None)
        pilot.reset(np.array([case.trail[0][1]], np.uint64))
        last: list[np.ndarray] = []

        def drive(frame: np.ndarray) -> np.ndarray:
            last[:] = [pilot.act(frame[None])]
            return last[0][0]

        return Confirmed(acted, _severities(dreams, env, told.start, case.steps, drive))
    finally:
        env.close()


def _severities(
    dreams: Dreams, env: RealEnv, start: Any, steps: int, act: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Severities (t,) from a start on, until so many steps are over or the episode is."""
    frame, _ = env.reset(seed=int(start["seed"]))
    for one in start["actions"]:
        frame, *_ = env.step(np.asarray(one))
    far, memory = dreams.event.severity(_seen(frame, 0), None)
    found, returns = [float(far[0])], 0.0
    for step in range(1, steps + 1):
        frame, rew, term, trunc, _ = env.step(act(frame))
        returns += float(rew)
        far, memory = dreams.event.severity(_seen(frame, step, float(rew), returns, bool(term)), memory)
        found.append(float(far[0]))
        if term or trunc:
            break
    return np.array(found)


def _seen(frame: np.ndarray, step: int, rew: float = 0.0, returns: float = 0.0, term: bool = False) -> Seen:
    one = lambda value: np.array([value])  # noqa: E731
    return Seen(lambda: frame[None], dict, np.zeros((1, 0)), None, one(rew), one(term), one(returns), one(step))
