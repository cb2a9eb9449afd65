"""Dreams as what splitting branches: the world, who drives it, the clock, and how far an event is off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from gensim.agents.agent import Agent
from gensim.agents.road_users.behaviour import Behaviour
from gensim.agents.road_users.camera import DRIVING
from gensim.agents.road_users.scene import People, RoadUser
from gensim.agents.road_users.wrapper import Stage, behaviour_of, told_motion, weather_in
from gensim.core.seeds import fold
from gensim.envs.engine import Dream, DreamConfig
from gensim.envs.events import Event, Seen
from gensim.envs.rollout import Rollout
from gensim.rare.policies import Held

PEOPLE = 78  # of an episode's key, from which people's own is made


class Policy(Protocol):
    """Who acts in n episodes side by side; all that it remembers is a value."""

    def begin(self, keys: np.ndarray) -> Any:
        """What n episodes begin with: dataclass, dict, list or tuple of arrays and tensors, all rows first."""
        ...

    def act(self, obs: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        """Actions (n, k) or (n,) and what is remembered after, neither changing what was given."""
        ...

    def branch(self, memory: Any, keys: np.ndarray) -> Any:
        """The same memory, whose own chances from here on depend on keys (n,) uint64."""
        ...


class AgentPolicy:
    """An agent of gensim as a policy.

    Arguments:
        deterministic: the likeliest action, not a drawn one; None takes the agent's own habit.
    """

    def __init__(self, agent: Agent, deterministic: bool | None = None) -> None:
        self.agent, self.deterministic = agent, deterministic

    def begin(self, keys: np.ndarray) -> Any:
        """See `Policy`."""
        self.agent.reset(len(keys), keys)
        return deepcopy(self.agent.memory)

    def act(self, obs: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        """See `Policy`."""
        self.agent.memory = deepcopy(memory)
        return self.agent.act(obs, self.deterministic), self.agent.memory

    def branch(self, memory: Any, keys: np.ndarray) -> Any:
        """See `Policy`."""
        return replace(memory, seeds=keys.copy())


@dataclass
class Episodes:
    """Moments of n dreamed episodes; see `gensim.rare.splitting.Moments`.

    rollout: the world's; memory: the policy's; seen: what the event remembers; people, where there are any; act: the
    last actions, zeros at first; trail (n,): the keys that an episode was given and when, which is all it takes to
    dream it again.
    """

    rollout: Rollout
    memory: Any
    seen: Any
    people: People | None
    act: np.ndarray
    severity: np.ndarray
    done: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    trail: np.ndarray

    def __len__(self) -> int:
        return len(self.severity)

    def rows(self, index: np.ndarray) -> Episodes:
        """A copy of some rows."""
        return Episodes(*(rows_of(getattr(self, f.name), index) for f in fields(self)))


class Dreams:
    """Episodes of a policy in a world, on the way to an event.

    Arguments:
        config: how the world is dreamed. Steps that are drawn from another law than the reference, as at another
            temperature, are weighed.
        policy: who acts; observes what the config says.
        event: what may happen.
        options: of each reset, as the environment takes them.
        people: who is there as each episode begins, in worlds that tell how they move; what they do is drawn, and
            counts in the log-probabilities. They are drawn into the frames, so policies on latents are refused, but for
            `gensim.rare.policies.Held`, who looks at nothing.
        behaviour: of the people; "learned", or None, where they go on as they like.

    Raises:
        ValueError: if the event needs labels or people that are not there, or the policy would not see the people.
    """

    def __init__(
        self,
        config: DreamConfig,
        policy: Policy,
        event: Event,
        options: dict[str, Any] | None = None,
        people: Sequence[RoadUser] = (),
        behaviour: Behaviour | str | None = "learned",
    ) -> None:
        self.config, self.policy, self.event, self.options = config, policy, event, options
        self.people, self.behaviour = tuple(people), behaviour
        if event.labels and not config.labels:
            raise ValueError(f"{event.name} looks at labels: give labels=True, and a world that has them")
        blind = isinstance(policy, Held)
        if people and ((config.observation != "frames" and not blind) or not config.labels):
            raise ValueError("people are drawn into frames, by labels: give observation='frames' and labels=True")
        if event.people and not people:
            raise ValueError(f"{event.name} is about people: give people=, one at least, or --people")

    def begin(self, keys: np.ndarray) -> Episodes:
        """First moments of episodes that depend on keys (n,) uint64."""
        n = len(keys)
        dream = Dream(self.config, n)
        dream.reset([int(key) for key in keys], 0, self.options)
        stage = self._stage(n, None)
        if stage is not None:
            stage.scenes.reset(fold(keys, PEOPLE), np.ones(n, bool))
        trail = np.empty(n, object)
        for i, key in enumerate(keys):
            trail[i] = ((0, int(key)),)
        severity, seen = self.event.severity(self._seen(dream, stage, None), None)
        act, zeros = np.zeros((n, dream.controls.action.size), np.float32), np.zeros(n)
        people = None if stage is None else stage.scenes.now
        memory = self.policy.begin(keys)
        done = np.zeros(n, bool)
        return Episodes(dream.now, memory, seen, people, act, severity, done, zeros, zeros.copy(), trail)

    def advance(self, now: Episodes, draws: np.ndarray | None = None) -> Episodes:
        """The moments one step later; draws: see `gensim.world.world.World.imagine`."""
        dream, stage = self._taken_up(now)
        act, memory = self.policy.act(self._observed(dream, stage), now.memory)
        act = dream.controls.read(act, len(now))
        outcome = dream.step(act, draws)
        log_p, log_q, done = now.log_p + outcome.log_prob, now.log_q + outcome.log_q, dream.now.done.copy()
        if stage is not None:
            stage.scenes.advance(*told_motion(dream.labels(), act), np.ones(len(now), bool))
            log_p, log_q = log_p + stage.log_prob(), log_q + stage.log_prob()
            done |= stage.contact() >= 0
        severity, seen = self.event.severity(self._seen(dream, stage, act, outcome.rew, outcome.term), now.seen)
        people = None if stage is None else stage.scenes.now
        return Episodes(dream.now, memory, seen, people, act, severity, done, log_p, log_q, now.trail)

    def branch(self, moments: Episodes, keys: np.ndarray) -> Episodes:
        """The same pasts; the futures of world, policy and people depend on new keys (n,) uint64."""
        n, trail, people = len(moments), moments.trail.copy(), moments.people
        for i in range(n):
            trail[i] = (*trail[i], (int(moments.rollout.elapsed[i]), int(keys[i])))
        if people is not None:
            people = replace(people.copy(), key=fold(keys, PEOPLE))
        rollout, memory = moments.rollout.reseed(keys, np.ones(n, bool)), self.policy.branch(moments.memory, keys)
        return replace(moments, rollout=rollout, memory=memory, people=people, trail=trail)

    def join(self, some: Sequence[Episodes]) -> Episodes:
        """All rows of several moments, one after the other."""
        return Episodes(*(joined([getattr(one, f.name) for one in some]) for f in fields(Episodes)))

    @property
    def horizon(self) -> int:
        """Steps of an episode."""
        return Dream(self.config, 1).horizon

    def look(self, moments: Episodes) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) of moments."""
        return self._drawn(*self._taken_up(moments))

    def latent(self, moments: Episodes) -> np.ndarray:
        """The world's states as vectors float32 (n, d)."""
        return self._taken_up(moments)[0].world.latent(moments.rollout.state)

    def law(self, moments: Episodes) -> np.ndarray:
        """Probabilities (n, groups, classes) of the next latents, under the policy's actions; worlds of one stage."""
        dream, stage = self._taken_up(moments)
        act, _ = self.policy.act(self._observed(dream, stage), moments.memory)
        found: list[np.ndarray] = []

        def told(law: Tensor, _: int) -> Tensor:
            found.append(law.double().exp().numpy())
            return law

        dream.world.imagine(moments.rollout.state, dream.controls.read(act, len(moments)), proposal=told)
        law = np.concatenate(found)[: len(moments)]
        return np.asarray(law / law.sum(-1, keepdims=True))

    def labels(self, moments: Episodes) -> dict[str, Any]:
        """What is told of moments: classes and depth (n, h, w), what else the state tells, and people, a list a row."""
        dream, stage = self._taken_up(moments)
        return self._labelled(dream, stage)

    def _taken_up(self, moments: Episodes) -> tuple[Dream, Stage | None]:
        dream = Dream(self.config, len(moments))
        dream.rollout = moments.rollout
        return dream, self._stage(len(moments), moments.people)

    def _stage(self, rows: int, people: People | None) -> Stage | None:
        if not self.people:
            return None
        stage = Stage(self.people, rows, DRIVING, 0.1, None, behaviour_of(self.behaviour), 0.6, 2.2)
        if people is not None:
            stage.scenes.now = people.copy()
        return stage

    def _drawn(self, dream: Dream, stage: Stage | None) -> np.ndarray:
        if stage is None:
            return dream.frames()
        return stage.drawn(dream.frames(), dream.labels(), weather_in(dream))[0]

    def _labelled(self, dream: Dream, stage: Stage | None) -> dict[str, Any]:
        told = dream.labels()
        return told if stage is None else told | stage.drawn(dream.frames(), told, weather_in(dream))[1]

    def _observed(self, dream: Dream, stage: Stage | None) -> np.ndarray:
        blind = stage is None or self.config.observation == "latents"
        return dream.observe() if blind else self._drawn(dream, stage)

    def _seen(
        self, dream: Dream, stage: Stage | None, act: np.ndarray | None, rew: Any = None, term: Any = None
    ) -> Seen:
        n = dream.rows
        gaps = np.full((n, 0), np.inf) if stage is None else stage.scenes.gaps().reshape(n, -1)
        return Seen(
            frames=cache(lambda: self._drawn(dream, stage)),
            labels=cache(lambda: self._labelled(dream, stage)),
            gaps=gaps,
            act=act,
            rew=np.zeros(n) if rew is None else rew,
            term=np.zeros(n, bool) if term is None else term,
            returns=dream.now.returns,
            step=dream.now.elapsed,
        )


