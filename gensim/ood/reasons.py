"""Why a frame is unusual, in words."""

from __future__ import annotations

import numpy as np

from gensim.ood.detector import GROUPS, TIME_NAMES, Detector
from gensim.ood.eye import FRAME_NAMES

ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")
FEW = 1.5  # times the usual part's heat that a part must have to be named


def reason(detector: Detector, frame: np.ndarray, scores: np.ndarray, times: np.ndarray, sudden: bool) -> str:
    """One sentence on a frame uint8 (h, w, 3) with normal scores (f,) of its statistics and of time's (g,)."""
    names, whole = (*FRAME_NAMES, *TIME_NAMES), np.concatenate([scores, times])
    at = int(np.abs(whole).argmax())
    name, value = names[at], float(whole[at])
    side = "above" if value > 0 else "below"
    far = f"{abs(value):.1f}" if abs(value) < 100 else "over 100"
    text = f"{GROUPS[name]}: {name} is {far} deviations {side} usual"
    if name in FRAME_NAMES:
        text += _where(detector.heat(frame))
    return text + ("" if sudden else ", and so were frames before it")


def _where(heat: np.ndarray) -> str:
    """The part of the picture that a heat map (h, w) names, of nine; nothing where it is spread."""
    third = [np.array_split(row, 3, axis=1) for row in np.array_split(heat, 3, axis=0)]
    most = np.array([[float(cell.mean()) for cell in row] for row in third])
    if most.max() <= FEW * np.median(most):
        return ""
    y, x = np.unravel_index(int(most.argmax()), most.shape)
    return f", most in the {ROWS[y]} {COLUMNS[x]}"
