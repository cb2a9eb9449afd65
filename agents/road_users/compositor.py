"""Puts people into frames: scaled by their distance, hidden by what is nearer, with a shadow where they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from gensim.agents.road_users.camera import MIDDLE, TALL, WIDE, Camera
from gensim.agents.road_users.painter import Painter

NEAREST = 0.8  # metres along the view; who is nearer is not drawn
SHADE, ROUND = 0.5, 0.42  # how much a shadow takes of the light, and its radius in metres
RING = np.array([[0, 0], [ROUND, 0], [-ROUND, 0], [0, ROUND]])
SLACK = 0.6  # metres and a twentieth of the distance by which something must be nearer to hide somebody
Box = tuple[float, float, float, float]
Weather = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shown:
    """Somebody in a frame.

    Arguments:
        who: their place in the list of people.
        identity: which person of all that have their attributes.
        distance: metres along the view.
        box: left, top, right and bottom in pixels, of all of them, also of what is hidden or beyond the frame.
        visible: share 0..1 of their pixels that can be seen.
        mask: bool (h, w), their pixels that can be seen.
        joints: (17, 3), COCO's, columns and rows in pixels and the chance 0..1 that one is seen.
    """

    who: int
    identity: int
    distance: float
    box: Box
    visible: float
    mask: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True)
class Cast:
    """People to be drawn, those of all frames in one row.

    frame (n,) which frame each is in; who (n,) their place in the list of people; place (n, 2) metres ahead of the
    robot and to its left; told (n, WIDTH) their conditions; identity (n,) uint64.
    """

    frame: np.ndarray
    who: np.ndarray
    place: np.ndarray
    told: np.ndarray
    identity: np.ndarray


def compose(
    frames: np.ndarray,
    depth: np.ndarray | None,
    cast: Cast,
    camera: Camera,
    painter: Painter,
    weather: Weather | None = None,
) -> tuple[np.ndarray, list[list[Shown]]]:
    """Frames uint8 (m, h, w, 3) with people in them, and who is to be seen in each.

    Arguments:
        depth: (m, h, w), metres along the view; without it nothing hides anybody but other people.
        weather: what the frames' weather makes of clear frames uint8 (m, h, w, 3) with people in them, given which
            pixels are theirs, bool (m, h, w), and the distances (m, h, w) then.
    """
    ground, layer = frames.astype(np.float32), np.zeros((*frames.shape[:3], 4), np.float32)
    near = np.full(frames.shape[:3], np.inf, np.float32) if depth is None else depth.astype(np.float32)
    middle = camera.project(np.concatenate([cast.place, np.full((len(cast.place), 1), MIDDLE)], -1))
    scale = camera.focal / np.maximum(middle[:, 2], 1e-3)  # pixels a metre
    drawn = np.flatnonzero((middle[:, 2] > NEAREST) & (np.abs(middle[:, 0] - camera.shape[1] / 2) < camera.shape[1]))
    drawn = drawn[np.argsort(-middle[drawn, 2], kind="stable")]  # far ones first
    sprites = _sprites(cast, drawn, scale, painter)
    joints = painter.places(cast.told[drawn])
    shadows = camera.project(np.concatenate([cast.place[drawn, None] + RING, np.zeros((len(drawn), 4, 1))], -1))
    found: list[list[_Drawn]] = [[] for _ in frames]
    for i, sprite, points, shadow in zip(drawn.tolist(), sprites, joints, shadows):
        at = int(cast.frame[i])
        _shadow(ground[at], near[at], shadow)
        who = int(cast.who[i]), int(cast.identity[i])
        one = _Drawn(who, middle[i], float(scale[i]), sprite, points)
        mask = one.put(layer[at], near[at])
        for other in found[at]:
            other.mask &= ~mask
        found[at].append(one)
    shown = [[one.shown() for one in some if one.all] for some in found]
    cover = layer[..., 3:]
    people = layer[..., :3] * 255
    if weather is not None and len(drawn):
        clear = np.where(cover > 0, people / np.maximum(cover, 1e-3), frames)
        people = weather(_bytes(clear), cover[..., 0] >= 0.5, near) * cover
    return _bytes(ground * (1 - cover) + people), shown


class _Drawn:
    """Somebody who is being drawn."""

    mask: np.ndarray
    box: Box
    all: int  # their pixels, seen or not

    def __init__(
        self, who: tuple[int, int], middle: np.ndarray, scale: float, sprite: np.ndarray, joints: np.ndarray
    ) -> None:
        self.who, self.scale, self.sprite, self.points = who, scale, sprite, joints
        self.left, self.top = float(middle[0]) - WIDE * scale / 2, float(middle[1]) - TALL * scale / 2
        self.distance = float(middle[2])

    def put(self, layer: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Draws them over people (h, w, 4) where nothing is nearer; which pixels are theirs, bool (h, w)."""
        patch, x, y = resampled(self.sprite, self.left, self.top, self.scale)
        whole = patch[..., 3] >= 0.5
        self.box, self.all = _box(whole, x, y), int(whole.sum())
        self.mask = np.zeros(layer.shape[:2], bool)
        rows, columns = (
            slice(max(low, 0), max(low + size, 0)) for low, size in ((y, whole.shape[0]), (x, whole.shape[1]))
        )
        window = (rows, columns)
        height, width = layer[window].shape[:2]
        if not height or not width:
            return self.mask
        patch = patch[rows.start - y :, columns.start - x :][:height, :width]
        hidden = near[window] < self.distance * 0.95 - SLACK
        patch = patch * ~hidden[..., None]
        layer[window] *= 1 - patch[..., 3:]
        layer[window] += patch
        self.mask[window] = mine = patch[..., 3] >= 0.5
        near[window][mine] = self.distance
        return self.mask

    def shown(self) -> Shown:
        """What is told of them, once all are drawn."""
        at = np.array([self.left, self.top]) + self.points[:, :2] * TALL * self.scale
        joints = np.concatenate([at, self.points[:, 2:]], -1)
        visible = float(self.mask.sum()) / self.all
        return Shown(*self.who, self.distance, self.box, visible, self.mask, joints)


