"""How right labels are: classes of pixels, distances, and boxes around things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom lie one beyond."""

WIDTH, VALLEY = 0.0075, 0.9  # of bins of distances, 0..1; how low a valley is beside its peaks
PEAK, SHARE = 2.0, 0.1  # the least peak, in pixels and beside the greatest
SMOOTH = np.array([1, 2, 3, 2, 1]) / 9  # over bins, so that pixels' steps along a slope are no valleys


@dataclass(frozen=True)
class Labels:
    """Of frames (...,): classes of their pixels, uint8 (..., h, w), and distances in 0..1, float32 (..., h, w)."""

    classes: np.ndarray
    far: np.ndarray

    def some(self, index: slice) -> Labels:
        """Those of some samples, the second axis."""
        return Labels(self.classes[:, index], self.far[:, index])


def voted(labels: Labels, k: int) -> Labels:
    """One sample's labels (n, 1, q, h, w) of several (n, m, q, h, w): the class of most, and the mean distance."""
    votes = np.zeros((k, *labels.classes[:, 0].shape), np.uint8)
    for one in range(k):
        votes[one] = (labels.classes == one).sum(1)
    return Labels(votes.argmax(0)[:, None].astype(np.uint8), labels.far.mean(1, keepdims=True))


def per_frame(real: Labels, said: Labels, k: int) -> np.ndarray:
    """Counts (n, m, q, k, k), as `confusion`, of labels (n, m, q, h, w) against real ones (n, 1, q, h, w)."""
    shape = said.classes.shape
    truth = np.broadcast_to(real.classes, shape).reshape(-1, *shape[3:])
    return confusion(truth, said.classes.reshape(truth.shape), k).reshape(*shape[:3], k, k)


def check_depth(about: dict[str, Any]) -> None:
    """ValueError unless there are steps of distances, between two distances."""
    near, far, steps = (about[name] for name in ("near", "far", "steps"))
    if type(steps) is not int or not 1 <= steps < 2**16:
        raise ValueError(f"steps of distances: a whole number from 1 to 65,535, not {steps}")
    if not (type(near) in (int, float) and type(far) in (int, float) and 0 < near < far < float("inf")):
        raise ValueError(f"distances from {near} to {far}: give two above 0, the nearer first")


def confusion(real: np.ndarray, said: np.ndarray, k: int) -> np.ndarray:
    """Pixels (n, k, k) of each real class that were said to be of each, of classes (n, ...) of one shape."""
    if real.shape != said.shape:
        raise ValueError(f"classes of {said.shape} against {real.shape}: give as many")
    n = len(real)
    cell = (np.arange(n)[:, None] * k + real.reshape(n, -1)) * k + said.reshape(n, -1)
    return np.bincount(cell.ravel(), minlength=n * k * k).reshape(n, k, k)


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union (..., k) of each class, of counts (..., k, k); NaN where it is neither real nor said.

    Reference: The Pascal Visual Object Classes Challenge (Everingham et al., 2015), doi:10.1007/s11263-014-0733-5.
    """
    counts = np.asarray(counts, np.float64)
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    either = counts.sum(-1) + counts.sum(-2) - both
    with np.errstate(invalid="ignore"):
        return both / either


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """The mean (...) over the classes that are there of counts (..., k, k)."""
    shares = iou(counts)
    there = np.isfinite(shares)
    with np.errstate(invalid="ignore"):
        return np.where(there, shares, 0.0).sum(-1) / there.sum(-1)


def far_error(real: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Mean absolute error (n, m, q) of distances (n, m, q, h, w) on their logarithmic scale, where they are below 1.

    real (n, 1, q, h, w) says where; NaN for frames in which everything is as far as can be.
    """
    near = np.broadcast_to(real < 1, said.shape)
    wrong = np.where(near, np.abs(real.astype(np.float32) - said), np.float32(0))
    with np.errstate(invalid="ignore"):
        return wrong.sum((-2, -1), dtype=np.float64) / near.sum((-2, -1))


def boxes(mask: np.ndarray, far: np.ndarray, high: int = 1) -> list[Box]:
    """Boxes around the things in a mask bool (h, w), which neighbours in it are of one of unless their distance jumps.

    far (h, w) are distances on a logarithmic scale in 0..1. Boxes lower than `high` pixels are left out.
    """
    return [box for thing in things(mask, far) for box in _around(thing, high)]


def things(mask: np.ndarray, far: np.ndarray) -> list[np.ndarray]:
    """The things in a mask (h, w), each as a mask: what hangs together, parted where few pixels are that far away."""
    count, label = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    found: list[np.ndarray] = []
    for i in range(1, count):
        found += _apart(label == i, far)
    return found


def _apart(piece: np.ndarray, far: np.ndarray) -> list[np.ndarray]:
    """A connected piece (h, w), parted at the valleys between distances that many of its pixels have."""
    edges = valleys(far[piece])
    if not edges:
        return [piece]
    slices = np.digitize(far, edges)
    found = []
    for one in range(len(edges) + 1):
        count, label = cv2.connectedComponents((piece & (slices == one)).astype(np.uint8), connectivity=8)
        found += [label == i for i in range(1, count)]
    return found


def valleys(values: np.ndarray) -> list[float]:
    """Where values (n,) in 0..1 part in two or more, in order: the deepest valley of their histogram, and so on.

    A valley is a bin with at most `VALLEY` times what the lesser of the greatest bins on its two sides has, of at
    least `PEAK` values and `SHARE` of the greatest bin of all. Edges between a near thing and a far one that are
    smeared over some pixels are such valleys.
    """
    low, high = float(values.min()), float(values.max())
    bins = int(np.ceil((high - low) / WIDTH))
    if bins < 3:
        return []
    count, edges = np.histogram(values, bins, (low, high))
    smooth, middles = np.convolve(count, SMOOTH, "same"), (edges[1:] + edges[:-1]) / 2
    return [float(middles[i]) for i in _dips(smooth, 0, bins, max(PEAK, SHARE * float(smooth.max())))]


def _dips(count: np.ndarray, begin: int, end: int, peak: float) -> list[int]:
    """The bins at which a stretch of a histogram is parted."""
    if end - begin < 3:
        return []
    part = count[begin:end]
    left, right = np.maximum.accumulate(part)[:-2], np.maximum.accumulate(part[::-1])[::-1][2:]  # of bins 1 to -1
    lesser = np.minimum(left, right)
    depth = np.where(lesser >= peak, part[1:-1] / np.maximum(lesser, peak), np.inf)
    best = int(depth.argmin())
    if depth[best] > VALLEY:
        return []
    at = begin + 1 + best
    return [*_dips(count, begin, at, peak), at, *_dips(count, at + 1, end, peak)]


def instance_boxes(instances: np.ndarray, mask: np.ndarray, high: int = 1) -> list[Box]:
    """Boxes around what is visible of each instance (h, w) in a mask bool (h, w); 0 is none."""
    found: list[Box] = []
    for i in np.unique(instances[mask]):
        if i:
            found += _around(mask & (instances == i), high)
    return found


def _around(mask: np.ndarray, high: int) -> list[Box]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return [box] if box[3] - box[1] >= high else []


def matched(real: list[Box], said: list[Box], least: float = 0.5) -> int:
    """How many real boxes have one of those that were said to themselves, with intersection over union of `least`."""
    if not real or not said:
        return 0
    overlap = np.array([[box_iou(a, b) for b in said] for a in real])
    count = 0
    while overlap.size and overlap.max() >= least:
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[i], overlap[:, j] = -1.0, -1.0
        count += 1
    return count


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
