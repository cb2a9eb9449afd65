"""How neighbouring pixels differ: flat, sharp, grainy; and how much there is to tell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from gensim.ood.colours import counted
from gensim.ood.gauss import Gauss

EDGES = (1, 2, 3, 5, 9, 17, 33, 65)  # levels at which a bin of differences begins; below the first they are nil
BINS = len(EDGES) + 1
RANK = 20
CELLS = 8  # to a side
KINDS = 5  # histograms of a frame


class Texture:
    """Histograms of differences along both axes at two scales, and their mean by place."""

    group = "texture"
    names = (
        "texture inside",
        "texture outside",
        "detail inside",
        "detail outside",
        "flatness",
        "roughness",
        "steepness",
        "complexity",
    )

    def __init__(self, gauss: Gauss, detail: Gauss) -> None:
        self.gauss, self.detail = gauss, detail

    @classmethod
    def fit(cls, x: Tensor) -> Texture:
        """From frames (n, 3, h, w) in 0..1."""
        parts = [_seen(part) for part in x.split(256)]
        seen = [torch.cat(column) for column in zip(*parts)]
        return cls(Gauss.fit(seen[0], RANK), Gauss.fit(seen[1], 2 * RANK))

    def read(self, x: Tensor) -> Tensor:
        """(n, 8) of frames (n, 3, h, w) in 0..1."""
        log_shares, detail, plain = _seen(x)
        return torch.cat([self.gauss.read(log_shares), self.detail.read(detail), plain], -1)

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return self.gauss.tensors(self.group) | self.detail.tensors("detail")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Texture:
        """The reverse of `tensors`."""
        return cls(Gauss.of(tensors, cls.group), Gauss.of(tensors, "detail"))


def complexity(x: Tensor) -> Tensor:
    """Bits per number (n,) of a plain lossless code of frames (n, 3, h, w) in 0..1; PNG's size goes with it.

    The entropy of what is left when each number is guessed from those to the left, above, and above to the left. It
    stands in for the size of a compressed file in Input Complexity and Out-of-distribution Detection (Serra et al.,
    2019), arXiv:1909.11480.
    """
    level = _levels(x)
    guess = level[:, :, 1:, :-1] + level[:, :, :-1, 1:] - level[:, :, :-1, :-1]
    left = (level[:, :, 1:, 1:] - guess) & 255  # (n, 3, h - 1, w - 1)
    share = counted(left.flatten(1).long(), 256) / left[0].numel()
    return -(share * share.clamp_min(1e-9).log2()).sum(1)


def _seen(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-shares of differences (n, KINDS * BINS), their log-mean by cell (n, 2 * CELLS ** 2), plain figures (n, 4)."""
    fine, coarse = _levels(x), _levels(F.avg_pool2d(x, 2))
    across, down = fine.diff(dim=3), fine.diff(dim=2)
    maps = [across, down, coarse.diff(dim=3), coarse.diff(dim=2), coarse.diff(n=2, dim=2)]
    maps = [part.abs().flatten(1) for part in maps]
    shares = _shares(maps)  # (n, KINDS, BINS)
    side = x.shape[-1]
    cells = [
        _by_cell(maps[0].view(len(x), 3, side, -1), (0, 1)),
        _by_cell(maps[1].view(len(x), 3, -1, side), (0, 0, 0, 1)),
    ]
    flat, steep = shares[:, :2, 0].mean(1), shares[:, :2, -2:].sum((1, 2))
    rough = (torch.cat(cells, -1)).mean(-1)
    figures = torch.stack([flat, rough, (steep + 1e-3).log(), complexity(x)], -1)
    return (shares + 1e-4).log().flatten(1), torch.cat(cells, -1), figures


def _levels(x: Tensor) -> Tensor:
    return (x * 255).round().to(torch.int16)


def _shares(maps: list[Tensor]) -> Tensor:
    """Shares (n, KINDS, BINS) of differences (n, m) of each kind by size."""
    places = _table(tuple(part.shape[1] for part in maps))
    index = torch.cat(maps, 1).long()  # (n, all m)
    index = places[0].index_select(0, index.flatten()).view_as(index).add_(places[1])
    return counted(index, KINDS * BINS).unflatten(1, (KINDS, BINS)) / places[2]


def _by_cell(difference: Tensor, pad: tuple[int, ...]) -> Tensor:
    """Log-means (n, CELLS ** 2) of differences (n, 3, h, w), which lack a row or a column."""
    whole = F.pad(difference.sum(1, dtype=torch.float32), pad)[:, None]
    return (F.avg_pool2d(whole, whole.shape[-1] // CELLS).flatten(1) / 3 + 0.2).log()


@lru_cache(maxsize=4)
def _table(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The bin of each size of difference, where each kind's bins begin by column, and how many each kind has."""
    bins = torch.bucketize(torch.arange(1024), torch.tensor(EDGES), right=True)
    begin = torch.cat([torch.full((m,), i * BINS) for i, m in enumerate(sizes)])
    return bins, begin, torch.tensor(sizes, dtype=torch.float32)[:, None]
