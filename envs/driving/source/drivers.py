"""Who drives: MetaDrive's own lane follower with a manner, from careful to reckless, and a hand that trembles."""

from __future__ import annotations

from typing import Any

import numpy as np
from manners import Manner
from metadrive.policy.idm_policy import IDMPolicy

PERSIST = 0.85  # of a tremble from one step to the next


class Driver:
    """A lane follower in the ego's seat; `act` says steering and pedal in -1..1, left and gas being positive."""

    def __init__(self, vehicle: Any, manner: Manner, rng: np.random.Generator) -> None:
        self.manner, self.rng = manner, rng
        self.policy = IDMPolicy(vehicle, int(rng.integers(65536)))
        self.policy.NORMAL_SPEED = self.policy.target_speed = manner.speed
        self.policy.TIME_WANTED, self.policy.DISTANCE_WANTED = manner.headway, manner.gap
        self.policy.blind = manner.blind
        self.drift, self.lapse, self.left = np.zeros(2), np.zeros(2), 0

    def act(self) -> np.ndarray:
        """The next action, float32 (2,)."""
        wanted = np.clip(self.policy.act(True), -1, 1)
        shake = self.rng.normal(size=2) * np.sqrt(1 - PERSIST**2) * self.manner.tremble
        self.drift = PERSIST * self.drift + shake
        if self.left == 0 and self.rng.random() < self.manner.lapse:
            self.left, self.lapse = int(self.rng.integers(3, 16)), self.rng.uniform((-0.5, -1), (0.5, 1))
        chosen = self.lapse if self.left else wanted
        self.left = max(0, self.left - 1)
        return np.clip(chosen + self.drift * (1.0, 2.0), -1, 1).astype(np.float32)


def mind(crowd: Any) -> None:
    """Lets every lane follower brake for people in its way, which MetaDrive's do not know of."""
    if not hasattr(IDMPolicy, "unminding"):
        IDMPolicy.unminding = IDMPolicy.act

    def act(self: Any, *args: Any, **kwargs: Any) -> list[float]:
        steer, pedal = self.unminding(*args, **kwargs)
        return [steer, pedal if getattr(self, "blind", False) else min(pedal, crowd.allowance(self.control_object))]

    IDMPolicy.act = act
