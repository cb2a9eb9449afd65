"""Dreams as what splitting branches: the world, who drives it, the clock, and how far an event is off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from gensim.agents.agent import Agent
from gensim.envs.engine import Dream, DreamConfig
from gensim.envs.events import Event, Seen
from gensim.envs.rollout import Rollout

TRAIL = tuple[tuple[int, int], ...]  # the step at which an episode was given a key, and the key


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

    rollout: the world's; memory: the policy's; seen: what the event remembers; act: the last actions, zeros at first;
    trail (n,): the keys that an episode was given and when, which is all it takes to dream it again.
    """

    rollout: Rollout
    memory: Any
    seen: Any
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
    """

    def __init__(
        self, config: DreamConfig, policy: Policy, event: Event, options: dict[str, Any] | None = None
    ) -> None:
        self.config, self.policy, self.event, self.options = config, policy, event, options
        if event.labels and not config.labels:
            raise ValueError(f"{event.name} looks at labels: give labels=True, and a world that has them")

    def begin(self, keys: np.ndarray) -> Episodes:
        """First moments of episodes that depend on keys (n,) uint64."""
        n = len(keys)
        dream = Dream(self.config, n)
        dream.reset([int(key) for key in keys], 0, self.options)
        trail = np.empty(n, object)
        for i, key in enumerate(keys):
            trail[i] = ((0, int(key)),)
        severity, seen = self.event.severity(self._seen(dream, None), None)
        zeros = np.zeros(n)
        act = np.zeros((n, dream.controls.action.size), np.float32)
        memory = self.policy.begin(keys)
        return Episodes(dream.now, memory, seen, act, severity, np.zeros(n, bool), zeros, zeros.copy(), trail)

    def advance(self, now: Episodes) -> Episodes:
        """The moments one step later."""
        dream = Dream(self.config, len(now))
        dream.rollout = now.rollout
        act, memory = self.policy.act(dream.observe(), now.memory)
        act = dream.controls.read(act, len(now))
        outcome = dream.step(act)
        severity, seen = self.event.severity(self._seen(dream, act, outcome.rew, outcome.term), now.seen)
        return Episodes(
            dream.now,
            memory,
            seen,
            act,
            severity,
            dream.now.done.copy(),
            now.log_p + outcome.log_prob,
            now.log_q + outcome.log_q,
            now.trail,
        )

    def branch(self, moments: Episodes, keys: np.ndarray) -> Episodes:
        """The same pasts; the futures of world and policy depend on new keys (n,) uint64."""
        n, trail = len(moments), moments.trail.copy()
        for i in range(n):
            trail[i] = (*trail[i], (int(moments.rollout.elapsed[i]), int(keys[i])))
        rollout = moments.rollout.reseed(keys, np.ones(n, bool))
        return replace(moments, rollout=rollout, memory=self.policy.branch(moments.memory, keys), trail=trail)

    def join(self, some: Sequence[Episodes]) -> Episodes:
        """All rows of several moments, one after the other."""
        return Episodes(*(joined([getattr(one, f.name) for one in some]) for f in fields(Episodes)))

    def look(self, moments: Episodes) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) of moments."""
        dream = Dream(self.config, len(moments))
        dream.rollout = moments.rollout
        return dream.frames()

    def _seen(self, dream: Dream, act: np.ndarray | None, rew: Any = None, term: Any = None) -> Seen:
        n = dream.rows
        return Seen(
            frames=dream.frames,
            labels=dream.labels,
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
    if isinstance(values[0], Rollout):
        return Rollout.join(values)
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
