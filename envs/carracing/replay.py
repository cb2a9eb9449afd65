"""CarRacing itself, brought by seed and actions to where a recorded segment is, and what it knows there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gensim.core.frames import shape_of
from gensim.envs.real import RealEnv, make_real
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT


@contextmanager
def simulator(heldout: Heldout) -> Iterator[RealEnv]:
    """The simulator that the segments were recorded in."""
    meta = heldout.meta
    env = make_real(meta["env_id"], shape_of(meta), meta["skip"], meta["env_kwargs"])
    try:
        yield env
    finally:
        env.close()


def replay(env: RealEnv, heldout: Heldout, i: int, shown: int = CONTEXT) -> np.ndarray:
    """Brings the simulator to frame `shown` - 1 of segment i and returns that frame.

    Raises ValueError when it is not the frame that was recorded.
    """
    acts = [*heldout.past[i, : heldout.start[i]], *heldout.act[i, : shown - 1]]
    frame, _ = env.reset(seed=int(heldout.seed[i]))
    for act in acts:
        frame, *_ = env.step(act)
    if (frame != heldout.frames[i, shown - 1]).any():
        raise ValueError(
            f"{heldout.episode[i]} does not replay: the simulator comes to another frame than was recorded; "
            "use the versions of Box2D, pygame and gymnasium that recorded it, or measure without the simulator"
        )
    return frame


@dataclass(frozen=True)
class Truth:
    """What the simulator knows at a frame: heading in rad, its rate in rad/s, speed in m/s, wheels on the road."""

    heading: float
    rate: float
    speed: float
    wheels: int

    @classmethod
    def of(cls, env: RealEnv) -> Truth:
        """The truth of this moment."""
        car: Any = env.env.unwrapped.car  # type: ignore[attr-defined]
        wheels = sum(bool(wheel.tiles) for wheel in car.wheels)
        return cls(car.hull.angle, car.hull.angularVelocity, car.hull.linearVelocity.length, wheels)
