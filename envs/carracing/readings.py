"""What CarRacing's frames say: road under the car, and speed and turn, painted on bars and by how the view moves.

Read from pixels alone, alike in dreams and in the simulator, so that blur wins nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 64  # pixels of the frames that these readings are made for
CAR = (48, 32)  # row and column of the car
BAR = 56  # the row where the indicators begin
SPEED_SCALE, SPEED_BASE = 18.94, -3.73  # m/s a white pixel; the bar is drawn in whole steps of 2.5 m/s, one at least
METRE = 1.296  # pixels in a view of 80 x 64: the camera shows 16.2 of 1,000 x 800 for a metre
TURN_SCALE = 0.24  # rad/s a red pixel: the bar is 3.2 pixels high and grows by 1.28 for each rad/s


def road_share(frames: np.ndarray) -> np.ndarray:
    """How much of the ground around the car is road, (n,) in 0..1, of uint8 frames (n, 64, 64, 3)."""
    _check(frames)
    row, column = CAR
    ground = frames[:, row - 4 : row + 5, column - 3 : column + 3].astype(np.float32)  # (n, 9, 6, 3)
    red, green, blue = np.moveaxis(ground, -1, 0)
    seen = (red - green < 30) & (ground.max(-1) > 70)  # neither the car's body nor its wheels
    road = np.clip(1 - (green - (red + blue) / 2) / 100, 0, 1)
    return (road * seen).sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1)


def road_under_car(frames: np.ndarray) -> np.ndarray:
    """Whether the car stands on the road, bool (n,): at least half of the ground around it is road."""
    return road_share(frames) > 0.5


def speed(frames: np.ndarray) -> np.ndarray:
    """Speed (n,) in m/s, to 1.25, from the white bar at the bottom left of frames (n, 64, 64, 3)."""
    _check(frames)
    white = frames[:, BAR:, 8:10].min(-1).astype(np.float32)  # (n, 8, 2)
    area = np.where(white < 12, 0, white).sum((1, 2)) / 255  # (n,)
    return np.maximum(SPEED_SCALE * area + SPEED_BASE, 0)


def turning(frames: np.ndarray) -> np.ndarray:
    """Rate of turn (n,) in rad/s, left positive, from the red bar at the bottom right of frames (n, 64, 64, 3)."""
    _check(frames)
    bar = frames[:, BAR : BAR + 6].astype(np.float32)
    red = bar[..., 0] - bar[..., 1:].max(-1)  # (n, 6, 64)
    red = np.where(red < 24, 0, red).sum(1) / 255  # (n, 64)
    return (red[:, 38:48].sum(1) - red[:, 48:].sum(1)) * TURN_SCALE


def motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How the car moved between frames (n, 64, 64, 3): turn in rad, left positive, m ahead and m to the left, (n, 3).

    By the rotation and shift that align the two views best (enhanced correlation); zero where none is found,
    for a view without anything to align by stands still.

    Reference: Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization (Evangelidis and
    Psarakis, 2008), doi:10.1109/TPAMI.2008.113.
    """
    _check(before)
    _check(after)
    return np.array([_moved(_view(a), _view(b)) for a, b in zip(before, after)]).reshape(-1, 3)


def _view(frame: np.ndarray) -> np.ndarray:
    """What is above the indicators, grey and as wide as it really is: float32 (56, 80)."""
    grey = frame[:BAR, :, 1].astype(np.float32) - 0.5 * frame[:BAR, :, 0]
    wide = cv2.resize(grey, (80, BAR))
    return np.asarray(cv2.GaussianBlur(wide, (5, 5), 0), np.float32)


def _moved(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    warp, stop = np.eye(2, 3, dtype=np.float32), (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    mask = np.full(before.shape, 255, np.uint8)
    mask[CAR[0] - 5 : CAR[0] + 5, 34:46] = 0  # the car stands still in the view
    try:
        _, found = cv2.findTransformECC(before, after, warp, cv2.MOTION_EUCLIDEAN, stop, mask, 1)
    except cv2.error:  # nothing to align by, such as grass alone
        return 0.0, 0.0, 0.0
    here = np.array([39.5, CAR[0] - 0.5])
    left, ahead = (found[:, :2] @ here + found[:, 2] - here) / METRE
    return float(np.arctan2(found[1, 0], found[0, 0])), float(ahead), float(left)


def _check(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.shape[1:] != (SIZE, SIZE, 3):
        raise ValueError(f"give uint8 (n, {SIZE}, {SIZE}, 3) frames of CarRacing, not {frames.dtype} {frames.shape}")
