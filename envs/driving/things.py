"""What a labelled driving frame shows, as boxes: vehicles, people and obstacles, and how far away they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gensim.envs.driving.source.labels import CLASSES, FAR, LINE, NEAR, ROAD
from gensim.world.labelling import Box
from gensim.world.labelling import things as parted

KINDS = ("vehicle", "person", "object")


@dataclass(frozen=True)
class Thing:
    """Something in the picture.

    Arguments:
        kind: vehicle, person or object.
        box: left, top, right and bottom in pixels; right and bottom lie one beyond.
        distance: metres along the view, the median of its pixels.
        mask: bool (h, w), its pixels.
    """

    kind: str
    box: Box
    distance: float
    mask: np.ndarray


def things(classes: np.ndarray, depth: np.ndarray, high: int = 3) -> list[Thing]:
    """The things in a frame, nearest first, that are at least `high` pixels high.

    What hangs together in a class is one thing, unless its distance jumps.

    Arguments:
        classes: uint8 (h, w), as `info["classes"]`.
        depth: metres float (h, w), as `info["depth"]`.
        high: pixels.
    """
    if depth.dtype.kind != "f":
        raise ValueError(f"depth of {depth.dtype}: give metres; steps of a recording become metres by `labels.metres`")
    if classes.shape != depth.shape or classes.ndim != 2:
        raise ValueError(f"classes {classes.shape} and depth {depth.shape}: give both (h, w), of one frame")
    share = np.log(np.clip(depth, NEAR, FAR) / NEAR) / np.log(FAR / NEAR)
    found = []
    for kind in KINDS:
        for mask in parted(classes == CLASSES.index(kind), share):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            if box[3] - box[1] >= high:
                found.append(Thing(kind, box, float(np.median(depth[mask])), mask))
    return sorted(found, key=lambda one: one.distance)


def drivable(classes: np.ndarray) -> np.ndarray:
    """Where a vehicle may drive, bool (...), of classes uint8 (...): road and what is painted on it."""
    return (classes == ROAD) | (classes == LINE)
