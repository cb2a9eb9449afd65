"""Who acts after an alarm: the agent, or for a while the fallback."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from gensim.ood.watch import Policy

ALL = slice(None)


class Fallback:
    """Which rows a fallback policy drives, and for how long yet.

    Arguments:
        on_alarm: the policy, or a word where none drives.
        hold: steps that it drives after an alarm; None until the next reset.
        space: of one row's actions.
        rows: episodes side by side.
    """

    def __init__(self, on_alarm: str | Policy, hold: int | None, space: spaces.Space[Any], rows: int = 1) -> None:
        self.policy = None if isinstance(on_alarm, str) else on_alarm
        self._dtype = space.dtype
        self._hold = -1 if hold is None else hold
        self._left = np.zeros(rows, np.int64)  # steps that it still drives, -1 without end

    def turn(self) -> np.ndarray:
        """Rows (rows,) bool whose next action is the fallback's; counts as one step."""
        drives = self._left != 0
        self._left -= self._left > 0
        return drives

    def answer(self, alarms: Any, rows: Any = ALL) -> None:
        """Takes the wheel in those of the rows whose alarm was raised."""
        if self.policy is not None:
            self._left[rows] = np.where(np.asarray(alarms, bool), self._hold, self._left[rows])

    def release(self, rows: Any = ALL) -> None:
        """Gives the wheel back."""
        self._left[rows] = 0

    def mixed(self, actions: Any, obs: Any, drives: np.ndarray) -> Any:
        """Actions (rows, ...) of which those of `drives` (rows,) are the fallback's; ValueError for another shape."""
        if self.policy is None or not drives.any():
            return actions
        mine, its = np.asarray(actions, self._dtype), np.asarray(self.policy(obs), self._dtype)
        if its.shape != mine.shape:
            raise ValueError(f"the fallback gave actions {its.shape}: give one for each row, {mine.shape}")
        return np.where(drives.reshape(-1, *[1] * (mine.ndim - 1)), its, mine)