def rows_of(value: Any, index: np.ndarray) -> Any:
    """Some rows of arrays and tensors, however they are kept together."""
    if hasattr(value, "rows"):
        return value.rows(index)
    return _each([value], lambda parts: parts[0][index].copy() if isinstance(parts[0], np.ndarray) else parts[0][index])


def joined(values: Sequence[Any]) -> Any:
    """All rows of equally kept arrays and tensors, one after the other."""
    if isinstance(values[0], (Rollout, People)):
        return type(values[0]).join(values)
    return _each(values, lambda parts: np.concatenate(parts) if isinstance(parts[0], np.ndarray) else _cat(parts))


def _cat(parts: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.cat(list(parts))


def _each(values: Sequence[Any], change: Callable[[Sequence[Any]], Any]) -> Any:
    first = values[0]
    if first is None:
        return None
    if isinstance(first, (np.ndarray, Tensor)):
        return change(values)
    if isinstance(first, dict):
        return {name: _each([one[name] for one in values], change) for name in first}
    if isinstance(first, (list, tuple)):
        parts = [_each(some, change) for some in zip(*values)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if hasattr(first, "__dataclass_fields__"):
        names = [f.name for f in fields(first)]
        return replace(first, **{name: _each([getattr(one, name) for one in values], change) for name in names})
    raise ValueError(f"a policy remembers {type(first).__name__}: keep arrays or tensors in dataclass, dict or tuple")
