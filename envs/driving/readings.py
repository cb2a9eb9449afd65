"""What is read off driving frames alone, alike in dreams and in what was recorded."""

from __future__ import annotations

import numpy as np

BAND = 0.4  # of a frame's height, from the top: what is far away, and moves with the heading alone
MOST = 16  # pixels that a scene is looked for to either side
FOCAL = 96 / 2 / np.tan(np.deg2rad(30))  # pixels for each radian, near the middle of the view


def shifted(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """By how many pixels (n,) what is far away moved to the right from frames to frames, uint8 (n, h, w, 3).

    The shift at which the two differ least, to a part of a pixel by the parabola through its neighbours.
    """
    rows = round(BAND * before.shape[1])
    a, b = (frames[:, :rows].astype(np.float32).mean(-1) for frames in (before, after))
    a, b = (x - x.mean(2, keepdims=True) for x in (a, b))  # what a row has in common says nothing
    width = a.shape[2]
    error = []
    for s in range(-MOST, MOST + 1):  # b shows at column c + s what a shows at c
        x, y = a[:, :, max(0, -s) : width - max(0, s)], b[:, :, max(0, s) : width - max(0, -s)]
        error.append(((x - y) ** 2).mean((1, 2)) / np.sqrt((x**2).mean((1, 2)) * (y**2).mean((1, 2)) + 1e-3))
    found = np.stack(error, 1)  # (n, shifts)
    best = found.argmin(1).clip(1, 2 * MOST - 1)
    low, at, high = (found[np.arange(len(found)), best + i] for i in (-1, 0, 1))
    bend = low - 2 * at + high
    part = np.where(bend > 1e-6, (low - high) / (2 * np.maximum(bend, 1e-6)), 0.0)
    return best - MOST + part.clip(-0.5, 0.5)


def turned(frames: np.ndarray) -> np.ndarray:
    """Radians (n,) to the left that views turned over frames (n, t, h, w, 3), step after step."""
    steps = [shifted(frames[:, t], frames[:, t + 1]) for t in range(frames.shape[1] - 1)]
    return np.sum(steps, 0) / FOCAL
