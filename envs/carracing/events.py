"""What may happen to a driver of CarRacing, read off the frames."""

from __future__ import annotations

import numpy as np

from gensim.envs.carracing.readings import road_share, speed, turning
from gensim.envs.events import Event, Seen, both, held


def _off(seen: Seen) -> np.ndarray:
    return road_share(seen.frames()) - 0.25  # grass, its edges and the car leave some


def _turns(seen: Seen) -> np.ndarray:
    return 1 - np.abs(turning(seen.frames())) / 5


def _fast(seen: Seen) -> np.ndarray:
    return 1 - speed(seen.frames()) / 10


ZOOM = 15  # steps in which the camera comes down
OFF_ROAD = Event("off_road", _off, since=ZOOM)
EVENTS = {
    "off_road": OFF_ROAD,
    "long_off_road": held(OFF_ROAD, 12),
    "spin": both("spin", [Event("turns", _turns, since=ZOOM), Event("fast", _fast, since=ZOOM)]),
}
