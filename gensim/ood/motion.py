"""How much a frame differs from the one before: not at all, as usual, too much."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 8


class Motion:
    """Differences to the frame before; it has nothing to fit."""

    group = "motion"
    names = ("motion", "most motion", "stillness")
    followed = (0, 2, 3)  # what is averaged over time, too, and foretold from the actions; the last is repetition

    def read(self, x: Tensor, before: Tensor) -> Tensor:
        """`names` and whether nothing at all changed, (n, 4), of frames (n, 3, h, w) in 0..1 and those before them."""
        change = (x - before).abs()
        cells = F.adaptive_avg_pool2d(change.mean(1, keepdim=True), CELLS).flatten(1)  # (n, CELLS ** 2)
        still = (change.amax(1) == 0).float().mean((1, 2))
        return torch.stack([(cells.mean(1) + 1e-4).log(), (cells.amax(1) + 1e-3).log(), still, still.floor()], -1)
