"""What can befall a camera, the weather before it, or the picture's content: shifts of frames, by name and strength.

The kinds and their five strengths follow the corruptions of ImageNet-C, set anew for small rendered frames: at
strength 3 a person sees them at once.

Reference: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (Hendrycks and Dietterich,
2019), arXiv:1903.12261.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gensim.core.frames import decode

Kind = Literal["camera", "weather", "simple"]
Look = Callable[[np.ndarray, float, int, np.ndarray], np.ndarray]
"""Frames float32 (n, h, w, 3) in 0..255, strength, key and each frame's number (n,), to frames of that kind."""
FIXED, MOVING = 0, 1  # what stays as it is for an episode, and what differs from frame to frame
SIDE = 64  # pixels of the frames that sizes are given for


@dataclass(frozen=True)
class Shift:
    """A way for frames to become unusual.

    Arguments:
        kind: of the camera, of the weather, or simple: a plain picture made from the frame, of one strength only.
        about: what is seen.
        look: does it.
    """

    kind: Kind
    about: str
    look: Look


def shifted(frames: np.ndarray, name: str, strength: float = 3.0, key: int = 0, start: int = 0) -> np.ndarray:
    """Frames uint8 (n, h, w, 3) under a shift; the same arguments give the same bytes.

    Arguments:
        frames: of one episode, in order.
        name: one of `SHIFTS`.
        strength: 0 (none) to 5, any number between; plain pictures have no strengths.
        key: which dirt, dead pixels, drops, ...: one key an episode.
        start: the number of the first frame in its episode.
    """
    shift = SHIFTS.get(name)
    if shift is None:
        raise ValueError(f"no shift {name!r}: there are {', '.join(SHIFTS)}")
    if not 0.0 <= strength <= 5.0 or key < 0 or start < 0:
        raise ValueError(f"strength={strength}, key={key}, start={start}: give 0 to 5, and at least 0")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames are uint8 (n, h, w, 3), not {frames.dtype} {frames.shape}")
    if strength == 0.0 or not len(frames):
        return frames.copy()
    seen = shift.look(frames.astype(np.float32), float(strength), int(key), np.arange(start, start + len(frames)))
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def grade(strength: float, *values: float) -> float:
    """The value at a strength: `values` are those at 0 to 5, and between them it is linear."""
    return float(np.interp(strength, np.arange(len(values)), values))


