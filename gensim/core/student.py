"""Student's t: how far the mean of a few numbers may be off."""

from __future__ import annotations

import math

import numpy as np


def student_t95(n: int) -> float:
    """The 97.5 % quantile of Student's t for n >= 2 values."""
    freedom = n - 1  # its density is integrated over atan(t / sqrt(freedom))
    angle = np.linspace(0.0, math.pi / 2, 200_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95 * mass[-1], mass, angle)))
