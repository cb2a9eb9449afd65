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


def _slow(seen: Seen) -> np.ndarray:
    return (speed(seen.frames()) - 22) / 40


STARTED = 20  # steps after which it drives at 40 m/s or more
ZOOM = 15  # steps in which the camera comes down
OFF_ROAD = Event("off_road", _off, since=ZOOM)
EVENTS = {
    "off_road": OFF_ROAD,
    "long_off_road": held(OFF_ROAD, 12),
    "slow": Event("slow", _slow, since=STARTED),
    "spin": both("spin", [Event("turns", _turns, since=ZOOM), Event("fast", _fast, since=ZOOM)]),
}
