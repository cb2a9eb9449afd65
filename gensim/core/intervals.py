"""Intervals of 95 %: of the mean of a few numbers, and of a share."""

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


def wilson(p: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share p in 0..1 of n > 0 things; n need not be whole.

    Reference: Probable Inference, the Law of Succession, and Statistical Inference (Wilson, 1927),
    doi:10.1080/01621459.1927.10502953.
    """
    z = 1.959964
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)
