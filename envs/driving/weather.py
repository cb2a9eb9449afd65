"""Weather and light as physics on a frame, its labels and its distances: fog, rain, night, a low sun.

Each has a strength from 0, which changes no byte, to 1, and they add up. They work on recorded and on generated frames
alike: what is asked for is called by its name, and it is a filter of ours over pictures of one renderer. What is drawn
by chance (streaks, grain, where the sun stands) depends on an episode's key and on the step, on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np

from gensim.core.seeds import fold, uniform
from gensim.envs.driving.source.labels import FAR, LINE, ROAD, SKY, metres

STREAM = 64  # of draws that are the weather's own
THICKEST = 0.12  # of fog: extinction a metre at strength 1, a visibility of 33 m
AIR = np.array([0.78, 0.80, 0.82], np.float32)  # what fog fades to
BANK = 64  # pictures of rain and of grain that are drawn from
LAYERS = ((4.0, 15, 0.05), (10.0, 8, 0.10), (25.0, 4, 0.20))  # of rain: metres away, streak's length, share of columns
LAMPS = 12.0  # metres at which headlights are as bright as the day
GAMMA = 2.2
LIGHT = ((np.arange(256) / 255) ** GAMMA).astype(np.float32)  # of each level
SHOWN = (255 * (np.arange(1 << 14) / ((1 << 14) - 1)) ** (1 / GAMMA)).astype(np.float32)  # the reverse
FOV = 60.0  # degrees, horizontally


@dataclass(frozen=True)
class Weather:
    """Strengths (n,) in 0..1 of n rows."""

    fog: np.ndarray
    rain: np.ndarray
    night: np.ndarray
    sun: np.ndarray

    @classmethod
    def of(cls, asked: Mapping[str, float], rows: int) -> Weather:
        """Equal strengths for all rows, 0 where nothing is asked for; ValueError for unknown names and other values."""
        names = [field.name for field in fields(cls)]
        unknown = sorted(asked.keys() - {*names})
        wrong = {name: value for name, value in asked.items() if not _is_share(value)}
        if unknown or wrong:
            raise ValueError(f"weather {unknown or wrong}: give {', '.join(names)}, each a number in 0..1")
        return cls(**{name: np.full(rows, asked.get(name, 0.0), np.float32) for name in names})

    @classmethod
    def rows_of(cls, strengths: np.ndarray) -> Weather:
        """The reverse of `array`."""
        return cls(*strengths.T)

    @property
    def array(self) -> np.ndarray:
        """Strengths float32 (n, 4), in the order of the fields."""
        return np.stack([getattr(self, field.name) for field in fields(self)], 1)

    def rows(self, index: np.ndarray) -> Weather:
        """Some of the rows."""
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def clear(self) -> np.ndarray:
        """Which rows (n,) have none."""
        return np.stack([getattr(self, field.name) for field in fields(self)]).max(0) == 0


def apply(
    weather: Weather,
    frames: np.ndarray,
    classes: np.ndarray,
    far: np.ndarray,
    keys: np.ndarray,
    steps: np.ndarray,
    turned: np.ndarray | None = None,
) -> np.ndarray:
    """Frames uint8 (n, h, w, 3) under weather; those of rows without any are given back byte for byte.

    Arguments:
        frames: uint8 (n, h, w, 3), in clear weather.
        classes: uint8 (n, h, w), of `CLASSES`.
        far: distances (n, h, w) as shares 0..1, as `metres` takes them.
        keys: uint64 (n,), of the episodes.
        steps: int (n,), since their beginning.
        turned: radians (n,) to the left since the beginning; the sun stays where it is.
    """
    index = np.flatnonzero(~weather.clear)
    out = frames.copy()
    if not len(index):
        return out
    some, n = weather.rows(index), len(index)
    x = LIGHT[frames[index]]
    kind, away = classes[index], metres(far[index]).astype(np.float32)
    keys, steps = np.asarray(keys, np.uint64)[index], np.asarray(steps)[index]
    heading = np.zeros(n) if turned is None else np.asarray(turned, np.float64)[index]
    level = _level(some)
    x = _wet(x, kind, some.rain)
    x = x * _lit(some, kind, away)[..., None]
    x = _fogged(x, away, some, level)
    x = _rained(x, away, some.rain, level, keys, steps)
    x = _glared(x, some.sun, keys, heading)
    shown = SHOWN[(np.clip(x, 0, 1) * (len(SHOWN) - 1) + 0.5).astype(np.int32)]
    shown = shown + _grain(some.night, keys, steps, shown.shape[1:3])
    out[index] = np.clip(shown + 0.5, 0, 255).astype(np.uint8)
    return out


def _level(weather: Weather) -> np.ndarray:
    """How bright the sky is (n,), 1 by day: clouds take up to 55 %, night all but 1.5 %."""
    return (1 - 0.55 * weather.rain) * (1 - 0.985 * weather.night) * (1 - 0.35 * weather.sun)


def _lit(weather: Weather, kind: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Light (n, h, w) on everything: what the sky gives, and what headlights do, by the inverse square of distance."""
    across, down = _angles(*away.shape[1:])
    cone = np.exp(-((across / 17.0) ** 2) - (np.maximum(-down, 0) / 2.5) ** 2)  # dipped: little above the horizon
    lamps = cone * np.minimum((LAMPS / np.maximum(away, 1.0)) ** 2, 0.8) * (kind != SKY)
    return _level(weather)[:, None, None] + weather.night[:, None, None] * lamps


