"""What a person notices of themself, of others and of the robot, as numbers seen from where they are going."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 3
SIGHT = 60.0  # metres in which somebody sees a robot, or another person's sixth part of that
NEVER = 10.0  # seconds that count as never
HALF = (2.3, 0.95)  # metres from a car's middle to its front and to its side
BODY = 0.3  # metres, a person's radius
WIDTH = 10 + 13 + 5 * NEIGHBOURS


@dataclass
class Walkers:
    """Persons (n) and what they know by themselves; metres, metres a second, radians nowhere.

    place, velocity and goal (n, 2), the goal a unit vector; kerbs (n, 2): how far along the goal, from the origin, the
    road that they cross begins and ends, infinite without one; pace (n,): how fast they like to walk; temperament (n,)
    0..1; age (n,) years; distracted (n,) 0 or 1.
    """

    place: np.ndarray
    velocity: np.ndarray
    goal: np.ndarray
    kerbs: np.ndarray
    pace: np.ndarray
    temperament: np.ndarray
    age: np.ndarray
    distracted: np.ndarray

    def __len__(self) -> int:
        return len(self.place)


@dataclass
class Robot:
    """A robot beside each person: place and velocity (n, 2), and whether it is there (n,)."""

    place: np.ndarray
    velocity: np.ndarray
    there: np.ndarray


def along(goal: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Vectors (..., 2) as they lie ahead and to the left of who goes along unit vectors `goal`."""
    ahead = (of * goal).sum(-1)
    left = goal[..., 0] * of[..., 1] - goal[..., 1] * of[..., 0]
    return np.stack([ahead, left], -1)


def arrival(place: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Seconds until a robot at places (..., 2), seen along the goal, is on the line somebody walks; at most NEVER."""
    left, drift = place[..., 1], velocity[..., 1]
    comes = left * drift < 0
    near = np.maximum(np.abs(left) - HALF[0], 0)
    found = np.where(comes, near / np.maximum(np.abs(drift), 1e-3), NEVER)
    return np.minimum(np.where(np.abs(left) < HALF[0], 0.0, found), NEVER)


def passing(place: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Metres ahead at which a robot at places (..., 2), seen along the goal, passes the line somebody walks."""
    left, drift = place[..., 1], velocity[..., 1]
    comes = left * drift < 0
    when = np.where(comes, np.abs(left) / np.maximum(np.abs(drift), 1e-3), 0.0)
    return place[..., 0] + velocity[..., 0] * np.minimum(when, NEVER)


def sense(walkers: Walkers, robot: Robot, together: np.ndarray) -> np.ndarray:
    """What each notices (n, WIDTH) float32; who has the same number in `together` (n,) is in the same place."""
    w, goal = walkers, walkers.goal
    own = along(goal, w.velocity)
    at = (w.place * goal).sum(-1)
    kerbs = np.clip((np.nan_to_num(w.kerbs, posinf=1e6) - at[:, None]) / 12, -1, 1)  # (n, 2)
    inside = (at > w.kerbs[:, 0]) & (at < w.kerbs[:, 1])
    self_told = [own / 2, w.pace[:, None] / 2, w.temperament[:, None], w.distracted[:, None], w.age[:, None] / 90]
    self_told += [kerbs, inside[:, None], np.isfinite(w.kerbs[:, :1])]
    return np.concatenate([*self_told, _robot(w, robot), _others(w, together)], -1).astype(np.float32)


def _robot(w: Walkers, robot: Robot) -> np.ndarray:
    """What is told of the robot (n, 13); zeros where it is absent or out of sight.

    How soon they would be in its path and past it, at the pace they like, stands beside how soon it comes: people see
    times to contact (Lee, 1976, doi:10.1068/p050437).
    """
    place, velocity = along(w.goal, robot.place - w.place), along(w.goal, robot.velocity)
    far = np.linalg.norm(place, axis=-1)
    when = arrival(place, velocity)
    told = [place / 20, velocity / 10, far[:, None] / 40, when[:, None] / NEVER, np.exp(-when)[:, None]]
    told += [np.exp(-far / 4)[:, None], np.ones((len(w), 1))]
    lane, pace = passing(place, velocity)[:, None], np.maximum(w.pace, 0.3)[:, None]
    reach, clear = (np.maximum(lane + side * (HALF[1] + BODY), 0) / pace for side in (-1, 1))
    told += [np.clip(lane / 4, -1, 1), np.clip(velocity[:, 1:] / 2, -1, 1)]
    told += [np.clip((when[:, None] - at) / 3, -1, 1) for at in (reach, clear)]
    seen = robot.there & (far < SIGHT)
    return np.where(seen[:, None], np.clip(np.concatenate(told, -1), -3, 3), 0.0)


def _others(w: Walkers, together: np.ndarray) -> np.ndarray:
    """What is told of the nearest others (n, 5 * NEIGHBOURS); zeros where there are none."""
    n = len(w)
    gap = w.place[None] - w.place[:, None]  # (n, n, 2)
    far = np.linalg.norm(gap, axis=-1) + np.where(together[:, None] == together, 0, np.inf)
    far[np.arange(n), np.arange(n)] = np.inf
    order = np.argsort(far, 1, kind="stable")[:, :NEIGHBOURS]  # (n, up to NEIGHBOURS)
    rows = np.arange(n)[:, None]
    seen = far[rows, order] < SIGHT / 6
    goal = np.broadcast_to(w.goal[:, None], (*order.shape, 2))
    place = along(goal, gap[rows, order])
    drift = along(goal, w.velocity[order] - w.velocity[:, None])
    told = np.concatenate([place / 5, drift / 2, np.ones((*order.shape, 1))], -1) * seen[..., None]
    told = np.where(seen[..., None], np.clip(told, -3, 3), 0.0)
    return np.pad(told, ((0, 0), (0, NEIGHBOURS - order.shape[1]), (0, 0))).reshape(n, -1)


def gaps(walkers: Walkers, robot: Robot, heading: np.ndarray) -> np.ndarray:
    """Metres (n,) between each person and a robot that looks along unit vectors (n, 2); below 0 where they touch."""
    place = along(heading, walkers.place - robot.place)
    beyond = np.maximum(np.abs(place) - HALF, 0)
    return np.where(robot.there, np.linalg.norm(beyond, axis=-1) - BODY, np.inf)


def touches(walkers: Walkers, robot: Robot, heading: np.ndarray) -> np.ndarray:
    """Whether a robot that looks along unit vectors (n, 2) touches each person (n,)."""
    return gaps(walkers, robot, heading) < 0
