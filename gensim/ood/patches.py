"""Small pieces of a frame: whether each could stand where it stands."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gensim.ood.gauss import Gauss

SIDE = 8
RANK = 32
FITTED = 60_000  # patches that the basis is made from
SHRINK = 0.2  # how far each place's own figures are drawn to those of all places


class Patches:
    """Patches in a basis of their own: what it leaves out, and how far they lie from what is usual at their place.

    Arguments:
        gauss: the basis of patches (3 * SIDE * SIDE).
        table: means and deviations at each of p places: of what is left out, of the largest single error (2, 2, p).
        place: means and deviations of the coordinates at each place (2, p, k).
    """

    group = "patches"
    names = (
        "patches left out",
        "worst patch left out",
        "least patch left out",
        "worst pixel",
        "patches misplaced",
        "worst patch misplaced",
    )

    def __init__(self, gauss: Gauss, table: Tensor, place: Tensor) -> None:
        self.gauss, self.table, self.place = gauss, table, place

    @classmethod
    def fit(cls, x: Tensor) -> Patches:
        """From frames (n, 3, h, w) in 0..1."""
        pieces = cut(x)  # (n, p, d)
        flat = pieces.flatten(0, 1)
        gauss = Gauss.fit(flat[:: max(len(flat) // FITTED, 1)], RANK, scaled=False)
        at, left, worst = _against(gauss, pieces)
        table = torch.stack([torch.stack(_moments(v)) for v in (left, worst)])  # (2, 2, p)
        mean, deviation = _moments(at)
        everywhere = at.flatten(0, 1).std(0, unbiased=False)
        deviation = ((1 - SHRINK) * deviation.square() + SHRINK * everywhere.square()).sqrt() + 1e-6
        return cls(gauss, table, torch.stack([mean, deviation]))

    def read(self, pieces: Tensor) -> Tensor:
        """(n, 6) of patches (n, p, d) in 0..1."""
        left, pixel, away = self.by_place(pieces)
        return torch.stack([left.mean(1), left.amax(1), left.amin(1), pixel.amax(1), away.mean(1), away.amax(1)], -1)

    def by_place(self, pieces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standard scores of what is left out and of the largest error, and log-distances, each (n, p)."""
        at, left, worst = _against(self.gauss, pieces)
        left = (left - self.table[0, 0]) / self.table[0, 1]
        pixel = (worst - self.table[1, 0]) / self.table[1, 1]
        away = ((at - self.place[0]) / self.place[1]).square().mean(-1).add(1e-3).log()
        return left, pixel, away

    def heat(self, pieces: Tensor) -> Tensor:
        """How unusual each place of patches (n, p, d) is, (n, p), about 0 where usual."""
        left, pixel, away = self.by_place(pieces)
        return torch.stack([left.abs(), pixel, 2 * away]).amax(0).clamp_min(0)

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return self.gauss.tensors(self.group) | {"patches.table": self.table, "patches.place": self.place}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Patches:
        """The reverse of `tensors`."""
        return cls(Gauss.of(tensors, cls.group), tensors["patches.table"], tensors["patches.place"])


def cut(x: Tensor) -> Tensor:
    """Patches (n, p, 3 * SIDE * SIDE) of frames (n, 3, h, w), row by row."""
    n, c, h, w = x.shape
    x = x.view(n, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(n, -1, c * SIDE * SIDE)


def _against(gauss: Gauss, pieces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates (n, p, k), the log of the mean square left out (n, p), the log of the largest error (n, p)."""
    at = gauss.place(pieces)
    error = pieces - gauss.mean - at @ gauss.basis.T
    left = error.square().mean(-1).add(1e-7).log()
    return at, left, error.abs().amax(-1).add(1e-3).log()


def _moments(v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over rows; the deviation is no less than a tenth of the mean one."""
    deviation = v.std(0, unbiased=False)
    return v.mean(0), deviation + 0.1 * deviation.mean() + 1e-3


def spread(cells: Tensor, size: int) -> Tensor:
    """Values (n, p) of a square of places as pictures (n, size, size)."""
    side = int(cells.shape[1] ** 0.5)
    square = cells.view(-1, 1, side, side)
    return torch.nn.functional.interpolate(square, (size, size), mode="bilinear", align_corners=False)[:, 0]
