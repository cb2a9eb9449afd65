"""How different frames look to the world itself: a distance of our own, between what its encoder believes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gensim.models.vae import softmax_unimix
from gensim.world.tiles import map_tiles
from gensim.world.world import SEEN, World


def beliefs(world: World, frames: np.ndarray) -> np.ndarray:
    """The encoder's law of the latent of frames (n, h, w, 3) uint8, float32 (n, groups, classes)."""

    def tile(frames: Tensor) -> tuple[Tensor]:
        x = (frames.permute(0, 3, 1, 2).float() / 127.5 - 1).to(world.fast.dtype)
        logits = world.fast.encoder(x.contiguous(memory_format=torch.channels_last))
        return (softmax_unimix(logits, world.config.unimix),)

    return map_tiles(tile, torch.from_numpy(np.ascontiguousarray(frames)), size=SEEN)[0].numpy()


def belief_distance(world: World) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A measure (n,) in 0..1 of two lots of frames (n, h, w, 3) uint8: how far the encoder's beliefs lie apart.

    The total variation between the two laws of a latent's group, averaged over the groups: 0 for equal beliefs, 1 for
    beliefs that exclude each other. It is our own and the world judges itself by it; it is neither FID nor LPIPS and
    cannot be compared with figures of other worlds.
    """

    def measure(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        parts = [
            variation(beliefs(world, a[i : i + 256]), beliefs(world, b[i : i + 256])) for i in range(0, len(a), 256)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    return measure


def variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Total variation (...) in 0..1 of laws (..., groups, classes), averaged over groups."""
    return np.abs(p.astype(np.float64) - q).sum(-1).mean(-1) / 2
