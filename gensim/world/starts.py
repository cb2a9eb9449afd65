"""Where dreams begin: the first latents of real episodes, and states in the middle of them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensim.core.seeds import Stream, uniform
from gensim.world.config import NetConfig


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

    def take(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Memories (n, hidden), latents (n, groups) and which of them are mid-episode (n,) of starts (n,)."""
        z = np.concatenate([self.real, self.mid])[index]
        mid = index >= len(self.real)
        h = self.mid_h[np.where(mid, index - len(self.real), 0)]
        return torch.from_numpy(h).float(), torch.from_numpy(z).long(), torch.from_numpy(mid)

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
            np.savez_compressed(file, **self.__dict__)

    @classmethod
    def load(cls, path: Path, config: NetConfig) -> Starts:
        """Reads `save`'s file; ValueError if it is damaged or of another network."""
        try:
            with np.load(path, allow_pickle=False) as file:
                starts = cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as fault:
            raise ValueError(
                f"{path} is damaged or no file of starts ({fault}); copy the world folder again"
            ) from fault
        starts.check(path, config)
        return starts

    def check(self, path: Path, config: NetConfig) -> None:
        """ValueError if shapes or ranges do not fit the network."""
        e, m = len(self.real), len(self.mid)
        shapes = {
            "real": (e, config.groups),
            "real_seed": (e,),
            "mid": (m, config.groups),
            "mid_h": (m, config.hidden),
            "mid_seed": (m,),
            "mid_length": (m,),
            "mid_act": (m, self.mid_act.shape[1], config.actions),
        }
        wrong = [name for name, shape in shapes.items() if getattr(self, name).shape != shape]
        high = max(int(self.real.max(initial=0)), int(self.mid.max(initial=0)))
        if wrong or high >= config.classes or e == 0:
            raise ValueError(f"{path} does not fit its world: {wrong or 'latents out of range'}; copy it again")
