"""Parts of frames around what is rare: there a fit learns most from a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gensim.models.vae import cut


def places(
    classes: Tensor, weight: Tensor, grid: Sequence[int], size: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Where parts of `size` cells begin (m, 2) in frames of `grid` cells, in rows and columns of cells.

    Around a pixel of each frame that is drawn by the weights (k,) of the pixels' classes (m, h, w), which lies anywhere
    in the part.
    """
    m, h, w = classes.shape
    pixel = torch.multinomial(weight[classes.flatten(1).long()], 1, generator=generator)[:, 0]  # (m,)
    cell = torch.stack([pixel // w * grid[0] // h, pixel % w * grid[1] // w], 1)  # (m, 2)
    whole, part = torch.tensor(grid), torch.tensor(size)
    low, high = (cell - part + 1).clamp_min(0), torch.minimum(cell, whole - part)
    u = torch.rand((m, 2), generator=generator, device=generator.device)
    return low + (u.to(low.device) * (high - low + 1)).long()


def alone(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Windows (b, t, ...) of which all frames are labelled, as single frames (b t, 1, ...) in the order of time."""
    b, t = batch["valid"].shape
    found = {name: batch[name].flatten(0, 1)[:, None] for name in ("frames", "valid")}
    if "some" in batch:
        order = (batch["some"].argsort(1) + t * torch.arange(b)[:, None]).flatten()
        found |= {name: batch[name].flatten(0, 1)[order, None] for name in ("classes", "depth")}
    return {**{name: x for name, x in batch.items() if name not in ("some", "frames", "valid")}, **found}


def look_at(batch: dict[str, Tensor], at: Tensor, grid: Sequence[int], size: Sequence[int]) -> dict[str, Tensor]:
    """A batch of single frames (m, 1, ...) that are cut to parts, with where they begin as "at" (m, 2)."""
    pixels = [batch["classes"].shape[2 + i] // grid[i] for i in (0, 1)]
    corner, area = at * torch.tensor(pixels), [pixels[i] * size[i] for i in (0, 1)]
    frames = cut(batch["frames"].movedim(-1, 2), corner, area).movedim(2, -1)  # (m, 1, *area, 3)
    labels = {name: cut(batch[name], corner, area) for name in ("classes", "depth")}
    return batch | {"frames": frames, "at": at, **labels}