def resampled(sprite: np.ndarray, left: float, top: float, scale: float) -> tuple[np.ndarray, int, int]:
    """A picture (h, h / 2, 4) at `scale` pixels a metre, and the column and row of its first pixel in the frame.

    left, top: where its corner lies in the frame, in pixels.
    """
    x, y = int(np.floor(left)), int(np.floor(top))
    width, height = int(np.ceil(left + WIDE * scale)) - x, int(np.ceil(top + TALL * scale)) - y
    step = sprite.shape[0] / (TALL * scale)  # of its pixels for one of the frame's
    if step > 1:
        tall, wide, _ = sprite.shape
        rows = _shares(height, tall, (y - top) * step, step)  # (height, tall)
        columns = _shares(width, wide, (x - left) * step, step)  # (width, wide)
        lines = (rows @ sprite.reshape(tall, -1)).reshape(height, wide, -1)  # (height, wide, 4)
        return columns @ lines, x, y
    back = np.array([[step, 0, (x + 0.5 - left) * step - 0.5], [0, step, (y + 0.5 - top) * step - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(sprite), back, (width, height), flags=flags), x, y


def _shares(size: int, of: int, first: float, step: float) -> np.ndarray:
    """What share of each of `size` pixels, which begin at `first` and are `step` long, each of `of` has (size, of)."""
    low, at = first + step * np.arange(size)[:, None], np.arange(of)
    both = np.minimum(low + step, at + 1) - np.maximum(low, at)
    return (np.maximum(both, 0) / step).astype(np.float32)


def _sprites(cast: Cast, drawn: np.ndarray, scale: np.ndarray, painter: Painter) -> list[np.ndarray]:
    """Pictures of those who are drawn, each of the least height that is no coarser than the frame."""
    heights = np.array(painter.heights)
    wanted = heights[np.minimum(np.searchsorted(heights, TALL * scale[drawn] * 0.9), len(heights) - 1)]
    found: list[np.ndarray] = [np.empty(0)] * len(drawn)
    for height in np.unique(wanted).tolist():
        some = np.flatnonzero(wanted == height)
        for i, picture in zip(some, painter.paint(cast.told[drawn[some]], cast.identity[drawn[some]], height)):
            found[i] = picture
    return found


def _shadow(frame: np.ndarray, near: np.ndarray, points: np.ndarray) -> None:
    """Darkens the ground where somebody stands: the middle of their shadow, and three points about it (4, 3)."""
    (x, y, away), beyond, before, beside = points.tolist()
    wide, high = abs(beside[0] - x), max(abs(beyond[1] - before[1]) / 2, 0.3)
    left, top = max(int(x - 2 * wide), 0), max(int(y - 2 * high), 0)
    window = slice(top, max(int(y + 2 * high) + 2, 0)), slice(left, max(int(x + 2 * wide) + 2, 0))
    height, width = frame[window].shape[:2]
    if away < NEAREST or not height or not width:
        return
    rows, columns = np.arange(top, top + height, dtype=np.float32), np.arange(left, left + width, dtype=np.float32)
    dark = np.exp(-(((rows + 0.5 - y) / high) ** 2))[:, None] * (SHADE * np.exp(-(((columns + 0.5 - x) / wide) ** 2)))
    frame[window] *= 1 - (dark * (near[window] > away * 0.95 - SLACK))[..., None]


def _box(mask: np.ndarray, x: int, y: int) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return (float(x), float(y), float(x), float(y))
    return (float(columns[0] + x), float(rows[0] + y), float(columns[-1] + 1 + x), float(rows[-1] + 1 + y))


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)
