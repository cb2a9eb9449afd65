"""Where dreams begin: the first latents of real episodes, and states in the middle of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensim.core.files import load_arrays
from gensim.core.seeds import Stream, uniform
from gensim.world.config import NetConfig

CONDS = ("real_cond", "mid_cond")


@dataclass(frozen=True)
class Starts:
    """First latents of real episodes, then mid-episode states, each with where it came from.

    Start i < len(real) is a real beginning, its memory being the world's own; the others follow.
    """

    real: np.ndarray  # (e, groups) uint8, latents of first frames
    real_seed: np.ndarray  # (e,) int64, the simulator's reset seed
    mid: np.ndarray  # (m, groups) uint8, latents in mid-episode
    mid_h: np.ndarray  # (m, hidden) float16, memories there
    mid_seed: np.ndarray  # (m,) int64
    mid_act: np.ndarray  # (m, steps, k) float32, all actions since the reset, padded with zeros
    mid_length: np.ndarray  # (m,) int64, how many they are
    mid_return: np.ndarray  # (m,) float32, the sum of rewards since the reset
    real_cond: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (e, c), where there are any
    mid_cond: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (m, c)

    @classmethod
    def blank(cls, config: NetConfig) -> Starts:
        """One start, at latent zero."""
        return cls.scattered(config, 1, 0)

    @classmethod
    def scattered(cls, config: NetConfig, n: int, seed: int) -> Starts:
        """n random real starts and n random mid-episode ones, for tests."""
        rng = np.random.default_rng(seed)
        z = lambda: rng.integers(0, config.classes, (n, config.groups)).astype(np.uint8)  # noqa: E731
        return cls(
            z(),
            np.arange(n),
            z(),
            rng.normal(0, 0.5, (n, config.hidden)).astype(np.float16),
            np.arange(n),
            np.zeros((n, 1, config.actions), np.float32),
            np.ones(n, np.int64),
            np.zeros(n, np.float32),
            *(np.full((n if config.conditions else 0, len(config.conditions)), 0.5, np.float32) for _ in range(2)),
        )

    def __len__(self) -> int:
        return len(self.real) + len(self.mid)

    def pick(self, start: str | int | Sequence[int] | np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Indices (n,) of starts: drawn by each seed among the "real" or the "mid" ones, or as given."""
        if isinstance(start, str):
            pools = {"real": (0, len(self.real)), "mid": (len(self.real), len(self.mid))}
            if start not in pools:
                raise ValueError(f"start={start!r}: give 'real', 'mid' or an index from 0 to {len(self) - 1}")
            low, n = pools[start]
            if n == 0:
                raise ValueError(f"start={start!r}: this world has no such starts; fit it with `gensim fit`")
            draw = uniform(seeds, Stream.START, np.zeros(len(seeds), np.int64), 1)[:, 0]
            return low + (draw * n).astype(np.int64)
        index = np.broadcast_to(np.asarray(start), (len(seeds),))
        if not np.issubdtype(index.dtype, np.integer) or index.min() < 0 or index.max() >= len(self):
            raise ValueError(f"start={start!r}: give 'real', 'mid' or an index from 0 to {len(self) - 1}")
        return index.astype(np.int64)

    def take(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Memories (n, hidden), latents (n, groups), tallies (n, 2) and which are mid-episode (n,) of starts (n,)."""
        z = np.concatenate([self.real, self.mid])[index]
        mid = index >= len(self.real)
        at = np.where(mid, index - len(self.real), 0)
        tally = np.stack([self.mid_return[at], self.mid_length[at]], 1) * mid[:, None]
        h, z, tallies = (torch.from_numpy(x) for x in (self.mid_h[at], z, tally))
        return h.float(), z.long(), tallies.float(), torch.from_numpy(mid)

    def conditions(self, index: np.ndarray) -> np.ndarray:
        """The conditions (n, c) of the episodes that starts (n,) are of."""
        held = np.concatenate([self.real_cond, self.mid_cond])
        return held[index] if held.shape[1] else np.zeros((len(index), 0), np.float32)

    def provenance(self, index: int) -> dict[str, Any]:
        """Where a start came from: the simulator's reset seed (None for logs without one) and all actions since."""
        i = index - len(self.real)
        seed = int(self.real_seed[index] if i < 0 else self.mid_seed[i])
        if i < 0:
            return {"seed": None if seed < 0 else seed, "actions": []}
        return {"seed": None if seed < 0 else seed, "actions": self.mid_act[i, : self.mid_length[i]].tolist()}

    def save(self, path: Path) -> None:
        """Writes an .npz, compressed."""
        with open(path, "wb") as file:
            np.savez_compressed(file, **{name: x for name, x in self.__dict__.items() if name not in CONDS or x.size})

    @classmethod
    def load(cls, path: Path, config: NetConfig) -> Starts:
        """Reads `save`'s file; ValueError if it is damaged or of another network."""
        try:
            names = [name for name in cls.__dataclass_fields__ if name not in CONDS or config.conditions]
            starts = cls(**load_arrays(path, tuple(names)))
        except ValueError as fault:
            raise ValueError(f"{path} is no file of starts ({fault}); copy the world folder again") from fault
        starts.check(path, config)
        return starts

    def check(self, path: Path, config: NetConfig) -> None:
        """ValueError if kinds, shapes or ranges do not fit the network."""
        e, m, steps = self.real.shape[:1], self.mid.shape[:1], self.mid_act.shape[1:2]
        shapes = {
            "real": (np.uint8, (*e, config.groups)),
            "real_seed": (np.int64, e),
            "mid": (np.uint8, (*m, config.groups)),
            "mid_h": (np.float16, (*m, config.hidden)),
            "mid_seed": (np.int64, m),
            "mid_length": (np.int64, m),
            "mid_return": (np.float32, m),
            "mid_act": (np.float32, (*m, *steps, config.actions)),
        }
        if c := len(config.conditions):
            shapes |= {"real_cond": (np.float32, (*e, c)), "mid_cond": (np.float32, (*m, c))}
        given = {name: (getattr(self, name).dtype, getattr(self, name).shape) for name in shapes}
        wrong = [name for name, kind in shapes.items() if given[name] != kind]
        if wrong or len(steps) != 1 or min(*e, *m) < 1:
            raise ValueError(f"{path} does not fit its world: {wrong or 'it has no starts'}; copy it again")
        low, high = self.mid_length.min(), self.mid_length.max()
        if max(self.real.max(), self.mid.max()) >= config.classes or low < 0 or high > steps[0]:
            raise ValueError(f"{path} does not fit its world: latents or lengths out of range; copy it again")
        numbers = (self.mid_h, self.mid_act, self.mid_return, self.real_cond, self.mid_cond)
        if not all(np.isfinite(one).all() for one in numbers):
            raise ValueError(f"{path} does not fit its world: it holds numbers that are not finite; copy it again")