def _fogged(x: np.ndarray, away: np.ndarray, weather: Weather, level: np.ndarray) -> np.ndarray:
    """Koschmieder's law (1924), as in Semantic Foggy Scene Understanding (Sakaridis et al., 2018), arXiv:1708.07819.

    Rain veils, too: a hundredth of the thickest fog's extinction would be a drizzle, a twentieth is heavy rain.
    """
    extinction = THICKEST * (weather.fog**2 + 0.05 * weather.rain)
    passes = np.exp(-extinction[:, None, None] * np.minimum(away, FAR))[..., None]
    air = (AIR**GAMMA) * level[:, None]
    return x * passes + air[:, None, None] * (1 - passes)


def _wet(x: np.ndarray, kind: np.ndarray, rain: np.ndarray) -> np.ndarray:
    """A wet road is darker, and mirrors what stands above the horizon.

    Reference: Rain Rendering for Evaluating and Improving Robustness to Bad Weather (Tremblay et al., 2021),
    arXiv:2009.03683, for what wetness does to a picture.
    """
    if not rain.any():
        return x
    road = ((kind == ROAD) | (kind == LINE))[..., None]
    mirror = x[:, ::-1]  # the horizon lies near the middle: the picture upside down
    strength = rain[:, None, None, None]
    return np.where(road, x * (1 - 0.45 * strength) + 0.12 * strength * mirror, x * (1 - 0.1 * strength))