def generator(key: int, *place: int) -> np.random.Generator:
    """A generator of its own for a key and a place in it, such as a frame's number."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([key, *place])))


# -------------------------------------------------------------------- the camera


def _noise(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    sigma = grade(s, 0, 6, 12, 20, 32, 48)
    return x + sigma * np.stack([generator(key, MOVING, i).standard_normal(x.shape[1:], np.float32) for i in at])


def _salt(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    share = grade(s, 0, 0.01, 0.02, 0.04, 0.08, 0.15)
    draw = np.stack([generator(key, MOVING, i).random(x.shape[1:3], np.float32) for i in at])[..., None]  # (n, h, w, 1)
    return np.where(draw < share, np.where(draw < share / 2, 0.0, 255.0), x)


def _blur(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    sigma = grade(s, 0, 0.5, 0.8, 1.2, 1.7, 2.4) * x.shape[1] / SIDE
    if sigma < 0.05:  # OpenCV refuses kernels of no pixel, and these would change none
        return x
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in x])


def _motion(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    length = grade(s, 0, 2, 3.5, 5, 7.5, 11) * x.shape[1] / SIDE
    kernel = _streak(length, generator(key, FIXED).uniform(0, np.pi))
    return np.stack([cv2.filter2D(frame, -1, kernel, borderType=cv2.BORDER_REPLICATE) for frame in x])


def _streak(length: float, angle: float) -> np.ndarray:
    """A line of a length as a kernel that sums to one, float32 (k, k)."""
    half = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-length / 2, length / 2, 65):
        row, column = half + step * np.sin(angle), half + step * np.cos(angle)
        i, j = int(row), int(column)
        a, b = row - i, column - j
        kernel[i : i + 2, j : j + 2] += np.outer([1 - a, a], [1 - b, b])
    return kernel / kernel.sum()


def _darker(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    return x * grade(s, 1, 0.85, 0.7, 0.55, 0.4, 0.25)


def _brighter(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    return x * grade(s, 1, 1.1, 1.2, 1.35, 1.6, 2) + grade(s, 0, 8, 16, 28, 44, 64)


def _contrast(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    mean = x.mean((1, 2, 3), keepdims=True)
    return mean + (x - mean) * grade(s, 1, 0.8, 0.65, 0.5, 0.35, 0.2)


def _jpeg(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, round(grade(s, 95, 45, 28, 16, 9, 4))]
    blobs = [cv2.imencode(".jpg", frame.astype(np.uint8)[..., ::-1], quality)[1] for frame in x]
    return np.stack([decode(blob) for blob in blobs]).astype(np.float32)


def _pixels(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    h, w = x.shape[1:3]
    share = grade(s, 1, 0.75, 0.55, 0.4, 0.28, 0.19)
    few = (max(1, round(w * share)), max(1, round(h * share)))
    small = [cv2.resize(frame, few, interpolation=cv2.INTER_AREA) for frame in x]
    return np.stack([cv2.resize(frame, (w, h), interpolation=cv2.INTER_NEAREST) for frame in small])


def _occlusion(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    h, w = x.shape[1:3]
    rng = generator(key, FIXED)
    row, column = rng.uniform(0.2, 0.8) * h, rng.uniform(0.2, 0.8) * w
    radius = np.sqrt(grade(s, 0, 0.01, 0.03, 0.06, 0.12, 0.2) * h * w / np.pi)
    far = np.hypot(*np.ogrid[-row : h - row, -column : w - column])  # (h, w)
    mud = np.clip(radius + 0.5 - far, 0, 1)[None, ..., None]
    return x * (1 - mud) + mud * np.array([96, 70, 44])


def _tint(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    kept = 1 - grade(s, 0, 0.1, 0.2, 0.32, 0.45, 0.6)
    channels = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))[generator(key, FIXED).integers(6)]
    gain = np.ones(3, np.float32)
    gain[list(channels)] = kept
    return x * gain


def _dead(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    rng = generator(key, FIXED)
    where = rng.random(x.shape[1:3]) < grade(s, 0, 0.003, 0.006, 0.012, 0.025, 0.05)  # (h, w)
    return np.where(where[..., None], 255.0 * rng.integers(0, 2, x.shape[1:]), x)


def _lines(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    rng, seen = generator(key, FIXED), x.copy()
    for share in np.clip(grade(s, 0, 1, 2, 3, 5, 8) - np.arange(8), 0, 1):
        across, place, colour = rng.random() < 0.5, rng.random(), 255.0 * _bright(rng)
        axis = 1 if across else 2
        part = np.moveaxis(seen, axis, 0)[int(place * x.shape[axis])]  # a view (n, side, 3)
        part += share * (colour - part)
    return seen


def _bright(rng: np.random.Generator) -> np.ndarray:
    """One of the seven full colours that are not black, (3,) of 0 and 1."""
    return np.array([int(bit) for bit in f"{rng.integers(1, 8):03b}"])


def _tilt(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    h, w = x.shape[1:3]
    angle = grade(s, 0, 2, 4, 7, 11, 16) * (1 if generator(key, FIXED).random() < 0.5 else -1)
    turn = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), angle, 1.0)
    return np.stack([cv2.warpAffine(frame, turn, (w, h), borderMode=cv2.BORDER_REPLICATE) for frame in x])


# -------------------------------------------------------------------- the weather


def _fog(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    h, w = x.shape[1:3]
    clouds = cv2.resize(generator(key, FIXED).uniform(0.7, 1.3, (4, 4)), (w, h), interpolation=cv2.INTER_CUBIC)
    veil = np.clip(grade(s, 0, 0.12, 0.24, 0.38, 0.54, 0.7) * clouds, 0, 1)[None, ..., None]
    return x * (1 - veil) + veil * np.array([200, 205, 210])


def _rain(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    wet = x * grade(s, 1, 0.95, 0.9, 0.85, 0.8, 0.72)
    slant = generator(key, FIXED).uniform(-0.35, 0.35)
    drops = round(grade(s, 0, 10, 20, 36, 60, 95) * x.shape[1] * x.shape[2] / SIDE**2)
    veil = np.stack([_drops(generator(key, MOVING, i), drops, slant, x.shape[1:3]) for i in at])[..., None]
    return wet + 0.6 * veil * (np.array([205, 210, 220]) - wet)


def _drops(rng: np.random.Generator, drops: int, slant: float, shape: tuple[int, ...]) -> np.ndarray:
    """Streaks of falling drops, (h, w) in 0..1."""
    import cv2

    veil = np.zeros(shape, np.uint8)
    for row, column, size in rng.random((drops, 3)):
        top = np.array([column * shape[1], (1.2 * row - 0.2) * shape[0]])
        length = (0.06 + 0.08 * size) * shape[0]
        low = top + length * np.array([slant, 1.0])
        cv2.line(veil, tuple(map(round, top.tolist())), tuple(map(round, low.tolist())), 255, 1, cv2.LINE_AA)
    return veil.astype(np.float32) / 255


def _snow(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    h, w = x.shape[1:3]
    flakes = round(grade(s, 0, 12, 25, 45, 80, 130) * h * w / SIDE**2)
    rng = generator(key, FIXED)
    start, pace = rng.random((2, 200 * h * w // SIDE**2 + 1, 2))
    size = rng.uniform(0.6, 1.3, len(start)) * h / SIDE
    veil = np.stack([_flakes(start[:flakes], pace[:flakes], size, i, (h, w)) for i in at])[..., None]
    pale = x + grade(s, 0, 0.03, 0.06, 0.1, 0.15, 0.2) * (235 - x)
    return pale * (1 - veil) + 250 * veil


def _flakes(start: np.ndarray, pace: np.ndarray, size: np.ndarray, i: int, shape: tuple[int, int]) -> np.ndarray:
    """Flakes that fall and drift from frame to frame, (h, w) in 0..1."""
    place = (start + i * (0.02 + 0.06 * pace) * [1.0, 0.4]) % 1.0 * shape  # (flakes, 2)
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    down = (rows - place[:, :1]) ** 2  # (flakes, h)
    aside = (columns - place[:, 1:]) ** 2  # (flakes, w)
    far = np.sqrt(down[:, :, None] + aside[:, None])  # (flakes, h, w)
    return np.clip(size[: len(start), None, None] + 0.5 - far, 0, 1).max(0, initial=0.0)


def _sun(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    h, w = x.shape[1:3]
    column = generator(key, FIXED).uniform(0.15, 0.85) * w
    far = np.hypot(*np.ogrid[0:h, -column : w - column]) / h  # (h, w)
    glare = np.exp(-((far / 0.45) ** 2)) + 0.35 * np.exp(-((far / 1.2) ** 2))
    return x + grade(s, 0, 35, 65, 100, 145, 200) * glare[None, ..., None] * np.array([1.0, 0.9, 0.65])


def _night(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    grey = x.mean(-1, keepdims=True)
    pale = x + grade(s, 0, 0.15, 0.3, 0.45, 0.6, 0.75) * (grey - x)
    dark = (
        pale * grade(s, 1, 0.75, 0.56, 0.4, 0.27, 0.16) * (1 - grade(s, 0, 1, 2, 3, 4, 5) * np.array([0.06, 0.04, 0]))
    )
    return _noise(dark, 0.25 * s, key, at)


# -------------------------------------------------------------------- plain pictures


def _flat(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    return np.broadcast_to(_commonest(x)[:, None, None], x.shape)


def _emptied(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    """Three quarters of the picture hold nothing but its commonest colour; which quarter is left is the key's."""
    h, w = x.shape[1:3]
    row, column = divmod(int(generator(key, FIXED).integers(4)), 2)
    seen = np.array(np.broadcast_to(_commonest(x)[:, None, None], x.shape))
    rows = slice(row * (h // 2), (row + 1) * (h // 2))
    columns = slice(column * (w // 2), (column + 1) * (w // 2))
    seen[:, rows, columns] = x[:, rows, columns]
    return seen


def _tiled(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    patch = _plainest(x)  # (n, side, side, 3)
    turns = [-(-x.shape[i] // patch.shape[i]) for i in (1, 2)]
    mirrored = np.concatenate([patch, patch[:, ::-1]], 1)  # no seams
    mirrored = np.concatenate([mirrored, mirrored[:, :, ::-1]], 2)
    return np.tile(mirrored, (1, *turns, 1))[:, : x.shape[1], : x.shape[2]]


def _magnified(x: np.ndarray, s: float, key: int, at: np.ndarray) -> np.ndarray:
    import cv2

    h, w = x.shape[1:3]
    return np.stack([cv2.resize(patch, (w, h), interpolation=cv2.INTER_LINEAR) for patch in _plainest(x)])


def _commonest(x: np.ndarray) -> np.ndarray:
    """The colour that most pixels of each frame have, float32 (n, 3)."""
    packed = x.astype(np.int64) @ np.array([65536, 256, 1])  # (n, h, w)
    most = [np.unique(one, return_counts=True) for one in packed.reshape(len(x), -1)]
    best = np.array([colours[counts.argmax()] for colours, counts in most])
    return np.stack([best >> 16, best >> 8 & 255, best & 255], -1).astype(np.float32)


def _plainest(x: np.ndarray) -> np.ndarray:
    """The patch of each frame, a quarter of its side, whose colours vary least but do vary, (n, side, side, 3)."""
    side = max(2, x.shape[1] // 4)
    step = max(1, side // 2)
    places = [(i, j) for i in range(0, x.shape[1] - side + 1, step) for j in range(0, x.shape[2] - side + 1, step)]
    patches = np.stack([x[:, i : i + side, j : j + side] for i, j in places], 1)  # (n, places, side, side, 3)
    spread = patches.std((2, 3)).mean(-1)  # (n, places)
    best = np.where(spread > 0, spread, np.inf).argmin(1)
    return patches[np.arange(len(x)), best]


SHIFTS: dict[str, Shift] = {
    "noise": Shift("camera", "a grainy sensor", _noise),
    "salt": Shift("camera", "pixels that are black or white for a moment", _salt),
    "blur": Shift("camera", "out of focus", _blur),
    "motion": Shift("camera", "shaken while the shutter is open", _motion),
    "darker": Shift("camera", "underexposed", _darker),
    "brighter": Shift("camera", "overexposed", _brighter),
    "contrast": Shift("camera", "pale", _contrast),
    "jpeg": Shift("camera", "compressed too far", _jpeg),
    "pixels": Shift("camera", "too few pixels", _pixels),
    "occlusion": Shift("camera", "a blot of mud on the lens", _occlusion),
    "tint": Shift("camera", "one or two colours too weak", _tint),
    "dead": Shift("camera", "pixels stuck at full colours", _dead),
    "lines": Shift("camera", "rows and columns stuck at full colours", _lines),
    "tilt": Shift("camera", "mounted askew", _tilt),
    "fog": Shift("weather", "fog", _fog),
    "rain": Shift("weather", "rain", _rain),
    "snow": Shift("weather", "snow", _snow),
    "sun": Shift("weather", "a low sun in the lens", _sun),
    "night": Shift("weather", "dusk and night", _night),
    "flat": Shift("simple", "the frame's commonest colour and nothing else", _flat),
    "emptied": Shift("simple", "three quarters of the frame hold its commonest colour", _emptied),
    "tiled": Shift("simple", "the frame's plainest patch, over and over", _tiled),
    "magnified": Shift("simple", "the frame's plainest patch, four times as large", _magnified),
}
