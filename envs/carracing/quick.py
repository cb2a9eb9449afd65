"""CarRacing without waste: the same track, physics, rewards and pixels, but frames are drawn only when looked at."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d import car_racing
from gymnasium.envs.box2d.car_racing import CarRacing

SCREEN = np.array([car_racing.WINDOW_W, car_racing.WINDOW_H])
MARGIN = 3.0  # pixels by which a polygon must miss the screen to be left out; drawing rounds to whole ones


class QuickCarRacing(CarRacing):
    """Gymnasium's own CarRacing: steps draw nothing, and polygons that miss the screen are never touched.

    `look` draws what the stock simulator would have returned, byte for byte (a test holds it to that).
    """

    def look(self) -> np.ndarray:
        """The observation of this moment, uint8 (96, 96, 3)."""
        now, self.reward = self.reward, self._shown
        frame = super()._render("state_pixels")
        self.reward = now
        return frame

    def _render(self, mode: str) -> Any:
        if mode != "state_pixels":
            return super()._render(mode)
        self._shown = self.reward  # the stock step draws before it takes off the frame's 0.1
        return None

    def _render_road(self, zoom: float, translation: Any, angle: float) -> None:
        self._draw_colored_polygon(self.surf, _FIELD, self.bg_color, zoom, translation, angle, clip=False)
        for i in _seen(_GRASS, zoom, translation, angle):
            self._draw_colored_polygon(self.surf, _GRASS[i].tolist(), self.grass_color, zoom, translation, angle)
        for i in _seen(self._road(), zoom, translation, angle):
            poly, color = self.road_poly[i]
            points = [(p[0], p[1]) for p in poly]
            self._draw_colored_polygon(self.surf, points, [int(c) for c in color], zoom, translation, angle)

    def _road(self) -> np.ndarray:
        """The corners (n, 4, 2) of this track's polygons."""
        if getattr(self, "_corners_of", None) is not self.road_poly:
            self._corners = np.array([[(p[0], p[1]) for p in poly] for poly, _ in self.road_poly])
            self._corners_of = self.road_poly
        return self._corners


def make(**kwargs: Any) -> tuple[gym.Env, Callable[[Any], np.ndarray]]:
    """CarRacing-v3 as Gymnasium makes it, time limit included, and how to look at it."""
    spec = deepcopy(gym.spec("CarRacing-v3"))
    spec.entry_point = QuickCarRacing  # type: ignore[assignment]
    env = gym.make(spec, disable_env_checker=True, **kwargs)
    return env, lambda _: env.unwrapped.look()  # type: ignore[attr-defined]


def _seen(corners: np.ndarray, zoom: float, translation: Any, angle: float) -> np.ndarray:
    """Which polygons (n, 4, 2) have a bounding box that meets the screen, in their order."""
    c, s = np.cos(angle), np.sin(angle)
    x = (c * corners[..., 0] - s * corners[..., 1]) * zoom + translation[0]  # (n, 4)
    y = (s * corners[..., 0] + c * corners[..., 1]) * zoom + translation[1]
    inside = [(a.max(1) >= -MARGIN) & (a.min(1) <= side + MARGIN) for a, side in zip((x, y), SCREEN)]
    return np.flatnonzero(inside[0] & inside[1])


def _squares() -> np.ndarray:
    """The grass's squares (100, 4, 2), in the simulator's order."""
    size = car_racing.GRASS_DIM
    corner = np.array([(size * x, size * y) for x in range(-20, 20, 2) for y in range(-20, 20, 2)])
    return corner[:, None] + size * np.array([(1, 0), (0, 0), (0, 1), (1, 1)])


_GRASS = _squares()
_FIELD = [(x * car_racing.PLAYFIELD, y * car_racing.PLAYFIELD) for x, y in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
