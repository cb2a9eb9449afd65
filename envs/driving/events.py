"""What may happen to a driver in the street, read off the labels of its frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gensim.envs.driving.readings import FOCAL
from gensim.envs.driving.source.labels import LINE, PERSON, ROAD, VEHICLE
from gensim.envs.events import Event, Seen, both

WIDE = 1.2  # metres to either side of the camera's middle that the car takes
SLOW = 0.5  # m/s under which nothing is come upon


def ahead(classes: np.ndarray, depth: np.ndarray, kind: int) -> np.ndarray:
    """Metres (n,) to the nearest pixel of a class that lies in the car's way, infinity where there is none.

    Arguments:
        classes, depth: (n, h, w), as `info` has them.
        kind: index of the class.
    """
    columns = np.arange(classes.shape[2]) + 0.5 - classes.shape[2] / 2
    beside = np.abs(columns) / FOCAL * depth  # (n, h, w)
    return np.where((classes == kind) & (beside < WIDE), depth, np.inf).min((1, 2))


def soon(kind: int, seconds: float, most: float = 6.0) -> Callable[[Seen], np.ndarray]:
    """How far off it is that the car comes upon something of a class within so many seconds, at its speed."""

    def far(seen: Seen) -> np.ndarray:
        told = seen.labels()
        time = ahead(told["classes"], told["depth"], kind) / np.maximum(told["speed"], SLOW)
        return (np.minimum(time, most) - seconds) / (most - seconds)

    return far


def _off(seen: Seen) -> np.ndarray:
    """How much of what lies right before the car is road."""
    classes = seen.labels()["classes"]
    h, w = classes.shape[1:]
    patch = classes[:, -h // 8 :, w // 3 : -(w // 3)]
    return np.isin(patch, (ROAD, LINE)).mean((1, 2)) - 0.1


def _fast(seen: Seen) -> np.ndarray:
    return 1 - seen.labels()["speed"] / 8


def _touched(seen: Seen) -> np.ndarray:
    """Metres to whoever is nearest, a tenth of them."""
    return np.minimum(seen.gaps.min(1, initial=10.0), 10.0) / 10


PERSON_SOON = Event("person_soon", soon(PERSON, 0.7), labels=True, since=2)
EVENTS = {
    "person_soon": PERSON_SOON,
    "contact": Event("contact", _touched, labels=True, people=True),
    "vehicle_soon": Event("vehicle_soon", soon(VEHICLE, 0.5), labels=True, since=2),
    "off_road": Event("off_road", _off, labels=True, since=2),
    "fast_off_road": both("fast_off_road", [Event("off", _off, True), Event("fast", _fast, True)]),
}
