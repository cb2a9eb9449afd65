"""What actions move: directions of a frame at low resolution that follow them most surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

RANK = 8
AHEAD = 4  # steps over which a change is held against the actions of these steps
FLOOR = 0.05  # of the mean variance that actions do not explain: no direction is taken to have less of it
RIDGE = 1e-3  # of actions' mean variance


class Steered:
    """Coordinates of a small frame along the directions whose changes the actions explain best.

    A speed that is drawn as a thin bar has no share in a frame's first principal directions, but it follows the pedal.
    There are as many directions as actions have numbers, those of linear discriminants: what actions explain of a
    change over what they do not.
    Reference: The Use of Multiple Measurements in Taxonomic Problems (Fisher, 1936),
    doi:10.1111/j.1469-1809.1936.tb02137.x.

    Arguments:
        basis: (d, r), as many columns as an action has numbers, up to RANK.
    """

    def __init__(self, basis: Tensor) -> None:
        self.basis = basis

    @classmethod
    def fit(cls, films: Sequence[tuple[Tensor, Tensor]]) -> Steered:
        """From episodes: small frames (t + 1, d), each number in deviations of its own, and actions (t, k)."""
        d, k = films[0][0].shape[1], films[0][1].shape[1]
        long = [film for film in films if len(film[1]) >= AHEAD]
        if not (k and long):
            return cls(torch.zeros(d, 0))
        found = _directions(*(torch.cat(part).double() for part in zip(*map(_changes, long))))
        spread = (torch.cat([places for places, _ in long]).double() @ found).std(0, unbiased=False) + 1e-6
        return cls((found / spread).float().contiguous())

    def place(self, small: Tensor) -> Tensor:
        """Coordinates (n, r) of small frames (n, d)."""
        return small @ self.basis

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name."""
        return {"steered.basis": self.basis}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Steered:
        """The reverse of `tensors`; KeyError when something is missing."""
        return cls(tensors["steered.basis"])


def _changes(film: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Changes (n, d) over AHEAD steps and the actions (n, AHEAD * k) of these steps."""
    places, acts = film
    return places[AHEAD:] - places[:-AHEAD], acts.unfold(0, AHEAD, 1).flatten(1)


def _directions(changes: Tensor, acts: Tensor) -> Tensor:
    """Directions (d, r) from the best explained on, each with its largest number positive."""
    y, x = changes - changes.mean(0), acts - acts.mean(0)
    weight = x.T @ x
    weight = weight + (RIDGE * weight.diagonal().mean() + 1e-9) * torch.eye(len(weight), dtype=x.dtype)
    guess = x @ torch.linalg.solve(weight, x.T @ y)  # (n, d)
    left = (y - guess).T @ (y - guess) / len(y)
    left = left + (FLOOR * left.diagonal().mean() + 1e-9) * torch.eye(len(left), dtype=x.dtype)
    root = torch.linalg.cholesky(left)
    told = torch.linalg.solve_triangular(root, guess.T, upper=False)  # (d, n)
    values, vectors = torch.linalg.eigh(told @ told.T / len(y))
    kept = vectors.flip(1)[:, : min(RANK, acts.shape[1] // AHEAD, len(values))]
    turned = torch.linalg.solve_triangular(root.T, kept, upper=True)  # (d, r)
    largest = turned.gather(0, turned.abs().argmax(0)[None])
    return turned * torch.where(largest < 0, -1.0, 1.0)
