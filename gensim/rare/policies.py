"""Who acts without looking: policies that hold an action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gensim.episodes.actions import ActionSpec

HABITS: Mapping[str, tuple[float, float]] = {"idle": (0.0, 0.0), "pace": (0.0, 0.15)}  # steer and pedal


class Held:
    """A policy that holds actions, whatever is seen.

    Arguments:
        acts: (n, k) or (n,), of n episodes side by side; or one, (1, k) or (1,), of however many.
    """

    def __init__(self, acts: np.ndarray) -> None:
        self.acts = acts

    def begin(self, keys: np.ndarray) -> Any:
        """Nothing is remembered."""
        return None

    def act(self, obs: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        """The actions."""
        return (self.acts.repeat(len(obs), 0) if len(self.acts) == 1 else self.acts), memory

    def branch(self, memory: Any, keys: np.ndarray) -> Any:
        """Nothing is remembered."""
        return memory


def habit(name: str, action: ActionSpec) -> Held:
    """The policy of one of HABITS.

    Raises:
        ValueError: if it is none, or the world is not driven by steer and pedal.
    """
    if name not in HABITS:
        raise ValueError(f"{name!r} is no habit: give one of {', '.join(HABITS)}")
    if action != ActionSpec("box", 2):
        raise ValueError(f"{name} is for who steers and has a pedal: give an agent's folder in a world of {action}")
    return Held(np.array([HABITS[name]], np.float32))
