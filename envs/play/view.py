"""What is to be shown of a drive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np


class Side(Enum):
    """What is driven."""

    DREAM = "dream"
    REAL = "real"
    BOTH = "both"


@dataclass(frozen=True)
class Reading:
    """What the newest step of one side brought.

    Arguments:
        step: its number since the episode began.
        rew: its reward.
        returns: the rewards so far.
        trust: its trust in 0..1: dreamed, or of the real frame as the world followed it.
        log_prob: its log-probability under the world's reference law, in nats.
        end: how the episode ended, empty while it goes on.
    """

    step: int = 0
    rew: float = 0.0
    returns: float = 0.0
    trust: float = 1.0
    log_prob: float = 0.0
    end: str = ""


BEGUN = Reading()
"""That of an episode's first frame."""


@dataclass(frozen=True)
class Panel:
    """One picture to show: which side, its frame uint8 (h, w, 3), its reading."""

    side: Side
    frame: np.ndarray
    reading: Reading


@dataclass(frozen=True)
class View:
    """All that a window shows."""

    panels: tuple[Panel, ...]
    act: Any
    who: str
    seed: int
    temperature: float
    paused: bool
    over: bool
    note: str
    kept: int | None
