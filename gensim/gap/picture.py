"""The picture of a gap: every policy's dreamed return over its real one, with intervals and the diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIZE, LEFT, BOTTOM, TOP, RIGHT = 560, 64, 52, 16, 16
COLOURS = {
    "chance": (110, 110, 110),
    "constant": (110, 110, 110),
    "mixed": (70, 130, 200),
    "agent": (20, 120, 40),
    "calm": (20, 120, 40),
    "round": (230, 150, 20),
    "exploiter": (200, 30, 30),
}
NAMES = {
    "chance, standing still": "chance",
    "agent with chance": "mixed",
    "agent": "agent",
    "earlier agents": "round",
    "made to exploit": "exploiter",
}


def scatter(policies: Sequence[dict[str, Any]]) -> np.ndarray:
    """Rows with kind, real and dream ({"mean", "ci95"}) as a picture uint8 (h, w, 3)."""
    import cv2

    canvas = np.full((SIZE, SIZE, 3), 255, np.uint8)
    low, high = _span(policies)
    at = _Axes(low, high)
    for tick in _ticks(low, high):
        cv2.line(canvas, at(tick, low), at(tick, high), (230, 230, 230), 1)
        cv2.line(canvas, at(low, tick), at(high, tick), (230, 230, 230), 1)
        _write(canvas, f"{tick:g}", (at(tick, low)[0] - 12, SIZE - BOTTOM + 16))
        _write(canvas, f"{tick:g}", (LEFT - 8 - 8 * len(f"{tick:g}"), at(low, tick)[1] + 4))
    cv2.line(canvas, at(low, low), at(high, high), (150, 150, 150), 1, cv2.LINE_AA)
    for one in policies:
        _point(canvas, at, one)
    _write(canvas, "real return (mean, 95 %)", (SIZE // 2 - 70, SIZE - 10))
    _write(canvas, "dreamed", (4, TOP + 2))
    kinds = {one["kind"] for one in policies}
    for i, (name, kind) in enumerate((n, k) for n, k in NAMES.items() if k in kinds):
        cv2.circle(canvas, (LEFT + 14, TOP + 16 + 18 * i), 4, COLOURS[kind], -1, cv2.LINE_AA)
        _write(canvas, name, (LEFT + 24, TOP + 20 + 18 * i))
    return canvas


class _Axes:
    """Where returns (real, dreamed) lie on the picture."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.wide = low, high - low

    def __call__(self, real: float, dreamed: float) -> tuple[int, int]:
        x = LEFT + (real - self.low) / self.wide * (SIZE - LEFT - RIGHT)
        y = SIZE - BOTTOM - (dreamed - self.low) / self.wide * (SIZE - BOTTOM - TOP)
        return round(x), round(y)


def _point(canvas: np.ndarray, at: _Axes, one: dict[str, Any]) -> None:
    import cv2

    real, dream, colour = one["real"], one["dream"], COLOURS[one["kind"]]
    a, b = real["ci95"] or [real["mean"]] * 2
    c, d = dream["ci95"] or [dream["mean"]] * 2
    pale = tuple(int(0.5 * x + 127) for x in colour)
    cv2.line(canvas, at(a, dream["mean"]), at(b, dream["mean"]), pale, 1)
    cv2.line(canvas, at(real["mean"], c), at(real["mean"], d), pale, 1)
    cv2.circle(canvas, at(real["mean"], dream["mean"]), 4, colour, -1, cv2.LINE_AA)


def _span(policies: Sequence[dict[str, Any]]) -> tuple[float, float]:
    ends = [
        x for one in policies for side in ("real", "dream") for x in (one[side]["mean"], *(one[side]["ci95"] or ()))
    ]
    low, high = min(ends), max(ends)
    pad = 0.05 * (high - low) or 1.0
    return low - pad, high + pad


def _ticks(low: float, high: float) -> np.ndarray:
    rough = (high - low) / 6
    unit = 10.0 ** np.floor(np.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0  # no minus zero


def _write(canvas: np.ndarray, text: str, at: tuple[int, int]) -> None:
    import cv2

    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
