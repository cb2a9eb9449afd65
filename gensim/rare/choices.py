"""All that is left to chance in a dream as independent standard normal numbers, so that any engine may search it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from gensim.envs.engine import load_world
from gensim.envs.registry import folder_of
from gensim.rare.dreams import Dreams, Episodes


@dataclass(frozen=True)
class Choices:
    """Dreams from one start, whose latents and ends are drawn by choices: `Problem(choices.dims, choices)`.

    A choice x is the uniform number Phi(x), by which the world's own law is inverted: whatever the law of the latents,
    independent standard normal choices give dreams of the reference law, exactly. What the policy draws, if it does,
    hangs on the start's key.

    Arguments:
        dreams: of what; without people, whose own choices are none of the world's.
        steps: of an episode; as many are drawn by choices.
        key: of the start.
    """

    dreams: Dreams
    steps: int
    key: int = 0

    def __post_init__(self) -> None:
        if self.dreams.people:
            raise ValueError("people draw from keys of their own: give dreams without people")
        if not 1 <= self.steps <= self.dreams.horizon:
            raise ValueError(f"steps={self.steps}: give 1 to the horizon, {self.dreams.horizon}")

    @property
    def each(self) -> int:
        """Choices of a step: the latents', and the end's."""
        return load_world(folder_of(self.dreams.config.world)).config.groups + 1

    @property
    def dims(self) -> int:
        """Choices of an episode."""
        return self.steps * self.each

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The least severities (n,) of episodes by choices (n, dims)."""
        least, alive = np.full(len(x), np.inf), np.arange(len(x))
        for now, alive in self._played(x):
            least[alive] = np.minimum(least[alive], now.severity)
        return least

    def ends(self, x: np.ndarray) -> Episodes:
        """Last moments of episodes by choices (n, dims)."""
        ended, order = [], []
        for step, (now, alive) in enumerate(self._played(x)):
            over = np.flatnonzero(now.done) if step < self.steps else np.arange(len(now))
            ended.append(now.rows(over))
            order.append(alive[over])
        return self.dreams.join(ended).rows(np.argsort(np.concatenate(order), kind="stable"))

    def _played(self, x: np.ndarray) -> Iterator[tuple[Episodes, np.ndarray]]:
        u = torch.special.ndtr(torch.from_numpy(np.asarray(x, np.float64))).numpy()
        u = np.clip(u, 1e-16, 1 - 1e-16).reshape(len(x), self.steps, self.each)
        now, alive = self.dreams.begin(np.full(len(x), self.key, np.uint64)), np.arange(len(x))
        yield now, alive
        for step in range(self.steps):
            going = np.flatnonzero(~now.done)
            if not len(going):
                return
            now, alive = self.dreams.advance(now.rows(going), u[alive[going], step]), alive[going]
            yield now, alive
