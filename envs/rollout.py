"""A dream as a value: all that its rows will ever need to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from gensim.core.checkpoint import over, under
from gensim.core.seeds import fold
from gensim.world import State


@dataclass(frozen=True)
class Rollout:
    """What `snapshot()` returns and `restore()` takes: n rows of a dream, at one moment of each.

    Arguments:
        world: sha256 of the weights that it was dreamed with.
        state: the world's state.
        seed: (n,) uint64, the seed of each row's chain of episodes.
        episode: (n,) int64, the number of the episode since that seed was given.
        elapsed: (n,) int64, steps since the episode began.
        returns: (n,) float64, rewards summed since the episode began.
        confidence: (n,) float64 in [0, 1], a running average of trust.
        done: (n,) bool, whether the episode has ended.
        weather: (n, k) float32, strengths in 0..1 of the weather that frames are shown in; k = 0 where there is none.
        turned: (n,) float64, radians to the left since the episode began, where the world tells them.
        sky: (n,) uint64, what the weather draws from: branches of an episode have one sun.
    """

    world: str
    state: State
    seed: np.ndarray
    episode: np.ndarray
    elapsed: np.ndarray
    returns: np.ndarray
    confidence: np.ndarray
    done: np.ndarray
    weather: np.ndarray
    turned: np.ndarray
    sky: np.ndarray

    def __len__(self) -> int:
        return len(self.seed)

    @classmethod
    def begun(cls, world: str, state: State, seed: np.ndarray, weather: np.ndarray | None = None) -> Rollout:
        """Rows whose first episodes begin with a state; weather (n, k), none if it is not given."""
        n = len(seed)
        return cls(
            world=world,
            state=state,
            seed=seed.copy(),
            episode=np.zeros(n, np.int64),
            elapsed=np.zeros(n, np.int64),
            returns=np.zeros(n),
            confidence=np.ones(n),
            done=np.zeros(n, bool),
            weather=np.zeros((n, 0), np.float32) if weather is None else weather,
            turned=np.zeros(n),
            sky=state.keys(),
        )

    @classmethod
    def of(cls, world: str, arrays: Mapping[str, np.ndarray]) -> Rollout:
        """From what `arrays` gave; KeyError for what is missing."""
        return cls(world, State.from_dict(under("state.", arrays)), *(arrays[name] for name in _ARRAYS))

    def arrays(self) -> dict[str, np.ndarray]:
        """All but the world as arrays by name."""
        return over("state.", self.state.to_dict()) | {name: getattr(self, name) for name in _ARRAYS}

    def rows(self, index: Any) -> Rollout:
        """A copy of some rows, chosen by an array of indices or a mask."""
        index = np.atleast_1d(np.asarray(index))
        index = np.flatnonzero(index) if index.dtype == bool else index
        return self._each(lambda x: x[index], self.state.rows(index))

    def copy(self) -> Rollout:
        """The same rows in memory of their own."""
        return self.rows(np.arange(len(self)))

    @classmethod
    def join(cls, some: Sequence[Rollout]) -> Rollout:
        """All rows of several rollouts of one world, one after the other."""
        if len({one.world for one in some}) != 1:
            raise ValueError(f"rollouts of {len({one.world for one in some})} worlds: give some of one")
        arrays = [np.concatenate([getattr(one, name) for one in some]) for name in _ARRAYS]
        return cls(some[0].world, State.cat([one.state for one in some]), *arrays)

    def put(self, index: np.ndarray, other: Rollout) -> Rollout:
        """These rows with those at `index` taken from another rollout."""
        new = self._each(np.copy, self.state.put(index, other.state))
        for name in _ARRAYS:
            getattr(new, name)[index] = getattr(other, name)
        return new

    def branch(self, n: int) -> Rollout:
        """Each row n times over, side by side: the same past, n different futures (n len(self) rows)."""
        if n < 1:
            raise ValueError(f"branch({n}): give the number of futures, 1 or more")
        branched = self._each(lambda x: np.repeat(x, n, 0), self.state.branch(n))
        return replace(branched, seed=fold(branched.seed, np.tile(np.arange(n), len(self))))

    def reseed(self, seed: np.ndarray, given: np.ndarray) -> Rollout:
        """The same past, with another future: new seeds (n,) uint64 for the rows where `given` (n,) holds."""
        keys = np.where(given, seed, self.state.keys())
        state = replace(self.state, seed=torch.from_numpy(keys.view(np.int64).copy()))
        return replace(self, state=state, seed=seed.copy(), episode=np.where(given, 0, self.episode))

    def _each(self, function: Callable[[np.ndarray], np.ndarray], state: State) -> Rollout:
        arrays = [function(getattr(self, name)) for name in _ARRAYS]
        return Rollout(self.world, state, *arrays)


_ARRAYS = [field.name for field in fields(Rollout) if field.name not in ("world", "state")]
