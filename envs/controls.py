"""Actions as people and programs give them, checked and turned into what a world takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from gymnasium import spaces

from gensim.episodes.actions import ActionSpec

SLACK = 1e-3


@dataclass(frozen=True)
class Controls:
    """A world's action space and the keys that play it.

    Arguments:
        action: the space.
        keys: the action of each combination of keys; none makes w, a, s, d or digits.
    """

    action: ActionSpec
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> spaces.Box | spaces.Discrete:
        """The Gymnasium space of one action."""
        return self.action.space

    def read(self, actions: Any, rows: int, ignored: np.ndarray | None = None) -> np.ndarray:
        """Actions (n,) or (n, k) as float32 (n, k); ValueError on a wrong shape, NaN or out of range.

        What rows in the mask `ignored` (n,) are given is not looked at.
        """
        act = self._choices(actions, rows) if self.action.type == "discrete" else self._numbers(actions, rows)
        if ignored is not None and ignored.any():
            act[ignored] = 0
        return self._choose(act) if self.action.type == "discrete" else self._clip(act)

    def keys_to_action(self) -> dict[str, Any]:
        """The action of each combination of keys, for `gymnasium.utils.play`; no key is coasting."""
        listed = {"".join(sorted(keys)): action for keys, action in (self.keys or self._usual()).items()}
        if self.action.type == "discrete":
            return {"": 0, **{keys: int(action) for keys, action in listed.items()}}
        single = sorted(set("".join(listed)))
        pressed = ["".join(keys) for n in range(len(single) + 1) for keys in combinations(single, n)]
        return {keys: self._pressed(keys, listed) for keys in pressed}

    def _numbers(self, actions: Any, rows: int) -> np.ndarray:
        act = np.array(actions, np.float32)
        if act.shape != (rows, self.action.size):
            raise ValueError(f"actions of shape {act.shape}: give {(rows, self.action.size)} in [-1, 1]")
        return act

    def _clip(self, act: np.ndarray) -> np.ndarray:
        bad = ~(np.abs(act) <= 1 + SLACK)  # NaN too
        if bad.any():
            raise ValueError(f"an action holds {act[bad][0]}: give finite numbers in [-1, 1] (clip them first)")
        return act.clip(-1, 1)

    def _choices(self, actions: Any, rows: int) -> np.ndarray:
        act = np.array(actions)
        if act.shape != (rows,) or not np.issubdtype(act.dtype, np.integer):
            raise ValueError(f"actions {act.dtype} of shape {act.shape}: give integers of shape {(rows,)}")
        return act

    def _choose(self, act: np.ndarray) -> np.ndarray:
        n = self.action.size
        bad = (act < 0) | (act >= n)
        if bad.any():
            raise ValueError(f"an action is {act[bad][0]}: give integers from 0 to {n - 1}")
        return self.action.encode(act)  # (n, k)

    def _usual(self) -> dict[str, Any]:
        if self.action.type == "discrete":
            return {str(i): i for i in range(min(self.action.size, 10))}
        ways = np.eye(self.action.size)
        usual = {"d": ways[0], "a": -ways[0]}
        return usual if len(ways) == 1 else {**usual, "w": ways[1], "s": -ways[1]}

    def _pressed(self, keys: str, listed: Mapping[str, Any]) -> np.ndarray:
        """Combinations that nobody listed do what their keys do together, so that opposites cancel."""
        zero = np.zeros(self.action.size, np.float32)
        parts = [listed[keys]] if keys in listed else [listed.get(key, zero) for key in keys]
        return np.clip(sum((np.asarray(part, np.float32) for part in parts), zero), -1, 1)
