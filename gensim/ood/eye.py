"""All statistics of frames at once, each frame computed by itself, so that none feels its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensim.ood.bottleneck import Bottleneck, unit
from gensim.ood.colours import Colours
from gensim.ood.layout import Layout, small
from gensim.ood.motion import Motion
from gensim.ood.patches import Patches, cut, spread
from gensim.ood.steered import Steered
from gensim.ood.texture import Texture
from gensim.world.fast import traced
from gensim.world.tiles import map_tiles

TILE = 1  # frame: products of several rows at once may round a row by its place among them
CHUNK = 256  # frames at once where nothing is judged
PLACED = 24  # coordinates of the layout that the dynamics are followed in
FRAME_GROUPS = (Layout, Colours, Texture, Patches, Bottleneck)
FRAME_NAMES = tuple(name for part in FRAME_GROUPS for name in part.names)
GROUP_OF = {name: part.group for part in FRAME_GROUPS for name in part.names}


class Eye:
    """What single frames show, and how each differs from the one before."""

    def __init__(
        self, size: int, layout: Layout, colours: Colours, texture: Texture, patches: Patches, bottleneck: Bottleneck
    ) -> None:
        self.size, self.motion = size, Motion()
        self.layout, self.colours, self.texture = layout, colours, texture
        self.patches, self.bottleneck = patches, bottleneck
        self.steered = Steered(torch.zeros(len(layout.gauss.mean), 0))  # until `steer`

    @classmethod
    def fit(cls, frames: np.ndarray, steps: int, seed: int, work: Path, quiet: bool = True) -> Eye:
        """From frames uint8 (n, h, w, 3)."""
        raw = torch.from_numpy(frames)
        bottleneck = Bottleneck.fit(raw, steps, seed, work, quiet)
        with torch.no_grad():
            x = unit(raw[:: max(len(raw) // 6000, 1)])  # moments need fewer frames than a network does
            parts = (Layout.fit(small(x)), Colours.fit(x), Texture.fit(x), Patches.fit(x))
        return cls(frames.shape[1], *parts, bottleneck)

    def steer(self, films: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Finds what actions move, from episodes: frames uint8 (t + 1, h, w, 3) and actions float32 (t, k)."""
        with torch.no_grad():
            seen = [(self._standard(torch.from_numpy(frames)), torch.from_numpy(acts)) for frames, acts in films]
        self.steered = Steered.fit(seen)
        self.__dict__.pop("_native", None)  # it holds what was found before

    def look(self, frames: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Statistics (n, f), features (n, d), motion (n, 4), float32, of frames uint8 and those before them."""
        rows = (torch.from_numpy(np.ascontiguousarray(part)) for part in (frames, before))
        stats, features, motion = map_tiles(self._native, *rows, size=TILE)
        return stats.numpy(), features.numpy(), motion.numpy()

    def heat(self, frame: np.ndarray) -> np.ndarray:
        """How unusual each part of a frame uint8 (h, w, 3) is, float32 (h, w), about 0 where usual."""

        def tile(frames: Tensor) -> Sequence[Tensor]:
            x = cut(unit(frames))
            return (spread(self.patches.heat(x), self.size) + spread(self.bottleneck.heat(x).clamp_min(0), self.size),)

        return map_tiles(tile, torch.from_numpy(np.ascontiguousarray(frame[None])), size=TILE)[0][0].numpy()

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        parts = (self.layout, self.colours, self.texture, self.patches, self.bottleneck, self.steered)
        return {name: value for part in parts for name, value in part.tensors().items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], size: int) -> Eye:
        """The reverse of `tensors`; KeyError or RuntimeError when they do not fit."""
        plain = (Layout.of(tensors), Colours.of(tensors), Texture.of(tensors), Patches.of(tensors))
        made = cls(size, *plain, Bottleneck.of(tensors, size))
        made.steered = Steered.of(tensors)
        return made

    def __getstate__(self) -> dict[str, Any]:
        """All but native code, which every process makes for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_native"}

    def _standard(self, frames: Tensor) -> Tensor:
        """Small copies (n, d) of frames uint8, as `Layout.standard` gives them."""
        return torch.cat([self.layout.standard(small(unit(part))) for part in frames.split(CHUNK)])

    @cached_property
    def _native(self) -> Callable[..., Sequence[Tensor]]:
        """`_tile` without Python between its hundreds of small operations."""
        blank = torch.zeros(TILE, self.size, self.size, 3, dtype=torch.uint8)
        return traced(self._tile, blank, blank)

    def _tile(self, frames: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        x = unit(frames)
        copy, pieces = small(x), cut(x)
        drawn, latents = self.bottleneck.read(pieces)
        parts = [self.layout.read(copy), self.colours.read(x), self.texture.read(x), self.patches.read(pieces)]
        latent = (latents - self.bottleneck.gauss.mean) / self.bottleneck.gauss.scale
        motion = self.motion.read(x, unit(before))
        moved = [self.layout.place(copy, PLACED), self.steered.place(self.layout.standard(copy))]
        features = torch.cat([*moved, motion[:, Motion.followed], latent], -1)
        return torch.cat([*parts, drawn], -1), features, motion
