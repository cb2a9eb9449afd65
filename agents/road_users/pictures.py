"""Rendered people to learn from: windows into the files that scripts/render_people wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gensim.agents.road_users.person import GAITS, slices
from gensim.core.files import load_arrays
from gensim.core.progress import bar

NAMES = ("rgba", "depth", "conditions", "joints", "distances")
LIMIT = 1 << 29  # bytes that a file's arrays may take


@dataclass(frozen=True)
class Pictures:
    """Pictures of persons (p), some of each (k), of which no two are alike.

    drawn uint8 (p, k, 4, h, w): colours times coverage, and coverage; conditions float32 (p, k, WIDTH); joints float32
    (p, k, 17, 3), columns and rows in shares of the height, and whether they are seen.
    """

    drawn: Tensor
    conditions: Tensor
    joints: Tensor

    @classmethod
    def load(cls, folder: Path, height: int = 64, quiet: bool = False) -> Pictures:
        """All of a folder's; FileNotFoundError if it has none."""
        paths = sorted(folder.glob("people-*.npz"))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no people-*.npz; run scripts/render_people --out {folder}")
        found = [_read(path, height) for path in bar(paths, "read", json=quiet)]
        return cls(*(torch.cat(some) for some in zip(*found)))

    def __len__(self) -> int:
        return len(self.drawn)

    def pairs(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Two pictures each of n persons (n, 8, h, w) 0..1, their conditions (n, 2 WIDTH), and who they are (n,)."""
        who = torch.randint(len(self), (count,), generator=generator)
        order = torch.rand((count, self.drawn.shape[1]), generator=generator).argsort(1)[:, :2]  # (n, 2)
        drawn = self.drawn[who[:, None], order].float() / 255  # (n, 2, 4, h, w)
        told = self.conditions[who[:, None], order]  # (n, 2, WIDTH)
        turned = torch.rand(count, generator=generator) < 0.5
        mirrored = turned & (told[:, 0, slices()["gait"]][:, GAITS.index("phone")] == 0)
        drawn = torch.where(mirrored[:, None, None, None, None], drawn.flip(-1), drawn)
        told = torch.where(mirrored[:, None, None], mirror(told), told)
        return drawn.flatten(1, 2), told.flatten(1), who


def mirror(told: Tensor) -> Tensor:
    """Conditions (..., WIDTH) of the same people in a mirror: both sides being alike, half a stride later."""
    found, at = told.clone(), slices()
    found[..., at["phase"]] *= -1
    found[..., at["azimuth"].start + 1] *= -1
    found[..., at["light"].start + 1] *= -1
    return found


def _read(path: Path, height: int) -> tuple[Tensor, Tensor, Tensor]:
    arrays = load_arrays(path, NAMES, LIMIT)
    rgba = torch.from_numpy(arrays["rgba"])  # (p, k, 128, 64, 4)
    alpha = rgba[..., 3:].float() / 255
    drawn = torch.cat([rgba[..., :3] * alpha, rgba[..., 3:].float()], -1).movedim(-1, 2)  # (p, k, 4, 128, 64)
    size = drawn.shape[-2] // height
    if size > 1:
        drawn = torch.nn.functional.avg_pool2d(drawn.flatten(0, 1), size).unflatten(0, rgba.shape[:2])
    told = torch.from_numpy(np.asarray(arrays["conditions"], np.float32))
    return drawn.round().to(torch.uint8), told, torch.from_numpy(arrays["joints"][..., :17, :])
