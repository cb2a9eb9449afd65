"""A pinhole camera over flat ground: where somebody who stands there is in the picture, and how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TALL, WIDE, FOOT = 2.2, 1.1, 0.1  # metres that a person's picture shows, and how far over its lower edge feet stand
MIDDLE = TALL / 2 - FOOT  # metres over the ground of a picture's middle


@dataclass(frozen=True)
class Camera:
    """A camera that a robot carries.

    Arguments:
        shape: height and width of its frames in pixels.
        fov: degrees that the width shows.
        height: metres over the ground.
        ahead: metres from the robot's middle to the camera.
        pitch: radians that it looks down.
    """

    shape: tuple[int, int]
    fov: float
    height: float
    ahead: float = 0.0
    pitch: float = 0.0

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not 0 < self.fov < 180 or self.height <= 0:
            raise ValueError(f"{self}: give a shape of pixels, 0 < fov < 180 degrees, and a height above 0 metres")

    @property
    def focal(self) -> float:
        """Pixels a metre at a metre's distance."""
        return self.shape[1] / 2 / np.tan(np.radians(self.fov) / 2)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Columns, rows and distances along the view (..., 3) of points (..., 3): metres ahead, to the left and up."""
        x, y, z = points[..., 0] - self.ahead, points[..., 1], points[..., 2] - self.height
        c, s = np.cos(self.pitch), np.sin(self.pitch)
        depth = x * c - z * s
        up = z * c + x * s
        safe = np.where(depth > 1e-3, depth, 1e-3)
        column = self.shape[1] / 2 - self.focal * y / safe
        row = self.shape[0] / 2 - self.focal * up / safe
        return np.stack([column, row, depth], -1)

    def elevation(self, place: np.ndarray) -> np.ndarray:
        """Radians that the camera looks down on the middles of people at places (n, 2): ahead and to the left."""
        far = np.hypot(place[..., 0] - self.ahead, place[..., 1])
        return np.arctan2(self.height - MIDDLE, np.maximum(far, 1e-3))

    def bearing(self, place: np.ndarray) -> np.ndarray:
        """Radians, anticlockwise from ahead, of the direction from people at places (n, 2) to the camera."""
        return np.arctan2(-place[..., 1], self.ahead - place[..., 0])


DRIVING = Camera((64, 96), 60.0, 1.5, 0.8, float(np.arctan2(0.2, 1.6)))  # of gensim/Driving-v0 and of its simulator
