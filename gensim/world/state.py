"""The state of imagined episodes: plain tensors, rows first; a copy of it is undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from gensim.core.seeds import fold


@dataclass
class State:
    """n imagined episodes, each with its own random key and clock.

    A copy holds the same futures; `branch` folds the branch's index into the key, for different ones.
    """

    h: Tensor  # (n, hidden) float32, the memory; it has read every latent but the last
    z: Tensor  # (n, groups) int64, the latent: an index a group
    mask: Tensor  # (n, hidden) float32, the dropout mask held for the episode
    seed: Tensor  # (n,) int64, the bits of the episode's uint64 key
    step: Tensor  # (n,) int64, the clock: steps since the start
    age: Tensor  # (n,) int64, imagined steps since a real frame
    temperature: Tensor  # (n,) float32, of the latents' law; 1 is the reference
    start: Tensor  # (n,) int64, which of the world's starts, -1 if none
    tally: Tensor  # (n, 2) float32, the sum of the episode's rewards and its steps so far
    cond: Tensor  # (n, c) float32, conditions that hold for the episode, in 0..1

    def __len__(self) -> int:
        return len(self.seed)

    def rows(self, index: Sequence[int] | np.ndarray | slice) -> State:
        """A copy of some rows."""
        at = index if isinstance(index, slice) else torch.as_tensor(np.asarray(index))
        return self._each(lambda x: x[at].clone())

    def copy(self) -> State:
        """An independent copy of all rows."""
        return self._each(Tensor.clone)

    def put(self, index: Sequence[int] | np.ndarray, other: State) -> State:
        """A copy in which the rows `index` are those of another state."""
        new = self.copy()
        at = torch.as_tensor(np.asarray(index), dtype=torch.int64)
        for f in fields(self):
            getattr(new, f.name)[at] = getattr(other, f.name)
        return new

    def branch(self, n: int) -> State:
        """Each row n times, n >= 1, row by row, every branch with a key of its own."""
        if n < 1:
            raise ValueError(f"branch(n={n}): give a number of branches of at least 1")
        new = self._each(lambda x: x.repeat_interleave(n, 0))
        keys = fold(new.keys(), np.tile(np.arange(n), len(self)))
        new.seed = torch.from_numpy(keys.view(np.int64).copy())
        return new

    def keys(self) -> np.ndarray:
        """The random keys (n,) uint64."""
        return self.seed.numpy().view(np.uint64)

    def to_dict(self) -> dict[str, np.ndarray]:
        """The same as numpy arrays, e.g. to pickle or to store."""
        return {f.name: getattr(self, f.name).numpy().copy() for f in fields(self)}

    @classmethod
    def from_dict(cls, arrays: dict[str, np.ndarray]) -> State:
        """A state from `to_dict`; ValueError names what is missing."""
        missing = [f.name for f in fields(cls) if f.name not in arrays]
        if missing:
            raise ValueError(f"not a state: {missing} missing; give what State.to_dict() returned")
        return cls(**{f.name: torch.from_numpy(np.array(arrays[f.name])) for f in fields(cls)})

    @classmethod
    def cat(cls, states: Sequence[State]) -> State:
        """The rows of several states, one after the other."""
        return cls(**{f.name: torch.cat([getattr(s, f.name) for s in states]) for f in fields(cls)})

    def _each(self, change: Callable[[Tensor], Tensor]) -> State:
        return State(**{f.name: change(getattr(self, f.name)) for f in fields(self)})


@dataclass
class Step:
    """What one step of n episodes brought."""

    rew: np.ndarray  # (n,) float32, expected reward, in the simulator's units
    term: np.ndarray  # (n,) bool, the episode ended, drawn from its probability
    log_p: np.ndarray  # (n,) float64, nats, under the reference law: temperature 1, this state's mask
    log_q: np.ndarray  # (n,) float64, nats, as it was sampled; a weight is log_p - log_q
    trust: np.ndarray  # (n,) float32 in 0..1, share of held-out real steps at least as unusual
    term_prob: np.ndarray  # (n,) float32, probability of an end
    unusual: np.ndarray  # (n,) float32, the disagreement that trust is the rank of
