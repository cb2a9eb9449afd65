"""An episode in one picture: some frames, where they are unusual, and the score over time with its alarms."""

from __future__ import annotations

import numpy as np

from gensim.core.frames import mosaic
from gensim.ood.alarm import Verdict
from gensim.ood.detector import Detector

COLUMNS, SIDE = 8, 128  # frames in the picture, and pixels to a side of each
TALL, EDGE = 132, 14  # pixels of the curve, and around it
HOT = 12.0  # heat that is painted red
INK, PALE, CURVE, RED = (40, 40, 40), (225, 225, 225), (20, 90, 200), (200, 60, 30)
NATS = (0, 1, 10, 100, 1000, 10_000)  # lines across the curve


def story(detector: Detector, frames: np.ndarray, said: Verdict) -> np.ndarray:
    """A picture uint8 (h, w, 3) of an episode's frames uint8 (t, h, w, 3) and the verdicts on them.

    Above, eight frames, among them the first with an alarm; below each, its heat map; at the bottom the scores in nats
    on a logarithmic scale, alarms in red, with marks where the frames are from.
    """
    at = shown(said.alarm)
    seen = np.stack([_large(frames[t]) for t in at])
    heat = np.stack([_large(detector.heat(frames[t])) for t in at])
    sheet = mosaic(np.concatenate([seen, _painted(seen, heat)]), len(at))
    return np.concatenate([sheet, _curve(said, at, sheet.shape[1])])


def shown(alarm: np.ndarray) -> np.ndarray:
    """Which frames are shown, rising: evenly spread ones, and the first with an alarm in place of its neighbour."""
    at = np.unique(np.linspace(0, len(alarm) - 1, COLUMNS).round().astype(int))
    if alarm.any():
        first = int(alarm.argmax())
        at[np.abs(at - first).argmin()] = first
    return at


def _large(x: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def _painted(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Frames (n, h, w, 3) in pale grey, red where heat (n, h, w) is."""
    grey = np.broadcast_to(160 + frames.mean(-1, keepdims=True) * 0.37, frames.shape)
    share = np.clip(heat / HOT, 0, 1)[..., None]
    return ((1 - share) * grey + share * np.array(RED)).round().astype(np.uint8)


def _curve(said: Verdict, at: np.ndarray, width: int) -> np.ndarray:
    """The scores (t,) over time, uint8 (TALL, width, 3)."""
    import cv2

    canvas = np.full((TALL, width, 3), 255, np.uint8)
    top = np.log1p(max(float(said.score.max()), NATS[2]))

    def place(t: float, nats: float) -> tuple[int, int]:
        x = EDGE + t / max(len(said.score) - 1, 1) * (width - 2 * EDGE)
        return round(x), round(TALL - EDGE - np.log1p(max(nats, 0)) / top * (TALL - 2 * EDGE))

    last = len(said.score) - 1
    for nats in (n for n in NATS if np.log1p(n) <= top):
        cv2.line(canvas, place(0, nats), place(last, nats), PALE, 1)
        cv2.putText(canvas, f"{nats} nats", place(0, nats), cv2.FONT_HERSHEY_SIMPLEX, 0.33, INK, 1, cv2.LINE_AA)
    for t in np.flatnonzero(said.alarm).tolist():
        cv2.line(canvas, (place(t, 0)[0], 0), place(t, 0), RED, 1)
    points = np.array([place(t, nats) for t, nats in enumerate(said.score)], np.int32)
    cv2.polylines(canvas, [points], False, CURVE, 1, cv2.LINE_AA)
    for t in at.tolist():
        cv2.circle(canvas, place(t, float(said.score[t])), 3, INK, -1, cv2.LINE_AA)
    return canvas