def _rained(
    x: np.ndarray, away: np.ndarray, rain: np.ndarray, level: np.ndarray, keys: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Streaks at some distances, hidden by what is nearer; a drop shows the sky (Garg and Nayar, 2007).

    Vision and Rain, doi:10.1007/s11263-006-0028-6: streaks are near ones, long and few, and far ones, short and many.
    """
    rows = np.flatnonzero(rain)
    if not len(rows):
        return x
    bank = _streaks(*x.shape[1:3])  # (layers, BANK, h, w)
    draw = uniform(keys[rows], STREAM, steps[rows], 2 * len(LAYERS))  # (n, 2 layers)
    x = x.copy()
    for layer, (metres_, _, _) in enumerate(LAYERS):
        which, shift = (draw[:, 2 * layer] * BANK).astype(int), (draw[:, 2 * layer + 1] * x.shape[2]).astype(int)
        column = (np.arange(x.shape[2]) + shift[:, None]) % x.shape[2]  # (n, w)
        streak = np.take_along_axis(bank[layer][which], column[:, None], 2) * (away[rows] > metres_)  # (n, h, w)
        share = (0.3 * rain[rows])[:, None, None] * streak
        bright = (0.85 * level[rows] + 0.02)[:, None, None]
        x[rows] += (share * np.maximum(bright - x[rows].mean(-1), 0))[..., None]
    return x


def _glared(x: np.ndarray, sun: np.ndarray, keys: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """A low sun: warm light, and a veil that falls with the square of the angle to it (Stiles and Holladay, 1929)."""
    rows = np.flatnonzero(sun)
    if not len(rows):
        return x
    h, w = x.shape[1:3]
    place = uniform(fold(keys[rows], STREAM), STREAM, np.zeros(len(rows), np.int64), 2)  # (n, 2)
    azimuth = np.rad2deg(heading[rows]) + 50 * (place[:, 0] - 0.5)  # to the right of the view
    azimuth = (azimuth + 180) % 360 - 180
    across, down = _angles(h, w)
    height = 3 + 7 * place[:, 1]
    angle2 = (across - azimuth[:, None, None]) ** 2 + (down + height[:, None, None]) ** 2  # (n, h, w) degrees squared
    ahead = (abs(azimuth) < 100)[:, None, None]
    veil = ahead * sun[rows][:, None, None] * (30.0 / (angle2 + 18.0) + 3.0 * np.exp(-angle2 / 4.0))
    warm = np.array([1.0, 0.86, 0.62], np.float32)
    x = x.copy()
    tint = 1 - sun[rows][:, None] * (1 - np.array([1.0, 0.88, 0.72], np.float32))
    x[rows] = x[rows] * tint[:, None, None] + veil[..., None] * warm
    return x


def _grain(night: np.ndarray, keys: np.ndarray, steps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """What a sensor adds in the dark (n, h, w, 3): a standard deviation of 7 levels at strength 1."""
    if not night.any():
        return np.zeros((len(night), 1, 1, 1), np.float32)
    bank = _noise(*shape)
    draw = uniform(keys, STREAM + 1, steps, 3)
    which = (draw[:, 0] * BANK).astype(int)
    rolled = [np.roll(bank[i], (int(a * shape[0]), int(b * shape[1])), (0, 1)) for i, (_, a, b) in zip(which, draw)]
    return 7.0 * night[:, None, None, None] * np.stack(rolled)


def _angles(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Degrees to the right of the view's axis and below the horizon of each pixel, (h, w)."""
    focal = w / 2 / np.tan(np.deg2rad(FOV / 2))
    right, below = np.arange(w) + 0.5 - w / 2, np.arange(h) + 0.5 - h * HORIZON
    across, down = (np.rad2deg(np.arctan(one / focal)) for one in (right, below))
    return np.broadcast_to(across, (h, w)), np.broadcast_to(down[:, None], (h, w))


HORIZON = 0.335  # of a frame's height: the camera looks down by 7 degrees


@lru_cache(maxsize=2)
def _streaks(h: int, w: int) -> np.ndarray:
    """Pictures (layers, BANK, h, w) in 0..1 of rain at each distance: columns lit over a streak's length."""
    rng = np.random.Generator(np.random.Philox(key=[STREAM, 0]))
    found = []
    for _, length, share in LAYERS:
        seeds = rng.random((BANK, h + length, w)) < share / length
        sums = np.cumsum(seeds * rng.uniform(0.4, 1.0, seeds.shape), 1)
        found.append(np.minimum(sums[:, length:] - sums[:, :-length], 1.0))
    return np.stack(found).astype(np.float32)


@lru_cache(maxsize=2)
def _noise(h: int, w: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=[STREAM, 1]))
    return rng.standard_normal((BANK, h, w, 3)).astype(np.float32)


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and 0 <= float(value) <= 1
